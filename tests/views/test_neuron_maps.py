"""Pictures of neuron maps."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hoi_captum import graphs, views
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError


@dataclass(frozen=True)
class Classes:
    """As many class maps as a picture needs."""

    maps: NDArray[np.float64]
    segmentation: NDArray[np.float64]
    names: tuple[str, ...] = ("cat", "<dog>", "$x")

    @property
    def contrasts(self) -> NDArray[np.float64]:
        return self.maps - self.maps.mean(0)


@pytest.fixture
def classes() -> Classes:
    rng = np.random.default_rng(0)
    segments = rng.integers(-1, 3, (3, 4)).astype(float)
    segments[2, 3] = np.nan
    return Classes(rng.random((3, 3, 4)), segments)


def drawn(figure: Figure) -> list[NDArray[np.float64]]:
    figure.savefig(BytesIO(), format="png")
    return [
        np.ma.filled(image.get_array().astype(float), np.nan) for ax in figure.axes for image in ax.images
    ]


def texts(figure: Figure) -> str:
    found = [t.get_text() for ax in figure.axes for t in (*ax.texts, ax.title)]
    return " ".join(found + [t.get_text() for legend in figure.legends for t in legend.get_texts()])


def test_a_map_is_drawn_on_its_own_scale_and_cells_without_a_unit_are_left_out() -> None:
    values = np.array([[0.0, 2.0], [4.0, np.nan]])
    (image,) = drawn(views.neuron_maps_plot(values))
    np.testing.assert_allclose(image, [[0, 0.5], [1, np.nan]])


def test_maps_of_zeros_and_signed_maps_are_drawn() -> None:
    figure = views.neuron_maps_plot(torch.tensor([[[0.0, 0.0]], [[-1.0, 0.5]]]), ["none", "signed"])
    none, signed = drawn(figure)
    assert not none.any()
    np.testing.assert_allclose(signed, [[-1, 0.5]])


def test_maps_have_one_name_each() -> None:
    with pytest.raises(InputError, match="expected 2 names"):
        views.neuron_maps_plot(np.ones((2, 2, 2)), ["one"])
    with pytest.raises(InputError, match="expected maps"):
        views.neuron_maps_plot(np.ones(4))


def test_class_maps_and_contrasts(classes: Classes) -> None:
    assert len(drawn(views.class_maps_plot(classes))) == 3
    contrasts = drawn(views.class_maps_plot(classes, contrast=True))
    assert all(image.min() < 0 for image in contrasts)
    assert "<dog>" in texts(views.class_maps_plot(classes))


def test_the_segmentation_names_the_classes_that_are_there(classes: Classes) -> None:
    figure = views.segmentation_plot(classes)
    (image,) = drawn(figure)
    np.testing.assert_array_equal(image, classes.segmentation)
    assert "never varies" in texts(figure)
    there = {int(s) for s in np.unique(classes.segmentation[np.isfinite(classes.segmentation)])}
    for i, name in enumerate(classes.names):
        assert (name in texts(figure)) == (i in there)


@pytest.mark.parametrize("name", ["grid", "ring", "tree", "star", "line", "hierarchical"])
def test_a_graph_has_its_links_and_nodes(name: str) -> None:
    graph = getattr(graphs, name)(12)
    for options in ({}, {"values": np.arange(12) - 6.0}, {"labels": np.arange(12) % 3 - 1}):
        figure = views.neuron_graph_plot(graph, **options)
        figure.savefig(BytesIO(), format="png")
        links, nodes = figure.axes[0].collections
        assert len(links.get_segments()) == len(graph.edges)
        assert len(nodes.get_offsets()) == 12


def test_a_graph_without_places_of_its_own_and_wrong_values() -> None:
    a = np.ones((5, 5)) - np.eye(5)
    views.neuron_graph_plot(graphs.NeuronGraph.from_adjacency(a)).savefig(BytesIO())
    with pytest.raises(InputError, match="expected 5 values"):
        views.neuron_graph_plot(graphs.NeuronGraph.from_adjacency(a), np.ones(4))


def test_words_are_coloured_by_their_groups_and_escaped() -> None:
    maps = np.zeros((3, 2, 2))
    maps[1, 0] = 4.0  # the second word wakes the upper units
    html = views.map_words_html(["a", "<b>", "c"], maps, np.array([0, 0, 1, 1]))
    assert "<b> " not in html
    assert "&lt;b&gt;" in html
    assert html.index("group 0") < html.index("group 1")  # what varies most is first
    with pytest.raises(InputError, match=r"expected groups of \[0, 1\]"):
        views.map_words_html(["a", "<b>", "c"], maps, np.array([0, 0, 1, 1]), [2])
    with pytest.raises(InputError, match="expected maps"):
        views.map_words_html(["a"], maps, np.array([0, 0, 1, 1]))


def test_a_row_of_a_map_shows_its_groups() -> None:
    terms = [Term((0, 1), "group", None, 1.5, (1.0, 0.5)), Term((2, 3), "group", None, -0.5, (1.0, 1.0))]
    arrays = {
        "units": np.array([3.0, 1.0, 0.0, 0.0]),
        "groups": np.array([0, 0, 1, 1]),
        "map_shape": np.array([2, 2]),
    }
    table = Interactions.from_terms("abcd", terms, provenance=Provenance("m"), arrays=arrays)
    figure = views.default_plot(table)
    (image, *_) = drawn(figure)
    np.testing.assert_allclose(image, [[1, 1 / 3], [0, 0]])
    assert "+1.5" in texts(figure)
    assert "-0.5" in texts(figure)

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


def test_a_table_without_a_map_says_so() -> None:
    table = Interactions.from_terms("ab", [Term((0, 1), "and", None, 1.0)], provenance=Provenance("m"))
    assert "this table has no neuron map" in texts(views.neuron_map_plot(table))


def test_lines_are_the_strongest_edges_or_pairs() -> None:
    arrays = {"units": np.arange(4.0), "groups": np.zeros(4, dtype=int), "map_shape": np.array([2, 2])}
    for kind, what in (("edge", "edges"), ("taylor", "pairs")):
        terms = [Term((0, 1), kind, None, 1.5, None), Term((2, 3), kind, None, -3.0, None)]
        terms.append(Term((0, 2), kind, None, 0.0, None))
        table = Interactions.from_terms("abcd", terms, provenance=Provenance("m"), arrays=arrays)
        figure = views.neuron_map_plot(table)
        figure.savefig(BytesIO(), format="png")
        (lines,) = figure.axes[0].collections
        ends = [part.tolist() for part in lines.get_segments()]
        assert ends == [[[0, 1], [1, 1]], [[0, 0], [1, 0]]]
        widths = lines.get_linewidths()
        assert widths[0] > widths[1]
        assert f"the strongest 2 of 3 {what}" in figure.get_supxlabel()
        none = table.take(np.flatnonzero(table.scores == 0))
        assert views.neuron_map_plot(none).get_supxlabel() == f"all 1 {what} are 0"


def test_contrasts_say_which_colour_is_above_the_mean(classes: Classes) -> None:
    figure = views.class_maps_plot(classes, contrast=True)
    said = [t.get_text() for t in figure.axes[-1].get_yticklabels()]
    assert said == ["less than the mean", "the mean", "more than the mean"]


def test_the_legend_of_a_segmentation_fits_and_dead_units_are_hatched() -> None:
    segments = np.arange(16.0).reshape(4, 4) % 11 - 1
    figure = views.segmentation_plot(
        Classes(np.zeros((10, 4, 4)), segments, tuple(f"a class {i}" for i in range(10)))
    )
    figure.savefig(BytesIO(), format="png")
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert [p.get_hatch() for p in figure.axes[0].patches] == ["////"] * 2


def test_groups_and_names_of_another_number_are_refused() -> None:
    views.neuron_maps_plot(np.array([[1.0, 2.0], [3.0, np.nan]]), groups=[0, 0, 1])
    for groups in ([0, 1], [0] * 5):
        with pytest.raises(InputError, match="expected groups of the 4 units of a map 2 x 2, got"):
            views.neuron_maps_plot(np.ones((2, 2)), groups=groups)
    with pytest.raises(InputError, match="expected names of the labels 0 to 3, got 2 of them"):
        views.neuron_graph_plot(graphs.ring(4), labels=np.arange(4), names=["a", "b"])


def test_pieces_of_a_graph_lie_beside_each_other() -> None:
    a = np.zeros((17, 17))
    a[:9, :9], a[9:16, 9:16] = graphs.ring(9).adjacency, graphs.ring(7).adjacency
    figure = views.neuron_graph_plot(graphs.NeuronGraph.from_adjacency(a))
    figure.savefig(BytesIO(), format="png")
    places = np.asarray(figure.axes[0].collections[1].get_offsets())
    boxes = [(places[p].min(0), places[p].max(0)) for p in (slice(9), slice(9, 16), slice(16, 17))]
    assert np.ptp(places[:9], axis=0).min() > 1
    for i in range(3):
        for j in range(i):
            apart = (boxes[i][0] > boxes[j][1]) | (boxes[j][0] > boxes[i][1])
            assert apart.any()

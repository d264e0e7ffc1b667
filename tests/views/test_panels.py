"""Which terms are drawn, listed and left out; the panels themselves are tested by the plots."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hoi_captum import views
from hoi_captum.core.example import ImageLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.views.panels import without_effect


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def listed(figure) -> list[str]:
    """The players of the terms below the panel, as the list names them."""
    return [t.get_text().split("  ")[2] for t in figure.axes[0].texts if t.get_text().count("  ") == 2]


def groups_drawn(figure) -> int:
    """Outlined shapes: in both plots a group has one that is filled and one that is not."""
    return sum(type(p).__name__ == "Polygon" and p.get_facecolor()[3] > 0 for p in figure.axes[0].patches)


def pairs_drawn(figure) -> int:
    return sum(type(p).__name__ == "FancyArrowPatch" for p in figure.axes[0].patches)


@pytest.mark.parametrize("plot", [views.region_plot, views.network_plot])
def test_of_triples_all_that_are_listed_are_drawn(plot, digit):
    triples = digit[0].where(order=3)
    figure = plot(triples, digit[1])
    assert listed(figure) == [triples.label(t) for t in triples.top(6)]
    assert groups_drawn(figure) == 6
    assert "the strongest: 6 of 84 larger sets" in " ".join(texts(figure)).replace("\n", " ")


@pytest.mark.parametrize("plot", [views.region_plot, views.network_plot])
def test_sets_that_are_not_drawn_are_not_listed(plot, digit):
    table = digit[0].where(order=(2, 3))
    drawn = (table.where(order=2).top(3), table.where(order=3).top(1))
    figure = plot(table, digit[1], k=3, groups=1)
    assert (pairs_drawn(figure), groups_drawn(figure)) == (3, 1)
    expected = {table.label(t) for part in drawn for t in part}
    assert listed(figure)
    assert set(listed(figure)) <= expected


@pytest.mark.parametrize("plot", [views.region_plot, views.network_plot])
def test_single_players_are_listed_among_the_strongest(plot, digit):
    figure = plot(digit[0], digit[1])
    assert listed(figure) == [digit[0].label(t) for t in digit[0].top(6)]
    larger = sum(t.order > 2 for t in digit[0].top(6))
    assert groups_drawn(figure) == max(larger, 2)


@pytest.mark.parametrize("plot", [views.region_plot, views.network_plot, views.arc_plot])
def test_the_legend_names_kinds_only_where_there_are_several(plot, digit):
    pairs = digit[0].where(order=2)
    layout = None if plot is views.arc_plot else digit[1]
    assert "taylor" not in texts(plot(pairs, layout))
    both = Interactions.from_terms(
        pairs.players,
        [Term((0, 1), "and", None, 1.0), Term((1, 2), "or", None, 1.0)],
        provenance=Provenance("m"),
    )
    assert {"and", "or"} <= set(texts(plot(both, layout)))


class TestPairsOfNoEffect:
    """Of 49 units, 91 of whose 1,176 pairs have a score."""

    @pytest.fixture
    def table(self) -> Interactions:
        matrix = np.zeros((49, 49))
        terms = []
        for rank, (i, j) in enumerate(itertools.combinations(range(14), 2), start=1):
            matrix[i, j] = matrix[j, i] = 1.0 / rank
            terms.append(Term((i, j), "taylor", None, 1.0 / rank))
        names = [f"r{i // 7 + 1}c{i % 7 + 1}" for i in range(49)]
        return Interactions.from_terms(names, terms, provenance=Provenance("m"), arrays={"pairs": matrix})

    @pytest.fixture
    def image(self) -> ImageLayout:
        mask = torch.arange(49).reshape(7, 7).repeat_interleave(4, 0).repeat_interleave(4, 1)
        return ImageLayout(torch.full((28, 28, 3), 0.5), mask)

    @pytest.mark.parametrize("plot", [views.pair_boxes_plot, views.region_plot, views.network_plot])
    def test_they_are_counted_beside_the_others(self, plot, table, image):
        said = " ".join(texts(plot(table, image))).replace("\n", " ")
        strongest = {
            views.pair_boxes_plot: "the 6 strongest of 91 pairs",
            views.region_plot: "the strongest: 8 of 91 pairs",
            views.network_plot: "the strongest: 14 of 91 pairs",
        }[plot]
        assert f"{strongest}; 1,085 pairs of no effect are left out" in said

    def test_what_a_selection_leaves_out_is_not_among_them(self, table):
        assert without_effect(table.top(6)) == "1,085 pairs of no effect are left out"
        assert without_effect(table.take([])) == ""

    def test_nothing_is_said_where_it_is_not_known(self, digit):
        assert without_effect(digit[0]) == ""

    def test_one_pair_is_one(self):
        matrix = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 2.0, 0.0]])
        terms = [Term((0, 1), "taylor", None, 1.0), Term((1, 2), "taylor", None, 2.0)]
        found = Interactions.from_terms("abc", terms, provenance=Provenance("m"), arrays={"pairs": matrix})
        assert without_effect(found) == "1 pair of no effect is left out"

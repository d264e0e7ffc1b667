from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import PathPatch, Polygon

from hoi_captum import views
from hoi_captum.core.example import ImageLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError, OptionError
from hoi_captum.views.palette import NEGATIVE, POSITIVE


class Knowing(Interactions):
    """A result that knows of two pairs how they act together."""

    def synergy(self, term: Term) -> float:
        return {(0, 8): 0.5, (2, 6): -0.25}.get(term.members, math.nan)


SCORES = {(0, 8): -3.0, (2, 6): 2.0, (1, 4): 1.0, (0, 4, 5): 0.5, (3,): 9.0, (5, 7): math.nan}


@pytest.fixture
def pairs(digit) -> tuple[Knowing, ImageLayout]:
    """Regions of 8 x 8 pixels in rows of three: five sets that can be drawn and one single player."""
    source = Provenance("m", details={"unit": "logit"})
    terms = [Term(m, "taylor", None, s) for m, s in SCORES.items()]
    return Knowing.from_terms(digit[0].players, terms, provenance=source), digit[1]


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def boxes(ax) -> list[set[tuple[float, float]]]:
    return [
        {tuple(p) for p in patch.get_path().vertices.tolist()}
        for patch in ax.patches
        if isinstance(patch, PathPatch)
    ]


def lines(ax) -> list[list[list[float]]]:
    return [p.get_xy().tolist() for p in ax.patches if isinstance(p, Polygon) and not p.get_fill()]


def corners(row: int, column: int) -> set[tuple[float, float]]:
    return {(8.0 * (column + x), 8.0 * (row + y)) for x in (0, 1) for y in (0, 1)}


def test_a_panel_for_each_set_from_the_strongest(pairs):
    figure = views.pair_boxes_plot(*pairs)
    assert [ax.get_title() for ax in figure.axes] == [
        "1. top left · bottom right",
        "2. top right · bottom left",
        "3. top mid · middle mid",
        "4. top left · middle mid · middle right",
    ]
    assert boxes(figure.axes[0]) == [corners(0, 0), corners(2, 2)]
    assert boxes(figure.axes[1]) == [corners(0, 2), corners(2, 0)]
    assert len(views.pair_boxes_plot(*pairs, k=2).axes) == 2


def test_the_line_joins_the_centres(pairs):
    figure = views.pair_boxes_plot(*pairs)
    assert lines(figure.axes[0]) == [[[4.0, 4.0], [20.0, 20.0]]]
    assert lines(figure.axes[1]) == [[[20.0, 4.0], [4.0, 20.0]]]


def test_three_players_are_a_triangle(pairs):
    ax = views.pair_boxes_plot(*pairs).axes[3]
    (ring,) = lines(ax)
    assert ring[0] == ring[-1]
    assert {tuple(p) for p in ring} == {(4.0, 4.0), (12.0, 12.0), (20.0, 12.0)}
    assert boxes(ax) == [corners(0, 0), corners(1, 1), corners(1, 2)]
    (filled,) = [p for p in ax.patches if isinstance(p, Polygon) and p.get_fill()]
    assert filled.get_alpha() < 0.3


def test_scores_and_roles_are_written_in_the_colour_of_the_sign(pairs):
    from matplotlib.colors import to_hex

    figure = views.pair_boxes_plot(*pairs)
    said = [(ax.texts[0].get_text(), to_hex(ax.texts[0].get_color())) for ax in figure.axes]
    assert said == [
        ("−3.00   synergy (+0.5)", NEGATIVE),
        ("+2.00   redundancy (−0.25)", POSITIVE),
        ("+1.00", POSITIVE),
        ("+0.50", POSITIVE),
    ]
    edges = {to_hex(p.get_edgecolor()) for p in figure.axes[0].patches}
    assert edges == {NEGATIVE}
    assert {"positive cross derivative", "negative cross derivative"} <= set(texts(figure))


def test_the_note_says_what_is_left_out_and_what_the_numbers_are(pairs):
    def note(**options) -> str:
        return views.pair_boxes_plot(*pairs, **options).legends[0].get_title().get_text().replace("\n", " ")

    assert note().startswith("numbers: cross derivative, in logit; signs are those of derivatives")
    assert "strongest" not in note()
    assert "the 1 strongest of 4 sets" in note(k=1)
    assert "the 1 strongest of 3 pairs" in note(k=1, order=2)
    assert "synergy: each does more" in note()
    assert "synergy: each" not in note(order=3)


def test_orders_and_scopes_can_be_chosen(pairs):
    assert len(views.pair_boxes_plot(*pairs, order=2).axes) == 3
    assert [ax.get_title() for ax in views.pair_boxes_plot(*pairs, order=3).axes] == [
        "1. top left · middle mid · middle right"
    ]
    terms = [Term((0, 1), "k", "model:0", 1.0), Term((0, 2), "k", "model:1", -2.0)]
    table = Interactions.from_terms(pairs[0].players, terms, provenance=Provenance("m"))
    both = views.pair_boxes_plot(table, pairs[1])
    assert [ax.texts[0].get_text() for ax in both.axes] == ["−2.00   model:1", "+1.00   model:0"]
    one = views.pair_boxes_plot(table, pairs[1], scope="model:0")
    assert [ax.texts[0].get_text() for ax in one.axes] == ["+1.00"]
    with pytest.raises(InputError, match="expected scope"):
        views.pair_boxes_plot(table, pairs[1], scope="model:2")


def test_regions_of_any_shape_have_their_outline():
    mask = torch.tensor([[0, 0, -1, 1], [0, -1, -1, 1]])
    table = Interactions.from_terms("ab", [Term((0, 1), "taylor", None, 1.0)], provenance=Provenance("m"))
    figure = views.pair_boxes_plot(table, ImageLayout(torch.zeros(2, 4, 3), mask))
    found = boxes(figure.axes[0])
    assert found[0] == {(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)}
    assert found[1] == {(3, 0), (4, 0), (4, 2), (3, 2)}


def test_a_player_outside_the_image_has_no_box(digit):
    mask = torch.where(digit[1].mask == 7, -1, digit[1].mask)
    terms = [Term((0, 7), "taylor", None, 2.0), Term((7,), "taylor", None, 1.0)]
    table = Interactions.from_terms(digit[0].players, terms, provenance=Provenance("m"))
    (ax,) = views.pair_boxes_plot(table, ImageLayout(digit[1].image, mask)).axes
    assert boxes(ax) == [corners(0, 0)]
    assert lines(ax) == []
    assert ax.get_title() == "1. top left · bottom mid"


def test_sixty_four_units_and_wide_images():
    mask = torch.arange(64).reshape(8, 8).repeat_interleave(4, 0).repeat_interleave(16, 1)
    rng = np.random.default_rng(0)
    terms = [Term(p, "cam", None, float(rng.random())) for p in itertools.combinations(range(64), 2)]
    table = Interactions.from_terms([f"r{i}" for i in range(64)], terms, provenance=Provenance("m"))
    figure = views.pair_boxes_plot(table, ImageLayout(torch.rand(32, 128, 3), mask))
    best = table.top(6)
    assert [ax.get_title() for ax in figure.axes] == [f"{i + 1}. {best.label(t)}" for i, t in enumerate(best)]
    assert figure.get_figwidth() / figure.get_figheight() > 2
    assert "squared interaction strength" in texts(figure)
    assert "negative" not in " ".join(texts(figure))


def test_titles_do_not_run_into_each_other(digit):
    """Three long names in each panel."""
    figure = views.pair_boxes_plot(digit[0].where(order=3), digit[1], title="A title")
    FigureCanvasAgg(figure).draw()
    found = [t.get_window_extent() for ax in figure.axes for t in (ax.title, ax.texts[0])]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))


def test_names_are_drawn_literally(hostile, digit):
    mask = digit[1].mask % 4
    figure = views.pair_boxes_plot(hostile[0], ImageLayout(digit[1].image, mask), title="$\\frac$")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")  # matplotlib would raise on the broken mathematics
    assert any("<script>" in t for t in texts(figure))


def test_wrong_arguments(review, digit):
    with pytest.raises(InputError, match="expected an ImageLayout to draw boxes, got TextLayout; arc_plot"):
        views.pair_boxes_plot(*review)
    with pytest.raises(OptionError, match="k"):
        views.pair_boxes_plot(*digit, k=0)

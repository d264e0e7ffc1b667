from __future__ import annotations

import io
import itertools
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import visualization
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch, PathPatch

from hoi_captum import views
from hoi_captum.core.example import ImageLayout, TextLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError, OptionError
from hoi_captum.views.palette import INK, diverging

WORDS = ("not", "a", "bad", "film")
PAIRS = {(0, 1): 0.5, (0, 2): -2.0, (0, 3): 0.25, (1, 2): 1.0, (2, 3): 0.25}


def matrix() -> np.ndarray:
    out = np.zeros((4, 4))
    for (i, j), score in PAIRS.items():
        out[i, j] = out[j, i] = score
    return out


@pytest.fixture
def words() -> tuple[Interactions, TextLayout]:
    terms = [Term(m, "taylor", None, s) for m, s in PAIRS.items()] + [Term((0, 1, 2), "taylor", None, 9.0)]
    source = Provenance("m", target="positive", details={"unit": "logit"})
    layout = TextLayout(
        (("not", 0), (" ", -1), ("a", 1), (" ", -1), ("bad", 2), (" ", -1), ("film", 3), (".", -1))
    )
    return Interactions.from_terms(WORDS, terms, provenance=source), layout


@pytest.fixture
def quarters(words) -> tuple[Interactions, ImageLayout]:
    """The same players as the quarters of an image of 6 x 6."""
    mask = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(3, 0).repeat_interleave(3, 1)
    return words[0], ImageLayout(torch.full((6, 6, 3), 0.5), mask)


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def note(figure) -> str:
    return figure._supxlabel.get_text().replace("\n", " ")


# ---------------------------------------------------------------- images
def test_a_map_is_the_row_of_the_player_by_its_largest(quarters):
    table, layout = quarters
    figure = views.partner_maps_plot(table, layout, k=4)
    maps = figure.axes[:4]
    # sums of absolute scores: 2.75, 1.5, 3.25, 0.5
    assert [ax.get_title().split("\n")[0] for ax in maps] == ["bad", "not", "a", "film"]
    for ax, player in zip(maps, (2, 0, 1, 3), strict=True):
        row = matrix()[player]
        drawn = np.asarray(ax.images[-1].get_array())
        np.testing.assert_allclose(drawn, (row / np.abs(row).max())[layout.mask.numpy()])
        assert ax.images[-1].get_clim() == (-1, 1)


def test_the_title_says_how_much_and_with_whom_most(quarters):
    figure = views.partner_maps_plot(*quarters, anchors=["not", 3])
    assert [ax.get_title() for ax in figure.axes[:2]] == [
        "not\n2.75 in all, −2.00 with “bad”",
        "film\n0.50 in all, +0.25 with “not”",
    ]
    assert note(figure) == (
        "numbers: cross derivative, in logit; colours are relative to each one’s strongest partner; "
        "signs are those of derivatives, not of synergy or redundancy"
    )


def test_the_player_itself_is_outlined_where_its_pixels_are(quarters):
    (ax, _) = views.partner_maps_plot(*quarters, anchors=["film"]).axes
    (patch,) = [p for p in ax.patches if isinstance(p, PathPatch)]
    assert {tuple(v) for v in patch.get_path().vertices.tolist()} == {(3, 3), (6, 3), (6, 6), (3, 6)}
    assert to_hex(patch.get_edgecolor()) == INK
    assert {tuple(i.get_extent()) for i in ax.images} == {(0, 6, 6, 0)}


def test_scores_without_a_sign_are_drawn_from_zero(quarters):
    terms = [Term(m, "cam", None, abs(s)) for m, s in PAIRS.items()]
    table = Interactions.from_terms(WORDS, terms, provenance=Provenance("m"))
    ax = views.partner_maps_plot(table, quarters[1], anchors=["not"]).axes[0]
    assert ax.images[-1].get_clim() == (0, 1)
    np.testing.assert_allclose(np.asarray(ax.images[-1].get_array())[0, 3], 0.25)  # with "a": 0.5 of 2


def test_a_player_without_partners_and_one_without_a_place(quarters):
    table = Interactions.from_terms(
        (*WORDS[:3], "nowhere", "film"),
        [Term((0, 3), "taylor", None, 1.0)],
        provenance=Provenance("m"),
    )
    mask = quarters[1].mask
    layout = ImageLayout(quarters[1].image, torch.where(mask == 3, 4, mask))
    figure = views.partner_maps_plot(table, layout, anchors=["film", "nowhere"])
    assert figure.axes[0].get_title() == "film\nno partner"
    assert "all values are zero" in note(figure)
    assert not [p for p in figure.axes[1].patches if isinstance(p, PathPatch)]


# ---------------------------------------------------------------- words
def test_words_are_coloured_by_the_row(words):
    figure = views.partner_maps_plot(*words, k=2, title="A title")
    assert len(figure.axes) == 2
    for ax, player, said in zip(
        figure.axes,
        (2, 0),
        ("“bad”: 3.25 in all, −2.00 with “not”", "“not”: 2.75 in all, −2.00 with “bad”"),
        strict=True,
    ):
        assert [t.get_text() for t in ax.texts] == [said, "not", "a", "bad", "film", "."]
        row = matrix()[player] / 2.0
        found = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
        assert [to_hex(p.get_facecolor()) for p in found] == [to_hex(diverging()(0.5 + 0.5 * v)) for v in row]
        assert [to_hex(p.get_edgecolor()) == INK for p in found] == [i == player for i in range(4)]
    assert "A title" in texts(figure)


def test_without_a_layout_the_names_are_the_words(words, row):
    table = words[0]
    assert [t.get_text() for t in views.partner_maps_plot(table, k=1).axes[0].texts][1:] == list(WORDS)
    assert len(views.partner_maps_plot(*row, k=3).axes) == 3


def test_many_words_do_not_overlap():
    names = [f"word number {i}" for i in range(40)]
    terms = [Term(p, "taylor", None, 1.0) for p in itertools.combinations(range(40), 2)]
    table = Interactions.from_terms(names, terms, provenance=Provenance("m"))
    figure = views.partner_maps_plot(table, k=2)
    FigureCanvasAgg(figure).draw()
    found = [t.get_window_extent() for ax in figure.axes for t in ax.texts]
    assert len(found) == 82
    assert not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))


# ---------------------------------------------------------------- records
def test_records_are_rows_on_a_scale_of_one(words):
    records = views.partner_records(*words, anchors=["not", "film"])
    expected = [[0.0, 0.25, -1.0, 0.125, 0.0], [1.0, 0.0, 1.0, 0.0, 0.0]]
    for record, row in zip(records, expected, strict=True):
        torch.testing.assert_close(record.word_attributions, torch.tensor(row))
    assert [r.attr_class for r in records] == ["not", "film"]
    assert [r.attr_score for r in records] == [2.75, 0.5]
    assert records[0].raw_input_ids == ["▸<b>not</b>◂", "a", "bad", "film", "."]
    assert math.isnan(records[0].pred_prob)


def test_a_player_at_two_places_is_coloured_and_marked_at_both():
    layout = TextLayout((("so", 0), (" ", -1), ("very", 1), (" ", -1), ("so", 0)))
    table = Interactions.from_terms(
        ("so", "very"), [Term((0, 1), "taylor", None, -4.0)], provenance=Provenance("m")
    )
    first, second = views.partner_records(table, layout)
    assert first.raw_input_ids == ["▸<b>so</b>◂", "very", "▸<b>so</b>◂"]
    assert second.word_attributions.tolist() == [-1.0, 0.0, -1.0]


def test_the_html_names_the_word_its_sum_and_what_the_colours_are(words, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)  # not installed
    html = views.partner_html(*words, k=1)
    assert "<b>bad</b></td>" in html
    assert "<b>3.25</b></td>" in html  # 2 + 1 + 0.25
    assert "▸<b>bad</b>◂" in html
    assert "Interacts (cross derivative, in logit)" in html
    assert "negative cross derivative" in html
    assert "negative cross derivative" not in views.partner_html(*words, k=1, legend=False)
    # Captum's red of the strongest negative value, in the table and not in the key alone
    assert "hsl(0, 75%, 60%)" in html.split("<tbody>")[1]


def test_strangers_names_are_escaped_in_records_html_and_captums_view(hostile, monkeypatch):
    table, layout = hostile
    html = views.partner_html(table, layout, anchors=list(range(4)))
    assert "<script" not in html
    assert "&amp;lt;" not in html  # escaped once
    assert "▸<b>&lt;script&gt;alert(1)&lt;/script&gt;</b>◂" in html
    monkeypatch.setattr(visualization, "HAS_IPYTHON", True)
    monkeypatch.setattr(visualization, "HTML", lambda text: SimpleNamespace(data=text), raising=False)
    monkeypatch.setattr(visualization, "display", lambda _: None, raising=False)
    records = views.partner_records(table, layout, anchors=[0, 1])
    assert "<script" not in visualization.visualize_text(records).data


# ---------------------------------------------------------------- anchors
def test_scopes_are_averaged_or_chosen(quarters):
    terms = [Term((0, 1), "k", "model:0", 4.0), Term((0, 2), "k", "model:1", -2.0)]
    table = Interactions.from_terms(WORDS, terms, provenance=Provenance("m"))
    both, one = (
        views.partner_records(table, None, ["not"]),
        views.partner_records(table, None, ["not"], scope="model:1"),
    )
    assert both[0].word_attributions.tolist() == [0.0, 1.0, -0.5, 0.0]
    assert both[0].attr_score == 3.0  # (4 + 2) / 2
    assert one[0].word_attributions.tolist() == [0.0, 0.0, -1.0, 0.0]


def test_only_players_with_a_partner_are_chosen(quarters):
    table = Interactions.from_terms(WORDS, [Term((1, 3), "k", None, 1.0)], provenance=Provenance("m"))
    assert [r.attr_class for r in views.partner_records(table)] == ["a", "film"]


@pytest.mark.parametrize("anchor", ["nobody", 4, -1, 1.0])
def test_anchors_that_are_no_players(words, anchor):
    with pytest.raises(InputError, match=r"players or ids in 0\.\.3, got .*; the players are not, a, bad"):
        views.partner_maps_plot(*words, anchors=[anchor])


def test_no_room_for_nobody(words):
    with pytest.raises(OptionError, match="k"):
        views.partner_maps_plot(*words, k=0)


def test_pyplot_stays_untouched(quarters, words):
    from matplotlib import pyplot

    for found in (quarters, words):
        views.partner_maps_plot(*found).savefig(io.BytesIO(), format="png")
    assert pyplot.get_fignums() == []

from __future__ import annotations

import numpy as np
import pytest

from hoi_captum import views
from hoi_captum.built_in import hoi_captum_register_methods
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.views.panels import what_is_drawn
from hoi_captum.views.wording import (
    NEUTRAL_WORDS,
    WORDINGS,
    caution_of,
    heading_of,
    score_label,
    sign_labels,
    sum_label,
    unit_of,
    wording_of,
)


def table(*kinds: str, scores=(1.0, -2.0), **source) -> Interactions:
    """Two pairs of four players, of the given kinds."""
    terms = [Term((2 * i, 2 * i + 1), kinds[i % len(kinds)], None, score) for i, score in enumerate(scores)]
    return Interactions.from_terms("abcd", terms, provenance=Provenance("m", **source))


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


@pytest.mark.parametrize(
    ("kinds", "labels"),
    [
        (("and", "or"), ["raises the value", "lowers the value"]),
        (("k-sii",), ["raises the value", "lowers the value"]),
        (("taylor",), ["positive cross derivative", "negative cross derivative"]),
        (("corex",), ["positive total correlation", "negative total correlation"]),  # which it should not be
        (("of-a-plugin",), ["positive score", "negative score"]),
        (("and", "taylor"), ["positive score", "negative score"]),
    ],
)
def test_the_signs_are_those_of_the_kind(kinds, labels):
    assert sign_labels(table(*kinds)) == list(zip((1.0, -1.0), labels, strict=True))


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("and", "raises the value"),
        ("taylor", "cross derivative"),
        ("cam", "squared interaction strength"),
        ("corex", "total correlation"),
        ("of-a-plugin", "score"),
    ],
)
def test_a_sign_that_does_not_occur_is_not_named(kind, label):
    assert sign_labels(table(kind, scores=(1.0, 2.0))) == [(1.0, label)]
    assert sign_labels(table(kind, scores=(1.0, np.nan))) == [(1.0, label)]


def test_of_no_scores_both_signs_are_named_unless_there_is_but_one():
    assert [s for s, _ in sign_labels(table("taylor", scores=(0.0, 0.0)))] == [1.0, -1.0]
    assert sign_labels(table("cam", scores=(0.0, 0.0))) == [(1.0, "squared interaction strength")]
    assert sign_labels(table("taylor", scores=(-1.0,))) == [(-1.0, "negative cross derivative")]


def test_every_kind_of_our_own_methods_has_words():
    kinds: set[str] = set()
    hoi_captum_register_methods(lambda name, cls: kinds.update(cls.kinds))
    assert kinds <= set(WORDINGS)


def test_kinds_of_plugins_and_mixtures_are_neutral():
    assert wording_of(table("of-a-plugin")) == NEUTRAL_WORDS
    assert wording_of(table("and", "corex")) == NEUTRAL_WORDS
    assert wording_of(table("and", "or")).additive
    assert wording_of(table(scores=())) == NEUTRAL_WORDS


@pytest.mark.parametrize(
    ("kind", "unit", "label", "sums"),
    [
        ("and", "log-odds", "log-odds", "sum, log-odds"),
        ("taylor", "logit", "cross derivative, in logit", "sum of cross derivatives, logit"),
        # the output's change by a layer's, squared: its unit is not that of the output
        ("cam", "logit", "squared interaction strength", "sum of squared interaction strengths"),
        ("cam-basic", "logit", "squared interaction strength", "sum of squared interaction strengths"),
        ("corex", "nats", "total correlation, in nats", "sum of total correlations, nats"),
        ("taylor", "", "cross derivative", "sum of cross derivatives"),
        ("of-a-plugin", "", "score", "sum, score"),
    ],
)
def test_scales_are_named_by_quantity_and_unit(kind, unit, label, sums):
    found = table(kind, details={"unit": unit})
    assert score_label(found) == label
    assert sum_label(found) == sums


def test_a_unit_that_is_no_text_is_none():
    assert unit_of(table("cam", details={"unit": 3})) == "score"
    assert unit_of(table("taylor", details={"unit": "a {} b"})) == "a {} b"


def test_headings():
    assert heading_of(table("and", target="7")) == "for and against: 7"
    assert heading_of(table("taylor", target="{0} 7")) == "cross derivatives: {0} 7"
    assert heading_of(table("of-a-plugin", target="7")) == "interactions: 7"
    assert heading_of(table("corex", target="7", details={"about": "region 3"})) == "region 3"
    assert heading_of(table("taylor")) is None


def test_a_derivatives_sign_is_told_from_synergy_where_there_are_both():
    said = "signs are those of derivatives, not of synergy or redundancy"
    assert caution_of(table("taylor")) == said
    assert caution_of(table("taylor", scores=(1.0, 2.0))) == ""
    assert caution_of(table("and", "or")) == ""


def test_differences_by_occlusion_are_synergy():
    found = table("taylor", details={"mode": "occlusion"})
    assert sign_labels(found) == [(1.0, "synergy"), (-1.0, "redundancy")]
    assert caution_of(found) == ""
    assert wording_of(table("and", details={"mode": "occlusion"})) == WORDINGS["and"]


@pytest.mark.parametrize("orders", [(3,), (2, 3)])
def test_differences_of_larger_sets_by_occlusion_are_not(orders):
    terms = [Term(tuple(range(o)), "taylor", None, s) for o in orders for s in (1.0, -2.0)]
    source = Provenance("m", details={"mode": "occlusion"})
    found = Interactions.from_terms("abcd", terms, provenance=source)
    said = sign_labels(found)
    assert said == [(1.0, "positive occlusion difference"), (-1.0, "negative occlusion difference")]
    assert caution_of(found) == "signs of larger sets than pairs are not synergy or redundancy"


def test_how_much_is_left_out_is_said_where_every_set_has_a_score(digit):
    pairs = digit[0].where(order=2)
    shown = [pairs.top(5)], [digit[0].where(order=3).top(2)]
    assert what_is_drawn(digit[0], *shown).startswith("the strongest: 5 of 36 pairs, 2 of 84 larger sets; ")
    assert what_is_drawn(pairs, [pairs], [pairs.take([])]) == caution_of(pairs)
    assert what_is_drawn(digit[0], shown[0] * 2, shown[1] * 2).startswith("only the strongest are drawn; ")
    assert what_is_drawn(table("and"), [table("and").top(1)], [table("and").take([])]) == ""


@pytest.mark.parametrize("view", ["arcs", "by-order", "network"])
def test_legends_of_the_general_plots_say_what_the_kind_is(view):
    said = texts(views.VIEWS[view](table("corex", scores=(2.0, 1.0))))
    assert "total correlation" in said
    assert not [t for t in said if "raises" in t or "negative" in t or "lowers" in t]
    said = texts(views.VIEWS[view](table("taylor")))
    assert {"positive cross derivative", "negative cross derivative"} <= set(said)
    assert not [t for t in said if "raises" in t]
    assert {"raises the value", "lowers the value"} <= set(texts(views.VIEWS[view](table("and"))))


def test_long_notes_are_broken_into_lines_that_stay_inside(digit):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = views.region_plot(*digit)
    FigureCanvasAgg(figure).draw()
    note = figure.legends[-1].get_title()
    assert "signs are those of derivatives" in note.get_text().replace("\n", " ")
    box = note.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_the_matrix_of_what_has_no_sign_starts_at_zero():
    figure = views.matrix_plot(table("cam", scores=(1.0, 3.0), details={"unit": "logit"}))
    assert figure.axes[0].images[0].get_clim() == (0.0, 3.0)
    assert "squared interaction strength" in texts(figure)
    assert "off the diagonal: pairs" in texts(figure)  # no single players in this table


def test_headings_say_that_scores_are_of_the_data():
    terms = [Term((0, 1), "taylor", None, 2.0)]
    titles = []
    for details in ({"data_rows": 100}, {"data_rows": 0}, {}):
        source = Provenance("m", target="setosa", details=details)
        titles.append(heading_of(Interactions.from_terms("ab", terms, provenance=source)))
    assert titles == ["cross derivatives: setosa, over the data", *["cross derivatives: setosa"] * 2]

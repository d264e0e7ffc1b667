from __future__ import annotations

import pytest

from hoi_captum.core.example import TextLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.views.labels import (
    decimals_for,
    few_decimals,
    format_score,
    join_names,
    scope_titles,
    shorten,
)
from hoi_captum.views.words import words_of


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([("un", 0), ("fun", 0), (",", -1)], [("unfun", 0, False), (",", -1, False)]),
        ([("not", 0), (" ", -1), ("bad", 0)], [("not bad", 0, False)]),
        ([("so", 0), (" ", -1), ("so", 1)], [("so", 0, False), ("so", 1, True)]),
        ([("film ", 0), ("noir", 1)], [("film", 0, False), ("noir", 1, True)]),
        ([(" film", 0), (" noir", 1)], [("film", 0, True), ("noir", 1, True)]),
        ([("a", -1), ("b", -1)], [("a", -1, False), ("b", -1, False)]),
        ([("a ", 0), ("b", 0)], [("a b", 0, False)]),
        ([], []),
    ],
)
def test_words(pieces, words):
    assert words_of(TextLayout(tuple(pieces)), ()) == words


def test_without_a_layout_names_are_words():
    assert words_of(None, ("x", "y")) == [("x", 0, True), ("y", 1, True)]


@pytest.mark.parametrize(
    ("name", "short"),
    [("abc", "abc"), ("a\nb", "a↵b"), (" \t", "(blank)"), ("abcdefghij", "abcde…"), ("a\u2028\x00b", "a b")],
)
def test_short_names(name, short):
    assert shorten(name, 6) == short


def test_long_groups_are_counted():
    assert join_names("abcdef", range(6), limit=2) == "a · b + 4 more"
    assert join_names("abc", ()) == "(nobody)"


@pytest.mark.parametrize(
    ("scale", "value", "text"),
    [
        (1.4, 0.5, "+0.50"), (0.03, -0.0123, "−0.0123"), (250.0, 3.2, "+3"), (1e-9, 1e-9, "+1.00e−09"),
        (1.0, 0.0, "0.00"), (1.0, -1e-9, "−0.00"), (1.0, float("nan"), "not finite"), (0.0, 0.0, "0.00"),
    ],
)  # fmt: skip
def test_scores_show_three_digits_and_their_sign(scale, value, text):
    assert format_score(value, decimals_for(scale)) == text


@pytest.mark.parametrize(
    ("scale", "decimals"), [(250, 0), (1.4, 2), (0.5, 2), (0.03, 3), (0.003, 4), (1e-9, None)]
)
def test_decimals_where_room_is_short(scale, decimals):
    assert few_decimals(scale) == decimals


def test_scopes_are_called_by_their_models():
    def titles(models: tuple[str, ...], *scopes: str) -> list[str]:
        terms = [Term((0,), "and", s or None, 1.0) for s in scopes]
        table = Interactions.from_terms("a", terms, provenance=Provenance("m", model=models))
        return scope_titles(table, scopes)

    assert titles(("F", "G"), "model:1", "model:0", "shared") == ["G", "F", "shared"]
    assert titles(("F", "F"), "model:0", "model:1") == ["F (model:0)", "F (model:1)"]
    assert titles((), "model:0", "") == ["model:0", "score"]

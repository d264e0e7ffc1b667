from __future__ import annotations

import numpy as np

from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.views import pivot


def test_scopes_stand_side_by_side_the_strongest_first(review):
    rows = pivot(review[0])
    assert rows.scopes == ("model:0", "model:1")
    assert list(zip(rows.members, rows.kinds.tolist(), strict=True)) == [
        ((0, 2), "and"),
        ((2,), "and"),
        ((2, 3), "or"),
        ((0, 2, 4), "and"),
        ((0,), "and"),
        ((0, 2), "or"),
    ]
    nan = np.nan
    expected = [[2.0, 1.5], [-1.0, nan], [nan, 0.75], [-0.6, 0.3], [-0.5, nan], [-0.25, nan]]
    np.testing.assert_array_equal(rows.scores, expected)
    assert rows.shared.tolist() == [True, False, False, True, False, False]
    assert rows.orders.tolist() == [2, 1, 2, 3, 1, 2]
    np.testing.assert_array_equal(rows.strength, [2.0, 1.0, 0.75, 0.6, 0.5, 0.25])


def test_every_score_points_back_to_its_term(review):
    table, _ = review
    rows = pivot(table)
    for i, j in np.argwhere(rows.rows >= 0):
        term = table[int(rows.rows[i, j])]
        assert (term.members, term.kind, term.scope) == (rows.members[i], rows.kinds[i], rows.scopes[j])
        assert term.score == rows.scores[i, j]
    assert (rows.rows >= 0).sum() == len(table)


def test_agrees_with_a_loop_over_a_random_table():
    rng = np.random.default_rng(3)
    terms = [
        Term(
            tuple(sorted(rng.choice(7, rng.integers(0, 5), replace=False).tolist())),
            kind,
            scope,
            rng.normal(),
        )
        for kind in ("and", "or", "x")
        for scope in ("a", "b", None)
        for _ in range(40)
    ]
    rows = pivot(Interactions.from_terms("abcdefg", terms, provenance=Provenance("m")))
    expected: dict = {}
    for t in terms:
        expected[t.members, t.kind, t.scope or ""] = (
            expected.get((t.members, t.kind, t.scope or ""), 0) + t.score
        )
    found = {
        (m, str(k), s): v
        for m, k, line in zip(rows.members, rows.kinds, rows.scores, strict=True)
        for s, v in zip(rows.scopes, line, strict=True)
        if not np.isnan(v)
    }
    assert found.keys() == expected.keys()
    assert all(np.isclose(found[key], expected[key]) for key in expected)
    assert (np.diff(rows.strength) <= 0).all()


def test_scores_that_are_not_finite_stand_last_but_are_there():
    terms = [Term((0,), "k", None, np.nan), Term((1,), "k", None, -1.0), Term((2,), "k", None, np.inf)]
    rows = pivot(Interactions.from_terms("abc", terms, provenance=Provenance("m")))
    assert rows.members == ((1,), (0,), (2,))
    assert rows.shared.all()


def test_an_empty_table_gives_no_rows(nothing):
    rows = pivot(nothing)
    assert len(rows) == 0
    assert rows.scores.shape == (0, 1)

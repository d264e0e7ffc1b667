"""Agreement of signs: cases by hand, and the binomial test of scipy."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError, OptionError
from hoi_captum.measures import polarity_agreement


def symmetric(k: int, *upper: float) -> np.ndarray:
    """A matrix by the entries above its diagonal, row by row."""
    out = np.zeros((k, k))
    out[np.triu_indices(k, 1)] = upper
    return out + out.T


def table(matrix: np.ndarray) -> Interactions:
    k = len(matrix)
    sets = [(i, j) for i, j in combinations(range(k), 2) if matrix[i, j]]
    terms = [Term(pair, "hessian", None, matrix[pair]) for pair in sets]
    return Interactions.from_terms([f"p{i}" for i in range(k)], terms, provenance=Provenance("m"))


def test_one_row_by_hand():
    # signs + - + + 0 - and + + + - - -: five are compared, three agree
    found = polarity_agreement(symmetric(4, 1, -2, 3, 4, 0, -1), symmetric(4, 2, 2, 1, -3, -1, -5))
    assert (found.share, found.compared) == (3 / 5, 5)
    p, q = 3 / 5, 3 / 5
    assert found.expected == pytest.approx(p * q + (1 - p) * (1 - q))
    assert found.kappa == pytest.approx((0.6 - 0.52) / 0.48)
    # at least 3 heads of 5
    assert found.p_value == pytest.approx(16 / 32)
    assert (found.pair_share, found.pairs) == (found.share, found.compared)
    assert found.pair_p_value == found.p_value


def test_several_rows_by_hand():
    # of three pairs over four rows: the first agrees in 3 of 4, the second in 2 of 4, the third in 1 of 3
    one = ((1, 1, 1), (1, -1, 0), (-1, 1, 2), (1, 1, 3))
    other = ((1, 1, 1), (2, 3, 1), (-1, -1, -1), (-1, 1, -1))
    first, second = (np.stack([symmetric(3, *row) for row in rows]) for rows in (one, other))
    found = polarity_agreement(first, second)
    assert (found.share, found.compared) == (pytest.approx(6 / 11), 11)
    assert found.p_value == pytest.approx(binom.sf(5, 11, 0.5))
    assert (found.pair_share, found.pairs) == (1 / 2, 2)  # the half is left out
    assert found.pair_p_value == pytest.approx(3 / 4)


def test_all_and_none_agree():
    values = np.random.default_rng(0).normal(size=(5, 4, 4))
    values += values.transpose(0, 2, 1)
    same = polarity_agreement(values, 3 * values)
    assert (same.share, same.kappa, same.compared) == (1, 1, 30)
    assert same.p_value == pytest.approx(0.5**30)
    other = polarity_agreement(values, -values)
    assert (other.share, other.pair_share, other.p_value) == (0, 0, 1)
    assert other.kappa < 0


def test_signs_by_chance():
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(2, 400, 8, 8))
    found = polarity_agreement(first, second)
    assert found.share == pytest.approx(0.5, abs=0.015)
    assert found.kappa == pytest.approx(0, abs=0.03)
    assert found.p_value > 0.01
    # nine of ten positive in each: .82 agree by chance, and kappa knows
    lopsided = polarity_agreement(np.abs(first) - 0.126, np.abs(second) - 0.126)
    assert lopsided.share == pytest.approx(0.82, abs=0.015)
    assert lopsided.expected == pytest.approx(lopsided.share, abs=0.01)
    assert lopsided.kappa == pytest.approx(0, abs=0.05)
    assert lopsided.p_value < 1e-9


def test_one_sign_throughout_says_nothing():
    found = polarity_agreement(np.ones((3, 3)), np.ones((3, 3)))
    assert (found.share, found.expected) == (1, 1)
    assert math.isnan(found.kappa)


def test_pairs_without_a_majority():
    # one pair, one row each way
    first = np.stack([symmetric(2, 1), symmetric(2, 1)])
    found = polarity_agreement(first, np.stack([symmetric(2, 1), symmetric(2, -1)]))
    assert (found.share, found.pairs, found.pair_p_value) == (0.5, 0, 1)
    assert math.isnan(found.pair_share)


def test_small_entries_have_no_sign():
    first, second = symmetric(3, 10, -1, 5), symmetric(3, 100, 90, -9)
    assert polarity_agreement(first, second).compared == 3
    found = polarity_agreement(first, second, least=0.1)  # up to 1 of 10, and up to 10 of 100
    assert (found.compared, found.share) == (1, 1)
    assert polarity_agreement(first, second, least=0.099).compared == 1 + 1
    with pytest.raises(InputError, match="expected entries on which both methods have a sign, got none"):
        polarity_agreement(first, second, least=1)


def test_what_is_not_finite_has_no_sign():
    first = symmetric(3, np.nan, np.inf, 2)
    found = polarity_agreement(first, symmetric(3, 1, 1, 1), least=0.5)
    assert (found.compared, found.share) == (1, 1)


def test_the_diagonal_does_not_count():
    first, second = symmetric(3, 1, 2, 3), symmetric(3, 1, 2, 3)
    expected = polarity_agreement(first, second, least=0.5)
    np.fill_diagonal(first, -1000)
    assert polarity_agreement(first, second, least=0.5) == expected


def test_tables_and_arrays_give_the_same():
    values = np.random.default_rng(2).normal(size=(2, 3, 4, 4))
    values = np.triu(values, 1) + np.triu(values, 1).swapaxes(2, 3)
    first, second = values
    expected = polarity_agreement(first, second)
    tables = [table(m) for m in first], tuple(table(m) for m in second)
    assert polarity_agreement(*tables) == expected
    assert polarity_agreement(tables[0], second) == expected
    assert polarity_agreement(first.tolist(), second) == expected
    assert polarity_agreement(table(first[0]), second[0]) == polarity_agreement(first[0], second[0])


def test_of_larger_sets_only_the_pairs_are_compared():
    pairs = table(symmetric(3, 1, -1, 1))
    terms = [*pairs, Term((0, 1, 2), "hessian", None, -50.0), Term((0,), "hessian", None, 5.0)]
    mixed = Interactions.from_terms(pairs.players, terms, provenance=Provenance("m"))
    assert polarity_agreement(mixed, pairs, least=0.5) == polarity_agreement(pairs, pairs, least=0.5)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (np.ones((3, 3)), np.ones((4, 4)), r"the same rows and players, got pairs of shape \(1, 3\) and"),
        (np.ones((3, 3)), np.ones((2, 3, 3)), r"got pairs of shape \(1, 3\) and \(2, 3\)"),
        (np.ones(3), np.ones(3), r"expected pairs \(k, k\) or \(rows, k, k\), got shape \(3,\)"),
        (np.ones((3, 4)), np.ones((3, 4)), r"got shape \(1, 3, 4\)"),
        (np.ones((1, 1)), np.ones((1, 1)), r"got shape \(1, 1, 1\)"),
        ("signs", np.ones((3, 3)), "expected matrices of pairs, or tables, got str"),
        ([], np.ones((3, 3)), r"got shape \(0,\)"),
        ([table(np.ones((n, n))) for n in (2, 3)], np.ones((3, 3)), r"the same players, got \[2, 3\]"),
        (np.zeros((3, 3)), np.ones((3, 3)), "expected entries on which both methods have a sign, got none"),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_cannot_be_compared(first, second, says):
    with pytest.raises(InputError, match=says):
        polarity_agreement(first, second)


@pytest.mark.parametrize("least", [-0.1, 1.1, "a", math.nan])
def test_a_part_outside_its_range(least):
    with pytest.raises(OptionError, match=r"expected least to be a number in \[0, 1\]"):
        polarity_agreement(np.ones((2, 2)), np.ones((2, 2)), least=least)

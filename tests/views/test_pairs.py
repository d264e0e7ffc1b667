from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.views.pairs import involvement, pair_matrix, role_of


def table(terms, n=4, cls=Interactions, **more) -> Interactions:
    return cls.from_terms([f"p{i}" for i in range(n)], terms, provenance=Provenance("m"), **more)


class Knowing(Interactions):
    """A result that knows of two sets how they act together."""

    def synergy(self, term: Term) -> float:
        return {(0, 1): 0.125, (0, 2): -2.5, (2, 3): 0.0}.get(term.members, math.nan)


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_of_the_terms(seed):
    rng = np.random.default_rng(seed)
    scores = {s: float(rng.normal()) for o in (1, 2, 3) for s in itertools.combinations(range(4), o)}
    found = pair_matrix(table([Term(s, "taylor", None, v) for s, v in scores.items()]))
    for i, j in itertools.product(range(4), repeat=2):
        assert found[i, j] == (0.0 if i == j else scores[min(i, j), max(i, j)])


def test_the_methods_own_matrix_goes_first_and_survives_a_selection():
    own = np.arange(16.0).reshape(4, 4)
    whole = table([Term((0, 1), "taylor", None, 5.0)], arrays={"pairs": own})
    np.testing.assert_array_equal(pair_matrix(whole.take([])), own - np.diag(np.diag(own)))
    other = table([Term((0, 1), "taylor", None, 5.0)], arrays={"pairs": np.zeros((3, 3))})
    assert pair_matrix(other)[0, 1] == 5.0  # not a matrix of its players


def test_what_is_not_finite_counts_as_zero():
    found = table([Term((0, 1), "k", None, np.nan), Term((0, 2), "k", None, -3.0)])
    assert pair_matrix(found)[0].tolist() == [0.0, 0.0, -3.0, 0.0]
    assert involvement(found).tolist() == [3.0, 0.0, 3.0, 0.0]


def test_involvement_is_the_sum_of_absolute_scores_of_sets_with_the_player():
    terms = [((0,), 9.0), ((0, 1), -1.0), ((1, 2), 2.0), ((0, 1, 3), -4.0)]
    found = table([Term(m, "taylor", None, s) for m, s in terms])
    assert involvement(found).tolist() == [5.0, 7.0, 2.0, 4.0]


def test_involvement_is_the_mean_of_the_scopes():
    terms = [Term((0, 1), "k", "model:0", -1.0), Term((0, 1), "k", "model:1", 3.0)]
    assert involvement(table(terms)).tolist() == [2.0, 2.0, 0.0, 0.0]


def test_roles():
    terms = [Term(m, "taylor", None, 1.0) for m in ((0, 1), (0, 2), (2, 3), (1, 3))]
    found = table(terms, cls=Knowing)
    assert [role_of(found, t) for t in found] == ["synergy (+0.12)", "redundancy (−2.5)", "", ""]
    assert role_of(found.top(1), found[0]) == "synergy (+0.12)"
    assert {role_of(table(terms), t) for t in found} == {""}


def test_a_sign_that_tells_the_role_is_not_told_twice():
    found = table([Term((0, 1), "taylor", None, 1.0)], cls=Knowing)
    found = found.with_provenance(details={"mode": "occlusion"})
    assert role_of(found, found[0]) == ""

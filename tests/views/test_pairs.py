from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.methods.taylor_cam import TaylorCAM
from hoi_captum.views import partner_html
from hoi_captum.views.pairs import involvement, pair_matrix, role_note, role_of, with_pairs


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


@pytest.mark.parametrize(("score", "role"), [(6.3, "neither (+0.12)"), (6.2, "synergy (+0.12)")])
def test_a_difference_of_about_nothing_is_neither(score, role):
    """0.125 is 2 % of 6.25."""
    found = table([Term((0, 1), "taylor", None, 1.0), Term((1, 2), "taylor", None, -score)], cls=Knowing)
    assert role_of(found, found[0]) == role


def test_a_difference_is_small_beside_other_differences_too():
    found = table(
        [Term((0, 1), "taylor", None, 1.0)], cls=Knowing, arrays={"synergy": np.array([0.125, np.nan, -20.0])}
    )
    assert role_of(found, found[0]) == "neither (+0.12)"


def test_a_sign_that_tells_the_role_is_not_told_twice():
    found = table([Term((0, 1), "taylor", None, 1.0)], cls=Knowing)
    found = found.with_provenance(details={"mode": "occlusion"})
    assert role_of(found, found[0]) == ""


def together(x):
    """An AND: three that need each other."""
    return x.prod(1)


def instead(x):
    """An OR: three that stand in for each other."""
    return 1 - (1 - x).prod(1)


@pytest.mark.parametrize("function", [together, instead])
def test_synergy_and_redundancy_are_words_for_pairs(function):
    inputs = torch.ones(1, 3, dtype=torch.float64)
    # of three the difference by occlusion is 1 for both functions
    triples = TaylorCAM(function, order=3, mode="exact").interact(inputs)[0]
    assert [role_of(triples, t) for t in triples] == ["occlusion difference +1"]
    by_occlusion = TaylorCAM(function, order=3, mode="occlusion").interact(inputs)[0]
    assert [(t.score, role_of(by_occlusion, t)) for t in by_occlusion] == [(1.0, "")]
    # of two it tells them apart
    pairs = TaylorCAM(function, mode="exact").interact(inputs[:, :2])[0]
    expected = "synergy (+1)" if function is together else "redundancy (−1)"
    assert [role_of(pairs, t) for t in pairs] == [expected]


def test_roles_are_explained_by_the_orders_that_have_one():
    assert role_note([]) == ""
    assert role_note([2, 2]).startswith("synergy: ")
    assert "occlusion difference" not in role_note([2])
    assert role_note([3]).startswith("occlusion difference: ")
    assert "synergy" not in role_note([3])
    assert role_note([3, 2]) == f"{role_note([2])}; {role_note([3])}"


def test_a_table_of_larger_sets_lends_its_matrix_as_terms():
    own = np.array(
        [[9.0, 1.0, 0.0, -2.0], [1.0, 9.0, np.nan, 0.0], [0.0, np.nan, 9.0, 0.5], [-2.0, 0, 0.5, 9.0]]
    )
    triples = table([Term((0, 1, 2), "taylor", None, 5.0)], arrays={"pairs": own})
    found = with_pairs(triples)
    assert {t.members: t.score for t in found} == {(0, 1): 1.0, (0, 3): -2.0, (2, 3): 0.5}
    assert set(found.kinds) == {"taylor"}
    assert found.provenance is triples.provenance
    listing = table([Term((0, 1), "taylor", None, 5.0)], arrays={"pairs": own})
    assert with_pairs(listing) is listing
    without = table([Term((0, 1, 2), "taylor", None, 5.0)])
    assert with_pairs(without) is without
    of_others = table([Term((0, 1, 2), "taylor", None, 5.0)], arrays={"pairs": np.ones((3, 3))})
    assert with_pairs(of_others) is of_others  # no matrix of its players


def test_partners_are_told_in_the_words_of_pairs():
    method = TaylorCAM(lambda x: together(x) + 2 * instead(x[:, :2]), order=3, mode="occlusion")
    found = method.interact(torch.ones(1, 3, dtype=torch.float64))[0]
    assert pair_matrix(found)[0].tolist() == [0.0, -1.0, 1.0]
    said = partner_html(found)
    assert "synergy" in said
    assert "redundancy" in said

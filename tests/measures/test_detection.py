"""Measures against the sets that truly interact: by hand-made cases and brute force over pairs of sets."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError, OptionError
from hoi_captum.measures import interaction_auc, pruned, r_precision


def table_of(scores, players=5):
    terms = [Term(members, "taylor", None, score) for members, score in scores.items()]
    return Interactions.from_terms([f"x{i}" for i in range(players)], terms, provenance=Provenance("m"))


def brute_auc(scores, truths, order, players):
    """The share of (true, false) pairs of sets in the right order, ties half."""
    sets = list(combinations(range(players), order))
    true = [s for s in sets if any(set(s) <= set(t) for t in truths)]
    false = [s for s in sets if s not in true]
    size = {s: abs(scores.get(s, 0.0)) for s in sets}
    won = [(size[a] > size[b]) + 0.5 * (size[a] == size[b]) for a in true for b in false]
    return float(np.mean(won))


# ---------------------------------------------------------------- AUC
def test_auc_by_hand():
    # two of ten pairs are true; of the eight others one is above the weaker of them
    scores = {(0, 1): 3.0, (2, 3): -1.0, (1, 4): 2.0, (0, 4): 0.5}
    assert interaction_auc(table_of(scores), [(0, 1), (3, 2)]) == pytest.approx(15 / 16)


def test_a_perfect_an_inverted_and_an_empty_ranking():
    truths = [(0, 1, 2)]
    pairs = list(combinations(range(5), 2))
    right = {p: float(set(p) <= {0, 1, 2}) for p in pairs}
    assert interaction_auc(table_of(right), truths) == 1.0
    assert interaction_auc(table_of({p: 1 - v for p, v in right.items()}), truths) == 0.0
    assert interaction_auc(table_of({}), truths) == 0.5


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_auc_is_the_share_of_pairs_in_the_right_order(order, seed):
    generator = np.random.default_rng(seed)
    truths = [(0, 1, 2, 4), (2, 3), (1, 3, 5, 6)]
    scores = {
        s: float(generator.integers(-3, 4))  # with ties
        for s in combinations(range(7), order)
        if generator.random() < 0.7
    }
    found = interaction_auc(table_of(scores, 7), truths, order)
    assert found == pytest.approx(brute_auc(scores, truths, order, 7), abs=1e-12)


def test_auc_looks_at_one_order_and_the_largest_of_equal_sets():
    scores = {(0, 1): 1.0, (0, 2): 0.1, (0, 1, 3): 9.0}
    assert interaction_auc(table_of(scores), [(0, 1)]) == 1.0
    both = Interactions.from_terms(
        ["a", "b", "c"],
        [Term((0, 1), "or", None, -5.0), Term((0, 1), "and", None, 1.0), Term((0, 2), "and", None, 2.0)],
        provenance=Provenance("m"),
    )
    assert interaction_auc(both, [(0, 1)]) == 1.0


def test_auc_of_an_order_that_no_truth_has():
    table = table_of({(0, 1): 1.0})
    assert math.isnan(interaction_auc(table, [(0, 1)], 3))
    assert math.isnan(interaction_auc(table, [range(5)], 3))  # and of one where all sets are true


def test_many_players_cost_nothing():
    table = table_of({(0, 1): 2.0, (5, 9): 1.0}, players=400)
    others = math.comb(400, 4) - 1
    assert interaction_auc(table, [(0, 1)]) == 1.0
    assert interaction_auc(table_of({(0, 1, 2, 3): 1.0}, 400), [(0, 1, 2, 3)], 4) == 1.0
    wrong = table_of({(0, 1, 2, 4): 1.0}, 400)
    assert interaction_auc(wrong, [(0, 1, 2, 3)], 4) == pytest.approx((others - 1) / 2 / others)


# ---------------------------------------------------------------- pruning
def test_a_part_of_a_stronger_set_is_left_out_and_of_a_weaker_one_kept():
    scores = {(0, 1): 5.0, (0, 1, 2): -4.0, (1, 2): 3.0, (2, 3): 2.0, (0, 1, 2, 3): 1.0, (1, 3): 0.5}
    kept = pruned(table_of(scores))
    assert [t.members for t in kept] == [(0, 1), (0, 1, 2), (2, 3), (0, 1, 2, 3)]
    assert [t.members for t in pruned(table_of(scores), 2)] == [(0, 1), (0, 1, 2)]
    assert kept == pruned(kept)


def test_pruning_by_brute_force():
    generator = np.random.default_rng(3)
    sets = [s for o in (2, 3, 4) for s in combinations(range(6), o)]
    scores = dict(zip(sets, generator.normal(size=len(sets)), strict=True))
    ranking = sorted(sets, key=lambda s: -abs(scores[s]))
    wanted = []
    for s in ranking:
        if not any(set(s) < set(other) for other in wanted):
            wanted.append(s)
    assert [t.members for t in pruned(table_of(scores, 6))] == wanted


# ---------------------------------------------------------------- R-precision
def test_r_precision_by_hand():
    truths = [(0, 1, 2), (3, 4)]
    # (0, 1) is part of a truth and passed over; (0, 3) is wrong and takes the second place
    table = table_of({(0, 1): 9.0, (0, 1, 2): 8.0, (0, 3): 7.0, (3, 4): 6.0})
    assert r_precision(table, truths) == 0.5
    assert r_precision(table_of({(0, 1): 9.0, (0, 1, 2): 8.0, (3, 4): 6.0}), truths) == 1.0
    assert r_precision(table_of({(0, 1): 9.0}), truths) == 0.0
    # the part (3, 4) of a stronger wrong set is pruned
    assert r_precision(table_of({(2, 3, 4): 9.0, (3, 4): 8.0, (0, 1, 2): 1.0}), truths) == 0.5


def test_r_precision_counts_a_set_of_several_kinds_once():
    terms = [
        Term((0, 1), "and", None, 3.0),
        Term((0, 1), "or", None, 2.0),
        Term((0, 3), "and", None, 1.0),
        Term((2, 3), "and", None, 0.5),
    ]
    table = Interactions.from_terms("abcd", terms, provenance=Provenance("m"))
    assert r_precision(table, [(0, 1), (2, 3)]) == 0.5
    assert r_precision(table.where(players=[0, 1]), [(0, 1), (2, 3)]) == 0.5  # the second is missed
    # more terms of one set than the ranking has places leave the others theirs
    many = [Term((0, 1), "corex", f"region:{i}", 3.0) for i in range(120)]
    table = Interactions.from_terms(
        "abcd", [*many, Term((2, 3), "corex", "region:0", 0.5)], provenance=Provenance("m")
    )
    assert r_precision(table, [(0, 1), (2, 3)]) == 1.0


def test_truths_that_are_none():
    table = table_of({(0, 1): 1.0})
    for truths in ([], [(0,)], [(0, 5)], [(0, 0)], [(-1, 2)]):
        with pytest.raises(InputError, match="expected"):
            interaction_auc(table, truths)
        with pytest.raises(InputError, match="expected"):
            r_precision(table, truths)
    with pytest.raises(OptionError, match="order"):
        interaction_auc(table, [(0, 1)], 1)
    with pytest.raises(OptionError, match="n to be"):
        pruned(table, 0)

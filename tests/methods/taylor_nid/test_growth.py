"""Growing sets: which are differentiated once more, and that each set is found once."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from hoi_captum.methods.taylor_nid.growth import SEARCHES, children, differentiated, grow_sets, parents

SETS = np.array([(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)])
SCORES = np.array([1.0, 3.0, 0.5, 2.0, 4.0])


class Known:
    """Derivatives from a table of all sets; counts what was asked for."""

    def __init__(self, values, players):
        self.values, self.players, self.asked = values, players, []

    def pairs(self):
        return np.array([[self.values[p]] for p in combinations(range(self.players), 2)])

    def further(self, sets):
        self.asked += [tuple(s) for s in sets.tolist()]
        out = np.full((len(sets), self.players, 1), np.nan)  # repeated players must not be looked at
        for t, members in enumerate(sets.tolist()):
            for player in set(range(self.players)) - set(members):
                out[t, player] = self.values[tuple(sorted([*members, player]))]
        return out


def size(derivatives):
    return np.abs(derivatives).mean(1)


@pytest.fixture
def known():
    generator = np.random.default_rng(0)
    players = 6
    values = {s: float(generator.normal()) for o in range(2, 6) for s in combinations(range(players), o)}
    return Known(values, players)


def test_greedy_takes_the_largest_scores():
    assert parents(SETS, SCORES, "greedy", 2).tolist() == [[3, 4], [0, 2]]


def test_entity_takes_the_sets_of_salient_players():
    # saliences 4, 1.5, 5.5, 6, 4: (2, 3) 11.5, (3, 4) 10, (0, 2) 9.5, (1, 2) 7, (0, 1) 5.5
    found = parents(SETS, SCORES, "entity", 4)
    assert found.tolist() == [[2, 3], [3, 4], [0, 2], [1, 2]]


def test_all_takes_all_best_first():
    assert parents(SETS, SCORES, "all", 1).tolist() == [[3, 4], [0, 2], [2, 3], [0, 1], [1, 2]]


def test_children_are_sorted_and_each_has_its_best_parents_value():
    values = np.arange(2 * 4 * 1.0).reshape(2, 4, 1)
    found = children(np.array([(1, 2), (0, 1)]), values)
    assert found.sets.tolist() == [[0, 1, 2], [0, 1, 3], [1, 2, 3]]
    assert found.derivatives[:, 0].tolist() == [0.0, 7.0, 3.0]


def test_all_sets_of_all_orders(known):
    found = grow_sets(known, 6, 5, size, search="all", top_k=1)
    for order, of_order in enumerate(found, start=2):
        wanted = list(combinations(range(6), order))
        assert [tuple(s) for s in of_order.sets.tolist()] == wanted
        assert of_order.derivatives[:, 0].tolist() == [known.values[s] for s in wanted]


@pytest.mark.parametrize("search", ["greedy", "entity"])
def test_what_the_best_grow_into(known, search):
    found = grow_sets(known, 6, 4, size, search=search, top_k=3)
    assert len(known.asked) == 6
    for before, after, asked in zip(found, found[1:], (known.asked[:3], known.asked[3:]), strict=False):
        scores = {
            tuple(s): abs(v) for s, v in zip(before.sets.tolist(), before.derivatives[:, 0], strict=True)
        }
        rank = scores
        if search == "entity":
            rank = {s: sum(v for t, v in scores.items() for i in s if i in t) for s in scores}
        assert asked == sorted(scores, key=lambda s: -rank[s])[:3]
        wanted = {tuple(sorted({*s, i})) for s in asked for i in range(6) if i not in s}
        assert [tuple(s) for s in after.sets.tolist()] == sorted(wanted)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_work_is_known_before(known, search):
    grow_sets(known, 6, 4, size, search=search, top_k=3)
    assert differentiated(6, 4, search, 3) == 6 + len(known.asked)
    assert differentiated(6, 2, search, 3) == 6
    assert differentiated(9, 4, "all", 1) == 9 + comb(9, 2) + comb(9, 3)

"""The ten functions of the benchmark: their truths, and that a trained network's derivatives find them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.tnid_synthetic import FEATURES, FUNCTIONS, WIDTHS, Split, over_random_rows, r_squared, train
from hoi_captum import TaylorNID
from hoi_captum.errors import DataWarning
from hoi_captum.measures import interaction_auc


def mixed_difference(function, x, other, members):
    """Sum over the parts of a set of f with these columns taken from other rows, signs alternating."""
    total = np.zeros(len(x))
    for size in range(len(members) + 1):
        for part in combinations(members, size):
            moved = x.copy()
            moved[:, part] = other[:, part]
            total += (-1) ** size * function(moved)
    return np.abs(total)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sets_interact_if_they_are_part_of_a_truth_and_only_then(name):
    """The mixed difference over a set is zero everywhere if and only if the function is a sum of parts that
    do not hold the set."""
    function = FUNCTIONS[name]
    x, other = function.draw(60, 0), function.draw(60, 1)
    scale = np.abs(function(x)).max()
    for order in (2, 3):
        for members in combinations(range(FEATURES), order):
            largest = mixed_difference(function, x, other, members).max()
            if any(set(members) <= set(truth) for truth in function.truths):
                assert largest > 1e-4 * scale, members
            else:
                assert largest < 1e-12 * scale, members
    for truth in function.truths:
        assert mixed_difference(function, x, other, truth).max() > 1e-4 * scale
        for player in set(range(FEATURES)) - set(truth):
            if not any({*truth, player} <= set(other_truth) for other_truth in function.truths):
                assert mixed_difference(function, x, other, (*truth, player)).max() < 1e-11 * scale


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_are_in_the_range_of_the_function(name):
    function = FUNCTIONS[name]
    x = function.draw(5_000, 2)
    low = np.array([0.6 if function.positive and c in (3, 4, 7, 9) else -1.0 for c in range(FEATURES)])
    low[low < 0] = 0.0 if function.positive else -1.0
    assert (x >= low).all()
    assert (x <= 1).all()
    assert np.abs(x.min(0) - low).max() < 0.01
    assert np.isfinite(function(x)).all()


@pytest.fixture(scope="module")
def split():
    return Split.of(FUNCTIONS["F8"], 0)


@pytest.fixture(scope="module")
def net(split):
    return train(split, nn.GELU, 0, steps=1_000)


def test_data_are_standardised(split):
    assert split.rows.shape == (10_000, FEATURES)
    assert split.rows.mean(0).abs().max() < 1e-6
    assert (split.rows.std(0) - 1).abs().max() < 1e-3


def test_a_trained_network_tells_true_sets_from_others(net, split):
    truths = FUNCTIONS["F8"].truths
    assert [m.out_features for m in net if isinstance(m, nn.Linear)] == list(WIDTHS[1:])
    assert r_squared(net, split) > 0.99
    table = TaylorNID(net, order=3).fit(split.rows).interact(split.rows[:1])[0]
    assert interaction_auc(table, truths, 2) > 0.9
    assert interaction_auc(table, truths, 3) > 0.9
    assert interaction_auc(over_random_rows(net, split, 0), truths, 2) > 0.9


def test_a_relu_network_shows_nothing_and_this_is_said(split):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(FEATURES, 20), nn.ReLU(), nn.Linear(20, 1)).double()
    with pytest.warns(DataWarning, match=r"all cross derivatives are zero.*nn\.GELU.*grad_diff"):
        table = TaylorNID(net).fit(split.rows).interact(split.rows[:1])[0]
    assert not table.scores.any()
    assert len(table) == 45
    assert interaction_auc(table, FUNCTIONS["F8"].truths) == 0.5

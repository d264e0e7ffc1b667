"""Measures of neuron maps against loops that do what their definitions say."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from hoi_captum.errors import InputError, OptionError
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.graphs.predefined import grid, ring
from hoi_captum.measures.neuron_maps import (
    class_separation,
    dead_units,
    fraction_of_variance_explained,
    morans_i,
    same_class_edges,
)


def weighted(n: int, seed: int) -> NeuronGraph:
    rng = np.random.default_rng(seed)
    a = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.5), 1)
    return NeuronGraph(a + a.T)


def moran_by_hand(x: NDArray[np.float64], graph: NeuronGraph) -> float:
    n, d, total, above = len(x), x - x.mean(), 0.0, 0.0
    for i in range(n):
        for j in range(n):
            total += graph.adjacency[i, j]
            above += graph.adjacency[i, j] * d[i] * d[j]
    return float(n / total * above / sum(d**2))


# ---------------------------------------------------------------- values
@pytest.mark.parametrize("graph", [grid(12), ring(9), weighted(10, 3)], ids=["grid", "ring", "weighted"])
def test_morans_i_is_the_double_sum(graph: NeuronGraph) -> None:
    maps = np.random.default_rng(0).normal(2.0, 3.0, (4, graph.n_nodes))
    expected = [moran_by_hand(x, graph) for x in maps]
    assert morans_i(maps[0], graph, n_permutations=0).value == pytest.approx(expected[0], abs=1e-12)
    assert morans_i(maps, graph, n_permutations=0).value == pytest.approx(np.mean(expected), abs=1e-12)


def test_morans_i_knows_smooth_and_alternating_maps_and_no_scale() -> None:
    graph = grid(64)
    rows, columns = np.divmod(np.arange(64), 8)
    smooth = np.cos(np.pi * (rows + 0.5) / 8) + np.cos(np.pi * (columns + 0.5) / 8)
    found = morans_i(smooth, graph)
    assert found.value > 0.8
    assert found.p == pytest.approx(1 / 1000)
    assert abs(found.chance) < 0.05
    checkers = morans_i((-1.0) ** (rows + columns), graph)
    assert checkers.value == pytest.approx(-1.0)
    assert checkers.p == 1.0
    # neither the scale nor the mean matters
    assert morans_i(1e-9 * smooth + 5e-9, graph, n_permutations=0).value == pytest.approx(found.value)


def test_a_constant_map_counts_for_nothing() -> None:
    graph, x = grid(9), np.random.default_rng(1).normal(size=9)
    both = morans_i(np.stack([x, np.full(9, 7.0)]), graph, n_permutations=9)
    assert both == morans_i(x, graph, n_permutations=9)
    assert np.isnan(morans_i(np.full(9, 7.0), graph)).all()
    assert np.isnan(morans_i(x, NeuronGraph(np.zeros((9, 9))))).all()


def test_same_class_edges_are_counted_by_weight_and_without_those_of_no_class() -> None:
    graph = weighted(12, 5)
    labels = np.random.default_rng(2).integers(-1, 3, 12)
    assert (labels == -1).any()
    inside = total = 0.0
    for i in range(12):
        for j in range(i):
            if labels[i] >= 0 and labels[j] >= 0:
                total += graph.adjacency[i, j]
                inside += graph.adjacency[i, j] * (labels[i] == labels[j])
    assert same_class_edges(labels, graph, n_permutations=5).value == pytest.approx(inside / total)
    assert np.isnan(same_class_edges(np.full(12, -1), graph)).all()
    halves = same_class_edges((np.arange(64) >= 32).astype(int), grid(64))
    assert halves.value == pytest.approx(104 / 112)
    assert halves.p == pytest.approx(1 / 1000)
    assert halves.chance == pytest.approx(0.5, abs=0.05)


def test_class_separation_is_eta_squared() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice([7, -2, 4], 40)
    maps = rng.normal(size=(40, 6)) * [1, 10, 0.01, 3, 5, 1] + 2.0 * (labels == 7)[:, None]
    shares = []
    for unit in maps.T:
        between = sum(
            (labels == c).sum() * (unit[labels == c].mean() - unit.mean()) ** 2 for c in np.unique(labels)
        )
        shares.append(between / ((unit - unit.mean()) ** 2).sum())
    found = class_separation(maps, labels)
    assert found.value == pytest.approx(np.mean(shares))
    assert found.p < 0.01
    # units that never vary do not count
    more = np.concatenate([maps, np.full((40, 2), 3.0)], 1)
    assert class_separation(more, labels, n_permutations=0).value == pytest.approx(found.value)
    assert np.isnan(class_separation(np.ones((40, 2)), labels)).all()


def test_variance_explained() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(30, 5)) + 100
    y = x + 0.3 * rng.normal(size=x.shape)
    lost = sum((x[i, j] - y[i, j]) ** 2 for i in range(30) for j in range(5))
    total = sum((x[i, j] - x[:, j].mean()) ** 2 for i in range(30) for j in range(5))
    assert fraction_of_variance_explained(x, y) == pytest.approx(1 - lost / total)
    assert fraction_of_variance_explained(x, x) == 1.0
    assert fraction_of_variance_explained(x, np.tile(x.mean(0), (30, 1))) == pytest.approx(0.0)
    assert np.isnan(fraction_of_variance_explained(np.ones((3, 2)), np.ones((3, 2))))


def test_dead_units_give_the_same_in_every_row() -> None:
    x = np.random.default_rng(5).random((20, 4))
    x[:, 1], x[:, 3] = 0.0, 5.0
    assert dead_units(x).tolist() == [False, True, False, True]
    assert dead_units(x * 1e-12).tolist() == [False, True, False, True]


# ---------------------------------------------------------------- chance
def test_p_is_the_share_of_all_permutations() -> None:
    graph, x = weighted(6, 1), np.random.default_rng(6).normal(size=6)
    here = moran_by_hand(x, graph)
    every = [moran_by_hand(x[list(order)], graph) for order in permutations(range(6))]
    exact = np.mean(np.array(every) >= here - 1e-12)
    found = morans_i(x, graph, n_permutations=4000)
    assert found.p == pytest.approx(exact, abs=0.04)
    assert found.chance == pytest.approx(np.mean(every), abs=0.03)
    labels = np.array([0, 0, 0, 1, 1, -1])
    inside = np.flatnonzero(labels >= 0)
    shares = []
    for order in permutations(inside):
        moved = labels.copy()
        moved[inside] = labels[list(order)]
        shares.append(same_class_edges(moved, graph, n_permutations=0).value)
    exact = np.mean(np.array(shares) >= same_class_edges(labels, graph, n_permutations=0).value - 1e-12)
    found = same_class_edges(labels, graph, n_permutations=4000)
    assert found.p == pytest.approx(exact, abs=0.04)
    assert found.chance == pytest.approx(np.mean(shares), abs=0.03)


def test_p_of_noise_is_about_uniform() -> None:
    graph, moran, apart = grid(25), [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        moran.append(morans_i(rng.normal(size=25), graph, n_permutations=99, seed=seed).p)
        maps, labels = rng.normal(size=(30, 4)), np.arange(30) % 3
        apart.append(class_separation(maps, labels, n_permutations=99, seed=seed).p)
    for found in (np.array(moran), np.array(apart)):
        assert abs(found.mean() - 0.5) < 0.15
        assert 0.05 < (found < 0.25).mean() < 0.45
        assert found.min() >= 0.01


def test_p_is_never_below_one_of_n_and_one_and_seeds_repeat() -> None:
    graph, x = grid(36), np.arange(36.0)
    assert morans_i(x, graph, n_permutations=19).p == pytest.approx(1 / 20)
    noise = np.random.default_rng(8).normal(size=36)
    assert morans_i(noise, graph, seed=3) == morans_i(noise, graph, seed=3)
    assert morans_i(noise, graph, seed=3).chance != morans_i(noise, graph, seed=4).chance
    without = morans_i(noise, graph, n_permutations=0)
    assert np.isnan([without.p, without.chance]).all()


# ---------------------------------------------------------------- what cannot be measured
def test_unusable_arguments_are_refused() -> None:
    graph = grid(9)
    with pytest.raises(InputError, match="9 nodes"):
        morans_i(np.zeros(8), graph)
    with pytest.raises(InputError, match="finite"):
        morans_i(np.full(9, np.nan), graph)
    with pytest.raises(OptionError, match="n_permutations"):
        morans_i(np.arange(9.0), graph, n_permutations=-1)
    with pytest.raises(InputError, match="9 integers"):
        same_class_edges(np.zeros(8, dtype=int), graph)
    with pytest.raises(InputError, match="9 integers"):
        same_class_edges(np.zeros(9), graph)
    with pytest.raises(InputError, match="two classes"):
        class_separation(np.zeros((4, 2)), np.zeros(4, dtype=int))
    with pytest.raises(InputError, match="maps \\(rows, n\\)"):
        class_separation(np.zeros((4, 2)), np.zeros(5, dtype=int))
    with pytest.raises(InputError, match="one shape"):
        fraction_of_variance_explained(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="two matrices"):
        fraction_of_variance_explained(np.zeros(4), np.zeros(4))

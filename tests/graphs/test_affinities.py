"""Graphs learned from activations whose groups are known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hoi_captum.errors import DataWarning, InputError, OptionError
from hoi_captum.graphs import learned_graph, spectral_groups
from hoi_captum.graphs.affinities import AFFINITIES


def planted(seed: int, noise: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """400 rows of 6 groups of 8 neurons in a random order, (rows, n), and each neuron's group."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(6), 8)
    latent = random.standard_normal((400, 6))
    rows = latent[:, groups] * random.uniform(0.5, 1.5, 48) + noise * random.standard_normal((400, 48))
    order = random.permutation(48)
    return np.maximum(rows, 0)[:, order], groups[order]


NOISE = np.random.default_rng(3).standard_normal((30, 9)) + 0.5 * np.arange(30)[:, None] * np.arange(9) / 99


def distances(rows: np.ndarray) -> np.ndarray:
    z = (rows - rows.mean(0)) / rows.std(0)
    n = rows.shape[1]
    return np.array([[((z[:, i] - z[:, j]) ** 2).mean() for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("affinity", ["adaptive", "knn", "correlation"])
@pytest.mark.parametrize("seed", range(4))
def test_planted_groups_are_found(affinity: str, seed: int) -> None:
    rows, groups = planted(seed)
    found = spectral_groups(learned_graph(rows, affinity))
    assert adjusted_rand_score(groups, found) >= 0.9


@pytest.mark.parametrize("seed", range(4))
def test_gaussian_strangers_are_cut_off(seed: int) -> None:
    """They have exp(-2) = 0.135, less than the cut."""
    rows, groups = planted(seed)
    graph = learned_graph(rows, "gaussian")
    assert adjusted_rand_score(groups, spectral_groups(graph)) >= 0.9


def test_adaptive_is_the_formula() -> None:
    d2, n = distances(NOISE), NOISE.shape[1]
    for given, number in ((None, 3), (2, 2), (6, 6)):
        graph = learned_graph(NOISE, n_neighbors=given)
        for i in range(n):
            for j in range(n):
                width_i, width_j = sorted(d2[i])[number - 1], sorted(d2[j])[number - 1]
                known = (np.exp(-d2[i, j] / width_j) + np.exp(-d2[i, j] / width_i)) / 2 if i != j else 0
                assert graph.adjacency[i, j] == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize("given", [None, 2, 8])
def test_knn_joins_the_nearest_of_either(given: int | None) -> None:
    d2, n, k = distances(NOISE), NOISE.shape[1], given or 5
    graph = learned_graph(NOISE, "knn", n_neighbors=given)
    near = [sorted((j for j in range(n) if j != i), key=lambda j, i=i: d2[i, j])[:k] for i in range(n)]
    known = [[float(j in near[i] or i in near[j]) for j in range(n)] for i in range(n)]
    np.testing.assert_array_equal(graph.adjacency, known)
    np.testing.assert_array_equal(graph.adjacency, graph.adjacency.T)


def test_gaussian_and_correlation_are_the_formulas() -> None:
    d2, off = distances(NOISE), 1 - np.eye(NOISE.shape[1])
    kernel = np.exp(-d2)
    assert ((kernel < 0.2) & (off > 0)).any()
    known = np.where(kernel < 0.2, 0, kernel) * off
    np.testing.assert_allclose(learned_graph(NOISE, "gaussian").adjacency, known, atol=1e-10)
    known = np.maximum(np.corrcoef(NOISE.T), 0) * off
    np.testing.assert_allclose(learned_graph(NOISE, "correlation").adjacency, known, atol=1e-10)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_scales_and_means_do_not_matter(affinity: str) -> None:
    known = learned_graph(NOISE, affinity).adjacency
    scales = np.geomspace(1e-4, 1e4, NOISE.shape[1])
    moved = learned_graph(NOISE * scales + 7 * scales, affinity)
    np.testing.assert_allclose(moved.adjacency, known, atol=1e-8)
    assert moved.name == "learned"


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_rows_that_come_twice_do_not_matter(affinity: str) -> None:
    again = learned_graph(np.concatenate([NOISE, NOISE]), affinity).adjacency
    np.testing.assert_allclose(again, learned_graph(NOISE, affinity).adjacency, atol=1e-10)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("level", [0.0, 0.1, -1e6])
def test_a_constant_neuron_is_told_and_alone(affinity: str, level: float) -> None:
    rows = NOISE.copy()
    rows[:, [2, 5]] = level
    with pytest.warns(DataWarning, match="2 of 9 neurons are constant over these rows") as told:
        graph = learned_graph(rows, affinity)
    assert told[0].filename == __file__
    assert not graph.adjacency[[2, 5]].any()
    rest = [i for i in range(9) if i not in (2, 5)]
    alone = learned_graph(rows[:, rest], affinity).adjacency
    np.testing.assert_allclose(graph.adjacency[np.ix_(rest, rest)], alone, atol=1e-10)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_copies_of_a_neuron_are_as_near_as_can_be(affinity: str) -> None:
    rows = np.concatenate([NOISE, NOISE[:, :1] * 3 + 1], axis=1)
    a = learned_graph(rows, affinity).adjacency
    assert a[0, 9] == pytest.approx(1)
    assert a[0, 9] == pytest.approx(a[0].max())


@pytest.mark.parametrize(
    "affinity",
    [
        pytest.param(
            "adaptive",
        ),
        *AFFINITIES[1:],
    ],
)
def test_two_neurons_that_are_alike_are_joined(affinity: str) -> None:
    first = NOISE[:, :1]
    rows = np.concatenate([first, first + 0.3 * NOISE[:, 1:2]], axis=1)
    assert learned_graph(rows, affinity).adjacency[0, 1] > 0.3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (NOISE[:7], "expected at least 8 rows of activations, got 7"),
        (NOISE[0], r"\(rows, n >= 2\) of finite numbers, got shape \(9,\)"),
        (NOISE[:, :1], r"\(rows, n >= 2\) of finite numbers, got shape \(30, 1\)"),
        (np.where(NOISE.max() == NOISE, np.nan, NOISE), "finite numbers"),
        (np.where(NOISE.max() == NOISE, np.inf, NOISE), "finite numbers"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learned_graph(rows)


def test_other_options_are_refused() -> None:
    with pytest.raises(OptionError, match="expected affinity to be one of adaptive, knn, gaussian"):
        learned_graph(NOISE, "cosine")
    with pytest.raises(OptionError, match="expected n_neighbors to be an int >= 2, got 1"):
        learned_graph(NOISE, n_neighbors=1)
    with pytest.raises(InputError, match="expected n_neighbors below the 9 neurons, got 9"):
        learned_graph(NOISE, n_neighbors=9)


def test_nothing_is_said_of_neurons_that_vary() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned_graph(NOISE[:8])

"""Layouts: neurons that came shuffled find their neighbours again."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from hoi_captum.errors import InputError
from hoi_captum.graphs import assign_to_graph, grid, line, ring, spectral_places, star
from hoi_captum.graphs.layouts import anneal


def fields(h: int, w: int, seed: int = 0, rows: int = 300) -> np.ndarray:
    """Correlations (n, n) of neurons that are smooth fields on a grid, and came in another order."""
    random = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(h * w), w)
    near = np.exp(-((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2) / 4)
    values = random.standard_normal((rows, h * w)) @ near
    return np.corrcoef(values[:, random.permutation(h * w)].T)


def weighed(order: np.ndarray, s: np.ndarray, a: np.ndarray) -> float:
    """The objective, term by term."""
    n = len(order)
    return float(sum(a[i, j] * s[order[i], order[j]] for i in range(n) for j in range(n) if i != j))


def random_affinity(n: int, seed: int) -> np.ndarray:
    s = np.random.default_rng(seed).standard_normal((n, n))
    return s + s.T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_swaps", [0, 20_000])
def test_shuffled_fields_find_their_neighbours(seed: int, n_swaps: int) -> None:
    graph, s = grid(36), fields(6, 6, seed)
    assert graph.positions is not None
    order = assign_to_graph(s, graph.adjacency, graph.positions, n_swaps=n_swaps)
    np.testing.assert_array_equal(np.sort(order), np.arange(36))
    assert order.dtype == np.int64
    edges = graph.adjacency.sum()
    random = np.random.default_rng(9)
    chance = [weighed(random.permutation(36), s, graph.adjacency) / edges for _ in range(50)]
    known = weighed(order, s, graph.adjacency) / edges
    assert known > max(chance) + 5 * np.std(chance)
    assert known > (0.55 if n_swaps else 0.45)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_swaps", [1, 7, 60, 2000])
def test_swaps_never_lower_the_sum(seed: int, n_swaps: int) -> None:
    graph, s = grid(12), random_affinity(12, seed)
    start = np.random.default_rng(seed).permutation(12)
    order = anneal(start, s, graph.adjacency, n_swaps, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(12))
    assert weighed(order, s, graph.adjacency) >= weighed(start, s, graph.adjacency) - 1e-9
    np.testing.assert_array_equal(order, anneal(start, s, graph.adjacency, n_swaps, seed))


@pytest.mark.parametrize(("n", "shape"), [(6, (2, 3)), (7, None)])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_all_orders_is_met(n: int, shape: tuple[int, int] | None, seed: int) -> None:
    """Changes that were added up wrongly would lead elsewhere."""
    graph, s = grid(n, shape), random_affinity(n, seed)
    i, j = graph.edges.T
    all_orders = np.array(list(permutations(range(n))))
    best = 2 * s[all_orders[:, i], all_orders[:, j]].sum(1).max()
    met = [weighed(anneal(np.arange(n), s, graph.adjacency, 2000, k), s, graph.adjacency) for k in range(8)]
    assert max(met) >= 0.95 * best
    assert np.mean(met) > 0.75 * best


@pytest.mark.parametrize("seed", range(6))
def test_one_swap_is_taken_if_it_raises_the_sum(seed: int) -> None:
    """With weights of edges and a diagonal that are neither 0 nor 1."""
    random = np.random.default_rng(seed)
    a, s = np.triu(random.random((5, 5)), 1), random_affinity(5, seed)
    a = a + a.T
    for trial in range(40):
        order = anneal(np.arange(5), s, a, 1, trial)
        moved = np.flatnonzero(order != np.arange(5))
        rng = np.random.default_rng(trial)
        i = int(rng.integers(5, size=1)[0])
        j = (i + int(rng.integers(1, 5, size=1)[0])) % 5
        swapped = np.arange(5)
        swapped[[i, j]] = swapped[[j, i]]
        better = weighed(swapped, s, a) > weighed(np.arange(5), s, a) + 1e-12
        assert set(moved) == ({i, j} if better else set())


def test_seeds_decide() -> None:
    graph, s = grid(25), random_affinity(25, 0)
    assert graph.positions is not None
    first, again, other = (
        assign_to_graph(s, graph.adjacency, graph.positions, n_swaps=300, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_inputs_are_left_as_they_were() -> None:
    graph, s = grid(9), fields(3, 3)
    assert graph.positions is not None
    before = s.copy()
    assign_to_graph(s, graph.adjacency, graph.positions, n_swaps=50)
    np.testing.assert_array_equal(s, before)
    start = np.arange(9)
    anneal(start, s, graph.adjacency, 200)
    np.testing.assert_array_equal(start, np.arange(9))


def test_a_line_is_laid_on_a_line() -> None:
    random = np.random.default_rng(0)
    order = random.permutation(15)
    s = np.exp(-((order[:, None] - order) ** 2) / 2.0)
    graph = line(15)
    assert graph.positions is not None
    found = order[assign_to_graph(s, graph.adjacency, graph.positions)]
    assert (np.diff(found) == 1).all() or (np.diff(found) == -1).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_neurons_have_a_place_too(n: int) -> None:
    graph = grid(n)
    assert graph.positions is not None
    order = assign_to_graph(np.ones((n, n)), graph.adjacency, graph.positions, n_swaps=5)
    assert sorted(order) == list(range(n))


def test_a_bar_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    graph = grid(9)
    assert graph.positions is not None
    assign_to_graph(fields(3, 3), graph.adjacency, graph.positions, n_swaps=10)
    assert not capsys.readouterr().err
    assign_to_graph(fields(3, 3), graph.adjacency, graph.positions, n_swaps=10, show_progress=True)
    assert "layout" in capsys.readouterr().err


def test_places_are_eigenvectors_of_the_random_walk() -> None:
    graph = grid(20, (4, 5))
    places = spectral_places(graph.adjacency)
    values = np.sort(np.linalg.eigvals(graph.laplacian("random-walk")).real)[1:3]
    for k in range(2):
        moved = graph.laplacian("random-walk") @ places[:, k]
        moved, wanted = moved - moved.mean(), values[k] * (places[:, k] - places[:, k].mean())
        np.testing.assert_allclose(moved, wanted, atol=1e-4)
    np.testing.assert_allclose(places.std(0), 1)
    np.testing.assert_allclose(places.mean(0), 0, atol=1e-12)


def test_places_of_pieces_are_apart_and_finite() -> None:
    a = np.zeros((8, 8))
    a[:3, :3] = a[3:7, 3:7] = 1.0
    np.fill_diagonal(a, 0.0)
    places = spectral_places(a)
    assert np.isfinite(places).all()
    assert np.isfinite(spectral_places(np.zeros((6, 6)))).all()
    within = max(np.ptp(places[:3], axis=0).max(), np.ptp(places[3:7], axis=0).max())
    assert np.abs(places[0] - places[3]).max() > 10 * within


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_places_have_the_dimensions_asked_for(n: int, dimensions: int) -> None:
    graph = star(n) if n < 3 else ring(n)
    assert spectral_places(graph.adjacency, dimensions).shape == (n, dimensions)


@pytest.mark.parametrize("n", [1, 4])
def test_few_nodes_have_three_dimensions_too(n: int) -> None:
    assert spectral_places(star(n).adjacency, 3).shape == (n, 3)


def test_other_sizes_are_refused() -> None:
    places = np.zeros((4, 2))
    for affinity, adjacency, where in (
        (np.eye(5), np.eye(4), places),
        (np.eye(4), np.eye(4), places[:3]),
        (np.eye(4)[:2], np.eye(4), places),
    ):
        with pytest.raises(InputError, match="of as many neurons as nodes, got shapes"):
            assign_to_graph(affinity, adjacency, where)

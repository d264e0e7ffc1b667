"""NeuronGraph: what it takes, its Laplacians and spectra, and its pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from hoi_captum.errors import InputError, OptionError
from hoi_captum.graphs import NeuronGraph, grid, line, ring
from hoi_captum.graphs.neuron_graph import LAPLACIANS

PATH = [[0.0, 2.0, 0.0], [2.0, 0.0, 0.5], [0.0, 0.5, 0.0]]
PIECES = [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 3, 0], [0, 0, 3, 0, 0], [0, 0, 0, 0, 0]]


def weighted(n: int = 9, seed: int = 0) -> NeuronGraph:
    a = np.random.default_rng(seed).random((n, n)) * (np.random.default_rng(seed + 1).random((n, n)) < 0.6)
    a = np.triu(a, 1)
    return NeuronGraph(a + a.T)


@pytest.mark.parametrize(
    "given",
    [
        np.array(PATH),
        torch.tensor(PATH, requires_grad=True),
        torch.tensor(PATH, dtype=torch.float16),
        sparse.csr_matrix(PATH),
        sparse.coo_array(np.array(PATH)),
        PATH,
    ],
    ids=["numpy", "tensor", "half", "csr", "coo", "lists"],
)
def test_an_adjacency_may_come_as_anything(given: Any) -> None:
    graph = NeuronGraph.from_adjacency(given, shape=(2, 2))
    assert graph.adjacency.dtype == np.float64
    np.testing.assert_array_equal(graph.adjacency, PATH)
    assert graph.shape == graph.map_shape == (2, 2)
    assert graph.n_nodes == 3
    np.testing.assert_array_equal(graph.edges, [[0, 1], [1, 2]])
    np.testing.assert_array_equal(graph.weights, [2.0, 0.5])
    np.testing.assert_array_equal(graph.degrees, [2.0, 2.5, 0.5])
    assert repr(graph) == "NeuronGraph(adjacency, 2 x 2: 3 nodes, 2 edges)"


def test_arrays_are_copies_that_cannot_be_written() -> None:
    a, places = np.array(PATH), np.zeros((3, 2))
    graph = NeuronGraph(a, positions=places)
    a[0, 1] = places[0, 0] = 9.0
    np.testing.assert_array_equal(graph.adjacency, PATH)
    assert graph.positions is not None
    assert not graph.positions.any()
    with pytest.raises(ValueError, match="read-only"):
        graph.adjacency[0, 1] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        graph.positions[0, 0] = 1.0


def test_rounding_is_no_asymmetry() -> None:
    a = np.array(PATH)
    a[0, 1] += 1e-9
    graph = NeuronGraph(a)
    np.testing.assert_array_equal(graph.adjacency, graph.adjacency.T)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((2, 3)), r"adjacency \(n, n\), got shape \(2, 3\)"),
        (np.ones(4), r"adjacency \(n, n\), got shape \(4,\)"),
        (np.zeros((0, 0)), r"adjacency \(n, n\), got shape \(0, 0\)"),
        ([[0, 1], [1]], "of numbers"),
        ([["a", "b"], ["b", "a"]], "of numbers"),
        ([[0, 1], [0, 0]], r"symmetric adjacency; \(A \+ A\.T\) / 2"),
        ([[0, -1], [-1, 0]], "finite weights >= 0"),
        ([[0, np.nan], [np.nan, 0]], "finite weights >= 0"),
        ([[0, np.inf], [np.inf, 0]], "finite weights >= 0"),
        ([[1, 1], [1, 3]], r"zero diagonal, got edges of 2 nodes to themselves; np\.fill_diagonal"),
    ],
)
def test_what_is_no_adjacency_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeuronGraph.from_adjacency(given)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (3, 3), (4, 1), (0, 3)])
def test_a_shape_is_filled_up_to_its_last_row(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"shape \(h, w\) that 3 nodes fill, got"):
        NeuronGraph(np.array(PATH), shape=shape)


@pytest.mark.parametrize("places", [np.zeros((2, 2)), np.zeros((3, 3)), np.full((3, 2), np.nan)])
def test_positions_are_one_for_each_node(places: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"positions \(3, 2\), finite"):
        NeuronGraph(np.array(PATH), positions=places)


@pytest.mark.parametrize("graph", [weighted(), grid(11), NeuronGraph(np.array(PIECES))])
def test_laplacians_are_those_of_the_formulas(graph: NeuronGraph) -> None:
    a, n = graph.adjacency, graph.n_nodes
    d = [sum(a[i, j] for j in range(n)) for i in range(n)]
    for i in range(n):
        for j in range(n):
            own = float(i == j)
            assert graph.laplacian()[i, j] == pytest.approx(own * d[i] - a[i, j], abs=1e-12)
            walk = own - a[i, j] / d[i] if d[i] else 0.0
            assert graph.laplacian("random-walk")[i, j] == pytest.approx(walk, abs=1e-12)
            sym = own - a[i, j] / np.sqrt(d[i] * d[j]) if d[i] and d[j] else 0.0
            assert graph.laplacian("symmetric")[i, j] == pytest.approx(sym, abs=1e-12)


@pytest.mark.parametrize("kind", LAPLACIANS)
@pytest.mark.parametrize("graph", [weighted(), ring(5), NeuronGraph(np.array(PIECES))])
def test_null_vectors_and_eigenvalues(graph: NeuronGraph, kind: str) -> None:
    null, operator = graph.null_vectors(kind), graph.laplacian(kind)
    n_pieces = graph.components.max() + 1
    np.testing.assert_allclose(operator @ null, 0, atol=1e-12)
    np.testing.assert_allclose(null.T @ null, np.eye(n_pieces), atol=1e-12)
    values = graph.eigenvalues(kind)
    np.testing.assert_allclose(values, np.sort(np.linalg.eigvals(operator).real), atol=1e-10)
    assert np.count_nonzero(np.abs(values) < 1e-9) == n_pieces


def test_components() -> None:
    graph = NeuronGraph(np.array(PIECES))
    np.testing.assert_array_equal(graph.components, [0, 0, 1, 1, 2])
    assert not graph.is_connected
    assert ring(4).is_connected
    assert NeuronGraph(np.zeros((1, 1))).is_connected


@pytest.mark.parametrize("method", ["laplacian", "eigenvalues"])
def test_another_laplacian_is_refused(method: str) -> None:
    with pytest.raises(OptionError, match="expected laplacian to be one of unnormalized, symmetric"):
        getattr(ring(4), method)("normalized")


def test_maps_go_row_by_row_and_the_last_may_be_short() -> None:
    graph = NeuronGraph(np.zeros((5, 5)), shape=(2, 3))
    np.testing.assert_array_equal(graph.as_map(range(5)), [[0, 1, 2], [3, 4, np.nan]])
    stack = graph.as_map(np.arange(30).reshape(2, 3, 5))
    assert stack.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(stack[1, 2], [[25, 26, 27], [28, 29, np.nan]])
    np.testing.assert_array_equal(ring(4).as_map([1, 2, 3, 4]), [[1, 2, 3, 4]])


@pytest.mark.parametrize("values", [3.0, [1.0, 2.0], np.zeros((5, 4))])
def test_maps_of_another_size_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match="expected values of 5 nodes"):
        NeuronGraph(np.zeros((5, 5))).as_map(values)


def test_places_are_given_ones_or_of_the_spectrum() -> None:
    assert ring(4).places() is ring(4).positions or np.array_equal(ring(4).places(), ring(4).positions)
    bare = NeuronGraph(line(9).adjacency).places()
    assert bare.shape == (9, 2)
    steps = np.diff(bare[:, 0])
    assert (steps > 0).all() or (steps < 0).all()  # the slowest vector of a path goes one way

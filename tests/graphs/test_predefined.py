"""Predefined graphs: their spectra in closed form, their pictures, and what an option may name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hoi_captum.errors import InputError, OptionError
from hoi_captum.graphs import NeuronGraph, grid, hierarchical, line, ring, star, torus, tree
from hoi_captum.graphs.predefined import GRAPHS, check_graph, graph_for, n_nodes_of


def of_ring(n: int) -> np.ndarray:
    return 2 - 2 * np.cos(2 * np.pi * np.arange(n) / n)


def of_line(n: int) -> np.ndarray:
    return 2 - 2 * np.cos(np.pi * np.arange(n) / n)


def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sort((a[:, None] + b).ravel())


@pytest.mark.parametrize(
    ("graph", "known"),
    [
        (ring(3), of_ring(3)),
        (ring(10), of_ring(10)),
        (line(1), of_line(1)),
        (line(7), of_line(7)),
        (grid(12), sums(of_line(3), of_line(4))),
        (grid(10, (2, 5)), sums(of_line(2), of_line(5))),
        (torus(12), sums(of_ring(3), of_ring(4))),
        (torus(25), sums(of_ring(5), of_ring(5))),
        (star(8), np.array([0.0, *[1.0] * 6, 8.0])),
        # differences inside blocks of 4, of means of these in blocks of 16, of means of these, and the mean
        (hierarchical(64), np.repeat([0.0, 4.0, 7.0, 10.0], [1, 3, 12, 48])),
    ],
    ids=lambda value: repr(value) if isinstance(value, NeuronGraph) else "",
)
def test_eigenvalues(graph: NeuronGraph, known: np.ndarray) -> None:
    np.testing.assert_allclose(graph.eigenvalues(), np.sort(known), atol=1e-12)


@pytest.mark.parametrize("n", [5, 8])
def test_fourier_vectors_are_those_of_the_ring(n: int) -> None:
    x = 2 * np.pi * np.arange(n) / n
    for k, value in enumerate(of_ring(n)):
        for vector in (np.cos(k * x), np.sin(k * x)):
            np.testing.assert_allclose(ring(n).laplacian() @ vector, value * vector, atol=1e-12)


@pytest.mark.parametrize(("h", "w"), [(3, 4), (4, 3), (2, 5), (1, 6)])
def test_products_of_cosines_are_those_of_the_grid(h: int, w: int) -> None:
    rows = [np.cos(np.pi * k * (np.arange(h) + 0.5) / h) for k in range(h)]
    columns = [np.cos(np.pi * k * (np.arange(w) + 0.5) / w) for k in range(w)]
    operator = grid(h * w, (h, w)).laplacian()
    for k, row in enumerate(rows):
        for m, column in enumerate(columns):
            vector = np.outer(row, column).ravel()
            value = of_line(h)[k] + of_line(w)[m]
            np.testing.assert_allclose(operator @ vector, value * vector, atol=1e-12)


def test_block_projections_are_those_of_the_hierarchy() -> None:
    def means(size: int) -> np.ndarray:
        return np.kron(np.eye(64 // size), np.ones((size, size)) / size)

    inner, middle, outer = means(4), means(16), means(64)
    known = 10 * (np.eye(64) - inner) + 7 * (inner - middle) + 4 * (middle - outer)
    np.testing.assert_allclose(hierarchical(64).laplacian(), known, atol=1e-12)


def test_hierarchies_of_other_branching_and_size() -> None:
    a = hierarchical(7, 2).adjacency
    assert a[0].tolist() == [0, 1, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 4]
    assert a[6].tolist() == [1 / 4] * 4 + [1 / 2] * 2 + [0]
    assert hierarchical(1).n_nodes == 1
    with pytest.raises(OptionError, match="expected branching to be an int >= 2"):
        hierarchical(8, 1)


@pytest.mark.parametrize(
    ("n", "shape"),
    [(1, (1, 1)), (2, (1, 2)), (8, (2, 4)), (11, (3, 4)), (12, (3, 4)), (64, (8, 8)), (7, (3, 3))],
)
def test_grids_are_as_square_as_they_can_be(n: int, shape: tuple[int, int]) -> None:
    graph = grid(n)
    assert (graph.shape, graph.n_nodes, graph.name) == (shape, n, "grid")
    h, w = shape
    for i in range(n):
        for j in range(n):
            beside = abs(i // w - j // w) + abs(i % w - j % w) == 1
            assert graph.adjacency[i, j] == beside
    np.testing.assert_array_equal(graph.positions, [[i % w, -(i // w)] for i in range(n)])
    assert graph.as_map(np.arange(n)).shape == (h, w)
    assert graph.is_connected


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (4, 4)])
def test_a_grid_whose_shape_is_not_filled_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        grid(11, shape)


@pytest.mark.parametrize("shape", [pytest.param((2, 2)), pytest.param((2, 5)), (4, 4)])
def test_what_is_wrong_with_a_grid_is_said_of_its_shape(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"shape \(h, w\) that 11 nodes fill"):
        grid(11, shape)


def test_torus_wraps() -> None:
    graph = torus(12)
    assert graph.shape == (3, 4)
    assert (graph.degrees == 4).all()
    assert np.flatnonzero(graph.adjacency[0]).tolist() == [1, 3, 4, 8]
    assert torus(12, (4, 3)).shape == (4, 3)


@pytest.mark.parametrize(("n", "shape"), [(13, None), (10, None), (4, (2, 2)), (12, (3, 3)), (12, (2, 6))])
def test_a_torus_of_no_rectangle_is_refused(n: int, shape: tuple[int, int] | None) -> None:
    with pytest.raises(InputError, match=f"expected a torus of h x w nodes with h, w >= 3, got {n} nodes as"):
        torus(n, shape)


def test_edges_of_trees_lines_stars_and_rings() -> None:
    assert tree(7).edges.tolist() == [[0, 1], [0, 2], [1, 3], [1, 4], [2, 5], [2, 6]]
    assert line(4).edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert star(4).edges.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert ring(4).edges.tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]
    with pytest.raises(OptionError, match="expected n_nodes to be an int >= 3, got 2"):
        ring(2)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("n", [9, 12, 64])
def test_every_graph_can_be_drawn(name: str, n: int) -> None:
    graph = GRAPHS[name](n)
    assert (graph.name, graph.n_nodes, graph.is_connected) == (name, n, True)
    places = graph.places()
    assert places.shape == (n, 2)
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(n)
    assert apart.min() > 0.05  # no node lies on another
    assert np.nanmax(graph.as_map(np.arange(n))) == n - 1


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("n", [0, -1, 2.0, True])
def test_a_number_of_nodes_is_a_count(name: str, n: Any) -> None:
    with pytest.raises(OptionError, match="expected n_nodes to be an int"):
        GRAPHS[name](n)


def test_what_an_option_may_be() -> None:
    graph = ring(5)
    assert check_graph(graph) is graph
    assert check_graph("learned") == "learned"
    assert [check_graph(name) for name in GRAPHS] == list(GRAPHS)
    assert check_graph((3, 4)) == (3, 4)
    np.testing.assert_array_equal(check_graph(graph.adjacency.tolist()).adjacency, graph.adjacency)
    assert [n_nodes_of(given) for given in ("grid", (3, 4), graph)] == [None, 12, 5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cube", "expected graph to be one of grid, torus, .*learned; got 'cube'"),
        (None, "expected graph to be grid, torus, .*learned, .* or an adjacency"),
        ((0, 3), "a side of graph"),
        ((True, 3), "a side of graph"),
        ((3, 4, 5), r"adjacency \(n, n\), got shape"),
        (7, r"adjacency \(n, n\), got shape"),
    ],
)
def test_other_options_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_graph(given)
    if isinstance(given, str) or given is None:
        with pytest.raises(OptionError):
            check_graph(given)


def test_a_graph_has_the_layer_s_size() -> None:
    assert graph_for("ring", 6).name == "ring"
    assert graph_for((2, 3), 6).shape == (2, 3)
    graph = star(6)
    assert graph_for(graph, 6) is graph
    with pytest.raises(InputError, match=r"as many nodes as there are factors, 7; got one of 2 x 3 = 6"):
        graph_for((2, 3), 7, "factors")
    with pytest.raises(InputError, match=r"as many nodes as there are neurons, 7; got one of 6"):
        graph_for(graph, 7)

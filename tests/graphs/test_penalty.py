"""SmoothnessPenalty against sums that are written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from hoi_captum.errors import InputError, OptionError
from hoi_captum.graphs import (
    NeuronGraph,
    SmoothnessPenalty,
    grid,
    hierarchical,
    learned_graph,
    line,
    ring,
    star,
    torus,
    tree,
)
from hoi_captum.graphs.neuron_graph import LAPLACIANS
from hoi_captum.graphs.penalty import FORMS

RANDOM = np.random.default_rng(0)


def weighted() -> NeuronGraph:
    a = np.triu(RANDOM.random((8, 8)), 1)
    return NeuronGraph(a + a.T)


def with_isolated_node() -> NeuronGraph:
    """Two pieces and a node that nothing joins."""
    a = np.zeros((7, 7))
    for i, j, weight in ((0, 1, 1.0), (1, 2, 0.5), (0, 2, 2.0), (4, 5, 1.5), (5, 6, 0.25)):
        a[i, j] = a[j, i] = weight
    return NeuronGraph(a)


GRAPHS = {
    "grid": grid(12),
    "short": grid(11),
    "torus": torus(12),
    "ring": ring(7),
    "line": line(6),
    "tree": tree(9),
    "star": star(6),
    "hierarchical": hierarchical(10, 2),
    "weighted": weighted(),
    "learned": learned_graph(RANDOM.standard_normal((40, 10))),
    "knn": learned_graph(RANDOM.standard_normal((40, 10)), "knn", n_neighbors=2),
    "isolated": with_isolated_node(),
}
each_graph = pytest.mark.parametrize("name", GRAPHS)
each_laplacian = pytest.mark.parametrize("kind", LAPLACIANS)


def rows_for(graph: NeuronGraph, m: int = 4) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((m, graph.n_nodes)) + 0.7


def entry(a: np.ndarray, d: list[float], i: int, j: int, kind: str) -> float:
    if kind == "unnormalized":
        return float((d[i] if i == j else 0.0) - a[i, j])
    if not d[i] or not d[j]:
        return 0.0
    share = a[i, j] / (d[i] if kind == "random-walk" else (d[i] * d[j]) ** 0.5)
    return float((i == j) - share)


def form(a: np.ndarray, z: np.ndarray, kind: str) -> float:
    """z^T L z, term by term."""
    n = len(z)
    d = [sum(float(a[i, j]) for j in range(n)) for i in range(n)]
    return sum(z[i] * entry(a, d, i, j, kind) * z[j] for i in range(n) for j in range(n))


def pieces(a: np.ndarray) -> list[list[int]]:
    """Connected components, by walking."""
    left, found = set(range(len(a))), []
    while left:
        todo, piece = [min(left)], []
        while todo:
            node = todo.pop()
            if node in left:
                left.remove(node)
                piece.append(node)
                todo += [j for j in range(len(a)) if a[node, j] > 0]
        found.append(piece)
    return found


def centred(a: np.ndarray, z: np.ndarray, kind: str) -> np.ndarray:
    """z less the vector that L does not see, for each component."""
    z = z.copy()
    for piece in pieces(a):
        d = [float(a[i].sum()) if kind == "symmetric" and len(piece) > 1 else 1.0 for i in piece]
        share = sum(z[i] * w**0.5 for i, w in zip(piece, d, strict=True)) / sum(d)
        for i, w in zip(piece, d, strict=True):
            z[i] -= share * w**0.5
    return z


@each_graph
@each_laplacian
def test_raw_is_the_quadratic_form(name: str, kind: str) -> None:
    graph, z = GRAPHS[name], rows_for(GRAPHS[name])
    penalty = SmoothnessPenalty(graph, laplacian=kind)
    known = np.array([form(graph.adjacency, row, kind) for row in z])
    np.testing.assert_allclose(penalty.rows(torch.tensor(z)).numpy(), known, rtol=1e-10, atol=1e-10)
    assert penalty(torch.tensor(z)).item() == pytest.approx(known.mean(), rel=1e-10, abs=1e-10)


@each_graph
def test_raw_is_the_sum_of_squared_differences(name: str) -> None:
    graph, z = GRAPHS[name], rows_for(GRAPHS[name], 1)[0]
    a, n = graph.adjacency, graph.n_nodes
    known = sum(a[i, j] * (z[i] - z[j]) ** 2 for i in range(n) for j in range(n)) / 2
    assert SmoothnessPenalty(graph)(torch.tensor(z[None])).item() == pytest.approx(known, rel=1e-10)


@each_graph
@each_laplacian
def test_rayleigh_is_a_quotient_of_what_the_laplacian_sees(name: str, kind: str) -> None:
    graph, z = GRAPHS[name], rows_for(GRAPHS[name])
    penalty = SmoothnessPenalty(graph, laplacian=kind, form="rayleigh")
    seen = [centred(graph.adjacency, row, kind) for row in z]
    known = [form(graph.adjacency, row, kind) / (sum(x * x for x in row) + 1e-12) for row in seen]
    np.testing.assert_allclose(penalty.rows(torch.tensor(z)).numpy(), known, rtol=1e-10, atol=1e-10)
    assert penalty(torch.tensor(z)).item() == pytest.approx(np.mean(known), rel=1e-10, abs=1e-10)


@each_graph
@each_laplacian
@pytest.mark.parametrize("time", [0.0, 0.3, 1.0])
def test_heat_is_what_diffusion_changes(name: str, kind: str, time: float) -> None:
    graph, z = GRAPHS[name], rows_for(GRAPHS[name])
    a, d = graph.adjacency, graph.adjacency.sum(1)
    n = len(d)
    full = np.array([[entry(a, list(d), i, j, kind) for j in range(n)] for i in range(n)])
    if kind == "random-walk":
        # 80 terms of the series
        kernel, term = np.eye(n), np.eye(n)
        for k in range(1, 80):
            term = term @ (-time * full) / k
            kernel = kernel + term
        np.testing.assert_allclose(kernel, expm(-time * full), atol=1e-10)
    else:
        values, vectors = np.linalg.eigh(full)
        kernel = (vectors * np.exp(-time * values)) @ vectors.T
    known = [sum(abs(x) for x in row - kernel @ row) for row in z]
    penalty = SmoothnessPenalty(graph, laplacian=kind, form="heat", time=time)
    np.testing.assert_allclose(penalty.rows(torch.tensor(z)).numpy(), known, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["short", "star", "weighted", "isolated"])
@each_laplacian
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_finite_differences(name: str, kind: str, form: str) -> None:
    z = torch.tensor(rows_for(GRAPHS[name], 3), requires_grad=True)
    assert torch.autograd.gradcheck(SmoothnessPenalty(GRAPHS[name], laplacian=kind, form=form), (z,))


@each_graph
@each_laplacian
def test_rayleigh_has_no_scale_and_no_mean(name: str, kind: str) -> None:
    graph = GRAPHS[name]
    z = torch.tensor(rows_for(graph))
    penalty = SmoothnessPenalty(graph, laplacian=kind, form="rayleigh")
    known = penalty.rows(z)
    for factor in (1e-2, -3.0, 1e4):
        torch.testing.assert_close(penalty.rows(factor * z), known, rtol=1e-7, atol=1e-9)
    unseen = torch.tensor(graph.null_vectors(kind))
    amounts = torch.linspace(-9, 9, len(z) * unseen.shape[1], dtype=torch.float64).reshape(len(z), -1)
    torch.testing.assert_close(penalty.rows(z + amounts @ unseen.T), known, rtol=1e-9, atol=1e-10)


def test_what_is_alike_everywhere_is_smooth() -> None:
    for form_ in FORMS:
        z = torch.full((3, 12), 5.0, dtype=torch.float64)
        assert SmoothnessPenalty(grid(12), form=form_)(z).item() == pytest.approx(0, abs=1e-9)
        assert SmoothnessPenalty(grid(12), form=form_)(z * 0).item() == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(
            name,
            kind,
            marks=pytest.mark.xfail(strict=True, reason="z^T L z of a random walk has no lower bound")
            if kind == "random-walk" and name not in ("ring", "torus")
            else (),
        )
        for name in GRAPHS
        for kind in LAPLACIANS
    ],
)
def test_roughness_is_never_negative(name: str, kind: str) -> None:
    """The lowest that the quadratic form can be, over all rows of length 1."""
    graph, operator = GRAPHS[name], torch.eye(GRAPHS[name].n_nodes, dtype=torch.float64)
    penalty = SmoothnessPenalty(graph, laplacian=kind)
    z = operator.clone().requires_grad_()
    half = torch.autograd.grad(penalty.rows(z).sum(), z)[0] / 2
    assert torch.linalg.eigvalsh(half).min() > -1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    z = torch.tensor(rows_for(ring(7)) * 3).to(dtype)
    given = SmoothnessPenalty(ring(7))(z)
    assert given.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert given.item() == pytest.approx(SmoothnessPenalty(ring(7))(z.double()).item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(7,), (2, 6), (2, 3, 7)])
def test_another_number_of_neurons_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected activations \(rows, 7\) for NeuronGraph\(ring"):
        SmoothnessPenalty(ring(7))(torch.zeros(shape))


def test_other_options_are_refused() -> None:
    with pytest.raises(OptionError, match="expected form to be one of raw, rayleigh, heat"):
        SmoothnessPenalty(ring(7), form="smooth")
    with pytest.raises(OptionError, match="expected laplacian to be one of"):
        SmoothnessPenalty(ring(7), laplacian="other")
    with pytest.raises(OptionError, match="expected time to be a number"):
        SmoothnessPenalty(ring(7), form="heat", time=-1.0)

"""How good a map of neurons is: what it keeps of the layer, and whether neighbours agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError
from hoi_captum.graphs.neuron_graph import NeuronGraph


class Tested(NamedTuple):
    """A figure, and how likely chance makes it as large.

    Attributes:
        value: the figure; NaN where it does not exist.
        p: share of permutations, itself among them, with a value as large: never below 1 / (n + 1).
        chance: mean over the permutations.

    Examples::

        >>> figure = hoi.measures.same_class_edges([0, 0, 0, 1, 1, 1], hoi.graphs.line(6))
        >>> figure.value, round(figure.p, 1), round(figure.chance, 1)
        (0.8, 0.1, 0.4)
    """

    value: float
    p: float
    chance: float


def fraction_of_variance_explained(values: ArrayLike, reconstruction: ArrayLike) -> float:
    r"""FVE, :math:`1 - \sum (x - \hat x)^2 / \sum (x - \bar x)^2` over rows and columns.

    Args:
        values, reconstruction: (rows, n). NaN is given where the values do not vary.

    Returns:
        *float*: at most 1; below 0 where the mean would do better.

    Raises:
        InputError: different shapes.

    Examples::

        >>> x = np.array([[0.0, 1.0], [2.0, 3.0]])
        >>> hoi.measures.fraction_of_variance_explained(x, x.mean(0, keepdims=True).repeat(2, 0))
        0.0
        >>> hoi.measures.fraction_of_variance_explained(x, x + [0.5, 0.0])
        0.875
    """
    x, y = np.asarray(values, dtype=np.float64), np.asarray(reconstruction, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 2 or not x.size:
        raise InputError(f"expected two matrices (rows, n) of one shape, got {x.shape} and {y.shape}")
    total = ((x - x.mean(0)) ** 2).sum()
    return float(1 - ((x - y) ** 2).sum() / total) if total > 0 else float("nan")


def morans_i(values: ArrayLike, graph: NeuronGraph, *, n_permutations: int = 999, seed: int = 0) -> Tested:
    r"""Moran's I of maps on a graph: 1 where neighbours agree, about 0 where they are strangers.

    .. math:: I = \frac{n}{\sum_{ij} A_{ij}}
        \frac{\sum_{ij} A_{ij} (x_i - \bar x)(x_j - \bar x)}{\sum_i (x_i - \bar x)^2}

    Source: Moran, "Notes on continuous stochastic phenomena", 1950.

    Args:
        values: (n,), or (maps, n), whose mean I is given; a constant map counts for nothing.
        graph: of n nodes.
        n_permutations: of the nodes, all maps together, for p. Default: 999; 0 gives NaN
        seed: of them. Default: 0

    Returns:
        Tested: I; NaN where no map varies.

    Raises:
        InputError: another number of nodes, or values that are not finite.

    Examples::

        >>> ring = hoi.graphs.ring(6)
        >>> round(hoi.measures.morans_i([0, 0, 0, 1, 1, 1], ring).value, 2)
        0.33
        >>> round(hoi.measures.morans_i([0, 1, 0, 1, 0, 1], ring).value, 2)
        -1.0
    """
    x = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if x.ndim != 2 or x.shape[1] != graph.n_nodes or not np.isfinite(x).all():
        raise InputError(f"expected finite values of {graph.n_nodes} nodes, got shape {x.shape}")
    d = x - x.mean(1, keepdims=True)
    size = (d**2).sum(1)
    d = d[size > 1e-24 * np.maximum((x**2).sum(1), 1e-300)]
    total = graph.adjacency.sum()
    if not len(d) or not total:
        return Tested(float("nan"), float("nan"), float("nan"))
    d = d / np.sqrt((d**2).sum(1, keepdims=True))

    def value(order: NDArray[np.int64] | slice) -> float:
        moved = d[:, order]
        return float(graph.n_nodes / total * ((moved @ graph.adjacency) * moved).sum(1).mean())

    return _tested(value, graph.n_nodes, n_permutations, seed)


def same_class_edges(
    labels: ArrayLike, graph: NeuronGraph, *, n_permutations: int = 999, seed: int = 0
) -> Tested:
    """The share of the edges' weight that joins nodes of one class.

    Args:
        labels: (n,) integers; -1 is no class, and its edges do not count.
        graph, n_permutations, seed: as of :func:`morans_i`; edges of -1 stay theirs.

    Returns:
        Tested: the share, 0 to 1; NaN without edges that count.

    Raises:
        InputError: another number of nodes.

    Examples::

        >>> found = hoi.measures.same_class_edges([0, 0, 0, 1, 1, 1], hoi.graphs.line(6))
        >>> found.value  # one of five edges joins two classes
        0.8
    """
    given = np.asarray(labels)
    if given.shape != (graph.n_nodes,) or given.dtype.kind not in "iu":
        raise InputError(
            f"expected {graph.n_nodes} integers, one for each node, got {given.dtype} of {given.shape}"
        )
    first, second = graph.edges.T
    counts = (given[first] >= 0) & (given[second] >= 0)
    first, second, weights = first[counts], second[counts], graph.weights[counts]
    if not len(first):
        return Tested(float("nan"), float("nan"), float("nan"))
    inside = np.nonzero(given >= 0)[0]

    def value(order: NDArray[np.int64] | slice) -> float:
        moved = given.copy()
        moved[inside] = given[inside][order]
        return float((weights * (moved[first] == moved[second])).sum() / weights.sum())

    return _tested(value, len(inside), n_permutations, seed)


def class_separation(
    maps: ArrayLike, labels: ArrayLike, *, n_permutations: int = 999, seed: int = 0
) -> Tested:
    """The share of the maps' variance that lies between classes (eta squared, units standardised).

    A smooth map makes smooth class means whatever the labels are; this tells whether classes differ at all.

    Args:
        maps: (rows, n).
        labels: (rows,) integers.
        n_permutations: of the labels, for p. Default: 999
        seed: of them. Default: 0

    Returns:
        Tested: eta squared, 0 to 1; NaN where no unit varies.

    Raises:
        InputError: other shapes, or fewer than two classes.

    Examples::

        >>> maps = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]])
        >>> hoi.measures.class_separation(maps, [0, 0, 1, 1]).value  # half: the first of two units
        0.5
    """
    x, y = np.asarray(maps, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or y.shape != (len(x),):
        raise InputError(f"expected maps (rows, n) and labels (rows,), got {x.shape} and {y.shape}")
    classes, place = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"expected rows of at least two classes, got {len(classes)}")
    spread = x.std(0)
    z = (x - x.mean(0))[:, spread > 1e-12 * max(float(np.abs(x).max()), 1e-300)]
    if not z.shape[1]:
        return Tested(float("nan"), float("nan"), float("nan"))
    z = z / z.std(0)
    counts, members = np.bincount(place), np.eye(len(classes))[place]

    def value(order: NDArray[np.int64] | slice) -> float:
        sums = members[order].T @ z
        return float((sums**2 / counts[:, None]).sum() / z.size)

    return _tested(value, len(x), n_permutations, seed)


def dead_units(activations: ArrayLike) -> NDArray[np.bool_]:
    """Units that give the same, mostly 0, in every row: (rows, n) -> (n,).

    Args:
        activations: (rows, n).

    Returns:
        (n,) bool.

    Examples::

        >>> hoi.measures.dead_units([[0.0, 1.0], [0.0, 2.0]])
        array([ True, False])
    """
    x = np.asarray(activations, dtype=np.float64)
    found: NDArray[np.bool_] = np.ptp(x, axis=0) <= 1e-9 * np.maximum(np.abs(x).max(0), 1e-300)
    return found


def _tested(
    value: Callable[[NDArray[np.int64] | slice], float], n: int, n_permutations: int, seed: int
) -> Tested:
    check_count("n_permutations", n_permutations, low=0)
    here, rng = value(slice(None)), np.random.default_rng(seed)
    found = np.array([value(rng.permutation(n)) for _ in range(n_permutations)])
    if not n_permutations:
        return Tested(here, float("nan"), float("nan"))
    # rounding must not make an equal one larger
    as_large = int((found >= here - 1e-12).sum())
    return Tested(here, (as_large + 1) / (n_permutations + 1), float(found.mean()))

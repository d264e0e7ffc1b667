"""Groups of nodes that hold together: spectral clustering, and how many there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.cluster import KMeans

from hoi_captum.core.options import check_count
from hoi_captum.errors import OptionError
from hoi_captum.graphs.neuron_graph import NeuronGraph

MOST_GROUPS = 16


def spectral_groups(graph: NeuronGraph, n_groups: int | None = None, *, seed: int = 0) -> NDArray[np.int64]:
    r"""Spectral clustering of the nodes, (n,) labels 0, 1, ... from the largest group on; -1 without edges.

    k-means of the first eigenvectors of the symmetric Laplacian, each node's row of length 1 (Ng, Jordan,
    Weiss, "On spectral clustering", 2001).

    Args:
        graph: of any size. With as many groups as components these are the groups; with more, k-means
            decides what is split.
        n_groups: their number k. Default: None (where the eigenvalues jump most, at most 16)
        seed: of k-means. Default: 0

    Returns:
        (n,) int labels.

    Raises:
        OptionError: more groups than there are nodes with edges.

    Examples::

        >>> graph = hoi.graphs.NeuronGraph(np.kron(np.eye(2), np.ones((3, 3))) - np.eye(6))  # two triangles
        >>> hoi.graphs.spectral_groups(graph)
        array([0, 0, 0, 1, 1, 1])
    """
    joined = graph.degrees > 0
    n = int(joined.sum())
    labels = np.full(graph.n_nodes, -1, dtype=np.int64)
    if n_groups is not None and check_count("n_groups", n_groups) > max(n, 1):
        raise OptionError(f"expected n_groups of at most {n} nodes that have edges, got {n_groups}")
    if n < 2 or n_groups == 1 or (n == 2 and n_groups is None):
        labels[joined] = 0
        return labels
    inner = NeuronGraph(graph.adjacency[np.ix_(joined, joined)])
    values, vectors = eigh(inner.laplacian("symmetric"))
    pieces = int(inner.components.max()) + 1
    k = max(_jump(values), pieces) if n_groups is None else n_groups
    if k == 1:
        labels[joined] = 0
        return labels
    rows = vectors[:, :k]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found = KMeans(k, n_init=10, random_state=seed).fit_predict(rows)
    sizes = np.bincount(found, minlength=k)
    rank = np.empty(k, dtype=np.int64)
    # equal sizes go by their first node
    first = np.array([np.argmax(found == g) for g in range(k)])
    rank[np.lexsort((first, -sizes))] = np.arange(k)
    labels[joined] = rank[found]
    return labels


def _jump(values: NDArray[np.float64]) -> int:
    """How many eigenvalues lie before the largest jump."""
    most = min(MOST_GROUPS, len(values) - 1)
    return int(np.argmax(np.diff(values[: most + 1]))) + 1

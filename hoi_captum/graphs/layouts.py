"""Where nodes go: in the plane by the spectrum, and on a given graph so that neighbours agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment

from hoi_captum.core.progress import progress_bar
from hoi_captum.errors import InputError

_LEAST = 1e-6  # of the mean weight: joins what would fall apart, and changes nothing else


def spectral_places(affinity: NDArray[np.float64], dimensions: int = 2) -> NDArray[np.float64]:
    """Laplacian eigenmaps: the eigenvectors of the lowest frequencies but the constant one, (n, dimensions).

    Those of the random-walk Laplacian, each of variance 1; pieces that nothing joins are joined very weakly.

    Args:
        affinity: (n, n), symmetric, at least 0.
        dimensions (int): of the places, d. Default: 2

    Returns:
        (n, d) float64, of mean 0; of d + 1 nodes and fewer their numbers.

    Examples::

        >>> places = hoi.graphs.spectral_places(hoi.graphs.line(5).adjacency)
        >>> places.shape, abs(places[:, 0]).round(2)  # the ends lie farthest out
        ((5, 2), array([1.29, 0.91, 0.  , 0.91, 1.29]))
    """
    n = len(affinity)
    if n <= dimensions + 1:
        return np.pad(np.arange(n, dtype=np.float64)[:, None], ((0, 0), (0, dimensions - 1)))
    a = affinity + _LEAST * max(float(affinity.mean()), 1e-12)
    np.fill_diagonal(a, 0.0)
    d = a.sum(1)
    _, vectors = eigh(np.diag(d) - a, np.diag(d), subset_by_index=[1, dimensions])
    # a sign is the solver's whim
    lead = np.abs(vectors).argmax(0)
    vectors = vectors * np.sign(vectors[lead, np.arange(dimensions)])
    spread = vectors.std(0)
    scaled: NDArray[np.float64] = (vectors - vectors.mean(0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def assign_to_graph(
    affinity: NDArray[np.float64],
    adjacency: NDArray[np.float64],
    places: NDArray[np.float64],
    *,
    n_swaps: int = 0,
    seed: int = 0,
    show_progress: bool = False,
) -> NDArray[np.int64]:
    r"""Which neuron goes to which node, so that neurons of much affinity are neighbours: (n,) neurons.

    A spectral embedding of the affinities is laid on the nodes' places with the least squared distances
    (a linear assignment); annealed swaps then raise :math:`\sum_{ij} A_{ij} S_{\pi_i \pi_j}` (a quadratic
    assignment, of which they find a good solution and not the best).

    Args:
        affinity: S (n, n), symmetric; negative ones count as none for the embedding.
        adjacency: A (n, n) of the nodes.
        places: (n, 2) of the nodes.
        n_swaps: pairs that are tried. Default: 0 (the assignment alone)
        seed: of the swaps. Default: 0
        show_progress: a bar on stderr. Default: False

    Returns:
        (n,) int: the neuron at each node.

    Raises:
        InputError: affinities, adjacency and places of different numbers of nodes.

    Examples::

        >>> line = hoi.graphs.line(4)
        >>> affinity = line.adjacency[[2, 0, 3, 1]][:, [2, 0, 3, 1]]  # the line's nodes in another order
        >>> order = hoi.graphs.assign_to_graph(affinity, line.adjacency, line.places())
        >>> np.array_equal(affinity[order][:, order], line.adjacency)
        True
    """
    affinity, adjacency, places = (np.asarray(a, dtype=np.float64) for a in (affinity, adjacency, places))
    n = len(adjacency)
    if affinity.shape != (n, n) or adjacency.shape != (n, n) or places.shape != (n, 2):
        raise InputError(
            "expected affinity (n, n), adjacency (n, n) and places (n, 2) of as many neurons as nodes, got "
            f"shapes {affinity.shape}, {adjacency.shape} and {places.shape}"
        )
    found = spectral_places(np.maximum(affinity, 0.0))
    best, best_cost = np.arange(len(affinity)), np.inf
    # ranks fill the picture, as its cells do; eight ways of laying one plane on the other
    ranks = found.argsort(0).argsort(0) / max(len(found) - 1, 1)
    spread = np.ptp(places, axis=0)
    wanted = (places - places.min(0)) / np.where(spread > 0, spread, 1.0)
    for swap in (False, True):
        for flips in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            turned = (ranks - 0.5) * np.array(flips) + 0.5
            turned = turned[:, ::-1] if swap else turned
            cost = ((wanted[:, None] - turned[None]) ** 2).sum(-1)
            rows, columns = linear_sum_assignment(cost)
            total = cost[rows, columns].sum()
            if total < best_cost - 1e-12:
                best, best_cost = columns, total
    order = best.astype(np.int64)
    return anneal(order, affinity, adjacency, n_swaps, seed, show_progress) if n_swaps else order


def anneal(
    order: NDArray[np.int64],
    affinity: NDArray[np.float64],
    adjacency: NDArray[np.float64],
    n_swaps: int,
    seed: int = 0,
    show_progress: bool = False,
) -> NDArray[np.int64]:
    """Swaps of two nodes' neurons, taken if they raise the sum, and early on sometimes if not.

    Returns:
        the best order that was met, never worse than the first.
    """
    n = len(order)
    if n < 2:
        return order
    rng = np.random.default_rng(seed)
    order = order.copy()
    s = affinity[np.ix_(order, order)]  # affinities in the order of the nodes
    np.fill_diagonal(s, 0.0)
    a = adjacency
    first, second = rng.integers(n, size=n_swaps), rng.integers(1, n, size=n_swaps)
    second = (first + second) % n
    chance = np.log(rng.random(n_swaps))
    start = float(np.abs(s[a > 0]).mean()) if (a > 0).any() else 0.0
    heat = np.maximum(start * np.geomspace(0.5, 1e-3, n_swaps), 1e-300)
    gained = best_gain = 0.0
    best = order.copy()
    with progress_bar("layout", n_swaps, "swap", show_progress) as bar:
        for step in range(n_swaps):
            i, j = int(first[step]), int(second[step])
            # both rows change; what i and j are to each other stays
            change = (a[i] - a[j]) @ (s[j] - s[i]) + 2 * a[i, j] * s[i, j]
            if change > 0 or change / heat[step] > chance[step]:
                s[[i, j]] = s[[j, i]]
                s[:, [i, j]] = s[:, [j, i]]
                order[[i, j]] = order[[j, i]]
                gained += change
                if gained > best_gain:
                    best_gain, best = gained, order.copy()
            if step % 1000 == 999:
                bar.update(1000)
    return best

"""Graphs learned from activations: neurons that are active together are neighbours."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoi_captum.core.options import check_choice, check_count
from hoi_captum.errors import DataWarning, InputError
from hoi_captum.graphs.neuron_graph import NeuronGraph

AFFINITIES = ("adaptive", "knn", "gaussian", "correlation")
_CUT = 0.2  # Gaussian affinities below it are none: strangers have exp(-2) = .135
_LEAST_ROWS = 8


def learned_graph(
    activations: ArrayLike, affinity: str = "adaptive", *, n_neighbors: int | None = None
) -> NeuronGraph:
    r"""A graph of neurons by what they have in common over some rows.

    Neurons are compared by :math:`d_{ij}^2 = 2 (1 - r_{ij})`, the mean squared distance of their standardised
    activations, so that neither their scales nor the number of rows matters.

    Source: Tong et al., "Interpretable neuron structuring with graph spectral regularization", section 3.2;
    kernels as in the authors' experiments.

    Args:
        activations: (rows, n).
        affinity: ``adaptive``, :math:`\exp(-d_{ij}^2 / k_j^2)` with the distance :math:`k_j` to the neighbour
            number ``n_neighbors`` (itself the first), made symmetric; ``knn``, 1 for the nearest ones of
            either; ``gaussian``, :math:`\exp(-d_{ij}^2)`, less than 0.2 is none; ``correlation``,
            :math:`\max(r_{ij}, 0)`. Default: adaptive
        n_neighbors: of ``adaptive`` and ``knn``. Default: None (3 and 5, as the authors)

    Returns:
        NeuronGraph, which may fall apart (``is_connected``); a constant neuron has no edges, which a
        DataWarning says.

    Raises:
        InputError: activations that are not (rows, n) finite numbers of at least 8 rows and 2 neurons.
        OptionError: another affinity.

    Examples::

        >>> z = np.random.default_rng(0).normal(size=(100, 2))
        >>> hoi.graphs.learned_graph(z[:, [0, 0, 1, 1]], "gaussian").edges  # 0 and 1 are alike, 2 and 3 too
        array([[0, 1],
               [2, 3]])
    """
    graph, constant = graph_of_rows(activations, affinity, n_neighbors)
    if constant.any():
        warnings.warn(
            f"{int(constant.sum())} of {len(constant)} neurons are constant over these rows and have no "
            "neighbours; leave them out, or give rows in which they vary",
            DataWarning,
            stacklevel=2,
        )
    return graph


def graph_of_rows(
    activations: ArrayLike, affinity: str, n_neighbors: int | None
) -> tuple[NeuronGraph, NDArray[np.bool_]]:
    """:func:`learned_graph`, and which neurons are constant, without a word about them."""
    check_choice("affinity", affinity, AFFINITIES)
    r, constant = correlations(activations)
    n = len(r)
    if n_neighbors is not None and check_count("n_neighbors", n_neighbors, low=2) >= n:
        raise InputError(f"expected n_neighbors below the {n} neurons, got {n_neighbors}")
    d2 = np.maximum(2 * (1 - r), 0.0)
    # what never varies is far from everything, itself apart
    d2[constant] = d2[:, constant] = np.inf
    np.fill_diagonal(d2, 0.0)
    if affinity == "correlation":
        a = np.where(np.isfinite(d2), np.maximum(r, 0.0), 0.0)
    elif affinity == "gaussian":
        a = np.exp(-d2)
        a[a < _CUT] = 0.0
    else:
        k = n_neighbors or {"adaptive": 3, "knn": 5}[affinity]
        # the neuron itself is the first of adaptive's neighbours, and none of knn's
        a = _adaptive(d2, min(k, n)) if affinity == "adaptive" else _nearest(d2, min(k, n - 1))
    np.fill_diagonal(a, 0.0)
    return NeuronGraph((a + a.T) / 2, "learned"), constant


def correlations(activations: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Correlations of neurons (n, n) float64, 0 where one is constant; and which are, (n,).

    Raises:
        InputError: as :func:`learned_graph`.
    """
    x = np.asarray(activations, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise InputError(f"expected activations (rows, n >= 2) of finite numbers, got shape {x.shape}")
    if len(x) < _LEAST_ROWS:
        raise InputError(f"expected at least {_LEAST_ROWS} rows of activations, got {len(x)}")
    centred = x - x.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    # rounding of a constant is no variation
    constant = spread <= 1e-9 * np.maximum(np.abs(x).max(0), 1e-300)
    z = centred / np.where(constant, 1.0, spread)
    z[:, constant] = 0.0
    r = np.clip(z.T @ z / len(z), -1.0, 1.0)
    np.fill_diagonal(r, 1.0)
    return r, constant


def _adaptive(d2: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    width2 = np.sort(d2, axis=0)[k - 1]
    # copies of a neuron have no distance, and constant ones no finite one
    least = 1e-12
    width2 = np.where(np.isfinite(width2), np.maximum(width2, least), 1.0)
    found: NDArray[np.float64] = np.exp(-d2 / width2)
    return found


def _nearest(d2: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    far = d2 + np.where(np.eye(len(d2), dtype=bool), np.inf, 0.0)
    nearest = np.argsort(far, axis=1, kind="stable")[:, :k]
    chosen = np.zeros_like(d2)
    np.put_along_axis(chosen, nearest, 1.0, axis=1)
    chosen[~np.isfinite(far)] = 0.0
    return np.maximum(chosen, chosen.T)

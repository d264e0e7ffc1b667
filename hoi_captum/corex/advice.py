"""Numbers for the choices of Local CorEx: clusters, dimensions, factors, thresholds.

The authors choose by eye (Kerby, White, Moon, Appendix D): the number of clusters on a map, factors and
members from screes. Here are the curves, and what a stated rule reads off them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from hoi_captum.core.options import check_count
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.state import preserved_rng
from hoi_captum.corex.base import CorEx, check_fitted
from hoi_captum.corex.embedding import PhateEmbedding
from hoi_captum.corex.factors import informational_correlation, member_threshold, noise_floor
from hoi_captum.corex.partition import PHATE, Rows, distinct_rows, embed, partition_rows, seed_of, seeded
from hoi_captum.errors import DataWarning, InputError

_SAMPLED = 2000  # rows that the silhouette and the neighbours are measured on
_NEARLY = 0.95  # of the best: enough


class _Frozen:
    """Arrays of a result are read-only."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False


@dataclass(frozen=True, eq=False)
class ClusterAdvice(_Frozen):
    """How well so many clusters fit the data, and the map to see them on.

    Attributes:
        ks: numbers of clusters tried, (t,).
        silhouette: mean silhouette of each in the embedding, (t,) in -1..1; larger is better.
        inertia: sum of squared distances to the centres, (t,).
        smallest: rows of the smallest cluster, (t,).
        labels: clusters of the rows by number of clusters, (t, n).
        points: 2-D map of the rows, (n, 2).
        min_rows: what a cluster should have.
        suggested: the k of the largest silhouette among those whose clusters all have ``min_rows``; None if
            none has.

    Examples::

        >>> rows = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
        >>> advice = hoi.corex.advise_clusters(rows, ks=(2, 3), embedder=None, min_rows=3)
        >>> advice.ks, advice.smallest, advice.labels.shape, advice.points.shape
        (array([2, 3]), array([3, 1]), (2, 6), (6, 2))
    """

    ks: NDArray[np.int64]
    silhouette: NDArray[np.float64]
    inertia: NDArray[np.float64]
    smallest: NDArray[np.int64]
    labels: NDArray[np.int64]
    points: NDArray[np.float64]
    min_rows: int
    suggested: int | None


@dataclass(frozen=True, eq=False)
class DimensionAdvice(_Frozen):
    """How much of the neighbourhoods an embedding of so many dimensions keeps.

    Attributes:
        dimensions: tried, (t,).
        kept: share of the nearest neighbours in the data that are among as many in the embedding, (t,).
        n_neighbors: how many.
        variance: shares of the variance along the principal axes of the largest embedding, (d,).
        suggested: fewest dimensions that keep 95 % of what the best keeps.

    Examples::

        >>> from sklearn.decomposition import PCA
        >>> plane = np.random.default_rng(0).normal(size=(60, 2)) @ [[1, 0, 1], [0, 1, 1]]
        >>> hoi.corex.advise_dimensions(plane, dimensions=(1, 2), embedder=PCA()).kept.round(1)
        array([0.6, 1. ])
    """

    dimensions: NDArray[np.int64]
    kept: NDArray[np.float64]
    n_neighbors: int
    variance: NDArray[np.float64]
    suggested: int


@dataclass(frozen=True, eq=False)
class FactorAdvice(_Frozen):
    """Which factors explain more than they find in shuffled columns.

    Attributes:
        tcs: total correlation of each factor in nats, descending, (m,).
        null: the same of fits to data whose columns were shuffled, (repeats, m), descending.
        level: the largest of ``null``.
        suggested: number of factors above the level.

    Examples::

        >>> X = np.random.default_rng(0).normal(size=(200, 3)) @ [[1, 1], [1, 0], [0, 1]]  # a + b, a + c
        >>> model = hoi.corex.LinearCorEx(n_factors=1, random_state=0).fit(X)
        >>> advice = hoi.corex.advise_factors(model, X, n_repeats=2)
        >>> advice.tcs > advice.level, advice.null.shape
        (array([ True]), (2, 1))
    """

    tcs: NDArray[np.float64]
    null: NDArray[np.float64]
    level: float
    suggested: int


@dataclass(frozen=True, eq=False)
class ThresholdAdvice(_Frozen):
    """Where the members of factors end.

    Attributes:
        mi: I(Y_j; X_i) in nats, descending in each factor, (m, p).
        order: the variables in that order, (m, p).
        floor: what chance seldom exceeds, in nats (:func:`hoi_captum.corex.factors.noise_floor`).
        knee: of each factor, the information of the last variable before the curve of correlations bends
            most: at the point farthest below the line between its ends, (m,). See
            :func:`hoi_captum.corex.factors.informational_correlation`.
        default: of each factor, the threshold that is used where none is given, (m,).
        members: of each factor, the variables above ``default``, (m,).

    Examples::

        >>> advice = hoi.corex.advise_threshold([[0.9, 0.01, 0.7, 0.02]], n_rows=100)
        >>> advice.order, advice.knee, advice.default.round(2)
        (array([[0, 2, 3, 1]]), array([0.7]), array([0.17]))
    """

    mi: NDArray[np.float64]
    order: NDArray[np.int64]
    floor: float
    knee: NDArray[np.float64]
    default: NDArray[np.float64]
    members: NDArray[np.int64]


def advise_clusters(
    partition_data: Any,
    *,
    ks: Sequence[int] = tuple(range(2, 21)),
    embedder: Any = PHATE,
    n_components: int = 10,
    min_rows: int = 50,
    n_jobs: int | None = None,
    random_state: Any = 42,
    verbose: bool = False,
) -> ClusterAdvice:
    """How many clusters: k-means in the embedding for each k, and a 2-D map of the rows.

    A silhouette favours few, far clusters: take the map and what the clusters mean into account. It is
    measured on at most 2,000 rows.

    Args:
        partition_data: (n, ...) what the clusters are made of.
        ks: numbers of clusters to try, each from 2 to n - 1. Default: 2..20, as far as rows allow
        embedder, n_components, n_jobs, random_state, verbose: as for :class:`hoi_captum.corex.LocalCorEx`.
        min_rows: what a cluster should have. Default: 50

    Raises:
        InputError: unusable data or options, or no k that the rows allow.

    Examples::

        >>> rows = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
        >>> hoi.corex.advise_clusters(rows, ks=(2, 3), embedder=None, min_rows=2).suggested
        2
    """
    rows = partition_rows(partition_data)
    seed = seed_of(random_state)
    check_count("min_rows", min_rows)
    most = min(distinct_rows(rows, max(ks, default=0)), len(rows) - 1)
    tried = sorted({check_count("ks", k, low=2) for k in ks if k <= most})
    if not tried:
        raise InputError(f"expected ks from 2 to {most} for these rows, got {list(ks)}")
    measured = _sample(len(rows), seed)
    labels, silhouette, inertia = [], [], []
    with preserved_rng(), progress_bar("clusters", len(tried) + 1, "fit", verbose) as bar:
        points, fitted = embed(rows, embedder=embedder, n_components=n_components, seed=seed, n_jobs=n_jobs)
        bar.update()
        for k in tried:
            means = KMeans(k, n_init=10, random_state=seed).fit(points)
            labels.append(means.labels_.astype(np.int64))
            inertia.append(float(means.inertia_))
            seen = labels[-1][measured]
            several = 1 < len(np.unique(seen)) < len(seen)
            silhouette.append(silhouette_score(points[measured], seen) if several else np.nan)
            bar.update()
    smallest = np.array([np.bincount(found).min() for found in labels])
    scores = np.where(smallest >= min_rows, silhouette, np.nan)
    return ClusterAdvice(
        ks=np.array(tried),
        silhouette=np.array(silhouette),
        inertia=np.array(inertia),
        smallest=smallest,
        labels=np.stack(labels),
        points=_map_of(points, fitted),
        min_rows=min_rows,
        suggested=None if np.isnan(scores).all() else tried[int(np.nanargmax(scores))],
    )


def _map_of(points: NDArray[np.float64], fitted: Any) -> NDArray[np.float64]:
    """Two dimensions: PHATE's own, else the principal plane of the embedding."""
    if isinstance(fitted, PhateEmbedding):
        flat: NDArray[np.float64] = fitted.laid_out(2)
        return flat
    d = min(2, *points.shape)
    return np.hstack([PCA(d, svd_solver="full").fit_transform(points), np.zeros((len(points), 2 - d))])


def _sample(n: int, seed: int) -> NDArray[np.int64]:
    if n <= _SAMPLED:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, _SAMPLED, replace=False))


def advise_dimensions(
    partition_data: Any,
    *,
    dimensions: Sequence[int] = (1, 2, 3, 5, 8, 10, 12, 15),
    embedder: Any = PHATE,
    n_neighbors: int = 10,
    n_jobs: int | None = None,
    random_state: Any = 42,
    verbose: bool = False,
) -> DimensionAdvice:
    """How many dimensions: what embeddings keep of the rows' neighbourhoods.

    Measured on at most 2,000 rows, with all rows as neighbours.

    Args:
        partition_data: (n, ...) what the clusters are made of.
        dimensions: to try. Default: 1, 2, 3, 5, 8, 10, 12 and 15, as far as rows allow
        embedder: "phate", or a transformer with an option ``n_components``. Default: "phate"
        n_neighbors: neighbours of a row. Default: 10
        n_jobs, random_state, verbose: as for :class:`hoi_captum.corex.LocalCorEx`.

    Raises:
        InputError: unusable data or options, or an embedder without ``n_components``.

    Examples::

        >>> from sklearn.decomposition import PCA
        >>> plane = np.random.default_rng(0).normal(size=(60, 2)) @ [[1, 0, 1], [0, 1, 1]]
        >>> hoi.corex.advise_dimensions(plane, dimensions=(1, 2, 3), embedder=PCA()).suggested
        2
    """
    rows = partition_rows(partition_data)
    seed = seed_of(random_state)
    if check_count("n_neighbors", n_neighbors) >= len(rows) - 1:
        raise InputError(
            f"expected n_neighbors below {len(rows) - 1}, one less than the rows, got {n_neighbors}"
        )
    tried = sorted({check_count("dimensions", d) for d in dimensions if d <= len(rows) - 1})
    if not isinstance(embedder, str):
        if "n_components" not in getattr(embedder, "get_params", dict)():
            raise InputError(f"expected an embedder with an option n_components, got {embedder!r}")
        tried = [d for d in tried if d <= rows.shape[1]]
    if not tried:
        raise InputError(f"expected dimensions that {rows.shape} data can have, got {list(dimensions)}")
    measured = _sample(len(rows), seed)
    near = _neighbours(rows, measured, n_neighbors)
    kept, points = [], np.zeros((len(rows), 0))
    with preserved_rng(), progress_bar("dimensions", len(tried), "embedding", verbose) as bar:
        phate: Any = None
        for d in tried:
            if phate is not None:
                points = phate.laid_out(d)
            elif isinstance(embedder, str):
                points, phate = embed(rows, embedder=embedder, n_components=d, seed=seed, n_jobs=n_jobs)
            else:
                narrow = seeded(embedder, seed).set_params(n_components=d)
                points, _ = embed(rows, embedder=narrow, n_components=d, seed=seed)
            found = _neighbours(points, measured, n_neighbors)
            same = [len(np.intersect1d(a, b)) for a, b in zip(near, found, strict=True)]
            kept.append(float(np.mean(same)) / n_neighbors)
            bar.update()
    variance = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    enough = [d for d, share in zip(tried, kept, strict=True) if share >= _NEARLY * max(kept)]
    return DimensionAdvice(
        dimensions=np.array(tried),
        kept=np.array(kept),
        n_neighbors=n_neighbors,
        variance=variance / max(float(variance.sum()), 1e-300),
        suggested=enough[0],
    )


def _neighbours(points: Rows, measured: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The k nearest other rows of each measured row."""
    found = (
        NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[measured], return_distance=False)
    )
    # a duplicate may come before the row itself
    others = [near[near != own][:k] for near, own in zip(found, measured, strict=True)]
    return np.stack(others)


def advise_factors(
    estimator: CorEx, X: Any, *, n_repeats: int = 5, random_state: Any = 42, verbose: bool = False
) -> FactorAdvice:
    """How many factors: total correlation against that of fits to shuffled columns.

    Shuffling each column by itself leaves the columns as they are and no correlation between them. What
    factors explain there is chance, and grows with columns over rows.

    Args:
        estimator: fitted; of a LocalCorEx, one of its ``models_``.
        X: the rows that it was fitted on (n, p); of a LocalCorEx, those of the cluster.
        n_repeats: fits to shuffled columns; each takes about as long as the fit itself. Default: 5
        random_state, verbose: as for :class:`hoi_captum.corex.LocalCorEx`.

    Raises:
        NotFittedError: the estimator is not fitted.
        InputError: other columns than those of its fit.

    Examples::

        >>> X = np.random.default_rng(0).normal(size=(200, 3)) @ [[1, 1], [1, 0], [0, 1]]  # a + b, a + c
        >>> model = hoi.corex.LinearCorEx(n_factors=1, random_state=0).fit(X)
        >>> hoi.corex.advise_factors(model, X, n_repeats=2).suggested
        1
    """
    check_fitted(estimator, "tcs_")
    seed = seed_of(random_state)
    rows = estimator._rows(X, reset=False, min_rows=2)
    check_count("n_repeats", n_repeats)
    rng = np.random.default_rng(seed)
    null = []
    with preserved_rng(), progress_bar("shuffled columns", n_repeats, "fit", verbose) as bar:
        for repeat in range(n_repeats):
            shuffled: Any = seeded(estimator, seed + repeat)
            if np.isnan(rows).any():  # whatever stood for missing values
                shuffled.set_params(missing_values=np.nan)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)  # nothing to explain, and what the fit has said
                shuffled.fit(rng.permuted(np.asarray(rows), axis=0))
            null.append(np.sort(shuffled.tcs_)[::-1])
            bar.update()
    level = float(np.max(null))
    tcs = np.sort(estimator.tcs_)[::-1]
    return FactorAdvice(tcs=tcs, null=np.stack(null), level=level, suggested=int((tcs > level).sum()))


def advise_threshold(mi: ArrayLike, n_rows: int) -> ThresholdAdvice:
    """Where members end: sorted mutual information with the noise floor, the knee and the default split.

    Args:
        mi: I(Y_j; X_i) in nats, (m, p): the ``mi_`` of a fitted estimator.
        n_rows: rows that it was fitted on.

    Raises:
        InputError: not a matrix of finite numbers.

    Examples::

        >>> hoi.corex.advise_threshold([[0.9, 0.01, 0.7, 0.02]], n_rows=100).members
        array([2])
    """
    table = np.atleast_2d(np.asarray(mi, dtype=np.float64))
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise InputError(f"expected mutual information (n_factors, n_features), got shape {np.shape(mi)}")
    order = np.argsort(-table, axis=1, kind="stable")
    ordered = np.take_along_axis(table, order, axis=1)
    default = np.array([member_threshold(row, n_rows) for row in table])
    return ThresholdAdvice(
        mi=ordered,
        order=order,
        floor=noise_floor(check_count("n_rows", n_rows), table.shape[1]),
        knee=np.array([row[_knee(informational_correlation(row))] for row in ordered]),
        default=default,
        members=(table > default[:, None]).sum(1),
    )


def _knee(descending: NDArray[np.float64]) -> int:
    """The last place before the bend: the point after it lies farthest below the line between the ends."""
    line = np.linspace(descending[0], descending[-1], len(descending))
    return max(int(np.argmax(line - descending)) - 1, 0)

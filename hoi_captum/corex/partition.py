"""Rows in clusters: an embedding that keeps neighbourhoods (PHATE), and k-means in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.utils import check_array, check_random_state
from torch import Tensor

from hoi_captum.core.options import check_count
from hoi_captum.corex.base import as_array, without_remedies
from hoi_captum.corex.embedding import PhateEmbedding, quiet_phate
from hoi_captum.errors import DataWarning, HoiError, InputError, OptionError

Rows = NDArray[np.floating[Any]]
PHATE = "phate"


@dataclass(frozen=True, eq=False)
class Partition:
    """Rows and their clusters.

    Attributes:
        labels: cluster of each row, (n,) int64 in 0..k-1; -1: in none.
        embedding: (n, d), or None where the rows were clustered as they are.
        embedder: what made it, fitted; or None.
    """

    labels: NDArray[np.int64]
    embedding: NDArray[np.float64] | None = None
    embedder: Any = None


def partition_rows(data: Any, n: int | None = None, name: str = "partition_data") -> Rows:
    """Partition data as a matrix (n, d) of finite float64 or float32; images and the like are flattened.

    Args:
        data: array, DataFrame or Tensor (n, ...).
        n: rows that there must be.
        name: of the data in messages.

    Raises:
        InputError: not a matrix of finite numbers, or another number of rows.
    """
    array = as_array(data, name)
    try:
        rows: Rows = check_array(
            array, dtype=[np.float64, np.float32], allow_nd=True, input_name=name, estimator="LocalCorEx"
        )
    except ValueError as error:
        raise InputError(
            f"{without_remedies(error, name)}\n"
            f"Clusters are made of {name}, where no value may be missing: pass partition_data, a "
            "matrix of finite numbers with one row for each row of X, or pass cluster_labels."
        ) from error
    if n is not None and len(rows) != n:
        raise InputError(f"expected {n} rows of {name}, one for each row of X, got {len(rows)}")
    return rows.reshape(len(rows), -1)


def make_partition(
    rows: Rows,
    *,
    n_clusters: int,
    embedder: Any,
    clusterer: Any,
    n_components: int,
    seed: int,
    n_jobs: int | None = None,
) -> Partition:
    """Embed the rows, and cluster the embedding.

    Args:
        rows: (n, d) finite.
        n_clusters: of k-means; not used with a ``clusterer``.
        embedder: "phate", a transformer of scikit-learn's kind (cloned), or None: the rows as they are.
        clusterer: of scikit-learn's kind (cloned), or None: k-means, the best of ten starts.
        n_components: of PHATE.
        seed: where an embedder's or clusterer's ``random_state`` is None.
        n_jobs: of PHATE. Default: None (one)

    Raises:
        InputError: too few (distinct) rows, an embedder or clusterer that fails, or an embedding that is not
            a finite matrix.
        OptionError: an embedder or clusterer that is none.
    """
    wanted = check_count("n_clusters", n_clusters) if clusterer is None else 1
    distinct = distinct_rows(rows, max(wanted, 2))
    if distinct < max(wanted, 2):
        raise InputError(
            f"expected at least {max(wanted, 2)} distinct rows to divide in clusters, got {distinct} of "
            f"{len(rows)}; ask for fewer clusters, or pass cluster_labels"
        )
    points, fitted = embed(rows, embedder=embedder, n_components=n_components, seed=seed, n_jobs=n_jobs)
    labels = _cluster(points, clusterer, wanted, seed)
    return Partition(labels, None if fitted is None else points, fitted)


def distinct_rows(rows: Rows, enough: int) -> int:
    """How many different rows there are, counted up to ``enough``: no copy of all data is kept to compare."""
    seen: set[bytes] = set()
    for row in rows:
        seen.add(row.tobytes())
        if len(seen) >= enough:
            break
    return len(seen)


def embed(
    rows: Rows, *, embedder: Any, n_components: int, seed: int, n_jobs: int | None = None
) -> tuple[NDArray[np.float64], Any]:
    """The rows' embedding (n, d) float64, and the fitted embedder; None for the rows themselves.

    Raises:
        InputError: PHATE has fewer than 7 rows, the embedder fails, or the embedding is not a finite matrix.
        OptionError: ``embedder`` is none.
    """
    if embedder is None:
        return np.asarray(rows, dtype=np.float64), None
    if isinstance(embedder, str) and embedder == PHATE:
        fitted: Any = PhateEmbedding(n_components, n_jobs=n_jobs, random_state=seed)
    elif _can(embedder, "fit_transform"):
        fitted = seeded(embedder, seed)
    else:
        raise OptionError(
            f"expected embedder to be 'phate', a scikit-learn transformer or None, got {embedder!r}"
        )
    with quiet_phate(), _named("embedder", fitted, rows):
        points = np.asarray(fitted.fit_transform(rows), dtype=np.float64)
    return _finite(points, len(rows)), fitted


def embed_new(rows: Rows, embedder: Any) -> NDArray[np.float64]:
    """The place of new rows in the embedding of a fitted embedder.

    Raises:
        InputError: the embedder fails, or the place is not finite.
    """
    with quiet_phate(), _named("embedder", embedder, rows):
        points = np.asarray(embedder.transform(rows), dtype=np.float64)
    return _finite(points, len(rows))


@contextmanager
def _named(role: str, estimator: Any, rows: Rows) -> Iterator[None]:
    """Errors of an estimator that is not ours as InputError that names it."""
    try:
        yield
    except HoiError:
        raise
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"the {role} {type(estimator).__name__} failed on data of shape {rows.shape}: "
            f"{error}; change its options, or pass another {role}"
        ) from error


def _finite(points: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    if points.ndim != 2 or len(points) != n or not np.isfinite(points).all():
        raise InputError(
            f"expected a finite embedding of shape ({n}, d), got shape {points.shape} with "
            f"{int((~np.isfinite(points)).sum())} values that are not finite; pass another embedder"
        )
    return points


def _can(estimator: Any, verb: str) -> bool:
    """Whether it is an instance of scikit-learn's kind with that method."""
    return not isinstance(estimator, type) and hasattr(estimator, verb) and hasattr(estimator, "get_params")


def _cluster(points: NDArray[np.float64], clusterer: Any, n_clusters: int, seed: int) -> NDArray[np.int64]:
    if clusterer is None:
        clusterer = KMeans(n_clusters, n_init=10, random_state=seed)
    elif not _can(clusterer, "fit_predict"):
        raise OptionError(f"expected clusterer to be a scikit-learn clusterer or None, got {clusterer!r}")
    with _named("clusterer", clusterer, points):
        found = seeded(clusterer, seed).fit_predict(points)
    labels = checked_labels(found, len(points), "labels of clusterer")
    noise = int((labels < 0).sum())
    if noise == len(labels):
        raise InputError(
            f"{type(clusterer).__name__} calls all {noise} rows noise (label -1); make it less strict"
        )
    if noise:
        warnings.warn(
            f"{noise} of {len(labels)} rows are noise to {type(clusterer).__name__} (label -1) and belong to "
            "no cluster; make it less strict if they should",
            DataWarning,
            stacklevel=4,
        )
    return labels


def checked_labels(
    labels: Any, n: int, name: str = "cluster_labels", *, below: int | None = None
) -> NDArray[np.int64]:
    """Labels (n,) as int64.

    Args:
        labels: array, list or Tensor.
        n: rows that there are.
        name: of the labels in messages.
        below: what every label must be less than. Default: None (n)

    Raises:
        InputError: not whole numbers from -1, one for each row.
    """
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    found = np.asarray(labels)
    if found.shape != (n,) or found.dtype.kind not in "iub":
        raise InputError(
            f"expected {name} to be ({n},) integers, one for each row of X, got shape {found.shape} of "
            f"{found.dtype}; number the clusters 0, 1, ..., with -1 for rows of none"
        )
    found = found.astype(np.int64)
    limit = n if below is None else below
    if n and not -1 <= found.min() <= found.max() < limit:
        raise InputError(
            f"expected {name} in -1..{limit - 1}, got {found.min()}..{found.max()}; number the clusters "
            "0, 1, ..., with -1 for rows of none"
        )
    return found


def seed_of(random_state: Any) -> int:
    """The seed that a ``random_state`` stands for: an int itself, else a number drawn from it.

    Raises:
        OptionError: not None, an int >= 0 or a RandomState.
    """
    refused = OptionError(
        f"expected random_state to be None, an int >= 0 or a RandomState, got {random_state!r}"
    )
    if isinstance(random_state, bool):
        raise refused
    if isinstance(random_state, int | np.integer) and random_state >= 0:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise refused from None


def seeded(estimator: Any, seed: int) -> Any:
    """A clone whose random states are the seed where they were None."""
    copy = clone(estimator)
    params = copy.get_params()
    free = [k for k, v in params.items() if k.rpartition("__")[2] == "random_state" and v is None]
    return copy.set_params(**dict.fromkeys(free, seed)) if free else copy

"""A model for each cluster of rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor, as_tensor

from hoi_captum.core.progress import progress_bar
from hoi_captum.corex.base import CorEx
from hoi_captum.corex.partition import seeded
from hoi_captum.errors import DataWarning, InputError


def fit_clusters(
    base: CorEx,
    X: Any,
    labels: NDArray[np.int64],
    *,
    min_rows: int,
    seed: int,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> tuple[CorEx | None, ...]:
    """A clone of ``base`` fitted to the rows of each cluster; None for a cluster of fewer than ``min_rows``.

    Args:
        base: the estimator.
        X: (n, p) numpy array, DataFrame or Tensor; each model gets rows of the same kind.
        labels: (n,) the clusters 0..k-1; -1: none.
        min_rows: fewest rows for a model.
        seed: where ``random_state`` is None.
        n_jobs: models fitted at a time, in processes.
        verbose: a progress bar on stderr.

    Raises:
        InputError: no cluster has ``min_rows`` rows, or the estimator refuses those of one (which is named).
    """
    count = int(labels.max(initial=-1)) + 1
    sizes = np.bincount(labels[labels >= 0], minlength=count)
    large = [k for k in range(count) if sizes[k] >= min_rows]
    if not large:
        raise InputError(
            f"expected a cluster of at least min_rows={min_rows} rows, got {count} clusters of at most "
            f"{int(sizes.max(initial=0))}; ask for fewer clusters or lower min_rows"
        )
    if len(large) < count:
        small = {k: int(sizes[k]) for k in range(count) if sizes[k] < min_rows}
        warnings.warn(
            f"clusters with fewer than min_rows={min_rows} rows get no model (number: rows): {small}; ask "
            "for fewer clusters or lower min_rows",
            DataWarning,
            stacklevel=3,
        )
    jobs = (delayed(_fitted)(k, seeded(base, seed), take_rows(X, np.nonzero(labels == k)[0])) for k in large)
    models: list[CorEx | None] = [None] * count
    with progress_bar("Local CorEx", len(large), "cluster", verbose) as bar:
        # a generator, so that the bar moves while others are fitted
        for k, model in zip(large, Parallel(n_jobs=n_jobs, return_as="generator")(jobs), strict=True):
            models[k] = model
            bar.update()
    return tuple(models)


def take_rows(X: Any, index: NDArray[np.intp]) -> Any:
    """Rows of an array, a DataFrame or a Tensor, as what it is."""
    if isinstance(X, Tensor):
        return X[as_tensor(index, device=X.device)]
    return X.iloc[index] if hasattr(X, "iloc") else np.asarray(X)[index]


def _fitted(cluster: int, model: Any, rows: Any) -> CorEx:
    try:
        return model.fit(rows)  # type: ignore[no-any-return]
    except InputError as error:
        raise type(error)(f"cluster {cluster} ({len(rows)} rows): {error}") from error

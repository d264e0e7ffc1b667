"""A model for each cluster of rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor, as_tensor

from hoi_captum.core.progress import progress_bar
from hoi_captum.corex.base import CorEx, NoVariationError
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
    """A clone of ``base`` fitted to the rows of each cluster; None for a cluster of fewer than ``min_rows``,
    or of rows in which no variable varies.

    Args:
        base: the estimator.
        X: (n, p) numpy array, DataFrame or Tensor; each model gets rows of the same kind.
        labels: (n,) the clusters 0..k-1; -1: none.
        min_rows: fewest rows for a model.
        seed: where ``random_state`` is None.
        n_jobs: models fitted at a time, in processes.
        verbose: a progress bar on stderr.

    Raises:
        InputError: no cluster has ``min_rows`` rows that vary, or the estimator refuses those of one (which
            is named).

    Warns:
        DataWarning: clusters without a model.
        Warning: what the fits warn of, once for all clusters where it is the same, which it names.
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
    told: dict[tuple[type[Warning], str], list[int]] = {}
    with progress_bar("Local CorEx", len(large), "cluster", verbose) as bar:
        # a generator, so that the bar moves while others are fitted
        for k, fit in zip(large, Parallel(n_jobs=n_jobs, return_as="generator")(jobs), strict=True):
            models[k] = fit.model
            for warning in fit.warnings:
                told.setdefault(warning, []).append(k)
            bar.update()
    for (category, text), where in told.items():
        warnings.warn(f"{_in_words(where)}: {text}", category, stacklevel=3)
    still = [k for k in large if models[k] is None]
    if len(still) == len(large):
        raise NoVariationError(
            f"expected a cluster with variables that vary, but in {_in_words(still)} of at least "
            f"min_rows={min_rows} rows none does; pass other data, or other clusters"
        )
    if still:
        warnings.warn(
            f"{_in_words(still)}: no variable varies there, which gives no model; ask for fewer clusters",
            DataWarning,
            stacklevel=3,
        )
    return tuple(models)


def _in_words(clusters: list[int]) -> str:
    return f"cluster{'s' * (len(clusters) > 1)} {', '.join(map(str, clusters))}"


def take_rows(X: Any, index: NDArray[np.intp]) -> Any:
    """Rows of an array, a DataFrame or a Tensor, as what it is."""
    if isinstance(X, Tensor):
        return X[as_tensor(index, device=X.device)]
    return X.iloc[index] if hasattr(X, "iloc") else np.asarray(X)[index]


@dataclass(frozen=True, eq=False)
class _Fit:
    """What comes back from a process.

    Attributes:
        model: fitted; None where no variable varies.
        warnings: category and text.
    """

    model: CorEx | None
    warnings: tuple[tuple[type[Warning], str], ...]


def _fitted(cluster: int, model: Any, rows: Any) -> _Fit:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(rows)
        return _Fit(model, tuple(dict.fromkeys((w.category, str(w.message)) for w in caught)))
    except NoVariationError:
        return _Fit(None, ())
    except InputError as error:
        raise type(error)(f"cluster {cluster} ({len(rows)} rows): {error}") from error

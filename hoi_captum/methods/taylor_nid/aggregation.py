"""One number of several: of a set's derivatives at rows, and of the data's cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AGGREGATES: dict[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "mean": lambda values, axis: values.mean(axis=axis),
    "median": lambda values, axis: np.asarray(np.median(values, axis=axis)),
    "min": lambda values, axis: values.min(axis=axis),
    "max": lambda values, axis: values.max(axis=axis),
    # of equally frequent values the least
    "mode": lambda values, axis: np.asarray(stats.mode(values, axis=axis).mode),
}


def aggregated(derivatives: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """The score of each set: its absolute derivatives at the rows, aggregated.

    Args:
        derivatives: (s, r), signed.
        how: a name in :data:`AGGREGATES`.

    Returns:
        (s,), none negative.
    """
    return np.asarray(AGGREGATES[how](np.abs(derivatives), 1), dtype=np.float64)

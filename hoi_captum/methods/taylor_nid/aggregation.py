"""One number of a set's derivatives at several rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AGGREGATES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": lambda sizes: sizes.mean(axis=1),
    "median": lambda sizes: np.asarray(np.median(sizes, axis=1)),
    "min": lambda sizes: sizes.min(axis=1),
    "max": lambda sizes: sizes.max(axis=1),
    "mode": lambda sizes: np.asarray(stats.mode(sizes, axis=1).mode),  # of equally frequent ones the least
}


def aggregated(derivatives: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """The score of each set: its absolute derivatives at the rows, aggregated.

    Args:
        derivatives: (s, r), signed.
        how: a name in :data:`AGGREGATES`.

    Returns:
        (s,), none negative.
    """
    return np.asarray(AGGREGATES[how](np.abs(derivatives)), dtype=np.float64)

"""From sets of an order to those of the next: which are differentiated once more, and what that gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import comb
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hoi_captum.errors import DataWarning

SEARCHES = ("greedy", "entity", "all")


class Found(NamedTuple):
    """Sets of one order.

    Attributes:
        sets: (s, o), the members of each, ascending; no set twice.
        derivatives: (s, r), at each of the rows.
    """

    sets: NDArray[np.int64]
    derivatives: NDArray[np.float64]


class Differentiates(Protocol):
    """Gives cross derivatives at the representative rows."""

    def pairs(self) -> NDArray[np.float64]:
        """Of all pairs in the order of ``np.triu_indices(k, 1)``, (k (k - 1) / 2, r)."""

    def further(self, sets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each set (s, o) with each further player, (s, k, r)."""


def grow_sets(
    source: Differentiates,
    players: int,
    order: int,
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    search: str,
    top_k: int,
) -> list[Found]:
    """All pairs, then order by order the sets that the best of the order before grow into.

    Args:
        source: of the derivatives.
        players: k.
        order: the highest, 2 to k.
        score: (s, r) derivatives to (s,) scores.
        search: which sets are differentiated once more, see :func:`parents`.
        top_k: how many.

    Returns:
        for each order from 2 on; sets that were not reached are left out.
    """
    first = np.column_stack(np.triu_indices(players, 1)).astype(np.int64)
    found = [Found(first, source.pairs())]
    while len(found) < order - 1:
        chosen = parents(found[-1].sets, score(found[-1].derivatives), search, top_k)
        found.append(children(chosen, source.further(chosen)))
    return found


def parents(
    sets: NDArray[np.int64], scores: NDArray[np.float64], search: str, top_k: int
) -> NDArray[np.int64]:
    """The sets that are differentiated once more, best first (ties: in the order given).

    Args:
        sets: (s, o).
        scores: (s,), none negative.
        search: ``greedy`` ranks by the score; ``entity`` by the sum over the members of what all scores of
            their sets add up to; ``all`` takes every set.
        top_k: how many are taken, but with ``all``.
    """
    if search == "entity":
        salience = np.bincount(sets.reshape(-1), np.repeat(scores, sets.shape[1]))
        scores = salience[sets].sum(axis=1)
    best = np.argsort(-scores, kind="stable")
    return sets[best if search == "all" else best[:top_k]]


def children(sets: NDArray[np.int64], derivatives: NDArray[np.float64]) -> Found:
    """The sets with one player more, each once: with the derivative that its best parent gave.

    Args:
        sets: (s, o), best first.
        derivatives: (s, k, r), of each with each further player.
    """
    k = derivatives.shape[1]
    owner, player = np.divmod(np.arange(len(sets) * k), k)
    is_new = (sets[owner] != player[:, None]).all(axis=1)
    owner, player = owner[is_new], player[is_new]
    grown = np.sort(np.column_stack((sets[owner], player)), axis=1)
    unique, first = np.unique(grown, axis=0, return_index=True)
    return Found(unique, derivatives[owner[first], player[first]])


def differentiated(players: int, order: int, search: str, top_k: int) -> int:
    """How many sets are differentiated once more, single players among them, up to an order."""
    orders = range(2, order)
    most = [comb(players, o) for o in orders]
    return players + sum(most if search == "all" else [min(m, top_k) for m in most])


def warn_of_zeros(found: Sequence[Found]) -> None:
    """Say where no derivative tells of any interaction."""
    if not any(f.derivatives.any() for f in found):
        warnings.warn(
            "all cross derivatives are zero at the representative rows: either no players interact there, or "
            "the model is piecewise linear (ReLU, max-pooling), whose derivatives do not show it. Use a "
            "model with a smooth activation (nn.GELU(), nn.SiLU(), nn.Tanh(); a twin trained on its outputs "
            "will do), or TaylorCAM(mode='grad_diff'), which takes differences of gradients",
            DataWarning,
            stacklevel=6,
        )

"""One row for each set of players, one column for each scope: what the table and the page show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions


@dataclass(frozen=True, eq=False)
class PivotedTerms:
    """Interactions with their scopes side by side, the strongest row first.

    Attributes:
        members: the players of each of the r rows, sorted.
        kinds: (r,) str.
        scopes: the s scopes, in the order of the columns.
        scores: (r, s) float64; NaN where the set has no term in that scope. Terms of one set, kind and
            scope are added.
        rows: (r, s) int64, the (first) term of the table behind each score; -1 where there is none.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", f"model:{i}", 2.0) for i in range(2)]
        >>> terms.append(hoi.Term((0,), "and", "model:1", 1.0))
        >>> table = hoi.Interactions.from_terms("ab", terms, provenance=hoi.Provenance("by-hand"))
        >>> side = hoi.views.pivot(table)
        >>> side.members, side.scores
        (((0, 1), (0,)), array([[ 2.,  2.],
               [nan,  1.]]))
    """

    members: tuple[tuple[int, ...], ...]
    kinds: NDArray[np.str_]
    scopes: tuple[str, ...]
    scores: NDArray[np.float64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def orders(self) -> NDArray[np.int64]:
        """(r,) number of players."""
        return np.array([len(m) for m in self.members], dtype=np.int64)

    @property
    def strength(self) -> NDArray[np.float64]:
        """(r,) the largest absolute score over the scopes; what is not finite counts as 0."""
        finite = np.where(np.isfinite(self.scores), self.scores, 0.0)
        strongest: NDArray[np.float64] = np.abs(finite).max(axis=1, initial=0.0)
        return strongest

    @property
    def shared(self) -> NDArray[np.bool_]:
        """(r,) whether the set has a term in every scope."""
        everywhere: NDArray[np.bool_] = np.all(self.rows >= 0, axis=1)
        return everywhere

    def take(self, index: NDArray[np.intp]) -> Self:
        """The given rows, in that order."""
        return replace(
            self,
            members=tuple(self.members[i] for i in index),
            kinds=self.kinds[index],
            scores=self.scores[index],
            rows=self.rows[index],
        )


def pivot(interactions: Interactions) -> PivotedTerms:
    """Put the scopes of each (kind, set of players) side by side.

    Rows are sorted by the largest absolute score over the scopes (ties: smaller order first, then
    players, then kind). Vectorised over the terms of one order, so that 2^16 terms take well under a second.

    Args:
        interactions: the table.

    Returns:
        PivotedTerms: r rows for s scopes.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", f"model:{i}", 2.0 + i) for i in range(2)]
        >>> table = hoi.Interactions.from_terms("ab", terms, provenance=hoi.Provenance("by-hand"))
        >>> hoi.views.pivot(table).scores
        array([[2., 3.]])
    """
    scopes = interactions.scope_names
    kind_names, kinds = np.unique(interactions.kinds, return_inverse=True)
    columns = np.searchsorted(np.array(scopes), interactions.scopes)
    orders = interactions.orders
    sets: list[NDArray[np.int64]] = []
    cells: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # terms, and the row of each
    total = 0
    for order in np.unique(orders):
        terms = np.nonzero(orders == order)[0]
        members = interactions.members[interactions.offsets[terms][:, None] + np.arange(order)]
        keys = np.column_stack((members, kinds[terms])).astype(np.int64)
        unique, inverse = np.unique(keys, axis=0, return_inverse=True)
        sets.append(unique)
        cells.append((terms, inverse.reshape(-1) + total))
        total += len(unique)

    scores = np.full((total, len(scopes)), np.nan)
    rows = np.full((total, len(scopes)), -1, dtype=np.int64)
    for terms, row in cells:
        at = (row[::-1], columns[terms][::-1])  # reversed: the first of several terms is the one that stays
        rows[at] = terms[::-1]
        scores[at] = 0.0
        np.add.at(scores, (row, columns[terms]), interactions.scores[terms])
    table = PivotedTerms(
        members=tuple(tuple(row[:-1].tolist()) for block in sets for row in block),
        kinds=kind_names[[row[-1] for block in sets for row in block]] if total else interactions.kinds[:0],
        scopes=scopes,
        scores=scores,
        rows=rows,
    )
    # rows already stand by order, players and kind: a stable sort keeps that for ties
    return table.take(np.argsort(-table.strength, kind="stable"))

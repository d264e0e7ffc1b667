"""Insertion and deletion by term: do the strongest interactions carry the value?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.measures.rebuilding import of_scope
from hoi_captum.measures.values import values_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InsertionDeletion:
    """The value while the players of one term after another appear, or disappear.

    Attributes:
        inserted, deleted: (s + 1,) number of players that are there, or gone, from 0 to n.
        insertion, deletion: (s + 1,) v of these coalitions, in the unit of v: insertion runs from v(empty) to
            v(N), deletion the other way.
        insertion_area, deletion_area: areas under (v - v(empty)) / (v(N) - v(empty)) over the share of
            players, straight lines between the steps. Good tables insert high and delete low; NaN where
            v(N) = v(empty).

    Examples::

        >>> v = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 4])  # players 1 and 2 act together, 0 does nothing
        >>> curves = hoi.measures.insertion_deletion(hoi.measures.k_sii(v))
        >>> curves.inserted, curves.insertion, curves.deletion
        (array([0, 2, 3]), array([0., 4., 4.]), array([4., 0., 0.]))
    """

    inserted: NDArray[np.int64]
    insertion: Floats
    deleted: NDArray[np.int64]
    deletion: Floats
    insertion_area: float
    deletion_area: float


def insertion_deletion(
    interactions: Interactions, game: Any = None, *, scope: str | None = None
) -> InsertionDeletion:
    """Add, and take away, the players of the strongest terms one term after another.

    The convention: terms are taken in the direction of the total effect, those that push v from v(empty)
    towards v(N) most come first and those that push against it last (by the signed score; ties: smaller order
    first). Every term adds (or takes away) all of its players at once, whatever its kind; terms that bring no
    new player make no step; players of no term come last, in one step. Insertion starts from nobody, deletion
    from everybody.

    Args:
        interactions: any table.
        game: where v comes from, as in :func:`faithfulness`, but no pairs: it must know any coalition.
            Default: None (the values that the table keeps)
        scope: of which part of the table; may be left out where there is one. Default: None

    Returns:
        InsertionDeletion: at most n + 1 values each.

    Raises:
        InputError: a game that does not fit the table, or no such scope.

    Examples::

        >>> v = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 4])  # players 1 and 2 act together, 0 does nothing
        >>> curves = hoi.measures.insertion_deletion(hoi.measures.k_sii(v))
        >>> round(curves.insertion_area, 3), round(curves.deletion_area, 3)
        (0.667, 0.333)
    """
    if isinstance(game, tuple):
        raise InputError("expected a game that knows every coalition, got a pair (coalitions, values)")
    terms, _ = of_scope(interactions, scope)
    value = values_of(game, interactions, scope)
    n = len(terms.players)
    ends = value(np.array([[False] * n, [True] * n]))
    sign = -1.0 if ends[1] < ends[0] else 1.0
    present = _steps(terms.take(np.lexsort((terms.orders, -sign * terms.scores))), n)
    insertion, deletion = np.split(value(np.concatenate((present, ~present))), 2)
    counts = present.sum(axis=1)
    return InsertionDeletion(
        inserted=counts,
        insertion=insertion,
        deleted=counts,
        deletion=deletion,
        insertion_area=_area(counts / n, insertion, ends),
        deletion_area=_area(counts / n, deletion, ends),
    )


def _steps(terms: Interactions, n: int) -> NDArray[np.bool_]:
    """The players seen after each term that brings new ones, from nobody to everybody: (s + 1, n)."""
    seen = np.zeros(n, dtype=bool)
    steps = [seen]
    for start, stop in zip(terms.offsets[:-1].tolist(), terms.offsets[1:].tolist(), strict=True):
        members = terms.members[start:stop]
        if not seen[members].all():
            seen = seen.copy()
            seen[members] = True
            steps.append(seen)
            if seen.all():
                break
    if not seen.all():
        steps.append(np.ones(n, dtype=bool))
    return np.stack(steps)


def _area(shares: Floats, values: Floats, ends: Floats) -> float:
    effect = float(ends[1] - ends[0])
    return float(np.trapezoid((values - ends[0]) / effect, shares)) if effect else float("nan")

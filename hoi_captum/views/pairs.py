"""The pairs of a table as a matrix, how much each player interacts, and how a set acts together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.term import Term
from hoi_captum.views.labels import MINUS, joined, largest
from hoi_captum.views.wording import OCCLUSION_DIFFERENCE, wording_of

_SYNERGY = "synergy: each does more with the other than without it (by occlusion)"
_ABOUT_NOTHING = 0.02  # of the largest number beside it
_DIFFERENCE = f"{OCCLUSION_DIFFERENCE}: what a set does beyond its parts when they are switched off"


@runtime_checkable
class TellsSynergy(Protocol):
    """A result that knows how a set acts together, apart from the scores of its terms."""

    def synergy(self, term: Term) -> float:
        """The difference by occlusion, of a pair f - f_i - f_j + f_ij; NaN: not known."""
        ...


def pair_matrix(interactions: Interactions) -> NDArray[np.float64]:
    """All pairs as a symmetric (n, n) matrix with a diagonal of zeros.

    It is the array ``pairs`` where the method gives one, which a selection of terms leaves whole; else the
    terms of order 2. What is not finite is 0.
    """
    n = len(interactions.players)
    found: NDArray[np.float64] = np.asarray(interactions.arrays.get("pairs", ()), dtype=np.float64)
    if found.shape != (n, n):
        found = interactions.where(order=2).matrix()
    found = np.where(np.isfinite(found), found, 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def with_pairs(interactions: Interactions) -> Interactions:
    """A table that lists pairs: itself, or, where it lists none, its single players and its array ``pairs``.

    Without such an array it is left as it is. Pairs of the array that are zero or not finite are left out.
    """
    own, n = interactions.arrays.get("pairs"), len(interactions.players)
    listed = bool((interactions.orders == 2).any())
    if listed or own is None or own.shape != (n, n) or len(interactions.scope_names) > 1:
        return interactions
    kinds = np.unique(interactions.kinds)
    kind, scope = str(kinds[0]) if len(kinds) == 1 else "pair", interactions.scope_names[0] or None
    found = np.argwhere(np.triu(np.isfinite(own) & (own != 0), 1)).tolist()
    return Interactions.from_terms(
        interactions.players,
        [*interactions.where(order=1), *(Term((i, j), kind, scope, float(own[i, j])) for i, j in found)],
        base=interactions.base,
        provenance=interactions.provenance,
    )


def involvement(interactions: Interactions) -> NDArray[np.float64]:
    """How much each player interacts, (n,): the sum of the absolute scores of its sets of two and more.

    Scopes are averaged; what is not finite counts as 0.
    """
    size = np.abs(np.where(np.isfinite(interactions.scores), interactions.scores, 0.0))
    size = np.where(interactions.orders > 1, size, 0.0)
    total: NDArray[np.float64] = np.bincount(
        interactions.members, np.repeat(size, interactions.orders), minlength=len(interactions.players)
    ).astype(np.float64)
    return total / len(interactions.scope_names)


def role_of(interactions: Interactions, term: Term) -> str:
    """How the players of a term act together, with the number it is known by.

    Synergy and redundancy are words for pairs: of three that can stand in for each other the difference by
    occlusion is positive, as of three that need each other. A pair whose difference is below 2 % of the
    largest score or difference is neither. "" where it is not known, or where the score says what there is to
    say.
    """
    words = wording_of(interactions)
    if not isinstance(interactions, TellsSynergy) or words.signs or words.quantity == OCCLUSION_DIFFERENCE:
        return ""
    value = float(interactions.synergy(term))
    if not np.isfinite(value) or value == 0:
        return ""
    number = f"{value:+.2g}".replace("-", MINUS)
    if term.order > 2:
        return f"{OCCLUSION_DIFFERENCE} {number}"
    measured = np.asarray(interactions.arrays.get("synergy", ()), dtype=np.float64)
    if abs(value) < _ABOUT_NOTHING * max(largest(interactions.scores), largest(measured)):
        return f"neither ({number})"
    return f"{'synergy' if value > 0 else 'redundancy'} ({number})"


def role_note(orders: Iterable[int]) -> str:
    """What the roles of sets of these orders mean; "" of none."""
    found = set(orders)
    return joined(_SYNERGY if 2 in found else "", _DIFFERENCE if found - {2} else "")

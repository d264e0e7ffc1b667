"""The pairs of a table as a matrix, how much each player interacts, and how a set acts together."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.term import Term
from hoi_captum.views.labels import MINUS
from hoi_captum.views.wording import wording_of

SYNERGY = "synergy: each does more with the others than without them (by occlusion)"


@runtime_checkable
class TellsSynergy(Protocol):
    """A result that knows how a set acts together, apart from the scores of its terms."""

    def synergy(self, term: Term) -> float:
        """Above zero: more together than apart; below: less; NaN: not known."""
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

    "" where it is not known, or where the sign of the score says what there is to say.
    """
    if not isinstance(interactions, TellsSynergy) or wording_of(interactions).signs:
        return ""
    value = float(interactions.synergy(term))
    if not np.isfinite(value) or value == 0:
        return ""
    return f"{'synergy' if value > 0 else 'redundancy'} ({value:+.2g})".replace("-", MINUS)

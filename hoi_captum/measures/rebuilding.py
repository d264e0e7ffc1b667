"""From interactions back to the value of a coalition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError, PlayerError
from hoi_captum.measures.identity import scopes_of

_WORD = 63  # players of one machine word
_CELLS = 1 << 19  # entries of a block of terms x coalitions: what stays in the cache


def of_scope(table: Interactions, scope: str | None) -> tuple[Interactions, float]:
    """The terms of one scope and its base; the scope may be left out where there is but one.

    Raises:
        InputError: no such scope, none named where there are several, or an effect that is not finite.
    """
    scopes = scopes_of(table)
    if scope is None and len(scopes) > 1:
        raise InputError(f"the table has several scopes; give scope, one of {list(scopes)}")
    if scope is None:
        scope = scopes[0]
    if scope not in scopes:
        raise InputError(f"expected scope to be one of {list(scopes)}, got {scope!r}")
    mine = table.where(scope=scope)
    if not np.isfinite(mine.scores).all():
        raise InputError("expected finite effects, got one that is not")
    base = table.base
    return mine, float(base[scope] if isinstance(base, Mapping) else base)


def rebuild(
    table: Interactions, coalitions: Tensor | NDArray[np.bool_], *, scope: str | None = None
) -> NDArray[np.float64]:
    r"""The values that a table gives to coalitions: base plus the effects of the terms that are active.

    A term of kind ``or`` is active when any of its players is present, a term of any other kind when all of
    them are. Soft membership weights are not used.

    Args:
        table: the interactions.
        coalitions: (c, n) bool.
        scope: of which part of the table; may be left out where there is one. Default: None

    Returns:
        (c,) float64, in the unit of the scores.

    Raises:
        InputError: no such scope.
        PlayerError: coalitions of another shape or dtype.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", None, 2.0), hoi.Term((0, 1), "or", None, 1.0)]
        >>> table = hoi.Interactions.from_terms("ab", terms, base=0.5, provenance=hoi.Provenance("by-hand"))
        >>> hoi.measures.rebuild(table, torch.tensor([[False, False], [True, False], [True, True]]))
        array([0.5, 1.5, 3.5])
    """
    terms, base = of_scope(table, scope)
    present = as_coalitions(coalitions, len(table.players))
    total = np.full(len(present), base)
    for rows, active in activity(terms, present):
        total += terms.scores[rows] @ active
    return total


def as_coalitions(coalitions: Tensor | NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Coalitions as a (c, n) bool array.

    Raises:
        PlayerError: another shape or dtype.
    """
    array = (
        coalitions.detach().cpu().numpy() if isinstance(coalitions, torch.Tensor) else np.asarray(coalitions)
    )
    if array.ndim != 2 or array.shape[1] != n or array.dtype != np.bool_:
        raise PlayerError(f"expected coalitions of shape (c, {n}), bool, got {array.dtype} {array.shape}")
    return array


def activity(terms: Interactions, coalitions: NDArray[np.bool_]) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Which terms are active in which coalitions, in blocks: (rows, (b, c) bool)."""
    sets, present = _term_words(terms), _coalition_words(coalitions)
    either = terms.kinds == "or"
    block = max(1, _CELLS // max(len(coalitions), 1))
    for start in range(0, len(terms), block):
        rows = slice(start, min(start + block, len(terms)))
        yield rows, _active(sets[rows], either[rows], present)


def _active(
    sets: NDArray[np.int64], either: NDArray[np.bool_], present: NDArray[np.int64]
) -> NDArray[np.bool_]:
    meets = np.zeros((len(sets), len(present)), dtype=bool)
    inside = np.ones_like(meets)
    for word in range(sets.shape[1]):
        mine = sets[:, word, None]
        common = mine & present[None, :, word]
        inside &= common == mine
        if either.any():
            meets |= common != 0
    inside[either] = meets[either]
    return inside


def _term_words(terms: Interactions) -> NDArray[np.int64]:
    """The players of each term as bits, (k, words)."""
    words = np.zeros((len(terms), -(-len(terms.players) // _WORD)), dtype=np.int64)
    owner = np.repeat(np.arange(len(terms)), terms.orders)
    members = terms.members.astype(np.int64)
    np.add.at(words, (owner, members // _WORD), np.int64(1) << (members % _WORD))
    return words


def _coalition_words(coalitions: NDArray[np.bool_]) -> NDArray[np.int64]:
    n = coalitions.shape[1]
    bits = np.int64(1) << (np.arange(n, dtype=np.int64) % _WORD)
    parts = [coalitions[:, i : i + _WORD] @ bits[i : i + _WORD] for i in range(0, n, _WORD)]
    return np.stack(parts, axis=1)

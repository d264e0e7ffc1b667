"""Salient sets: the terms that count, by a threshold or by their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice, check_count, check_number
from hoi_captum.measures.identity import Table, as_tables, in_all_scopes, scopes_of

RELATIVE_TO = ("largest", "effect")


def total_effects(table: Interactions) -> NDArray[np.float64]:
    """v(N) - v(empty) of each scope, (m,).

    From the values that the table keeps (``arrays["values"]``, one row for each scope); else the sum of all
    of its terms, which is the same where the table is exact.
    """
    scopes = scopes_of(table)
    values = table.arrays.get("values")
    if values is not None and values.shape == (len(scopes), 1 << len(table.players)):
        return np.asarray(values[:, -1] - values[:, 0], dtype=np.float64)
    counts = table.orders > 0  # the empty set acts on every coalition
    return np.array([table.scores[(table.scopes == s) & counts].sum() for s in scopes], dtype=np.float64)


def thresholds(
    tables: Interactions | Sequence[Interactions], fraction: float = 0.05, relative_to: str = "largest"
) -> NDArray[np.float64]:
    """What an absolute effect must exceed to be salient, (samples, m); see :func:`salient`."""
    check_number("fraction", fraction, low=0.0, high=1.0)
    check_choice("relative_to", relative_to, RELATIVE_TO)
    found = as_tables(tables)
    if relative_to == "effect":
        mean = np.mean([np.abs(total_effects(t)) for t in found], axis=0)
        return fraction * np.tile(mean, (len(found), 1))
    largest = [[np.abs(t.scores[t.scopes == s]).max(initial=0.0) for s in scopes_of(found[0])] for t in found]
    return fraction * np.array(largest, dtype=np.float64)


def salient(
    tables: Table | Sequence[Table], fraction: float = 0.05, *, relative_to: str = "largest"
) -> list[Table]:
    r"""The salient terms of each sample (Chen et al., ICLR 2024, section 2).

    A term is salient for a scope (a model) if :math:`|I(S)|` exceeds ``fraction`` of a reference, which is
    the same for all kinds of the scope.

    Args:
        tables: one for each sample.
        fraction: of the reference, 0 to 1. Default: 0.05
        relative_to: ``largest``, the scope's largest absolute effect in that sample (the paper's text); or
            ``effect``, :math:`|v(N) - v(\emptyset)|` of the scope, averaged over the samples (the rule behind
            the paper's Fig. 4, there with ``fraction=0.03``). Default: largest

    Returns:
        the tables with their salient terms alone, in the order of the terms.

    Raises:
        OptionError: ``fraction`` or ``relative_to`` out of range.
        InputError: tables of different scopes.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, 2.0, 0.1, 6.0]))
        >>> [term.members for term in hoi.measures.salient(table)[0]]
        [(1,), (0, 1)]
    """
    limits = thresholds(tables, fraction, relative_to)
    return [_above(table, limit) for table, limit in zip(as_tables(tables), limits, strict=True)]


def _above(table: Table, limits: NDArray[np.float64]) -> Table:
    keep = np.zeros(len(table), dtype=bool)
    for scope, limit in zip(scopes_of(table), limits.tolist(), strict=True):
        keep |= (table.scopes == scope) & (np.abs(table.scores) > limit)
    return table.take(np.nonzero(keep)[0])


def strongest(table: Table, k: int) -> Table:
    """The k terms of largest absolute effect of each scope and kind (Chen et al., ICLR 2024, Fig. 3).

    Ties go to the smaller order, then to the earlier term; a scope and kind of fewer terms keeps them all.

    Args:
        table: the interactions.
        k (int): terms of each scope and kind.

    Returns:
        the kept terms, in the order of the table.

    Raises:
        OptionError: ``k`` below 1.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, 6.0]))
        >>> [term.members for term in hoi.measures.strongest(table, 2)]
        [(1,), (0, 1)]
    """
    check_count("k", k)
    keep = np.zeros(len(table), dtype=bool)
    strongest_first = np.lexsort((table.orders, -np.abs(table.scores)))
    for scope in np.unique(table.scopes):
        for kind in np.unique(table.kinds):
            mine = (table.scopes == scope) & (table.kinds == kind)
            keep[strongest_first[mine[strongest_first]][:k]] = True
    return table.take(np.nonzero(keep)[0])


def shared(table: Table, fraction: float = 0.05, *, signs: bool = False) -> Table:
    """The salient terms whose players and kind are salient in every scope, for every scope.

    Args:
        table: with two or more scopes.
        fraction: of each scope's largest absolute effect. Default: 0.05
        signs: whether the effects must also be of one sign. Default: False

    Returns:
        the kept terms, in the order of the table.

    Raises:
        OptionError: ``fraction`` out of range.

    Examples::

        >>> f, g = (lambda x: x[:, 0] * x[:, 1]), (lambda x: x[:, 0] * x[:, 1] + x[:, 0])
        >>> table = hoi.GeneralizableAndOr([f, g]).interact(torch.tensor([[2.0, 3.0]]))[0]
        >>> [(term.members, term.scope) for term in hoi.measures.shared(table)]
        [((0, 1), 'model:0'), ((0, 1), 'model:1')]
    """
    kept = salient(table, fraction)[0]
    return kept.take(np.nonzero(in_all_scopes(kept, signs=signs))[0])

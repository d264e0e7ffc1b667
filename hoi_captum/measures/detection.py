"""How well a table finds the interactions that are truly there: for functions whose sets are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError
from hoi_captum.measures.identity import Table


def interaction_auc(table: Interactions, truths: Sequence[Iterable[int]], order: int = 2) -> float:
    r"""Area under the ROC curve of the sets of one order, ranked by absolute score.

    (Lerman et al., ICCV 2021.) A set is a true one if it is part of a truth: its players do interact, perhaps
    with others too. All :math:`\binom{n}{o}` sets count, those that the table leaves out with a score of 0;
    sets of equal score count half.

    Args:
        table: the interactions; of several terms of the same players the largest counts.
        truths: the sets of players that truly interact.
        order: of the sets. Default: 2

    Returns:
        0 to 1, one half for a ranking by chance; NaN where no truth has that many players, or every set of
        the order is a true one.

    Raises:
        InputError: truths that are not sets of two of the table's players or more.
        OptionError: an order below 2.

    Examples::

        >>> v = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 4])  # players 1 and 2 act together
        >>> hoi.measures.interaction_auc(hoi.measures.k_sii(v), truths=[(1, 2)])
        1.0
    """
    check_count("order", order, low=2)
    n = len(table.players)
    true_sets = {s for truth in _checked(truths, n) for s in combinations(sorted(truth), order)}
    positives, negatives = len(true_sets), comb(n, order) - len(true_sets)
    if not positives or not negatives:
        return float("nan")
    scores: dict[tuple[int, ...], float] = {}
    for term in table.where(order=order):
        scores[term.members] = max(abs(term.score), scores.get(term.members, 0.0))
    of_true = np.array([scores.get(s, 0.0) for s in true_sets])
    of_false = np.sort([value for s, value in scores.items() if s not in true_sets])
    absent = negatives - len(of_false)
    below = np.searchsorted(of_false, of_true, "left") + absent * (of_true > 0)
    not_above = np.searchsorted(of_false, of_true, "right") + absent
    return float(np.mean((below + not_above) / 2) / negatives)


def r_precision(table: Interactions, truths: Sequence[Iterable[int]]) -> float:
    """Share of the R best sets that are truths, where there are R truths (Lerman et al., ICCV 2021).

    The ranking is :func:`pruned` first, and true parts of a truth are passed over: finding these is no fault.
    A set of several kinds or scopes counts once, where it is strongest.

    Args:
        table: the interactions, of all orders.
        truths: R sets of players that truly interact.

    Returns:
        0 to 1; a ranking of fewer than R sets misses the rest.

    Raises:
        InputError: as :func:`interaction_auc`.

    Examples::

        >>> v = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 4])  # players 1 and 2 act together
        >>> hoi.measures.r_precision(hoi.measures.k_sii(v), truths=[(1, 2), (0, 1)])
        0.5
    """
    wanted = _checked(truths, len(table.players))
    ranking = [frozenset(t.members) for t in pruned(_each_set_once(table))]
    ranking = [s for s in ranking if not any(s < truth for truth in wanted)]
    return sum(s in wanted for s in ranking[: len(wanted)]) / len(wanted)


def pruned(table: Table, n: int = 100) -> Table:
    """The strongest sets without those that a stronger one contains (Tsang, Cheng, Liu, ICLR 2018).

    Args:
        table: the interactions.
        n: how many are kept at most. Default: 100

    Returns:
        the kept terms, strongest first (ties: smaller order first).

    Raises:
        OptionError: ``n`` below 1.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, 6.0]))
        >>> [(term.members, term.score) for term in table]
        [((1,), 2.0), ((0,), 1.0), ((0, 1), 3.0)]
        >>> [term.members for term in hoi.measures.pruned(table)]
        [(0, 1)]
    """
    check_count("n", n)
    rows: NDArray[np.intp] = np.lexsort((table.orders, -np.abs(table.scores)))
    kept: list[int] = []
    sets: list[frozenset[int]] = []
    for row in rows.tolist():
        members = frozenset(table[row].members)
        if any(members < other for other in sets):
            continue
        kept.append(row)
        sets.append(members)
        if len(kept) == n:
            break
    return table.take(np.array(kept, dtype=np.intp))


def _each_set_once(table: Interactions) -> Interactions:
    """The strongest term of each set of players."""
    strongest: dict[tuple[int, ...], int] = {}
    for row in np.argsort(-np.abs(table.scores), kind="stable").tolist():
        strongest.setdefault(table[row].members, row)
    return table.take(np.array(list(strongest.values()), dtype=np.intp))


def _checked(truths: Sequence[Iterable[int]], players: int) -> list[frozenset[int]]:
    found = [frozenset(truth) for truth in truths]
    for truth in found:
        if len(truth) < 2 or not all(i in range(players) for i in truth):
            raise InputError(
                f"expected truths as sets of two or more players 0..{players - 1}, got {sorted(truth)}"
            )
    if not found:
        raise InputError("expected at least one truth, got none")
    return list(dict.fromkeys(found))

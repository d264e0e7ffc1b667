"""Faithfulness: how well the strongest interactions give back values that they need not have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError
from hoi_captum.measures.rebuilding import activity, of_scope
from hoi_captum.measures.values import draw_coalitions, given_pair, values_of

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_INDEPENDENT = 1e-9  # of its length: what is left of a column that depends on the others
_ROUNDING = 4 * float(np.finfo(np.float64).eps)  # of the largest value: values that are meant to be equal


@dataclass(frozen=True, eq=False)
class Faithfulness:
    r"""How well the k strongest terms rebuild v, for every k.

    Attributes:
        k: (K + 1,) numbers of terms, 0 to K.
        r2: (K + 1,) :math:`R^2 = 1 - \sum (v - \hat v)^2 / \sum (v - \bar v)^2` over the judged coalitions,
            below 0 where the mean would do better; NaN where v is the same for all of them.
        mae: (K + 1,) mean of :math:`|v - \hat v|`, in the unit of v.
        additive_r2, additive_mae: the same of the reference, a least-squares fit of v by one effect for each
            player and a constant.
        judged, fitted: numbers of coalitions: of those above, and of those the reference was fitted on.
        held_out: whether the two had no coalition in common.

    Examples::

        >>> majority = torch.tensor([0.0, 0, 0, 1, 0, 1, 1, 1])  # v of three players' coalitions
        >>> judged = hoi.measures.faithfulness(hoi.measures.k_sii(majority, order=3))
        >>> judged.k, judged.mae.round(2), judged.judged
        (array([0, 1, 2, 3, 4]), array([0.5 , 0.5 , 0.33, 0.17, 0.  ]), 6)
    """

    k: NDArray[np.int64]
    r2: Floats
    mae: Floats
    additive_r2: float
    additive_mae: float
    judged: int
    fitted: int
    held_out: bool

    @property
    def gain(self) -> Floats:
        """What the k strongest terms explain beyond the additive reference: R^2 minus its R^2, (K + 1,)."""
        return self.r2 - self.additive_r2

    @property
    def area(self) -> float:
        """Area under R^2 (below 0 counted as 0) over k = 0..K, in parts of K: 0 to 1.

        Tables are comparable at the same K; with no terms it is the R^2 of the base alone.
        """
        heights = np.maximum(self.r2, 0.0)  # keeps NaN
        return float(heights[0]) if len(heights) == 1 else float(np.trapezoid(heights) / (len(heights) - 1))


def faithfulness(
    interactions: Interactions,
    game: Any = None,
    *,
    scope: str | None = None,
    coalitions: int | None = 256,
    sampling: str = "subsets",
    k: int | None = None,
    refit: bool = False,
    seed: int = 0,
) -> Faithfulness:
    r"""Judge a table by the values of coalitions, against an additive fit.

    :math:`\hat v(T)` is the table's base plus the effects of its k strongest terms (largest absolute effect
    first, ties: smaller order first) that are active in T: a term of kind ``or`` when any of its players is
    present, a term of every other kind when all are. Weights of soft members are not used.

    Small models are nearly additive, so an :math:`R^2` near 1 says little by itself: the honest number is
    ``gain``, that over the additive least-squares fit. The reference is fitted on other coalitions than it is
    judged by, where there are enough of them (``held_out``); else on all of them, which flatters the
    reference alone: the gain is then a lower bound.

    Args:
        interactions: any table; a method that has looked at all coalitions has seen the judged ones too.
        game: where v comes from: a :class:`~hoi_captum.core.games.MaskedGame` of one example; a function of a
            (c, n) bool tensor that gives (c,) values; v of all coalitions, (2^n,), in table order; a pair
            (coalitions, values), all of which judge and fit; with ``refit`` a random half judges and the
            other fits. Default: None (what the table keeps of v, as those of GeneralizableAndOr do)
        scope: of which part of the table; may be left out where there is one. Default: None
        coalitions: number of coalitions that judge, and of those that fit; drawn without repetition and
            without the empty and the full one. Where the game has fewer than twice as many, all of them judge
            and fit. None takes all. Default: 256
        sampling: ``subsets`` or ``sizes``, see :func:`draw_coalitions`. Default: subsets
        k: largest number of terms; a table of fewer terms keeps its last value. Default: None (all terms)
        refit: fit the scores of the k strongest terms, and the base, by least squares for each k, on the
            coalitions of the reference: judges the choice of the sets instead of their scores. The coalitions
            that judge are then always others. Default: False
        seed: of the coalitions drawn, and of how they (or those of a given pair) are split. Default: 0

    Returns:
        Faithfulness

    Raises:
        InputError: a game that does not fit the table, no such scope, or too few coalitions for the fits.
        OptionError: an option out of range.

    Examples::

        >>> v = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 4])  # players 1 and 2 act together, 0 does nothing
        >>> single, pairs = (hoi.measures.faithfulness(hoi.measures.k_sii(v, order)) for order in (1, 2))
        >>> single.r2.round(2)[-1:], pairs.r2
        (array([-0.2]), array([-0.2,  1. ]))
    """
    terms, base = of_scope(interactions, scope)
    n = len(terms.players)
    most = len(terms) if k is None else check_count("k", k)
    if isinstance(game, tuple):
        judged, values = given_pair(game, n)
        fitted, targets = judged, values
        if refit:
            first, second = _halves(len(judged), seed)
            fitted, targets, judged, values = judged[second], targets[second], judged[first], values[first]
    else:
        value = values_of(game, interactions, scope)
        judged, fitted = _draw(n, coalitions, sampling, seed, refit)
        values = value(judged)
        targets = values if fitted is judged else value(fitted)
    if len(fitted) < n + 1 and (fitted is not judged or len(judged) < (1 << n) - 2):
        raise InputError(f"expected at least {n + 1} coalitions to fit {n} players, got {len(fitted)}")
    terms = terms.top(most)
    if refit:
        path = _refitted(terms, fitted, targets, judged, values)
    else:
        path = _as_they_are(terms, base, judged, values)
    last = np.tile(path[:, -1:], (1, most - len(terms)))
    r2, mae = np.concatenate((path, last), axis=1)
    additive = _least_squares(fitted.T, targets, judged.T, values)[:, -1]
    spread = _spread(values)
    return Faithfulness(
        k=np.arange(most + 1),
        r2=_r2(r2, spread),
        mae=mae,
        additive_r2=float(_r2(additive[:1], spread)[0]),
        additive_mae=float(additive[1]),
        judged=len(judged),
        fitted=len(fitted),
        held_out=fitted is not judged,
    )


def _draw(n: int, count: int | None, sampling: str, seed: int, apart: bool) -> tuple[Bools, Bools]:
    """Coalitions that judge and coalitions that fit: the same array, or without any in common."""
    drawn = draw_coalitions(n, None if count is None else 2 * count, sampling=sampling, seed=seed)
    if count is not None and len(drawn) == 2 * count:
        return drawn[:count], drawn[count:]
    if not apart:
        return drawn, drawn
    first, second = _halves(len(drawn), seed)
    return drawn[first], drawn[second]


def _halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that judge and rows that fit, at random: halves of a table in order differ by a whole player."""
    shuffled = np.random.default_rng(seed).permutation(count)
    return shuffled[: count // 2], shuffled[count // 2 :]


def _spread(values: Floats) -> float:
    """Sum of squares around the mean; 0 where the values differ by no more than their rounding.

    The mean of equal values is often not quite that value: what is left is no spread.
    """
    if float(np.ptp(values)) <= _ROUNDING * float(np.abs(values).max()):
        return 0.0
    return float(((values - values.mean()) ** 2).sum())


def _r2(squares: Floats, spread: float) -> Floats:
    return 1.0 - squares / spread if spread > 0 else np.full(np.shape(squares), np.nan)


def _as_they_are(terms: Interactions, base: float, judged: Bools, values: Floats) -> Floats:
    """Sum of squares and mean absolute value of what the first 0..K terms leave, (2, K + 1)."""
    left = values - base
    path = np.empty((2, len(terms) + 1))
    path[:, 0] = _size(left)
    for rows, active in activity(terms, judged):
        parts = np.where(active, terms.scores[rows, None], 0.0)
        parts[0] -= left  # with its sign turned, so that one running sum does it
        np.cumsum(parts, axis=0, out=parts)
        left = -parts[-1]
        path[:, rows.start + 1 : rows.stop + 1] = _size(parts)
    return path


def _refitted(terms: Interactions, fitted: Bools, targets: Floats, judged: Bools, values: Floats) -> Floats:
    columns = [
        np.concatenate([np.zeros((0, len(c)), dtype=bool), *(a for _, a in activity(terms, c))])
        for c in (fitted, judged)
    ]
    return _least_squares(columns[0], targets, columns[1], values)


def _least_squares(columns: Bools, targets: Floats, judged: Bools, values: Floats) -> Floats:
    """What least-squares fits by a constant and the first 0..K columns leave of the judged values.

    One column after another is made orthogonal to those before it, and the judged coalitions follow. A
    column that depends on those before it adds nothing.

    Args:
        columns, targets: (K, f), (f,) what is fitted.
        judged, values: (K, c), (c,) what is judged.

    Returns:
        (2, K + 1) as :func:`_as_they_are`.
    """
    basis = np.zeros((min(len(columns) + 1, len(targets)), len(targets)))
    follow = np.zeros((len(basis), len(values)))
    left, path, rank = values.astype(np.float64), np.empty((2, len(columns) + 1)), 0
    ones = (np.ones(len(targets)), np.ones(len(values)))
    for step in range(len(columns) + 1):
        column, row = ones if step == 0 else (columns[step - 1].astype(float), judged[step - 1].astype(float))
        if rank < len(basis):
            length = float(np.linalg.norm(column))
            for _ in range(2):  # twice is enough for full precision
                share = basis[:rank] @ column
                column, row = column - share @ basis[:rank], row - share @ follow[:rank]
            rest = float(np.linalg.norm(column))
            if rest > _INDEPENDENT * length:
                basis[rank], follow[rank] = column / rest, row / rest
                left = left - float(basis[rank] @ targets) * follow[rank]
                rank += 1
        path[:, step] = _size(left)
    return path


def _size(left: Floats) -> Floats:
    """Sum of squares and mean absolute value over the last dimension."""
    return np.stack((np.einsum("...c,...c->...", left, left), np.abs(left).mean(axis=-1)))

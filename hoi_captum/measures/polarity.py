"""Whether two methods agree on the signs of pairs, and whether chance would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_number
from hoi_captum.errors import InputError

Pairs = NDArray[np.float64] | Interactions | Sequence[Interactions]


@dataclass(frozen=True)
class PolarityAgreement:
    """How often two methods give a pair the same sign.

    Attributes:
        share: of the entries (pairs of rows) on which both have a sign, those with the same one.
        compared: how many entries these are.
        expected: the share by chance, with as many positive signs in each.
        p_value: of at least so many agreements among independent coin tosses. The rows of one model are not
            independent, so that it is far too small where a pair has mostly one sign.
        pair_share, pairs, pair_p_value: the same for pairs, each of which agrees where most of its rows do
            (halves are left out): a few tosses that are nearly independent.

    Examples::

        >>> first, second = np.array([[0.0, 2.0], [2.0, 0.0]]), np.array([[0.0, 0.5], [0.5, 0.0]])
        >>> found = hoi.measures.polarity_agreement([first, -first], [second, second])
        >>> found.share, found.compared, found.kappa
        (0.5, 2, 0.0)
    """

    share: float
    compared: int
    expected: float
    p_value: float
    pair_share: float
    pairs: int
    pair_p_value: float

    @property
    def kappa(self) -> float:
        """Agreement beyond chance, Cohen's kappa: 0 by chance, 1 where all agree; NaN where chance is 1."""
        return (self.share - self.expected) / (1 - self.expected) if self.expected < 1 else np.nan


def polarity_agreement(first: Pairs, second: Pairs, *, least: float = 0.0) -> PolarityAgreement:
    """Compare the signs of two methods' pairs.

    The paper that SecondGlance comes from compares its Hessians with SHAP interactions in this way (Shahid,
    Rahulamathavan, Dogan 2024). Half of two random signs agree: its 45 to 50 % are what chance gives.

    Args:
        first, second: matrices of pairs (k, k), one for each row (n, k, k), or tables of the same players. A
            derivative and an attribution are not of one sign by nature: multiply a Hessian by the
            distances of both features from their baselines first.
        least: sizes up to this part of each method's largest have no sign. Default: 0

    Returns:
        PolarityAgreement: by entries, and by pairs.

    Raises:
        InputError: other shapes, or no entry on which both have a sign.
        OptionError: least outside [0, 1].

    Examples::

        >>> first = np.array([[0.0, 2.0, -1.0], [2.0, 0.0, 3.0], [-1.0, 3.0, 0.0]])
        >>> round(hoi.measures.polarity_agreement(first, np.abs(first)).share, 2)
        0.67
    """
    check_number("least", least, low=0.0, high=1.0)
    one, other = _signs(first, least), _signs(second, least)
    if one.shape != other.shape:
        raise InputError(
            f"expected two methods on the same rows and players, got pairs of shape {one.shape} and "
            f"{other.shape}"
        )
    both = (one != 0) & (other != 0)
    if not both.any():
        raise InputError("expected entries on which both methods have a sign, got none")
    same = (one == other) & both
    p, q = (float((signs[both] > 0).mean()) for signs in (one, other))
    # of each pair, over the rows
    balance = (2 * same.sum(0) - both.sum(0))[both.any(0)]
    agreeing, decided = int((balance > 0).sum()), int((balance != 0).sum())
    return PolarityAgreement(
        share=float(same.sum() / both.sum()),
        compared=int(both.sum()),
        expected=p * q + (1 - p) * (1 - q),
        p_value=_chance(int(same.sum()), int(both.sum())),
        pair_share=agreeing / decided if decided else np.nan,
        pairs=decided,
        pair_p_value=_chance(agreeing, decided),
    )


def _chance(agreeing: int, compared: int) -> float:
    return float(binomtest(agreeing, compared, 0.5, alternative="greater").pvalue) if compared else 1.0


def _signs(given: Pairs, least: float) -> NDArray[np.float64]:
    """The signs of the pairs, (rows, pairs)."""
    matrices = _matrices(given)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] < 2:
        raise InputError(f"expected pairs (k, k) or (rows, k, k), got shape {matrices.shape}")
    upper = np.triu_indices(matrices.shape[1], 1)
    values = matrices[:, upper[0], upper[1]]
    values = np.where(np.isfinite(values), values, 0.0)
    small = np.abs(values) <= least * np.abs(values).max(initial=0.0)
    signs: NDArray[np.float64] = np.where(small, 0.0, np.sign(values))
    return signs


def _matrices(given: Any) -> NDArray[np.float64]:
    tables = [given] if isinstance(given, Interactions) else given
    if isinstance(tables, list | tuple) and tables and all(isinstance(t, Interactions) for t in tables):
        players = {len(t.players) for t in tables}
        if len(players) > 1:
            raise InputError(f"expected tables of the same players, got {sorted(players)} players")
        return np.stack([t.where(order=2).matrix() for t in tables])
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected matrices of pairs, or tables, got {type(given).__name__}") from error
    return array[None] if array.ndim == 2 else array

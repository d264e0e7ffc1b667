r"""Interaction indices of all coalitions' values, exact.

Every index here is a weighted sum of Harsanyi dividends m over the supersets of a set, and weights depend on
the sizes alone: :math:`I(S) = \sum_{T \supseteq S} w(|S|, |T|) \, m(T)`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import torch
from torch import Tensor

from hoi_captum.authoring import check_choice, check_count
from hoi_captum.core.indices import k_shapley_interactions
from hoi_captum.core.mobius import coalition_orders, moebius_transform, player_count, superset_zeta_transform
from hoi_captum.errors import OptionError

__all__ = ["INDICES", "empty_value", "exact_interactions"]

INDICES = ("k-SII", "SII", "STII", "FSII", "FBII", "BII")


def exact_interactions(values: Tensor, index: str = "k-SII", order: int = 2) -> Tensor:
    r"""An interaction index of every set of up to ``order`` players.

    With s = \|S\|, t = \|T\| and k = ``order`` the weights are

    ======  ==========================================================================================
    SII     :math:`1 / (t - s + 1)` (Grabisch and Roubens 1999)
    BII     :math:`2^{-(t - s)}` (Grabisch and Roubens 1999)
    k-SII   SII, aggregated to add up (Bordt and von Luxburg, AISTATS 2023)
    STII    1 for T = S below order k; :math:`1 / \binom{t}{k}` at order k (Sundararajan, Dhamdhere, Agarwal,
            ICML 2020)
    FSII    1 for T = S, and for t > k :math:`(-1)^{k - s} \frac{s}{k + s} \binom{k}{s}
            \binom{t - 1}{k} / \binom{t + k - 1}{k + s}` (Tsai, Yeh, Ravikumar, JMLR 2023)
    FBII    1 for T = S, and for t > k :math:`(-1)^{k - s} 2^{-(t - s)} \binom{t - s - 1}{k - s}` (as FSII)
    ======  ==========================================================================================

    Args:
        values (Tensor): v of all coalitions, (2^n,) floating point, player 0 as the most significant bit.
        index (str, optional): one of these. Default: ``"k-SII"``
        order (int, optional): k, 1 to n. Default: 2

    Returns:
        *Tensor*, (2^n,) float64, in the unit of v; zero for the empty set and above the order.

    Raises:
        OptionError: another index, or an order outside 1..n.
        InputError: not 2^n values.
    """
    check_choice("index", index, INDICES)
    n = player_count(values)
    if check_count("order", order) > n:
        raise OptionError(f"expected order to be at most the number of players, {n}, got {order}")
    values = values.double()
    if index == "k-SII":
        return k_shapley_interactions(values, order)
    weight = _WEIGHTS[index]
    dividends, sizes = moebius_transform(values), coalition_orders(n)
    found = torch.zeros_like(dividends)
    for t in range(1, n + 1):
        of_sizes = [weight(s, t, order) if 0 < s <= min(order, t) else 0.0 for s in range(n + 1)]
        weights = torch.tensor(of_sizes, dtype=torch.float64)
        if not weights.any():
            continue
        sums = superset_zeta_transform(torch.where(sizes == t, dividends, 0.0), inplace=True)
        found += weights[sizes] * sums
    return found


def empty_value(values: Tensor, index: str, order: int) -> float:
    """The index of the empty set, by the same formulas; v(empty) of those that add up.

    Args:
        values: as of :func:`exact_interactions`.
        index: SII, BII or FBII.
        order: k.
    """
    values = values.double()
    dividends, sizes = moebius_transform(values), coalition_orders(player_count(values))
    weights = [_WEIGHTS[index](0, t, order) for t in range(int(sizes.max()) + 1)]
    return float((torch.tensor(weights, dtype=torch.float64)[sizes] * dividends).sum())


def _sii(s: int, t: int, k: int) -> float:
    return 1 / (t - s + 1)


def _bii(s: int, t: int, k: int) -> float:
    return 1 / (1 << (t - s))


def _stii(s: int, t: int, k: int) -> float:
    if s < k:
        return float(t == s)
    return 1 / comb(t, k)


def _fsii(s: int, t: int, k: int) -> float:
    if t <= k:
        return float(t == s)
    sign = -1.0 if (k - s) % 2 else 1.0
    return sign * s / (k + s) * comb(k, s) * comb(t - 1, k) / comb(t + k - 1, k + s)


def _fbii(s: int, t: int, k: int) -> float:
    if t <= k:
        return float(t == s)
    sign = -1.0 if (k - s) % 2 else 1.0
    return sign * _bii(s, t, k) * comb(t - s - 1, k - s)


_WEIGHTS: dict[str, Callable[[int, int, int], float]] = {
    "SII": _sii,
    "BII": _bii,
    "STII": _stii,
    "FSII": _fsii,
    "FBII": _fbii,
}

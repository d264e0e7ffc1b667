r"""Fast transforms between set functions.

A set function on n players is a vector of length :math:`2^n` in the last dimension of a tensor,
indexed by bit mask with **player 0 as the most significant bit**: row 0 is the empty coalition,
row :math:`2^n - 1` is everybody. All transforms are butterflies: :math:`n` passes over the vector,
:math:`O(n 2^n)` additions and no memory beyond the result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hoi_captum.errors import InputError


def player_count(table: Tensor) -> int:
    """The n of a table whose last dimension holds :math:`2^n` entries.

    Raises:
        InputError: if the last dimension is no power of two.
    """
    size = table.shape[-1] if table.dim() else 0
    n = size.bit_length() - 1
    if size < 1 or size != 1 << n:
        raise InputError(
            f"expected a table with 2^n entries in its last dimension, got shape {tuple(table.shape)}; "
            "give one value for every coalition, player 0 as the most significant bit"
        )
    return n


def _butterfly(table: Tensor, inplace: bool, *, superset: bool, sign: int) -> Tensor:
    n = player_count(table)
    # a view of a non-contiguous tensor would silently be a copy and the in-place promise broken
    if inplace and not table.is_contiguous():
        raise InputError("an in-place transform needs a contiguous table; pass inplace=False")
    out = table if inplace else table.clone(memory_format=torch.contiguous_format)
    for player in range(n):
        pairs = out.view(*out.shape[:-1], 1 << player, 2, 1 << (n - 1 - player))
        absent, present = pairs[..., 0, :], pairs[..., 1, :]
        if superset:
            absent.add_(present, alpha=sign)
        else:
            present.add_(absent, alpha=sign)
    return out


def moebius_transform(values: Tensor, *, inplace: bool = False) -> Tensor:
    r"""Moebius transform: :math:`I(S) = \sum_{L \subseteq S} (-1)^{|S|-|L|} v(L)`.

    For a game v these are the Harsanyi dividends (AND interactions).

    Args:
        values (Tensor): set functions, (..., 2^n).
        inplace (bool, optional): overwrite ``values``. Default: False

    Returns:
        *Tensor*, (..., 2^n), dtype of ``values``.

    Raises:
        InputError: the last dimension is no power of two, or ``inplace`` on a strided table.
    """
    return _butterfly(values, inplace, superset=False, sign=-1)


def zeta_transform(interactions: Tensor, *, inplace: bool = False) -> Tensor:
    r"""Zeta transform, the inverse of the Moebius transform: :math:`v(T) = \sum_{S \subseteq T} I(S)`."""
    return _butterfly(interactions, inplace, superset=False, sign=1)


def superset_moebius_transform(values: Tensor, *, inplace: bool = False) -> Tensor:
    r"""Superset Moebius transform: :math:`J(S) = \sum_{L \supseteq S} (-1)^{|L|-|S|} v(L)`.

    It is the transpose of :func:`moebius_transform`.
    """
    return _butterfly(values, inplace, superset=True, sign=-1)


def superset_zeta_transform(interactions: Tensor, *, inplace: bool = False) -> Tensor:
    r"""Superset zeta transform: :math:`v(T) = \sum_{S \supseteq T} J(S)`.

    It is the transpose of :func:`zeta_transform`.
    """
    return _butterfly(interactions, inplace, superset=True, sign=1)


def coalition_orders(n: int, *, device: torch.device | None = None) -> Tensor:
    """Number of players in each of the 2^n coalitions: (2^n,) int64."""
    orders = torch.zeros(1, dtype=torch.int64, device=device)
    for _ in range(n):
        orders = torch.cat((orders, orders + 1))
    return orders


def shapley_values(values: Tensor) -> Tensor:
    r"""Exact Shapley values of games: :math:`\phi_i = \sum_{S \ni i} I(S) / |S|`.

    I are the Harsanyi dividends (Shapley 1953; Harsanyi 1963), so the cost is that of one
    Moebius transform. The values sum to v(N) - v(empty).

    Args:
        values (Tensor): games, (..., 2^n), floating point.

    Returns:
        *Tensor*, (..., n), in the unit of v.
    """
    n = player_count(values)
    shares = moebius_transform(values)
    orders = coalition_orders(n, device=values.device).clamp_(min=1)
    shares /= orders
    flat = []
    for player in range(n):
        pairs = shares.view(*shares.shape[:-1], 1 << player, 2, 1 << (n - 1 - player))
        flat.append(pairs[..., 1, :].sum(dim=(-2, -1)))
    return torch.stack(flat, dim=-1) if flat else values.new_zeros((*values.shape[:-1], 0))

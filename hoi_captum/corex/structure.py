"""Which variables belong to which discrete factor: the soft structure of Bio CorEx.

A variable belongs to a factor by the share of rows whose state it alone tells. Factors are taken by how
many rows a variable tells them in; what counts for a factor are the rows that no earlier one was told in.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hoi_captum.corex.marginals import Marginals, Observations

MAX_ROWS = 10_000
NOTHING = 0.01  # nats: a factor that explains less has not begun to live


def enough_rows(n: int, random: np.random.RandomState) -> Tensor | None:
    """Indices of 10,000 of more rows, drawn once: other rows in each iteration would never let it settle."""
    return torch.from_numpy(random.choice(n, MAX_ROWS, replace=False)) if n > MAX_ROWS else None


def structure(
    data: Observations,
    marginals: Marginals,
    posterior: Tensor,
    tcs: Tensor,
    random: np.random.RandomState,
    *,
    idle_last: bool = False,
) -> Tensor:
    """The weights alpha of each variable in each factor.

    Args:
        data: n rows; some of many are enough, see :func:`enough_rows`.
        posterior: p(y_j = k | x), (K, m, n).
        tcs: total correlation by factor, (m,), nats. The weights of factors that explain next to nothing
            are raised by a power that makes the largest .99, with a little noise, so that they can begin.
        idle_last: take those factors last. Where distributions are smoothed one of them may be in the same
            state in all rows, which every variable "tells", and would leave nothing to the others.

    Returns:
        alpha, (m, p), in [0, 1] (up to .001 more with the noise).
    """
    factors = posterior.shape[1]
    p = len(data.values)
    if factors == 1:
        return posterior.new_ones(1, p)
    idle = tcs.abs() < NOTHING
    labels = likeliest_states(posterior[1:] - posterior[:1])[:, None]  # argmax(0) is slow
    alpha = posterior.new_empty(factors, p)
    for columns in data.blocks(factors * (len(posterior) - 1)):
        correct = likeliest_states(marginals.log_odds(data, columns)) == labels
        if data.observed is not None:
            correct &= data.observed[columns] > 0
        alpha[:, columns] = unique_shares(correct, idle if idle_last else None)
    if bool(idle.any()):
        largest = alpha[idle].amax(1, keepdim=True).clamp(0.01, 0.99)
        chance = torch.from_numpy(random.random_sample((int(idle.sum()), p)))
        alpha[idle] = alpha[idle] ** (math.log(0.99) / largest.log()) + 0.001 * chance
    return alpha


def likeliest_states(odds: Tensor) -> Tensor:
    """argmax over states, the first of several, of numbers less that of state 0: (K-1, ...) -> (...)."""
    if len(odds) == 1:
        return (odds[0] > 0).long()
    best, state = odds.max(0)
    return torch.where(best > 0, state + 1, 0)


def unique_shares(correct: Tensor, last: Tensor | None = None) -> Tensor:
    """Share of the rows told by a variable that no better told factor was told in.

    Args:
        correct: whether variable c alone tells the state of factor j in a row, (m, c, n) bool.
        last: factors that come after all others, (m,) bool.

    Returns:
        (m, c) float64, in [0, 1]. Of factors told equally often, the first comes first.
    """
    totals = correct.sum(-1)
    rank = totals if last is None else totals - last.long()[:, None] * (correct.shape[-1] + 1)
    order = rank.argsort(dim=0, descending=True, stable=True)
    here = torch.arange(correct.shape[1])
    told = torch.zeros_like(correct[0])
    unique = torch.zeros_like(totals)
    for factor in order:
        rows = correct[factor, here]
        unique[factor, here] = (rows & ~told).sum(-1)
        told |= rows
    return unique / totals.clamp(min=1).double()

r"""What is minimised: a weighted mixture of l1 and row-maximum norms (Chen et al., ICLR 2024, eq. 6).

.. math:: g(c) = \sum_S w_S \Big[(1-\alpha) \max_i |c_i(S)| + \alpha \sum_i |c_i(S)|\Big]

over all AND and OR rows S of the models i. For one model both norms are the same and alpha plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hoi_captum.core.mobius import coalition_orders, player_count
from hoi_captum.methods.and_or.operators import effects_from_parts


@dataclass(frozen=True)
class Objective:
    """g, its proximal step and its dual norm; coefficients are (m, 2, 2^n) with the model first.

    Attributes:
        alpha: 1 treats the models separately, 0 counts a term shared by all of them once.
        weights: w, (2, 2^n).
    """

    alpha: float
    weights: Tensor

    @classmethod
    def for_values(cls, values: Tensor, *, alpha: float, order_weight: float, tie_break: float) -> Objective:
        """The objective with weights that make the optimum unique in practice.

        Many optima exist with equal weights: OR{i,j} + AND{i,j} = {i} + {j}, term by term. Two small
        prices decide: ``order_weight`` (|S| - 1) for each set, and up to ``tie_break`` for sets whose plain
        AND or OR effect is small against the largest of its kind. Both depend on the game alone, not on
        the numbering of the players.

        Args:
            values: v, (m, 2^n).
            alpha, order_weight, tie_break: not negative; 0 switches the weight off.
        """
        n = player_count(values)
        orders = coalition_orders(n).double()
        weights = (1 + order_weight * (orders - 1).clamp_(min=0)).expand(2, -1)
        if tie_break:
            nothing = torch.zeros_like(values)
            plain_and = effects_from_parts(values, nothing)[:, 0]
            plain_or = effects_from_parts(nothing, values)[:, 1]
            size = torch.stack((plain_and, plain_or), dim=1).abs().mean(0)
            size[1, orders < 2] = size[0, orders < 2]  # the same function, so the same price
            size = size / size.amax(1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
            weights = weights + tie_break * (1 - size)
        return cls(1.0 if len(values) == 1 else alpha, weights)

    def __call__(self, c: Tensor) -> float:
        size = c.abs()
        rows = self.alpha * size.sum(0)
        if self.alpha < 1:
            rows = rows + (1 - self.alpha) * size.amax(0)
        return float((self.weights * rows).sum())

    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """argmin of step * g(c) + |c - z|^2 / 2, with a step for each set, (2^n,)."""
        threshold = step * self.weights
        size = (z.abs() - threshold * self.alpha).clamp_(min=0)
        if self.alpha < 1:
            size = torch.minimum(size, _water_level(size, threshold * (1 - self.alpha)))
        return torch.copysign(size, z)

    def polar(self, z: Tensor) -> float:
        """The smallest s such that z / s is a subgradient of g at 0 (the dual norm)."""
        size = z.abs().sort(dim=0, descending=True).values.cumsum(0)
        counts = torch.arange(1, len(z) + 1, dtype=z.dtype).view(-1, 1, 1)
        prices = size / ((1 - self.alpha) + self.alpha * counts)
        return float((prices.amax(0) / self.weights).amax())


def _water_level(size: Tensor, volume: Tensor) -> Tensor:
    """The level h with sum of (size - h)_+ over the models = volume (0 where size holds less than that)."""
    ranked = size.sort(dim=0, descending=True).values.cumsum(0)
    counts = torch.arange(1, len(size) + 1, dtype=size.dtype).view(-1, 1, 1)
    return ((ranked - volume) / counts).amax(0).clamp_(min=0)

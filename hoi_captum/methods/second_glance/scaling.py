"""Units on one scale, and gradients to go with them, so that a network can be taught."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from hoi_captum.errors import InputError

LEAST_ROWS = 5  # in which a unit varies, to say how a gradient depends on it
_SAME = 1e-9  # of a gradient's size; what varies less is rounding


@dataclass(frozen=True, eq=False)
class Scaling:
    r"""From units to what a surrogate sees: :math:`z' = (z - m) / s`, :math:`g' = (s \circ g - t) / c`.

    Scaling the gradient by s as the units are by 1/s leaves it a gradient (of the model as a function of
    z'), and one number c for all outputs leaves its Jacobian symmetric.

    Attributes:
        mean, std: m and s, (k,); s is 1 where a unit never varies.
        shift: t, (k,).
        size: c.
        known: (k, k) bool, whether the data show how gradient j (row) depends on unit i (column).
        values: (k, 2), the values of units that have only two (words that come and go); NaN of others.
    """

    mean: Tensor
    std: Tensor
    shift: Tensor
    size: float
    known: Tensor
    values: Tensor

    @classmethod
    def of(cls, z: Tensor, g: Tensor, *, bounded: bool = False) -> Scaling:
        """The scaling of data.

        Args:
            z: (n, k) units.
            g: (n, k) gradients by them; NaN where a unit is not there.
            bounded: bring gradients to [-1, 1] by their largest, instead of to mean 0 and variance 1.

        Raises:
            InputError: gradients that are the same in all rows.
        """
        there = ~g.isnan()
        varies = z.std(0) > _SAME * z.abs().amax(0)
        std = torch.where(varies, z.std(0), 1.0)
        scaled = torch.where(there, g.nan_to_num() * std, 0.0)
        count = there.sum(0).clamp(min=1)
        shift = scaled.sum(0) / count
        centred = torch.where(there, scaled - shift, 0.0)
        size = float((centred.square().sum() / there.sum().clamp(min=1)).sqrt())
        largest = float(scaled.abs().max())
        if size <= _SAME * largest or largest == 0:
            raise InputError(
                "expected gradients that differ between the rows, got the same in all of them: over these "
                "data the model is linear in its units (or does not depend on them), so that nothing "
                "interacts; check the target, take an earlier layer or the inputs, or explain log-odds or a "
                "probability instead of a linear score"
            )
        if bounded:
            shift, size = torch.zeros_like(shift), largest
        return cls(z.mean(0), std, shift, size, _known(z, there) & varies, _two_values(z))

    def units(self, z: Tensor) -> Tensor:
        """z'."""
        return (z - self.mean) / self.std

    @property
    def spans(self) -> Tensor:
        """The two values of units that have only two, as a surrogate sees them, (k, 2); NaN of others."""
        return (self.values - self.mean.unsqueeze(1)) / self.std.unsqueeze(1)

    def gradients(self, g: Tensor) -> Tensor:
        """g'; NaN stays."""
        return (g * self.std - self.shift) / self.size

    def of_jacobian(self, jacobian: Tensor) -> Tensor:
        """A Jacobian of g' by z' in the units' own scale: derivatives of g by z."""
        return jacobian * self.size / (self.std.unsqueeze(-1) * self.std)

    def of_third(self, third: Tensor) -> Tensor:
        """Second derivatives of g' by z' in the units' own scale."""
        return self.of_jacobian(third.movedim(-1, -3)).movedim(-3, -1) / self.std


def symmetric(jacobian: Tensor, known: Tensor) -> Tensor:
    """The mean of J and its transpose, or the one of the two that the data show; 0 where they show neither.

    Args:
        jacobian: (..., k, k).
        known: (k, k).
    """
    weight = known.to(jacobian)
    found = torch.where(known, jacobian, 0.0)
    total: Tensor = (found + found.transpose(-1, -2)) / (weight + weight.T).clamp(min=1)
    return total


def unknown_pairs(known: Tensor) -> Tensor:
    """Pairs of which the data show neither gradient as a function of the other unit, (k, k) bool."""
    return ~(known | known.T) & ~torch.eye(len(known), dtype=torch.bool)


def symmetric_third(third: Tensor, known: Tensor) -> Tensor:
    """The mean over all orders of the units, as far as the data show them; 0 where they show none.

    Args:
        third: (..., k, k, k).
        known: (k, k, k).
    """
    found = torch.where(known, third, 0.0)
    lead = tuple(range(third.dim() - 3))
    total, weight = torch.zeros_like(third), torch.zeros_like(known, dtype=third.dtype)
    for order in permutations(range(3)):
        total += found.permute(*lead, *(len(lead) + p for p in order))
        weight += known.to(third).permute(*order)
    return total / weight.clamp(min=1)


def asymmetry(jacobian: Tensor, known: Tensor) -> Tensor:
    r""":math:`\|J - J^T\| / \|J\|` of each matrix, over pairs that are known both ways; 0 of no size."""
    both = known & known.T
    kept = torch.where(both, jacobian, 0.0)
    size = kept.flatten(-2).norm(dim=-1)
    difference = (kept - kept.transpose(-1, -2)).flatten(-2).norm(dim=-1)
    return torch.where(size > 0, difference / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0)


def _known(z: Tensor, there: Tensor) -> Tensor:
    """Where unit i takes other values, often enough, in rows that have gradient j."""
    present = there.to(z)
    count = present.sum(0).unsqueeze(1)
    usual = z.mode(0).values
    others = present.T @ (z != usual).to(z)  # rows with gradient j in which unit i is not as it mostly is
    two_values = _two_values(z).isfinite().all(1)
    mostly = torch.where(two_values, count - others, others)  # of a unit that comes and goes both count
    known: Tensor = torch.minimum(others, mostly) >= LEAST_ROWS
    return known


def _two_values(z: Tensor) -> Tensor:
    low, high = z.amin(0), z.amax(0)
    only = ((z == low) | (z == high)).all(0) & (high > low)
    return torch.where(only.unsqueeze(1), torch.stack([low, high], 1), torch.nan)


def known_together(z: Tensor, g: Tensor, known: Tensor) -> Tensor:
    """Where the data show how gradient j depends on i and l at once: both vary together there, (k, k, k).

    Args:
        z, g: (n, k) units and gradients, NaN where a unit is not there.
        known: (k, k), of one unit alone.
    """
    others = (z != z.mode(0).values).to(z)
    present = (~g.isnan()).to(z)
    k = z.shape[1]
    rows = torch.zeros(k, k * k, dtype=z.dtype)
    for part, there in zip(others.split(1024), present.split(1024), strict=True):
        rows += there.T @ (part.unsqueeze(2) * part.unsqueeze(1)).flatten(1)
    return (rows.view(k, k, k) >= LEAST_ROWS) & known.unsqueeze(2) & known.unsqueeze(1)

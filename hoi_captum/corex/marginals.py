r"""How one variable is distributed in each state of a discrete factor: p(x_i | y_j = k).

Only differences between states count, so everything is expressed by the log-odds against state 0,
:math:`t_k = \log p(x_i|y_j=k) - \log p(x_i|y_j=0)`: a parabola in x for normal distributions, a table for
discrete ones, and 0 where the value is missing, so that a missing value says nothing.

Shapes: n rows, p variables, m factors, K states; variables come before rows.
Estimates: Pepke and Ver Steeg 2017, with the constants of the authors' program.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MAX_VALUES = 32
_FEWEST = 0.1  # rows in a state
_FEWEST_FREE = 0.01  # rows in a state, less one
_PRIOR_COUNT = 0.001
_TINY = 1e-300
_BLOCK = 1 << 17  # numbers at a time: they stay in the cache
_LARGE_BLOCK = 1 << 22  # for matrix products


@dataclass(frozen=True, eq=False)
class Observations:
    """Data by variable.

    Attributes:
        values: (p, n) float64; 0 where missing.
        observed: (p, n) float64, 1 or 0; None if nothing is missing.
    """

    values: Tensor
    observed: Tensor | None = None

    @classmethod
    def of(cls, values: Tensor) -> Observations:
        """From (p, n) with NaN for what is missing."""
        present = ~values.isnan()
        if bool(present.all()):
            return cls(values.contiguous())
        return cls(values.nan_to_num(nan=0.0).contiguous(), present.to(values.dtype).contiguous())

    @cached_property
    def counts(self) -> Tensor:
        """Rows in which each variable is observed, (p,)."""
        p, n = self.values.shape
        return self.values.new_full((p,), n) if self.observed is None else self.observed.sum(1)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance and variance of the squared deviation of each variable, (p,) each."""
        count = self.counts.clamp(min=1)
        mean = self.values.sum(1) / count
        variance, excess = torch.empty_like(mean), torch.empty_like(mean)
        for columns in self.blocks(1, _LARGE_BLOCK):
            squares = self.masked(self.values[columns] - mean[columns, None], columns).square()
            variance[columns] = squares.sum(1) / count[columns]
            excess[columns] = squares.square().sum(1) / count[columns] - variance[columns].square()
        return mean, variance, excess

    def rows(self, index: Tensor) -> Observations:
        """Some of the rows."""
        return Observations(self.values[:, index], None if self.observed is None else self.observed[:, index])

    def blocks(self, tables: int, numbers: int | None = None) -> Iterator[slice]:
        """Slices that cover the variables, so that ``tables`` tables of a slice have so many numbers."""
        p, n = self.values.shape
        width = max(1, (numbers or _BLOCK) // (tables * n))
        return (slice(start, start + width) for start in range(0, p, width))

    def total(self, weights: Tensor) -> Tensor:
        """Sum of weights (..., n) over the rows that each variable is observed in: (..., p)."""
        if self.observed is None:
            return weights.sum(-1, keepdim=True).expand(*weights.shape[:-1], len(self.values))
        return weights @ self.observed.T

    def masked(self, numbers: Tensor, columns: slice) -> Tensor:
        """Numbers (..., c, n) of these variables, 0 where missing. In place."""
        return numbers if self.observed is None else numbers.mul_(self.observed[columns])


class Marginals(ABC):
    """p(x_i | y_j = k) of all variables, factors and states."""

    @abstractmethod
    def log_odds(self, data: Observations, columns: slice) -> Tensor:
        """log p(x_i|y_j=k) - log p(x_i|y_j=0) for k = 1..K-1: (K-1, m, c, n); 0 where missing."""


@dataclass(frozen=True, eq=False)
class GaussianMarginals(Marginals):
    """Normal distributions.

    Attributes:
        means: (K, m, p).
        variances: (K, m, p).
    """

    means: Tensor
    variances: Tensor

    def log_odds(self, data: Observations, columns: slice) -> Tensor:
        mean, variance = self.means[..., columns, None], self.variances[..., columns, None]
        precision = 1 / variance
        # -2 log p(x|k) = log v + (x - mean)^2 / v, in powers of x
        linear = mean * precision
        constant = variance.log() + mean * linear
        second = (precision[:1] - precision[1:]) / 2
        first = linear[1:] - linear[:1]
        zeroth = (constant[:1] - constant[1:]) / 2
        x = data.values[columns]
        return data.masked(torch.addcmul(zeroth, torch.addcmul(first, second, x), x), columns)


@dataclass(frozen=True, eq=False)
class DiscreteMarginals(Marginals):
    """Probabilities of the values 0..d-1.

    Attributes:
        log_probabilities: (K, m, p, d).
    """

    log_probabilities: Tensor

    def log_odds(self, data: Observations, columns: slice) -> Tensor:
        table = self.log_probabilities[:, :, columns]
        codes = data.values[columns].long().expand(len(table) - 1, table.shape[1], -1, -1)
        return data.masked((table[1:] - table[:1]).gather(-1, codes), columns)


def gaussian_marginals(
    data: Observations, posterior: Tensor, *, min_variance: float, smooth: bool
) -> GaussianMarginals:
    r"""Means and variances of each variable, rows weighted by p(y_j = k | x).

    With :math:`N = \sum_l p` over observed rows, at least .1: mean :math:`\sum p x / N`, variance
    :math:`\sum p (x - mean)^2 / (N - 1)` with N - 1 at least .01, and never below ``min_variance``.

    Args:
        data: variables centred near 0 (sums of squares are taken as they are).
        posterior: (K, m, n).
        min_variance: floor of the variances, in squared units of the data.
        smooth: draw estimates towards those of all rows, by how far they can be told from chance.
    """
    weights = posterior.flatten(0, 1)
    number = data.total(weights)
    first = weights @ data.values.T
    second = torch.empty_like(first)
    for columns in data.blocks(1, _LARGE_BLOCK):
        second[:, columns] = weights @ data.values[columns].square().T
    rows, free = number.clamp(min=_FEWEST), (number - 1).clamp(min=_FEWEST_FREE)
    mean = first / rows
    variance = (second - mean * (2 * first - mean * number)).clamp(min=0) / free
    if smooth:
        overall, spread, excess = data.moments
        # what the estimates vary by if x is drawn without regard to y
        share = data.total(weights.square()) / rows.square()
        null_mean, null_variance = overall * number / rows, spread * (number - share * rows).clamp(min=0)
        mean = _shrunk(mean, mean - null_mean, share * spread, overall)
        variance = _shrunk(variance, variance - null_variance / free, share * excess, spread)
    shape = (*posterior.shape[:2], -1)
    return GaussianMarginals(mean.view(shape), variance.clamp(min=min_variance).view(shape))


def discrete_marginals(
    data: Observations, posterior: Tensor, *, n_values: int, smooth: bool
) -> DiscreteMarginals:
    """Probabilities of each value, rows weighted by p(y_j = k | x), .001 added to each count.

    Args:
        data: values 0..n_values - 1.
        posterior: (K, m, n).
        n_values: d.
        smooth: as for :func:`gaussian_marginals`.
    """
    weights = posterior.flatten(0, 1)
    number = data.total(weights)
    total = number + n_values * _PRIOR_COUNT
    share = data.total(weights.square()) / total.square() if smooth else None
    found = []
    for value in range(n_values):
        here = (data.values == value).to(weights.dtype)
        if data.observed is not None:
            here = here * data.observed
        probability = (weights @ here.T + _PRIOR_COUNT) / total
        if share is not None:
            overall = (here.sum(1) + _PRIOR_COUNT) / (data.counts + n_values * _PRIOR_COUNT)
            null = (overall * number + _PRIOR_COUNT) / total
            probability = _shrunk(probability, probability - null, share * overall * (1 - overall), overall)
        found.append(probability)
    probabilities = torch.stack(found, -1)
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return DiscreteMarginals(probabilities.log().view(*posterior.shape[:2], *probabilities.shape[1:]))


def _shrunk(estimate: Tensor, deviation: Tensor, variance: Tensor, overall: Tensor) -> Tensor:
    """lambda estimate + (1 - lambda) overall, lambda = d^2 / (d^2 + se^2)."""
    weight = deviation.square() / (deviation.square() + variance.clamp(min=0) + _TINY)
    return torch.lerp(overall.expand_as(estimate), estimate, weight)

r"""The operators of TaylorCAM: how a model's second and third cross derivatives are taken.

Each :class:`Operator` answers two questions of gated units: the matrix of second derivatives, and for given
pairs the third derivative with every further unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hoi_captum.core.cost import GRADIENT, REVERSE
from hoi_captum.core.derivatives import Variable, grow, hessian
from hoi_captum.core.differences import (
    gradient_differences,
    gradient_differences_of_pairs,
    occlusion,
    path_weights,
    stein,
)
from hoi_captum.core.gate_rows import RowsOfGates
from hoi_captum.core.gates import Gates
from hoi_captum.core.passes import PassSize
from hoi_captum.core.softplus import SoftplusForReLU

Pair = tuple[Variable, Variable]
SCALES: Pair = ("scale", "scale")


@dataclass(frozen=True)
class Operator(ABC):
    """One way to take cross derivatives.

    Attributes:
        size: rows in a pass; examples, for exact derivatives.
        on_rows: told how many rows of work are done.
    """

    size: PassSize
    on_rows: Callable[[int], object] | None = field(default=None, kw_only=True)

    @abstractmethod
    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        """Second derivatives, not symmetrised, (B, k, k')."""

    @abstractmethod
    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        """Third derivatives of pairs (B, s, 2) with each unit, (B, s, k); members of the pair: no meaning."""

    def swap_error(self, gates: Gates) -> list[float] | None:
        """How far what the operator changes moves each example's output; None where nothing is changed."""
        return None

    def chunks(self, gates: Gates) -> tuple[Tensor, ...]:
        """The examples, as many together as go into one pass."""
        chunks: tuple[Tensor, ...] = torch.arange(gates.n_examples).split(self.size.rows)
        return chunks

    @abstractmethod
    def cost(self, k: int) -> float:
        """Forward passes that :meth:`second` costs for one example, roughly."""

    @abstractmethod
    def cost_of_triples(self, k: int, pairs: int) -> float:
        """Forward passes that :meth:`third` costs for so many pairs of one example, roughly."""


@dataclass(frozen=True)
class Exact(Operator):
    """Reverse passes through the gradient's graph, at given values of the scale."""

    at: float | None = None

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        parts = [hessian(gates, wrt=wrt, at=self.at, rows=rows) for rows in self._told(gates)]
        return torch.cat(parts)

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        parts = [grow(gates, pairs[rows], at=self.at, rows=rows) for rows in self._told(gates)]
        return torch.cat(parts)

    def _told(self, gates: Gates) -> Iterator[Tensor]:
        done = 0
        for rows in self.chunks(gates):
            yield rows
            done += len(rows)
            if self.on_rows is not None:
                self.on_rows(done)

    def cost(self, k: int) -> float:
        return GRADIENT + REVERSE * k

    def cost_of_triples(self, k: int, pairs: int) -> float:
        return GRADIENT + 2 * REVERSE * pairs


@dataclass(frozen=True)
class Softplus(Exact):
    """Exact derivatives of the model with softplus in the place of its ReLUs."""

    beta: float = 10.0

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        with SoftplusForReLU(self.beta):
            return super().second(gates, wrt)

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        with SoftplusForReLU(self.beta):
            return super().third(gates, pairs)

    def swap_error(self, gates: Gates) -> list[float]:
        """In parts of the output."""
        with torch.no_grad():
            plain = torch.cat([gates.run(rows) for rows in self.chunks(gates)]).double()
            with SoftplusForReLU(self.beta):
                swapped = torch.cat([gates.run(rows) for rows in self.chunks(gates)]).double()
        error: list[float] = ((swapped - plain).abs() / plain.abs().clamp(min=1e-12)).tolist()
        return error


@dataclass(frozen=True)
class AlongPath(Operator):
    """Exact derivatives along the path from all units off to all on, weighted as integrated ones."""

    points: int = 9

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        return self._integral(2, lambda exact: exact.second(gates, wrt))

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        return self._integral(3, lambda exact: exact.third(gates, pairs))

    def _integral(self, order: int, taken: Callable[[Exact], Tensor]) -> Tensor:
        places, weights = path_weights(order, self.points)
        parts = [
            weight * taken(Exact(self.size, at=place, on_rows=self.on_rows))
            for place, weight in zip(places.tolist(), weights.tolist(), strict=True)
        ]
        return torch.stack(parts).sum(0)

    def cost(self, k: int) -> float:
        return self.points * Exact(self.size).cost(k)

    def cost_of_triples(self, k: int, pairs: int) -> float:
        return self.points * Exact(self.size).cost_of_triples(k, pairs)


@dataclass(frozen=True)
class GradientDifference(Operator):
    """Differences of gradients at gates moved by h."""

    h: float = 0.5

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        return gradient_differences(gates, h=self.h, wrt=wrt[1], size=self.size, on_rows=self.on_rows)

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        return gradient_differences_of_pairs(gates, pairs, h=self.h, size=self.size, on_rows=self.on_rows)

    def cost(self, k: int) -> float:
        return 2 * k * GRADIENT

    def cost_of_triples(self, k: int, pairs: int) -> float:
        return 4 * pairs * GRADIENT


@dataclass(frozen=True)
class Stein(Operator):
    """Derivatives of the model smoothed by Gaussian gates."""

    n_samples: int = 512
    stdev: float = 0.3
    seed: int = 0

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        return self._smoothed(gates, 2, wrt[1])

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        dense = self._smoothed(gates, 3, "scale")
        rows = torch.arange(gates.n_examples).unsqueeze(1)
        first, second = pairs.unbind(-1)
        # each of the three is differentiated by the gradient in turn; together they are less noisy
        by_last = dense[rows, first, second]
        by_first = dense[rows, second, :, first]
        by_second = dense[rows, first, :, second]
        return (by_last + by_first + by_second) / 3

    def _smoothed(self, gates: Gates, order: int, wrt: Variable) -> Tensor:
        return stein(
            gates,
            order,
            n_samples=self.n_samples,
            stdev=self.stdev,
            wrt=wrt,
            seed=self.seed,
            size=self.size,
            on_rows=self.on_rows,
        )

    def cost(self, k: int) -> float:
        return self.n_samples * GRADIENT

    def cost_of_triples(self, k: int, pairs: int) -> float:
        return self.n_samples * GRADIENT


@dataclass(frozen=True)
class Occlusion(Operator):
    """Differences of outputs with units switched off: finite, not derivatives."""

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        k = gates.n_units
        pairs = torch.combinations(torch.arange(k), 2)
        found = occlusion(gates, pairs, size=self.size, on_rows=self.on_rows)
        out = found.new_zeros(len(found), k, k)
        out[:, pairs[:, 0], pairs[:, 1]] = out[:, pairs[:, 1], pairs[:, 0]] = found
        return out

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        (examples, count, _), k = pairs.shape, gates.n_units
        others = torch.arange(k).view(1, 1, k, 1).expand(examples, count, k, 1)
        triples = torch.cat([pairs.unsqueeze(2).expand(-1, -1, k, -1), others], -1).flatten(1, 2)
        found = occlusion(gates, triples, size=self.size, on_rows=self.on_rows)
        return found.view(examples, count, k)

    def cost(self, k: int) -> float:
        return 1 + k + k * (k - 1) / 2

    def cost_of_triples(self, k: int, pairs: int) -> float:
        return 1 + k + k * (k - 1) / 2 + pairs * k


@dataclass(frozen=True)
class RowByRow(Operator):
    """One operator for some rows of the batch and another for the others.

    Attributes:
        usual, other: the operators.
        chosen: (B,) bool, the rows of ``other``.
    """

    usual: Operator
    other: Operator
    chosen: Tensor

    def second(self, gates: Gates, wrt: Pair = SCALES) -> Tensor:
        return self._merged(gates, lambda taken, part, rows: taken.second(part, wrt))

    def third(self, gates: Gates, pairs: Tensor) -> Tensor:
        return self._merged(gates, lambda taken, part, rows: taken.third(part, pairs[rows]))

    def _merged(self, gates: Gates, found: Callable[[Operator, Gates, Tensor], Tensor]) -> Tensor:
        rows = [(~self.chosen).nonzero()[:, 0], self.chosen.nonzero()[:, 0]]
        parts = []
        for taken, own in zip((self.usual, self.other), rows, strict=True):
            part = RowsOfGates(gates, own)
            parts.append(found(taken, part, own))
            gates.backward_passes += part.backward_passes
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def cost(self, k: int) -> float:
        return max(self.usual.cost(k), self.other.cost(k))

    def cost_of_triples(self, k: int, pairs: int) -> float:
        return max(self.usual.cost_of_triples(k, pairs), self.other.cost_of_triples(k, pairs))

r"""What a fit learns from: for each row the units z, and the model's gradient by them.

A unit is one number of a row. The model's derivative by it is that along a direction: what the row's cells
(or a layer's neurons) change by when the unit grows by 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.batches import Batch
from hoi_captum.errors import InputError, ModelOutputError


@dataclass(frozen=True, eq=False)
class Measured:
    """Some rows as a fit sees them.

    Attributes:
        z: (m, k) float64.
        g: (m, k) float64, the model's derivatives by the units; NaN where a unit is not there.
        spread: values (m, k) given to cells: of the inputs, or of a layer.
        forward_passes, backward_passes: model rows that it took, and rows of reverse passes.
    """

    z: Tensor
    g: Tensor
    spread: Callable[[Tensor], tuple[Tensor, ...]]
    forward_passes: int
    backward_passes: int

    @property
    def present(self) -> Tensor:
        """(m, k) bool, the units that a row has."""
        return ~self.g.isnan()


class UnitSpace(ABC):
    """Where units come from. What it learned of the data is in arrays, for files.

    Class attributes:
        kind: its name in files and provenance.
        by_gates: whether the model is differentiated by gates, so that derivatives are in its output's unit.
    """

    kind: ClassVar[str]
    by_gates: ClassVar[bool] = False

    @property
    @abstractmethod
    def count(self) -> int:
        """k, the number of units."""

    @abstractmethod
    def measure(self, forward_func: Callable[..., Any], batch: Batch, target: Any) -> Measured:
        """Units and gradients of some rows.

        Args:
            forward_func: the model.
            batch: the rows.
            target: as in Captum.

        Raises:
            InputError: rows of another kind than those it was learned from, or a forward function without
                gradients.
            ModelOutputError: gradients that are not finite.
        """

    @abstractmethod
    def check_call(self, feature_mask: Any, at_input: bool) -> None:
        """Refuse a call whose units would be others than those that were learned.

        Args:
            feature_mask: of the call.
            at_input: whether the call means what enters the layer.

        Raises:
            InputError: it would.
        """

    def names(self) -> tuple[str, ...]:
        """A name for each unit."""
        return tuple(str(i) for i in range(self.count))

    @abstractmethod
    def pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays, and numbers for JSON."""


def gradients_by(arguments: Arguments, variables: tuple[Tensor, ...], run: Callable[[], Tensor]) -> Tensor:
    """Derivatives of each row's number by the cells of its variables, (m, cells) float64 on the CPU.

    Args:
        arguments: for its rows alone.
        variables: (m, ...) each; those that need no gradients count as 0.
        run: gives the explained numbers, (m,).

    Raises:
        InputError: nothing leads from the variables to the numbers.
        ModelOutputError: derivatives that are not finite.
    """
    with torch.enable_grad():
        value = run()
        check_leads(value)
        wanted = [x for x in variables if x.requires_grad]
        found = list(torch.autograd.grad(value.sum(), wanted, allow_unused=True, materialize_grads=True))
    cells = [found.pop(0) if x.requires_grad else torch.zeros_like(x) for x in variables]
    gradients = cells_of(tuple(cells))
    check_finite(gradients)
    return gradients


def check_leads(value: Tensor) -> None:
    """Refuse a forward function without gradients.

    Raises:
        InputError: nothing leads from what is differentiated by to the explained number.
    """
    if not value.requires_grad:
        raise InputError(
            "expected a forward function whose output has a gradient, got one without: it may run under "
            "no_grad, detach its input, or return a class instead of a score; let gradients through"
        )


def check_finite(gradients: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        ModelOutputError: there are some.
    """
    bad = (~gradients.isfinite()).any(1).nonzero()
    if len(bad):
        raise ModelOutputError(
            f"expected finite gradients, got NaN or infinity in row {int(bad[0])} of a batch ({len(bad)} "
            "such rows); the model has a point without derivative there (a square root or a norm of 0, say), "
            "or the row is not finite: leave such rows out"
        )


def cells_of(tensors: tuple[Tensor, ...]) -> Tensor:
    """All cells of each row, (m, cells) float64 on the CPU."""
    return torch.cat([x.detach().flatten(1).cpu().double() for x in tensors], 1)

"""Units that come and go: words of texts, by whether they are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.batches import Batch
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import gradient
from hoi_captum.core.example import as_tensors
from hoi_captum.core.gating import gates_of, plain
from hoi_captum.errors import InputError, PlayerError
from hoi_captum.methods.second_glance.spaces import Measured, UnitSpace, check_finite


class Presence(UnitSpace):
    r"""Units by their presence in a row: z is 1 where a unit has cells there, else 0.

    g is the model's derivative by the unit's gate at 1 (on its inputs towards their baseline, or on what is
    attended to); a unit that is not there has none. The mask of a row tells which of its cells are which
    unit, wherever they stand: the same id is the same word in all texts.

    Args:
        units: k; more than a row has, mostly.
        gate: ``auto``, ``input``, ``attention`` or ``value``.
    """

    kind = "presence"
    by_gates = True

    def __init__(self, units: int, gate: str) -> None:
        self.units, self.gate = units, gate

    @classmethod
    def learn(cls, batches: list[Batch], gate: str, named: int = 0) -> Presence:
        """The units of all rows.

        Args:
            batches: all rows.
            gate: as of the class.
            named: how many units have names, whether any row has them or not.

        Raises:
            PlayerError: rows without a mask, or no unit in any of them.
        """
        highest = max(int(mask.max()) for batch in batches for mask in _masks(batch))
        if highest < 0:
            raise PlayerError(
                "the feature_mask of every row is -1 throughout: none of them has a unit; give ids 0, 1, ... "
                "to the cells of units"
            )
        return cls(max(highest + 1, named), gate)

    def measure(self, forward_func: Callable[..., Any], batch: Batch, target: Any) -> Measured:
        inputs = plain(batch.inputs)
        rows = len(inputs[0])
        masks = tuple(
            mask.to(x.device, torch.int64).expand(rows, *mask.shape[1:])
            for mask, x in zip(_masks(batch), inputs, strict=True)
        )
        if int(max(mask.max() for mask in masks)) >= self.units:
            raise PlayerError(
                f"expected feature_mask ids below {self.units}, the number of units that fit() saw, got "
                f"{int(max(mask.max() for mask in masks))}"
            )
        players = Players(masks, self.units)
        arguments = Arguments(forward_func, inputs, batch.baselines, target, batch.additional)
        present = torch.zeros(rows, self.units + 1, dtype=torch.bool)
        for mask in masks:
            present.scatter_(1, mask.reshape(rows, -1).cpu() % (self.units + 1), True)
        present = present[:, :-1]
        _, gates = gates_of(self.gate, arguments, players, partial=True)
        found = gradient(gates) if bool(present.any()) else torch.zeros(rows, self.units, dtype=torch.float64)
        check_finite(found)
        passes = gates.forward_passes, gates.backward_passes
        return Measured(present.double(), torch.where(present, found, torch.nan), gates.spread, *passes)

    @property
    def count(self) -> int:
        return self.units

    def check_call(self, feature_mask: Any, at_input: bool) -> None:
        """Nothing to refuse: rows have masks of their own, and :meth:`measure` looks at them."""

    def pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return {}, {"units": self.units, "gate": self.gate}

    @classmethod
    def unpack(cls, arrays: dict[str, NDArray[Any]], described: dict[str, Any]) -> Presence:
        """The inverse of :meth:`pack`."""
        return cls(described["units"], described["gate"])


def _masks(batch: Batch) -> tuple[Tensor, ...]:
    if batch.feature_mask is None:
        raise PlayerError(
            "expected a feature_mask with every row, which tells the unit of each position (the same id for "
            "the same word), got none; hoi_captum.explain(..., background=texts) makes them"
        )
    masks = as_tensors(batch.feature_mask, "feature_mask")
    if len(masks) != len(batch.inputs) or any(m.is_floating_point() for m in masks):
        raise InputError(f"expected {len(batch.inputs)} integer masks, got {len(masks)}")
    for x, mask in zip(batch.inputs, masks, strict=True):
        fits = mask.dim() == x.dim() and all(m in (1, s) for m, s in zip(mask.shape, x.shape, strict=True))
        if not fits:
            raise PlayerError(
                f"expected a feature_mask broadcastable to inputs of {tuple(x.shape)}, got "
                f"{tuple(mask.shape)}"
            )
    return masks

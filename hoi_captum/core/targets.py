"""Captum's ``target`` argument: which number of each output row is explained."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from hoi_captum.errors import TargetError

Index = tuple[Any, ...]


class Target:
    """A ``target`` in one of Captum's forms, checked once and applied to any rows of the batch.

    Forms: None (one number for each row), an int or a tensor with one element, a tuple of
    indices (one for each output dimension behind the batch), a list of ints or a 1-D tensor (one
    for each row), a list of tuples.

    Args:
        target: as given by the user.
        batch: number of rows of the inputs.

    Raises:
        TargetError: no such form, or a list that does not have one entry for each row.
    """

    def __init__(self, target: Any, batch: int) -> None:
        self._shared: Index | None = None
        self._each: list[Index] | None = None
        if target is None:
            return
        if isinstance(target, Tensor):
            if target.is_floating_point() or (target.dim() > 1 and target.numel() != 1):
                raise TargetError(
                    f"expected an integer target of 0 or 1 dimensions, got {target.dtype} "
                    f"of shape {tuple(target.shape)}"
                )
            target = int(target) if target.numel() == 1 else target.tolist()
        if isinstance(target, Integral):
            self._shared = (int(target),)
        elif isinstance(target, tuple):
            self._shared = target
        elif isinstance(target, list):
            if len(target) != batch:
                raise TargetError(f"expected one target for each of the {batch} rows, got {len(target)}")
            self._each = [t if isinstance(t, tuple) else (t,) for t in target]
        else:
            raise TargetError(
                f"expected target to be an int, a tuple, a list or a tensor, got {type(target).__name__}"
            )

    def select(self, output: Tensor, rows: Tensor) -> Tensor:
        """The explained number of each row: (m,).

        Args:
            output: (m, ...) what the model gave.
            rows: (m,) which row of the batch each output row belongs to.

        Raises:
            TargetError: an index out of range, or more than one number left for each row.
        """
        try:
            if self._each is not None:
                # (m, k): the indices of each row, gathered at once
                each = torch.tensor(self._each, device=output.device)
                if each.dtype == torch.bool:  # which would choose columns as a mask does
                    raise TypeError("booleans are no indices")
                indices = each[rows.to(output.device)]
                chosen = output[(torch.arange(len(output), device=output.device), *indices.unbind(1))]
            elif self._shared is not None:
                chosen = output[(slice(None), *self._shared)]
            else:
                chosen = output
        except (IndexError, ValueError, TypeError) as error:
            raise TargetError(
                f"target {self._given()} does not exist in an output of shape {tuple(output.shape)}: {error}"
                "; give indices behind the dimension of rows"
            ) from error
        if chosen.numel() != len(output):
            way_out = (
                f"give target=<number of a class>, 0 to {output.shape[1] - 1}"
                if output.dim() == 2
                else f"give target as {max(output.dim() - 1, 1)} indices"
            )
            raise TargetError(
                f"expected one number for each row, but target {self._given()} leaves "
                f"{tuple(chosen.shape[1:])} of an output of shape {tuple(output.shape)}; {way_out}"
            )
        return chosen.reshape(-1)

    @property
    def classes(self) -> int | list[int] | None:
        """The column that is chosen, or one for each row, of outputs (rows, classes); None where the target
        is no such thing.
        """
        if self._each is not None and all(len(t) == 1 for t in self._each):
            return [int(t[0]) for t in self._each]
        if self._shared is not None and len(self._shared) == 1 and isinstance(self._shared[0], Integral):
            return int(self._shared[0])
        return None

    def _given(self) -> str:
        if self._each is not None:
            return str([t[0] if len(t) == 1 else t for t in self._each[:4]])
        if self._shared is not None:
            return str(self._shared[0] if len(self._shared) == 1 else self._shared)
        return "None"


def target_of(target: Any, row: int) -> Any:
    """The part of Captum's ``target`` that belongs to a row: None, an int or a tuple."""
    if isinstance(target, list):
        return target[row]
    if isinstance(target, Tensor):
        return int(target.reshape(-1)[row if target.numel() > 1 else 0])
    return target

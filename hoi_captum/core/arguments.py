"""Captum's arguments, checked once: all that is needed to run a model on rows of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hoi_captum.core.example import PerModel, as_tensors
from hoi_captum.core.targets import Target
from hoi_captum.errors import InputError, ModelOutputError

NAMES = ("inputs", "baselines", "target", "additional_forward_args", "feature_mask")


class Arguments:
    """A forward function and its inputs under Captum's names.

    Args:
        forward_func (Callable): ``forward_func(*inputs, *additional)`` gives (rows, ...).
        inputs (Tensor or tuple[Tensor, ...]): (B, ...).
        baselines (None, number, Tensor or tuple): as in Captum; Tensors are (1 or B, ...). Default: 0.
        target: as in Captum.
        additional_forward_args: as in Captum. Tensors whose first dimension is the batch (or 1) are
            repeated with the rows; everything else is passed as it is.

    Attributes:
        forward_func: as given.
        inputs, baselines: tuples of tensors; a baseline of one number has no dimensions.
        additional: the additional arguments as a tuple.
        n_examples: B.

    Raises:
        InputError: arguments that do not fit together (TargetError among them).
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
    ) -> None:
        if not callable(forward_func):
            raise InputError(f"expected a callable forward_func, got {type(forward_func).__name__}")
        self.forward_func = forward_func
        self.inputs = as_tensors(inputs)
        self.n_examples = self.inputs[0].shape[0]
        if self.n_examples == 0:
            raise InputError("expected at least one row of inputs, got an empty batch")
        self.baselines = as_baselines(baselines, self.inputs)
        self._target = Target(target, self.n_examples)
        self.additional = as_additional(additional_forward_args)

    def run(self, inputs: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """The explained number of each row, (m,).

        Args:
            inputs: changed copies of the inputs, (m, ...) each.
            rows: (m,) the example that each copy comes from.

        Raises:
            ModelOutputError: the output is no tensor, or does not have m rows.
            TargetError: the target does not exist in the output.
            InputError: as :meth:`output`.
        """
        return self.select(self.output(inputs, rows), rows)

    def output(self, inputs: tuple[Tensor, ...], rows: Tensor) -> Any:
        """What the forward function gives for changed copies of the inputs, as in :meth:`run`.

        Raises:
            InputError: the model failed and lives on another device, or in another dtype, than the inputs.
        """
        try:
            return self.forward_func(*inputs, *self.additional_of(rows))
        except RuntimeError as error:
            mismatch = _placement_mismatch(self.forward_func, inputs)
            if mismatch and _is_about_placement(error):
                raise InputError(mismatch) from error
            raise

    def select(self, output: Any, rows: Tensor) -> Tensor:
        """The explained number of each row of an output, (m,).

        Args:
            output: (m, ...) what the forward function gave.
            rows: (m,) the example that each row belongs to.

        Raises:
            ModelOutputError, TargetError: as :meth:`run`.
        """
        if not isinstance(output, Tensor):
            raise ModelOutputError(
                f"expected forward_func to return a Tensor, got {type(output).__name__}; for HuggingFace "
                "models use hoi_captum.adapt(model).forward_func or a function that returns .logits"
            )
        if output.dim() == 0 or output.shape[0] != len(rows):
            raise ModelOutputError(
                f"expected an output with {len(rows)} rows, one for each input row, got shape "
                f"{tuple(output.shape)}; forward_func must treat the rows of a batch one by one"
            )
        return self._target.select(output, rows)

    @property
    def target_classes(self) -> int | list[int] | None:
        """The class that the target names, for all rows or for each; None where it is no class."""
        return self._target.classes

    def differing(self) -> tuple[Tensor, ...]:
        """The cells, of any example, that are not the same when masked; shaped like the inputs."""
        return tuple(x != b for x, b in zip(self.inputs, self.baselines, strict=True))

    def example(self, row: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Any, ...]]:
        """Inputs, baselines and additional arguments of one example."""
        one = torch.tensor([row])
        inputs = tuple(rows_of(x, one) for x in self.inputs)
        baselines = tuple(rows_of(b, one) for b in self.baselines)
        return inputs, baselines, self.additional_of(one)

    def additional_of(self, rows: Tensor) -> tuple[Any, ...]:
        """The additional arguments for copies of the examples at ``rows``."""
        return tuple(self._repeat(value, rows) for value in self.additional)

    def _repeat(self, value: Any, rows: Tensor) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[0] not in (1, self.n_examples):
            return value
        if value.shape[0] == 1:  # copied, as in Captum: a model may write into its arguments
            return value.repeat(len(rows), *[1] * (value.dim() - 1))
        return rows_of(value, rows)


def as_additional(value: Any) -> tuple[Any, ...]:
    """Captum's rule for additional forward arguments, here always as a tuple: None is none of them."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """The examples at ``rows``; a single example is left to broadcasting instead of being copied."""
    if tensor.dim() == 0 or tensor.shape[0] == 1:
        return tensor
    return tensor.index_select(0, rows.to(tensor.device))


def for_each_model(arguments: Sequence[Any], models: int) -> list[tuple[Any, ...]]:
    """The arguments (in the order of :data:`NAMES`) of each model, ``PerModel`` taken apart.

    Raises:
        InputError: a ``PerModel`` for another number of models.
    """
    for name, value in zip(NAMES, arguments, strict=True):
        if isinstance(value, PerModel) and len(value) != models:
            raise InputError(f"expected PerModel {name} for {models} models, got {len(value)}")
    return [tuple(a[i] if isinstance(a, PerModel) else a for a in arguments) for i in range(models)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # the CPU allocator raises a plain RuntimeError
    text = str(error).lower()
    return "not enough memory" in text or "can't allocate memory" in text or "out of memory" in text


def as_baselines(baselines: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Captum's rule for baselines, one for each tensor; a number has no dimensions.

    Raises:
        InputError: another number of them, another shape, or values that the tensors' dtype cannot hold.
    """
    if baselines is None:
        baselines = (0,) * len(inputs)
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != len(inputs):
        raise InputError(f"expected one baseline for each of {len(inputs)} input tensors, got {len(given)}")
    return tuple(_as_baseline(0 if b is None else b, x) for b, x in zip(given, inputs, strict=True))


def _as_baseline(baseline: Any, x: Tensor) -> Tensor:
    if isinstance(baseline, Tensor):
        shapes = {tuple(x.shape), (1, *x.shape[1:]), ()}
        if tuple(baseline.shape) not in shapes:
            raise InputError(f"expected a baseline of shape {sorted(shapes)}, got {tuple(baseline.shape)}")
    elif not isinstance(baseline, bool | int | float):
        raise InputError(f"expected a baseline to be a number or a Tensor, got {type(baseline).__name__}")
    # a number of Python has the digits of float64
    exact = torch.float64 if isinstance(baseline, float) else None
    tensor = torch.as_tensor(baseline, dtype=exact).to(x.device)
    cast = tensor.to(x.dtype)
    # rounding to another float type is what mixed precision does; a fraction made an integer is an error
    fractions = tensor.is_floating_point() and not x.is_floating_point()
    if fractions and not torch.equal(cast.to(tensor), tensor):
        raise InputError(
            f"expected a baseline that {x.dtype} inputs can hold, got fractions; give the inputs as floats"
        )
    return cast


def _is_about_placement(error: RuntimeError) -> bool:
    text = str(error).lower()
    return not is_out_of_memory(error) and ("type" in text or "device" in text)


def _placement_mismatch(forward_func: Any, inputs: tuple[Tensor, ...]) -> str | None:
    """What to say where a module failed and its parameters live elsewhere than the inputs."""
    if not isinstance(forward_func, nn.Module):
        return None
    parameter = next((p for p in forward_func.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return None
    for x in inputs:
        if x.device != parameter.device:
            return (
                f"the model is on {parameter.device} and an input on {x.device}; move one with "
                f".to({str(parameter.device)!r})"
            )
        if x.is_floating_point() and x.dtype != parameter.dtype:
            return (
                f"the model's parameters are {parameter.dtype} and an input is {x.dtype}; convert one with "
                f".to({parameter.dtype})"
            )
    return None

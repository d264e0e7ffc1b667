"""Hooks that read or replace what flows through a layer, whatever it is called with.

HuggingFace modules take keyword arguments and return tuples with None inside, or ModelOutputs
(mappings). Captum's own hooks stop at these; here only the tensors count, in order, and everything
else passes through untouched.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hoi_captum.core.eager import eager
from hoi_captum.errors import InputError

TensorsHook = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...] | None]


def check_layer(layer: Any) -> None:
    """Refuse what is no layer.

    Raises:
        InputError: it is no module.
    """
    if not isinstance(layer, nn.Module):
        raise InputError(
            f"expected layer to be a module of the model, got {type(layer).__name__}; "
            "model.get_submodule(name) gives one"
        )


def check_cells(tensor: Tensor, neuron_dim: int | None) -> None:
    """Refuse what would be taken for rows of neurons and is not.

    Raises:
        InputError: a layer without a dimension of neurons, or that has no dimension ``neuron_dim``.
    """
    shape = tensor.shape
    if len(shape) < 2:
        raise InputError(
            f"expected a layer that gives (rows, neurons) or more dimensions, got shape {tuple(shape)}; give "
            "data with rows in dimension 0 (x[None] for a single row)"
        )
    if neuron_dim is not None and not (-len(shape) < neuron_dim < len(shape)):
        raise InputError(
            f"expected neuron_dim to be a dimension behind the rows of what the layer gives, {tuple(shape)}; "
            f"got {neuron_dim}"
        )


def tensors_in(value: Any) -> tuple[Tensor, ...]:
    """The tensors of a layer's input or output, in order: a Tensor, a sequence, or a mapping of these."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return tuple(t for t in value if isinstance(t, Tensor))
    return ()


def with_tensors(value: Any, tensors: tuple[Tensor, ...]) -> Any:
    """``value`` with its tensors replaced, in order; its type and all else are kept.

    Raises:
        InputError: another number of tensors than ``value`` has.
    """
    held = len(tensors_in(value))
    if len(tensors) != held:
        raise InputError(f"expected {held} tensors to replace those of the layer, got {len(tensors)}")
    if not held:
        return value
    remaining = iter(tensors)
    if isinstance(value, Tensor):
        return next(remaining)
    if isinstance(value, Mapping):
        changed: Any = copy.copy(value)
        for key, item in value.items():
            if isinstance(item, Tensor):
                changed[key] = next(remaining)
        return changed
    items = [next(remaining) if isinstance(item, Tensor) else item for item in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple takes its fields one by one
        return type(value)(*items)
    return type(value)(items)


@contextmanager
def tapped(
    layer: nn.Module, hook: TensorsHook, *, at_input: bool = False, call: int | None = None
) -> Iterator[None]:
    """Call ``hook`` with the tensors that leave (or enter) a layer, while the context lasts.

    Args:
        layer: any module.
        hook: gets a tuple of tensors, the very ones that flow on (so gradients of any order can be
            taken); a returned tuple of as many tensors replaces them.
        at_input: tap what enters the layer, positional arguments first, then keyword arguments.
        call: tap this run of a layer that runs more than once, counted from 1. Default: None (every run)
    """
    runs: Counter[torch.device | None] = Counter()  # of each replica of a DataParallel model

    def counted(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        device = tensors[0].device if tensors else None
        runs[device] += 1
        return hook(tensors) if call is None or runs[device] == call else None

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        positional, named = tensors_in(args), tensors_in(kwargs)
        new = counted(positional + named)
        if new is None:
            return None
        split = len(positional)
        return with_tensors(args, new[:split]), with_tensors(kwargs, new[split:])

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        new = counted(tensors_in(output))
        return None if new is None else with_tensors(output, new)

    if at_input:
        handle = layer.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = layer.register_forward_hook(after)
    try:
        with eager():
            yield
    finally:
        handle.remove()


class LayerReading(NamedTuple):
    """What one forward pass shows of a layer.

    Attributes:
        tensors: those at the layer, in order, detached.
        output: what the forward function gave.
        calls: how often the layer ran; the tensors are those of the last run, as in Captum.
    """

    tensors: tuple[Tensor, ...]
    output: Any
    calls: int = 1


def read_layer(
    forward_func: Callable[..., Any],
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    additional_forward_args: tuple[Any, ...] = (),
    *,
    at_input: bool = False,
    device_ids: Sequence[int] | None = None,
) -> LayerReading:
    """Run the model once, without gradients, and keep what flows through a layer.

    Where the layer runs more than once the last run counts, as in Captum.

    Args:
        forward_func, inputs, additional_forward_args: ``forward_func(*inputs, *additional_forward_args)``.
        layer: any module that it runs.
        at_input: read what enters the layer instead of what leaves it.
        device_ids: of a ``DataParallel`` model, whose replicas' rows are put together in this order.

    Raises:
        InputError: the layer did not run, or carries no tensor; several devices without ``device_ids``.
    """
    seen: dict[torch.device | None, tuple[Tensor, ...]] = {}
    runs: Counter[torch.device | None] = Counter()

    # cloned, since a later in-place operation (ReLU(inplace=True)) would change what was seen
    def keep(tensors: tuple[Tensor, ...]) -> None:
        device = tensors[0].device if tensors else None
        seen[device] = tuple(t.detach().clone() for t in tensors)
        runs[device] += 1

    with torch.no_grad(), tapped(layer, keep, at_input=at_input):
        output = forward_func(*inputs, *additional_forward_args)
    if not seen:
        raise InputError(
            f"the layer {type(layer).__name__} did not run in the forward pass; "
            "give a module that the model calls"
        )
    tensors = _gathered(seen, device_ids) if len(seen) > 1 else next(iter(seen.values()))
    if not tensors:
        side = "input" if at_input else "output"
        raise InputError(
            f"the {side} of the layer {type(layer).__name__} holds no tensor; choose another (see "
            "model.named_modules())"
        )
    return LayerReading(tensors, output, max(runs.values()))


def _gathered(
    seen: Mapping[torch.device | None, tuple[Tensor, ...]], device_ids: Sequence[int] | None
) -> tuple[Tensor, ...]:
    """The rows of all replicas, on the first one's device."""
    by_index = {None if device is None else device.index: tensors for device, tensors in seen.items()}
    if device_ids is None or set(by_index) - set(device_ids):
        raise InputError(
            f"the layer ran on the devices {sorted(map(str, seen))}; give their numbers, in order, as "
            "device_ids"
        )
    replicas = [by_index[i] for i in device_ids if i in by_index]
    first = replicas[0][0].device
    return tuple(torch.cat([t.to(first) for t in parts]) for parts in zip(*replicas, strict=True))

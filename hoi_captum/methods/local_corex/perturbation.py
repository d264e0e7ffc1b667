"""Moving a layer along a factor, and what the rest of the network makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.gates import copies_of
from hoi_captum.core.layer_method import LayerRows
from hoi_captum.core.layers import LayerReading, read_layer, tapped
from hoi_captum.core.options import check_choice
from hoi_captum.core.pooling import Pooling
from hoi_captum.errors import InputError, ModelOutputError, OptionError

STARTS = ("inputs", "cluster")
DIRECTIONS = ("mi", "signed-mi", "factor")


def check_strengths(strength: float | Sequence[float]) -> tuple[float, ...]:
    """The strengths that are meant: -s, 0 and s for one number.

    Raises:
        OptionError: no finite number, or no sequence of these.
    """
    given = (strength,) if isinstance(strength, Real) else strength
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or not len(given):
        raise OptionError(f"expected strength as a number or a sequence of numbers, got {strength!r}")
    for s in given:
        if isinstance(s, bool) or not isinstance(s, Real) or not math.isfinite(s):
            raise OptionError(f"expected finite strengths, got {s!r}")
    numbers = tuple(float(s) for s in given)
    return (-numbers[0], 0.0, numbers[0]) if isinstance(strength, Real) else numbers


def direction_of(model: Any, factor: int, direction: str | None) -> NDArray[np.float64]:
    """What a strength of 1 adds to the variables of a fitted CorEx, (features,).

    Args:
        model: the CorEx of a region.
        factor: its factor.
        direction: ``signed-mi``, ``mi``, ``factor`` or None, as in ``LayerLocalCorEx.perturb``.

    Raises:
        OptionError: another direction, or one that this estimator does not have.
    """
    if direction is None:
        direction = "signed-mi" if hasattr(model, "correlations_") else "mi"
    check_choice("direction", direction, DIRECTIONS)
    mi: NDArray[np.float64] = model.mi_[factor]
    if direction == "mi":
        return mi
    needed = "correlations_" if direction == "signed-mi" else "inverse_transform"
    if not hasattr(model, needed):
        raise OptionError(
            f"expected direction 'mi' with {type(model).__name__}, which has no {needed}, got {direction!r}"
        )
    if direction == "signed-mi":
        signed: NDArray[np.float64] = np.sign(model.correlations_[factor]) * mi
        return signed
    moved = np.zeros((2, len(model.tcs_)))
    # a factor's value without its noise has the variance u = 1 - exp(-2 I(Y; X))
    moved[1, factor] = math.sqrt(-math.expm1(-2 * float(model.factor_mi_[factor])))
    centre, along = model.inverse_transform(moved)
    difference: NDArray[np.float64] = along - centre
    return difference


def run_shifted(
    rows: LayerRows,
    layer: nn.Module,
    pooling: Pooling,
    shifts: Sequence[Tensor],
    decoder: Callable[..., Tensor] | None,
    decoder_layer: nn.Module | None,
    *,
    at_input: bool,
) -> tuple[Tensor, Tensor | None]:
    """The network's outputs, and the decoder's, for each shift of the layer.

    Args:
        rows: the forward function and its inputs, and what the layer gave.
        layer: what is shifted, in the run that was read.
        pooling: of the layer; what it reads is moved.
        shifts: (rows, neurons) for each strength, what is added to the neurons.
        decoder: a function of what ``decoder_layer`` (or, if None, the shifted layer) gives.
        at_input: shift what enters the layer.

    Returns:
        outputs (S, B, ...), and decoded (S, B, ...) or None.

    Raises:
        OptionError: a decoder that is none, or a layer for it that is none.
        InputError: a layer of integers, or a decoder's layer that runs before it is shifted.
    """
    if decoder is not None and not callable(decoder):
        raise OptionError(f"expected decoder to be a function of a layer, got {type(decoder).__name__}")
    if decoder_layer is not None and not isinstance(decoder_layer, nn.Module):
        raise OptionError(f"expected decoder_layer to be a module, got {type(decoder_layer).__name__}")
    arguments, index = rows.arguments, torch.arange(len(rows))
    shifted: list[bool] = []
    behind: list[bool] = []
    outputs, decoded = [], []
    for shift in shifts:

        def move(tensors: tuple[Tensor, ...], shift: Tensor = shift) -> tuple[Tensor, ...]:
            if not all(t.is_floating_point() for t in tensors):
                raise InputError(f"expected a layer of floats to move, got {tensors[0].dtype}")
            shifted.append(True)
            return pooling.add(tensors, shift.unsqueeze(1), arguments.additional)

        def note(tensors: tuple[Tensor, ...]) -> None:
            behind.append(bool(shifted))

        shifted.clear()
        read = layer if decoder_layer is None else decoder_layer
        with (
            tapped(layer, move, at_input=at_input, call=rows.calls),
            nullcontext() if decoder_layer is None else tapped(decoder_layer, note),
        ):
            reading: LayerReading = read_layer(
                lambda *x: arguments.output(x, index),
                read,
                copies_of(arguments.inputs, index),
                at_input=at_input and decoder_layer is None,
            )
        if decoder_layer is not None and not behind[-1]:
            name = type(decoder_layer).__name__
            raise InputError(
                f"the decoder's layer {name} runs before the layer that is moved; give one behind it"
            )
        outputs.append(_as_rows(reading.output, len(index)))
        if decoder is not None:
            with torch.no_grad():
                decoded.append(_as_rows(decoder(reading.tensors[0]), len(index)))
    return torch.stack(outputs), torch.stack(decoded) if decoded else None


def _as_rows(output: Any, count: int) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() == 0 or len(output) != count:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelOutputError(f"expected a Tensor with {count} rows, got {what}")
    return output.detach()

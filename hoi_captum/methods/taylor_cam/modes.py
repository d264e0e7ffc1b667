"""Which operator a call gets, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.derivatives import gradient, piecewise_linear_steps
from hoi_captum.core.gates import Gates
from hoi_captum.core.passes import PassSize
from hoi_captum.methods.taylor_cam.operators import (
    AlongPath,
    Exact,
    GradientDifference,
    Occlusion,
    Operator,
    RowByRow,
    Softplus,
    Stein,
)

MODES = ("auto", "exact", "grad_diff", "stein", "softplus", "occlusion", "path")
_SATURATED = (
    0.1  # first derivatives' share of the effect; AND models have .002 to .06, natural texts around 1
)

_FEW = 64  # units, up to which all pairs are switched off


@dataclass(frozen=True)
class Settings:
    """Options of the operators, as the method's constructor has them."""

    mode: str
    h: float
    n_samples: int
    stdev: float
    beta: float
    seed: int


def choose_modes(mode: str, variant: str, gates: Gates, size: PassSize) -> tuple[str, ...]:
    """The mode of each row: what ``auto`` stands for; a mode that was chosen is kept.

    Second derivatives are blind to ReLUs and max-pools: where any lies behind the gates, gradients are
    compared. Gates on attention are exact too, except where the model is saturated: where first derivatives
    add up to less than a tenth of what all gates do when they are switched off, the model is flat around
    this input, what little curvature it has says nothing of the effect, and units are switched off instead
    (or, where that would be many pairs, followed on the path there). Not so gates on the first layer's
    values: later layers see a token whose values are gone there.
    The variant ``cam_basic`` is a formula of second derivatives alone.
    """
    rows = gates.n_examples
    if mode != "auto":
        return (mode,) * rows
    if variant == "cam_basic":
        return ("exact",) * rows
    if piecewise_linear_steps(gates):
        return ("grad_diff",) * rows
    if isinstance(gates, AttentionGates) and not gates.values:
        instead = "occlusion" if gates.n_units <= _FEW else "path"
        return tuple(instead if flat else "exact" for flat in _saturated(gates, size).tolist())
    return ("exact",) * rows


def operator_of(
    modes: tuple[str, ...],
    settings: Settings,
    size: PassSize,
    on_rows: Callable[[int], object] | None = None,
) -> Operator:
    """The operator of the rows' modes."""
    distinct = sorted(set(modes))
    operators = [_operator(mode, settings, size, on_rows) for mode in distinct]
    if len(operators) == 1:
        return operators[0]
    usual, other = operators
    return RowByRow(size, usual, other, torch.tensor([mode == distinct[1] for mode in modes]))


def _operator(
    mode: str, settings: Settings, size: PassSize, on_rows: Callable[[int], object] | None
) -> Operator:
    if mode == "grad_diff":
        return GradientDifference(size, settings.h, on_rows=on_rows)
    if mode == "stein":
        return Stein(size, settings.n_samples, settings.stdev, settings.seed, on_rows=on_rows)
    if mode == "softplus":
        return Softplus(size, beta=settings.beta, on_rows=on_rows)
    plain: dict[str, type[Operator]] = {"exact": Exact, "occlusion": Occlusion, "path": AlongPath}
    return plain[mode](size, on_rows=on_rows)


def _saturated(gates: Gates, size: PassSize) -> Tensor:
    """Which examples' first derivatives say next to nothing of what their gates do, (B,) bool."""
    found = []
    for rows in torch.arange(gates.n_examples).split(size.rows):
        with torch.no_grad():
            off = torch.zeros(len(rows), gates.n_units, dtype=gates.dtype, device=gates.device)
            effect = (gates.run(rows) - gates.run(rows, scale=off)).double().cpu()
        found.append(gradient(gates, rows=rows).abs().sum(1) < _SATURATED * effect.abs())
    return torch.cat(found)

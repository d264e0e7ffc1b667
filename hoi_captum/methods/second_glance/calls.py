"""One call: rows explained by what was learned, or each by a surrogate around it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from scipy.stats import norm
from torch import Tensor, nn

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.batches import batches
from hoi_captum.core.cost import FEWER_UNITS, GRADIENT, Cost, announce, check_units
from hoi_captum.core.gates import Gates
from hoi_captum.core.gating import grid_of, plain, unit_names
from hoi_captum.core.options import check_count
from hoi_captum.core.passes import PassSize
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.targets import target_of
from hoi_captum.errors import DataWarning, FidelityWarning, InputError
from hoi_captum.methods.second_glance.found import Found
from hoi_captum.methods.second_glance.learned import Learned, OneTarget, key_of
from hoi_captum.methods.second_glance.local import Around, look_around
from hoi_captum.methods.second_glance.scaling import asymmetry, symmetric, unknown_pairs
from hoi_captum.methods.second_glance.settings import DrawSettings, LearnSettings
from hoi_captum.methods.second_glance.spaces import Measured, check_leads

_ZERO = 1e-6  # of the largest entry; what is smaller counts as zero
_LEVEL = 0.05  # of the test whether any pair of a row is more than chance
_GATED = {
    "input": "the inputs",
    "layer": "the layer",
    "attention": "attention",
    "value": "the first layer's values",
}


@dataclass(frozen=True)
class Timed:
    """What every call notes.

    Attributes:
        target: as text.
        seconds: a clock that tells how long the call has taken.
    """

    target: str
    seconds: Callable[[], float]

    @classmethod
    def from_now(cls, target: str) -> Self:
        """Of a call that begins."""
        started = time.perf_counter()
        return cls(target, lambda: time.perf_counter() - started)


def rows_around(
    gate: str,
    gates: Gates,
    kind: str | nn.Module,
    draws: DrawSettings,
    settings: LearnSettings,
    order: int,
    *,
    internal_batch_size: int | None,
    max_players: int,
    show_progress: bool,
    masked: bool,
    timed: Timed,
) -> Found:
    """Each row by a surrogate of the gradients at gates drawn around it.

    Args:
        gate, gates: what is gated.
        kind, draws, settings, order: options of the method.
        internal_batch_size, max_players, show_progress: as given.
        masked: whether the caller named the units' cells.
        timed: notes.

    Raises:
        InputError: a forward function without gradients, or too many units.
        ModelOutputError: outputs or gradients that are not finite.
    """
    name, samples = _name(kind), draws.samples(gates.n_units, order, network=kind != "ridge")
    cost = _cost_of_draws(gates, kind, samples)
    announce(cost, gates.n_units, max_players, show=show_progress, ways_out=FEWER_UNITS)
    size = PassSize.for_inputs(gates.arguments.inputs, sought=False)
    if internal_batch_size is not None:
        size = PassSize(check_count("internal_batch_size", internal_batch_size))
    with torch.enable_grad():
        alone = torch.ones(1, gates.n_units, dtype=gates.dtype, device=gates.device, requires_grad=True)
        check_leads(gates.run(torch.zeros(1, dtype=torch.int64), scale=alone))
    with progress_bar("gradients", samples * gates.n_examples, "row", show_progress) as bar:

        def told(rows: int) -> None:
            bar.update(max(rows - bar.n, 0))

        around = look_around(gates, kind, draws, settings, order, size=size, on_rows=told)
    all_known = torch.ones(gates.n_units, gates.n_units, dtype=torch.bool)
    hessian = symmetric(around.jacobian, all_known)
    _warn_of_noise(around, hessian)
    grid = None if masked else grid_of(gates)
    uneven = asymmetry(around.jacobian, all_known)
    how = f"{name} surrogate of {around.n_samples:,} gradients at {draws.sampling} gates on {_GATED[gate]}"
    details = [
        {
            "form": "around the input",
            "gate": gate,
            "how": how,
            "n_samples": around.n_samples,
            "r2": _plain_number(around.r2[row]),
            "asymmetry": float(uneven[row]),
            "zero_fraction": _zero_fraction(hessian[row]),
        }
        | ({} if grid is None else {"grid": list(grid)})
        for row in range(gates.n_examples)
    ]
    examples = gates.n_examples
    return Found(
        names=unit_names(gates.n_units, grid),
        jacobian=around.jacobian,
        hessian=hessian,
        third=around.third,
        main=around.main,
        present=torch.ones(examples, gates.n_units, dtype=torch.bool),
        stderr=around.stderr,
        unknown=None,
        spread=gates.spread,
        details=details,
        target=timed.target,
        passes=(gates.forward_passes // examples, gates.backward_passes // examples),
        seconds=timed.seconds(),
    )


def cost_around(
    gates: Gates, kind: str | nn.Module, draws: DrawSettings, order: int, max_players: int
) -> Cost:
    """What :func:`rows_around` will spend.

    Raises:
        TooManyPlayersError: too many units.
    """
    cost = _cost_of_draws(gates, kind, draws.samples(gates.n_units, order, network=kind != "ridge"))
    check_units(cost, gates.n_units, max_players, ways_out=FEWER_UNITS)
    return cost


def cost_learned(forward_func: Callable[..., Any], given: tuple[Any, ...]) -> Cost:
    """What :func:`learned_rows` will spend: the rows' own gradients."""
    rows = Arguments(forward_func, plain(given[0]), *given[1:4]).n_examples
    return Cost("a learned surrogate", float(GRADIENT), rows)


def _cost_of_draws(gates: Gates, kind: str | nn.Module, samples: int) -> Cost:
    about = f"{gates.n_units} units, mode {_name(kind)!r}"
    return Cost(about, float(GRADIENT * samples), gates.n_examples)


def _name(kind: str | nn.Module) -> str:
    return kind if isinstance(kind, str) else type(kind).__name__


def learned_rows(
    learned: Learned,
    forward_func: Callable[..., Any],
    given: tuple[Any, ...],
    order: int,
    *,
    internal_batch_size: int | None,
    show_progress: bool,
    timed: Timed,
) -> Found:
    """Rows by the surrogates of their targets.

    Args:
        learned: by the fit.
        forward_func: the model, which gives the rows' own gradients.
        given: Captum's arguments.
        order: 2 or 3.
        internal_batch_size, show_progress: as given.
        timed: notes.

    Raises:
        InputError, TargetError, PlayerError: rows unlike those of the fit, or a target it was not for.
        ModelOutputError: gradients that are not finite.
    """
    inputs, baselines, target, additional, mask = given
    # refuses arguments that do not fit together
    arguments = Arguments(forward_func, plain(inputs), baselines, target, additional)
    chunks = list(
        batches(
            arguments.inputs,
            additional_forward_args=additional,
            feature_mask=mask,
            baselines=baselines,
            batch_size=internal_batch_size,
        )
    )
    if target is None and len(learned.targets) == 1:
        (target,) = learned.targets
    keys = [key_of(target_of(target, row)) for row in range(arguments.n_examples)]
    known = {key: learned.of(key) for key in keys}
    rows_of = {key: torch.tensor([i for i, k in enumerate(keys) if k == key]) for key in known}
    parts: list[tuple[Tensor, ...]] = []
    details: list[dict[str, Any]] = [{} for _ in keys]
    with progress_bar("surrogate", len(keys), "row", show_progress) as bar:
        pieces: list[Measured] = []
        for chunk in chunks:
            start = sum(len(piece.z) for piece in pieces)
            own = keys[start : start + len(chunk)]
            shared = own[0] if len(known) == 1 else own  # each row has its own target, and is run once
            pieces.append(learned.space.measure(forward_func, chunk, shared))
            bar.update(len(chunk))
        measured = _together(pieces)
        for key, rows in rows_of.items():
            part = _by_surrogate(known[key], measured, rows, order)
            parts.append(part)
            for place, row in enumerate(rows.tolist()):
                details[row] = _details(learned, known[key], part[0][place])
    back = torch.cat(list(rows_of.values())).argsort()
    jacobian, hessian, third, main, present, unknown = (torch.cat(p)[back] for p in zip(*parts, strict=True))
    return Found(
        names=learned.names,
        jacobian=jacobian,
        hessian=hessian,
        third=third if order > 2 else None,
        main=main,
        present=present,
        stderr=None,
        unknown=unknown,
        spread=measured.spread,
        details=details,
        target=timed.target,
        passes=(measured.forward_passes // len(keys), measured.backward_passes // len(keys)),
        seconds=timed.seconds(),
    )


def _together(parts: Sequence[Measured]) -> Measured:
    """The rows of all parts."""
    sizes = [len(part.z) for part in parts]

    def spread(values: Tensor) -> tuple[Tensor, ...]:
        pieces = [part.spread(v) for part, v in zip(parts, values.split(sizes), strict=True)]
        return tuple(torch.cat(cells) for cells in zip(*pieces, strict=True))

    return Measured(
        torch.cat([p.z for p in parts]),
        torch.cat([p.g for p in parts]),
        spread,
        sum(p.forward_passes for p in parts),
        sum(p.backward_passes for p in parts),
    )


def _by_surrogate(one: OneTarget, measured: Measured, rows: Tensor, order: int) -> tuple[Tensor, ...]:
    z, present = measured.z[rows], measured.present[rows]
    jacobian = one.surrogate.jacobian(z)
    third = one.surrogate.third(z) if order > 2 else torch.zeros(len(z), 0)
    hessian = symmetric(jacobian, one.surrogate.scaling.known)
    unknown = unknown_pairs(one.surrogate.scaling.known).expand(len(z), -1, -1)
    return jacobian, hessian, third, measured.g[rows].nan_to_num(), present, unknown


def _details(learned: Learned, one: OneTarget, jacobian: Tensor) -> dict[str, Any]:
    quality, scaling = one.quality, one.surrogate.scaling
    found: dict[str, Any] = {
        "form": "learned",
        "how": f"surrogate of {quality.rows:,} gradients, R² {quality.pooled_r2:.2f}",
        "units": learned.space.kind,
        "r2": quality.pooled_r2,
        "r2_of_units": [_plain_number(value) for value in torch.from_numpy(quality.r2)],
        "asymmetry": float(asymmetry(jacobian * scaling.std.unsqueeze(1) * scaling.std, scaling.known)),
        "zero_fraction": quality.zero_fraction,
        "fit_rows": quality.rows,
        "fit_seconds": learned.seconds,
    }
    if not math.isnan(quality.third_r2):
        found["third_r2"] = quality.third_r2
    # by anything but a gate scores are not in the unit of the output
    return found | ({} if learned.space.by_gates else {"unit": ""})


def check_same_units(learned: Learned, mask: Any, at_layer: tuple[Any, Any, bool]) -> None:
    """Refuse what a fit has settled and a call would have otherwise.

    Raises:
        InputError: units of the layer, or of the inputs, other than those of the fit.
    """
    layer_baselines, layer_mask, at_input = at_layer
    if layer_baselines is not None or layer_mask is not None:
        raise InputError(
            "layer_mask and layer_baselines are of gates around one input, and this method was fitted: its "
            "units are those of the fit; leave them out, or make a method that is not fitted"
        )
    learned.space.check_call(mask, at_input)


def _plain_number(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def _zero_fraction(hessian: Tensor) -> float:
    sizes = hessian[~torch.eye(len(hessian), dtype=torch.bool)].abs()
    return float((sizes <= _ZERO * hessian.abs().max()).double().mean()) if len(sizes) else 0.0


def _warn_of_noise(around: Around, hessian: Tensor) -> None:
    """Say where nothing was found, or nothing that chance would not give."""
    k = hessian.shape[1]
    first, second = torch.triu_indices(k, k, 1)
    if bool(around.r2.isnan().all()):
        warnings.warn(
            "the gradients are the same at all drawn gates, so that all second derivatives are zero: the "
            "output is linear in the gated units around these rows; gate an earlier layer or the inputs, "
            "draw further away (width=), or explain log-odds or a probability instead of a linear score",
            DataWarning,
            stacklevel=6,
        )
        return
    if around.stderr is None or not len(first):
        return
    # of as many pairs the largest is above this by chance alone once in twenty rows
    least = float(norm.isf(_LEVEL / (2 * len(first))))
    sizes, errors = hessian[:, first, second].abs(), around.stderr[:, first, second]
    lost = ~(sizes > least * errors).any(1) & ~around.r2.isnan()
    if bool(lost.any()):
        warnings.warn(
            f"in {int(lost.sum())} of {len(lost)} rows no pair stands out of the noise of "
            f"{around.n_samples} drawn gradients (see stderr); give a "
            "larger n_samples (four times as many halve the noise), or wider draws (width=)",
            FidelityWarning,
            stacklevel=6,
        )

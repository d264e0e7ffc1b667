"""What a fit keeps: the units' space, a surrogate for each target, and what it says over the data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.batches import Batch
from hoi_captum.core.example import as_tensors
from hoi_captum.core.progress import progress_bar
from hoi_captum.errors import (
    FidelityError,
    FidelityWarning,
    InputError,
    TargetError,
    TooManyPlayersError,
)
from hoi_captum.methods.second_glance.directions import InputDirections
from hoi_captum.methods.second_glance.factors import LayerFactors
from hoi_captum.methods.second_glance.presence import Presence
from hoi_captum.methods.second_glance.scaling import asymmetry
from hoi_captum.methods.second_glance.settings import LearnSettings
from hoi_captum.methods.second_glance.spaces import UnitSpace
from hoi_captum.methods.second_glance.surrogates import Surrogate, learn, rows_together

_FIRST = 1024  # rows that patterns and factors are learned from
_LEAST = 10  # rows, of which some are held out
_ZERO = 1e-6  # of a Hessian in standard units; what is smaller counts as zero

_GOOD, _LEAST_R2 = 0.8, 0.5  # of a fit; below these it is warned of, and refused

Key = int | tuple[Any, ...] | None


class Origin(NamedTuple):
    """Where units come from: options of the method and of the fit."""

    forward_func: Callable[..., Any]
    layer: nn.Module | None
    device_ids: Sequence[int] | None
    units: str
    gate: str
    factors: str
    n_factors: int
    at_input: bool
    names: tuple[str, ...]
    max_players: int
    seed: int


@dataclass(frozen=True, eq=False)
class Quality:
    """How far a surrogate can be trusted.

    Attributes:
        r2: (k,) of each unit's gradient on held-out rows; NaN where it does not vary.
        pooled_r2: of all together.
        asymmetry: mean over the rows of the data of |J - J^T| / |J|, units in standard deviations. The true
            Hessian has none: what the surrogate has is error, and about as much of it is in what is left.
        zero_fraction: of its entries off the diagonal, those below 1e-6 in standard units.
        third_r2: of what was taught its Jacobian (order 3); NaN where nothing was.
        rows: it was taught from, held-out ones included.
        steps: of the training, at which its best state was found.
    """

    r2: NDArray[np.float64]
    pooled_r2: float
    asymmetry: float
    zero_fraction: float
    third_r2: float
    rows: int
    steps: int


@dataclass(frozen=True, eq=False)
class OverData:
    """What a surrogate says over the rows it was taught from.

    Attributes:
        size, mean: (k, k) mean absolute and mean Hessian, rows counted in which both units are.
        amplifies: (k, k), the share of rows in which i (row) amplifies the influence of j (column).
        gradient: (k,) mean derivatives of the model.
        third: (k, k, k) mean absolute third derivatives; None for order 2.
    """

    size: NDArray[np.float64]
    mean: NDArray[np.float64]
    amplifies: NDArray[np.float64]
    gradient: NDArray[np.float64]
    third: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class OneTarget:
    """What was learned of one target."""

    surrogate: Surrogate
    quality: Quality
    over_data: OverData


@dataclass(frozen=True, eq=False)
class Learned:
    """What a fit keeps.

    Attributes:
        space: of the units.
        names: of the units.
        targets: what was learned of each.
        seconds: that it took.
    """

    space: UnitSpace
    names: tuple[str, ...]
    targets: dict[Key, OneTarget]
    seconds: float

    def of(self, target: Key) -> OneTarget:
        """What was learned of a target.

        Raises:
            TargetError: nothing was.
        """
        if target not in self.targets:
            known = ", ".join(map(repr, self.targets))
            raise TargetError(
                f"fit() learned target {known}, got target {target!r}; fit(data, target=...) takes a list of "
                "targets to learn several"
            )
        return self.targets[target]


def targets_of(target: Any) -> list[Key]:
    """The targets of a fit: one, or a list of them.

    Raises:
        TargetError: none, or no int and no tuple.
    """
    given = target.tolist() if isinstance(target, Tensor) else target
    several = list(given) if isinstance(given, list) else [given]
    for one in several:
        if isinstance(one, bool) or not isinstance(one, Integral | tuple | None):
            raise TargetError(
                f"expected target as an int, a tuple of indices, or a list of these to learn each, got "
                f"{one!r}"
            )
    if not several:
        raise TargetError("expected a target to learn, got an empty list")
    return list(dict.fromkeys(key_of(one) for one in several))


def key_of(target: Any) -> Key:
    """A target as it is looked up: an int of any type as an int, also as a tuple of one.

    Raises:
        TargetError: indices that are no ints.
    """
    if isinstance(target, tuple):
        if not all(isinstance(index, Integral) for index in target):
            raise TargetError(f"expected a target as an int or a tuple of ints, got {target!r}")
        indices = tuple(map(int, target))
        return indices[0] if len(indices) == 1 else indices
    return None if target is None else int(target)


def learn_units(
    batches: Iterator[Batch],
    targets: Sequence[Key],
    kind: str | nn.Module,
    origin: Origin,
    settings: LearnSettings,
    order: int,
    *,
    rows: int | None,
    show_progress: bool,
) -> tuple[UnitSpace, dict[Key, OneTarget]]:
    """Measure the rows, and teach a surrogate for each target.

    Args:
        batches: the data.
        targets: what to explain.
        kind: of the surrogate.
        origin, settings, order: options.
        rows: of the data, where that is known.
        show_progress: bars on stderr.

    Raises:
        InputError: too few rows, constant gradients, rows of another kind, a forward without gradients.
        ModelOutputError: gradients that are not finite.
        FidelityError: a training that fails.
    """
    first, batches = _first(batches)
    space = _space(first, origin)
    if isinstance(space, Presence):
        first = [*first, *batches]
        batches = iter(())
        space = Presence.learn(first, origin.gate, len(origin.names))
    _check_units(space.count, origin.max_players)
    units: list[Tensor] = []
    gradients: dict[Key, list[Tensor]] = {target: [] for target in targets}
    with progress_bar("gradients", rows, "row", show_progress) as bar:
        for batch in chain(first, batches):
            for target in targets:
                measured = space.measure(origin.forward_func, batch, target)
                gradients[target].append(measured.g)
            units.append(measured.z)
            bar.update(len(batch))
    z = torch.cat(units)
    _check_rows(*z.shape)
    learned = {}
    for target in targets:
        g = torch.cat(gradients[target])
        with progress_bar("surrogate", settings.max_steps, "step", show_progress) as bar:
            surrogate = learn(z, g, kind, settings, order, lambda s: bar.update(max(s - bar.n, 0)))
        learned[target] = OneTarget(surrogate, *_judged(surrogate, z, g, order))
    return space, learned


def _first(batches: Iterable[Batch]) -> tuple[list[Batch], Iterator[Batch]]:
    """The first rows, and what follows."""
    rest = iter(batches)
    first: list[Batch] = []
    for batch in rest:
        first.append(batch)
        if sum(map(len, first)) >= _FIRST:
            break
    if not first:
        raise InputError("expected at least one row of data, got none")
    return first, rest


def _space(first: list[Batch], origin: Origin) -> UnitSpace:
    if origin.layer is not None:
        return LayerFactors.learn(
            first,
            origin.forward_func,
            origin.layer,
            origin.device_ids,
            factors=origin.factors,
            n_factors=origin.n_factors,
            at_input=origin.at_input,
            seed=origin.seed,
        )
    if origin.units == "presence" or (origin.units == "auto" and _come_and_go(first)):
        return Presence(0, origin.gate)
    return InputDirections.learn(first, origin.units)


def _come_and_go(batches: Sequence[Batch]) -> bool:
    """Whether the rows have masks of their own."""
    if any(batch.feature_mask is None for batch in batches):
        return False
    masks = [as_tensors(batch.feature_mask, "feature_mask") for batch in batches]
    return any(
        m.shape[1:] != one.shape[1:] or bool((m != one[:1]).any())
        for own in masks
        for m, one in zip(own, masks[0], strict=True)
    )


def _check_rows(rows: int, units: int) -> None:
    least = max(units, _LEAST)
    if rows < least:
        raise InputError(
            f"expected at least {least} rows to learn the gradients by {units} units from, got {rows}; give "
            f"more ({max(1000, 50 * units):,} are a good number), or group cells into fewer units "
            "(feature_mask)"
        )


def _check_units(units: int, most: int) -> None:
    if units < 2:
        raise InputError("expected at least two units, got one: a pair needs two; divide the input into more")
    if units > most:
        raise TooManyPlayersError(
            f"{units} units have {math.comb(units, 2):,} pairs, and the limit is {most} units; group cells "
            f"into fewer (feature_mask, players=... of explain), or give max_players={units} if the time is "
            "yours to spend"
        )


def _judged(surrogate: Surrogate, z: Tensor, g: Tensor, order: int) -> tuple[Quality, OverData]:
    """What a surrogate is worth, and what it says over the data."""
    k = z.shape[1]
    scaling = surrogate.scaling
    sums = torch.zeros(4, k, k, dtype=torch.float64)  # sizes, values, amplified, rows with both units
    uneven = zeros = entries = 0.0
    third = torch.zeros(k, k, k, dtype=torch.float64) if order > 2 else None
    off = ~torch.eye(k, dtype=torch.bool)
    standard = scaling.std.unsqueeze(1) * scaling.std / scaling.size
    together = rows_together(z, order)
    for part, own in zip(z.split(together), g.split(together), strict=True):
        jacobian = surrogate.jacobian(part)
        hessian = surrogate.hessian(part)
        there = ~own.isnan()
        both = (there.unsqueeze(1) & there.unsqueeze(2)).double()
        # i amplifies j where H_ij has the sign of g_j
        amplified = (hessian * own.nan_to_num().unsqueeze(1) > 0).double()
        sums += torch.stack(
            [(hessian.abs() * both).sum(0), (hessian * both).sum(0), (amplified * both).sum(0), both.sum(0)]
        )
        uneven += float(asymmetry(jacobian * standard, scaling.known).sum())
        small = (hessian * standard).abs() < _ZERO
        zeros += float((small & off).double().sum())
        entries += len(part) * float(off.sum())
        if third is not None:
            third += surrogate.third(part).abs().sum(0)
    seen = sums[3].clamp(min=1)
    size, mean, amplifies = sums[:3] / seen
    score, third_score = surrogate.score, surrogate.third_score
    quality = Quality(
        r2=score.r2.numpy(),
        pooled_r2=score.pooled,
        asymmetry=uneven / len(z),
        zero_fraction=zeros / entries,
        third_r2=math.nan if third_score is None else third_score.pooled,
        rows=len(z),
        steps=surrogate.steps,
    )
    over = OverData(
        size=size.numpy(),
        mean=mean.numpy(),
        amplifies=amplifies.numpy(),
        gradient=g.nanmean(0).nan_to_num().numpy(),
        third=None if third is None else (third / len(z)).numpy(),
    )
    return quality, over


def check_fidelity(learned: Mapping[Key, OneTarget], *, force: bool) -> None:
    """Refuse surrogates that explain too little, and warn of those that do not explain much.

    Raises:
        FidelityError: a pooled R^2 on held-out rows below 0.5, without ``force``.
    """
    for key, one in learned.items():
        r2, rows = one.quality.pooled_r2, one.quality.rows
        if r2 >= _GOOD:
            continue
        of = "" if key is None else f" of target {key}"
        explains = f"the surrogate explains R² = {r2:.2f} of the gradients{of} (held out of {rows:,} rows"
        if r2 < _LEAST_R2 and not force:
            raise FidelityError(
                f"{explains}; at least {_LEAST_R2} is needed): its Hessian would be its own, not the "
                "model's. Give more rows, fewer or other units (feature_mask, units=), or explain single "
                "inputs without fit(); force=True takes it as it is"
            )
        warnings.warn(
            f"{explains}; {_GOOD} is good): read its largest interactions only; more rows help, or other "
            "units (feature_mask, units=)",
            FidelityWarning,
            stacklevel=3,
        )

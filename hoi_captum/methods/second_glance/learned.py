"""What a fit keeps: the units' space, a surrogate for each target, and what it says over the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hoi_captum.core.batches import Batch
from hoi_captum.core.example import as_tensors
from hoi_captum.core.progress import progress_bar
from hoi_captum.errors import (
    InputError,
    TargetError,
    TooManyPlayersError,
)
from hoi_captum.methods.second_glance.directions import InputDirections
from hoi_captum.methods.second_glance.factors import LayerFactors
from hoi_captum.methods.second_glance.judging import OverData, Quality, judged, warn_of_unknown
from hoi_captum.methods.second_glance.presence import Presence
from hoi_captum.methods.second_glance.scaling import unknown_pairs
from hoi_captum.methods.second_glance.settings import LearnSettings
from hoi_captum.methods.second_glance.spaces import UnitSpace
from hoi_captum.methods.second_glance.surrogates import Surrogate, learn

_FIRST = 1024  # rows that patterns and factors are learned from
_LEAST = 10  # rows, of which some are held out
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

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
    one_mask: bool  # given to fit() for all rows
    names: tuple[str, ...]
    max_players: int
    seed: int


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
                f"fit() learned target {known}, got target {target!r}; explain a target that was learned, or "
                "give fit(data, target=...) a list of targets to learn each"
            )
        return self.targets[target]


def targets_of(target: Any) -> list[Key]:
    """The targets of a fit: one, or a list of them.

    Raises:
        TargetError: none, or no int and no tuple.
    """
    if isinstance(target, Tensor) and target.dtype not in _INTEGERS:
        raise TargetError(
            f"expected an integer target, got a Tensor of {target.dtype}; int(target) makes one"
        )
    if isinstance(target, Tensor) and target.numel() != 1:
        raise TargetError(
            f"expected one target for all rows, or a list of targets to learn each, got a Tensor of shape "
            f"{tuple(target.shape)}; a target for each row is for attribute() and interact()"
        )
    given = int(target) if isinstance(target, Tensor) else target
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
    if target is not None and not isinstance(target, Integral):
        raise TargetError(f"expected a target as an int or a tuple of ints, got {target!r}")
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
    if origin.names and len(origin.names) != space.count:
        raise InputError(f"expected {space.count} names, one for each unit, got {len(origin.names)}")
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
        learned[target] = OneTarget(surrogate, *judged(surrogate, z, g, order))
    warn_of_unknown(unknown_pairs(surrogate.scaling.known), origin.names or space.names())
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
    if origin.units == "presence" or (origin.units == "auto" and _come_and_go(first, origin.one_mask)):
        return Presence(0, origin.gate)
    return InputDirections.learn(first, origin.units)


def _come_and_go(batches: Sequence[Batch], one_mask: bool) -> bool:
    """Whether units are words: rows have masks of their own, or are texts that bring theirs."""
    if any(batch.feature_mask is None for batch in batches):
        return False
    if not one_mask and all(x.dim() == 3 or not x.is_floating_point() for b in batches for x in b.inputs):
        return True
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

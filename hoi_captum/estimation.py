"""What an explanation would cost, without the work."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sized
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch

from hoi_captum.calling import arguments_for, check_background
from hoi_captum.core.arguments import NAMES, Arguments, for_each_model
from hoi_captum.core.cost import Cost, passes
from hoi_captum.errors import InputError
from hoi_captum.preparation import Prepared, prepared

_SLOW = 0.5  # seconds, which the passes of a size are not to take in all
_ROWS = (1, 8, 32)  # of the passes that are timed
_TIMES = 3


@dataclass(frozen=True)
class Estimate:
    """What :func:`estimate` gives.

    Attributes:
        method: name of the method.
        players: names of the input's players.
        cost: forward passes, and what comes beside them.
        seconds_per_pass: of one row of the input through a model, timed here and now.

    Examples::

        >>> estimate = hoi.estimate("zoo:sentiment-bert-a", "not a bad film")
        >>> estimate.cost.total, estimate.players
        (16, ('not', 'a', 'bad', 'film'))
        >>> 0 < estimate.seconds < 60
        True
    """

    method: str
    players: tuple[str, ...]
    cost: Cost
    seconds_per_pass: float

    @property
    def seconds(self) -> float | None:
        """Of all passes; None where their number is not known.

        It is the model's own time at its best. Small models spend more between their passes; a language
        model spends less, which keeps the common beginnings of its coalitions.
        """
        return None if self.cost.total is None else self.cost.total * self.seconds_per_pass

    def __str__(self) -> str:
        once = f"one takes {_spoken(self.seconds_per_pass)}"
        lines = [f"{self.method}: {self.cost}"]
        if self.seconds is None or self.cost.total is None:
            lines.append(once)
        else:
            lines.append(f"about {_spoken(self.seconds)}: {passes(self.cost.total)}, in batches ({once})")
        if self.cost.besides:
            lines.append(f"besides: {self.cost.besides}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it, in JSON's types."""
        return {
            "method": self.method,
            "players": list(self.players),
            "cost": asdict(self.cost),
            "forward_passes": self.cost.total,
            "seconds_per_pass": self.seconds_per_pass,
            "seconds": self.seconds,
        }


def estimate(
    model: Any,
    data: Any,
    method: str | type = "generalizable-and-or",
    *,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> Estimate:
    """What :func:`explain` would cost with the same arguments; nothing is explained, and nothing learned.

    A few passes are made: they tell the players, what the model predicts and the time that a pass takes.

    Args:
        model, data, method, arguments: as of :func:`explain`.
        internal_batch_size, show_progress, checkpoint: as of :func:`explain`, so that the same arguments
            serve both; they change nothing here.

    Returns:
        Estimate: ``.cost.total`` forward passes (a gradient is counted as three), ``.seconds``; as text, what
        to read. A method that cannot tell has None there.

    Raises:
        InputError: as :func:`explain`; also for too many players, with what they would cost.

    Examples::

        >>> resnet, transforms = hoi.zoo.load("digits-resnet")
        >>> image, _ = hoi.zoo.samples("digits-resnet", 1)[0]
        >>> seven = {"transforms": transforms, "players": (7, 7), "method": "taylor-cam"}
        >>> str(hoi.estimate(resnet, image, **seven)).splitlines()[0]
        "taylor-cam: 49 units, mode 'grad_diff': about 329 forward passes for each row"
    """
    with prepared(model, data, method, **arguments) as asked:
        asked.check_checkpoint(checkpoint)
        name = str(getattr(asked.cls, "name", asked.cls.__name__))
        return Estimate(name, tuple(asked.example.names), _cost(asked), _seconds(asked))


def _cost(asked: Prepared) -> Cost:
    instance = asked.instance
    if asked.learns_first:
        check_background(instance, asked.adapters[0], asked.background)
    if asked.learns_first and hasattr(instance, "fit_cost"):
        if not isinstance(asked.background, Sized):
            raise InputError("expected background with a length, got a stream of rows, which none can count")
        cost = cast(Cost, instance.fit_cost(len(asked.background)))
    elif hasattr(instance, "cost"):
        cost = cast(Cost, instance.cost(**arguments_for(instance.cost, asked.call)))
    else:
        return Cost(f"{len(asked.example.names)} players", None)
    if cost.passes is not None and not hasattr(instance, "attribute_and_interact"):
        return replace(cost, passes=2 * cost.passes)  # each verb makes its own
    return cost


def _seconds(asked: Prepared) -> float:
    """Of a row through one model, at its cheapest."""
    given = for_each_model([asked.call.get(name) for name in NAMES], len(asked.objectives))
    forwards = [objective.forward_func for objective in asked.objectives]
    each = []
    with torch.no_grad():
        for forward, own in zip(forwards, given, strict=True):
            arguments, fastest = Arguments(forward, *own[:4]), math.inf
            for rows in _ROWS:
                if rows > 1 and fastest * rows * _TIMES > _SLOW:
                    break
                fastest = min(fastest, _timed(arguments, rows))
            each.append(fastest)
    return sum(each) / len(each)


def _timed(arguments: Arguments, rows: int) -> float:
    index = torch.zeros(rows, dtype=torch.int64)
    inputs = tuple(x.repeat(rows, *[1] * (x.dim() - 1)) for x in arguments.inputs)
    found = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        arguments.run(inputs, index).cpu()  # a GPU answers before it is done: its numbers are waited for
        found.append(time.perf_counter() - started)
        if sum(found) > _SLOW:
            break
    return min(found) / rows  # the first is slow, and others may have the machine for a while


def _spoken(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size or (unit == "s" and seconds >= 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{float(f'{seconds * 1e3:.2g}'):g} ms"  # two digits, and no exponent from 100 on

"""How a result was computed, in words and with units, for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hoi_captum.core.interactions import Interactions
from hoi_captum.views.labels import MINUS, scope_titles
from hoi_captum.views.wording import over_data, unit_of, wording_of

_LONG = 8  # lists of more numbers are told by their number and range
_ELSEWHERE = ("warnings", "unit")  # details that the page shows in other places


@dataclass(frozen=True)
class Fact:
    """A line of the block "how this was computed": a name, and one value or several named ones."""

    name: str
    values: tuple[tuple[str, str], ...]


def warnings_of(interactions: Interactions) -> list[str]:
    """What the method warns of: ``provenance.details["warnings"]``, a text or a list of texts."""
    found = interactions.provenance.details.get("warnings") or ()
    return [found] if isinstance(found, str) else [str(w) for w in found]


def facts_of(interactions: Interactions) -> list[Fact]:
    """The provenance of a table as lines to read."""
    source = interactions.provenance
    facts = [Fact("Method", (("", source.method),))]
    if source.target:
        facts.append(Fact("Explained output", (("", source.target),)))
    named = "" if wording_of(interactions).quantity == "score" else wording_of(interactions).quantities
    scores = " ".join(filter(None, (named, over_data(interactions))))
    if scores:
        facts.append(Fact("Scores", (("", scores),)))
    if unit_of(interactions) != "score":
        facts.append(Fact("Unit of the scores", (("", unit_of(interactions)),)))
    if source.model:
        facts.append(
            Fact("Model" if len(source.model) == 1 else "Models", tuple(("", m) for m in source.model))
        )
    if wording_of(interactions).additive:
        facts.append(Fact("Value with nobody present", _base(interactions)))
    if source.forward_passes or source.backward_passes:
        passes = [f"{source.forward_passes:,} forward"]
        passes += [f"{source.backward_passes:,} backward"] if source.backward_passes else []
        facts.append(Fact("Model rows evaluated", (("", ", ".join(passes)),)))
    if source.seconds:
        facts.append(Fact("Time", (("", duration(source.seconds)),)))
    if source.seed is not None:
        facts.append(Fact("Random seed", (("", str(source.seed)),)))
    if source.options:
        facts.append(Fact("Options", _pairs(source.options, source.model)))
    measured = {k: v for k, v in source.details.items() if k not in _ELSEWHERE}
    if measured:
        facts.append(Fact("Measured", _pairs(measured, source.model)))
    if source.libraries:
        facts.append(Fact("Versions", tuple((name, str(v)) for name, v in source.libraries.items())))
    return facts


def duration(seconds: float) -> str:
    """A wall time as people say it."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes / 60:.1f} h"


def humanise(name: str) -> str:
    """An identifier as words: ``forward_passes`` as "forward passes"."""
    return name.replace("_", " ").replace("-", " ").strip()


def say(value: Any, models: tuple[str, ...] = ()) -> str:
    """A JSON value in words; a list with one entry for each model names them."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}".replace("-", MINUS)
        case float():
            return f"{value:.4g}".replace("-", MINUS)
        case Mapping():
            return "; ".join(f"{humanise(str(k))}: {say(v, models)}" for k, v in value.items()) or "none"
        case list() | tuple():
            return _say_list(list(value), models)
        case _:
            return str(value)


def _say_list(items: list[Any], models: tuple[str, ...]) -> str:
    if not items:
        return "none"
    if len(models) > 1 and len(items) == len(models):
        return "; ".join(f"{model}: {say(item)}" for model, item in zip(models, items, strict=True))
    numbers = [i for i in items if isinstance(i, int | float) and not isinstance(i, bool)]
    if len(items) > _LONG and len(numbers) == len(items):
        return f"{len(items):,} numbers, from {say(min(numbers))} to {say(max(numbers))}"
    shown = ", ".join(say(i) for i in items[:_LONG])
    return shown + (f" and {len(items) - _LONG:,} more" if len(items) > _LONG else "")


def _pairs(values: Mapping[str, Any], models: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((humanise(str(k)), say(v, models)) for k, v in values.items())


def _base(interactions: Interactions) -> tuple[tuple[str, str], ...]:
    base = interactions.base
    if not isinstance(base, Mapping):
        return (("", say(float(base))),)
    titles = scope_titles(interactions, list(base))
    return tuple((title, say(float(v))) for title, v in zip(titles, base.values(), strict=True))

"""Names and numbers as people read them: shortened names, scopes by their model, scores with a sign."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions

_MODEL_SCOPE = re.compile(r"model:(\d+)")
MINUS = "−"


def shorten(name: str, width: int = 18) -> str:
    """A name on one line of at most ``width`` characters; control characters become visible or blank."""
    name = name.replace("\r\n", "\n").replace("\n", "↵")
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not name:
        return "(blank)"
    return name if len(name) <= width else name[: width - 1].rstrip() + "…"


def join_names(names: Sequence[str], members: Iterable[int], *, limit: int = 8, width: int = 24) -> str:
    """The players of a term as "a · b · c"; beyond ``limit`` players only their number is told."""
    ids = list(members)
    if not ids:
        return "(nobody)"
    shown = [shorten(names[i], width) for i in ids[:limit]]
    rest = len(ids) - len(shown)
    return " · ".join(shown) + (f" + {rest} more" if rest else "")


def scope_titles(interactions: Interactions, scopes: Sequence[str]) -> list[str]:
    """What to call each scope: ``model:i`` by the model's description, any other scope by itself.

    Two models of the same description are told apart by their number; the scope "" is called "score".
    """
    models = interactions.provenance.model
    titles = []
    for scope in scopes:
        match = _MODEL_SCOPE.fullmatch(scope)
        titles.append(models[int(match[1])] if match and int(match[1]) < len(models) else scope or "score")
    repeated = {t for t in titles if titles.count(t) > 1}
    return [f"{t} ({s})" if t in repeated else t for t, s in zip(titles, scopes, strict=True)]


def joined(*notes: str) -> str:
    """Notes as one; empty ones are left out."""
    return "; ".join(filter(None, notes))


def largest(values: NDArray[np.float64]) -> float:
    """The largest absolute finite value; 0 where there is none."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def decimals_for(scale: float) -> int | None:
    """Decimals that show three digits of numbers up to ``scale``; None: they need scientific notation."""
    if scale == 0 or not math.isfinite(scale):
        return 2
    decimals = 2 - math.floor(math.log10(scale))
    return None if decimals > 6 or scale >= 1e7 else max(decimals, 0)


def few_decimals(scale: float) -> int | None:
    """Decimals where room is short: two digits of ``scale``, but as usual for numbers of 0.1 and more."""
    decimals = decimals_for(scale)
    return None if decimals is None else max(decimals - 1, min(decimals, 2))


def format_score(value: float, decimals: int | None, *, minus: str = MINUS) -> str:
    """A score with its sign; zero has none, since it has no direction."""
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:+.2e}" if decimals is None else f"{value:+.{decimals}f}"
    if value == 0:
        text = text[1:]  # but a small score that is rounded to zero keeps its sign
    return text.replace("-", minus)

"""Geometry of the page's two charts, for the template to write as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.views.inputs import shades
from hoi_captum.views.labels import decimals_for, few_decimals, format_score, largest, shorten
from hoi_captum.views.panels import Panel
from hoi_captum.views.plots import order_sums
from hoi_captum.views.wording import both_sides

WIDTH = 340.0  # of every chart: a small telephone shows it at its true size
_LABELS = 92.0
_BARS = 150.0
_PLAYERS = 24


@dataclass(frozen=True)
class Mark:
    """A bar or a cell: a rectangle, its sign, what it says in words, and a text in or at it."""

    x: float
    y: float
    width: float
    height: float
    sign: str
    level: float
    says: str
    text: str = ""
    text_y: float = 0.0
    pattern: int = 0


@dataclass(frozen=True)
class Chart:
    """One chart of one scope: marks, labels (x, y, text), the drawing's height, its letters' size."""

    title: str
    marks: tuple[Mark, ...]
    across: tuple[tuple[float, float, str], ...]
    down: tuple[tuple[float, float, str], ...]
    zero: float
    height: float
    letters: float = 11.0


def order_charts(parts: Sequence[Panel]) -> list[Chart]:
    """Sums of the positive and of the negative scores by order, all scopes on one scale."""
    sums = [order_sums(p.interactions) for p in parts]
    orders = sorted({order for s in sums for _, order in s})
    kinds = sorted({kind for s in sums for kind, _ in s})
    values = [v for s in sums for pair in s.values() for v in pair]
    high, low = max([0.0, *values]), min([0.0, *values])
    unit = _BARS / ((high - low) or 1.0)
    zero = 22.0 + high * unit
    slot = (WIDTH - 16) / max(len(orders), 1)
    bar = min(slot * 0.84 / max(len(kinds), 1), 34.0)
    decimals = decimals_for(max(high, -low))
    charts = []
    for panel, totals in zip(parts, sums, strict=True):
        marks = []
        ends = {max((v for pair in totals.values() for v in pair), key=abs, default=0.0)}
        for (kind, order), pair in totals.items():
            left = 8 + slot * (orders.index(order) + 0.5) + bar * (kinds.index(kind) - len(kinds) / 2)
            for value, sign in zip(pair, ("pos", "neg"), strict=True):
                height = abs(value) * unit
                text = format_score(value, decimals)
                marks.append(
                    Mark(
                        x=round(left + 0.5, 2),
                        y=round(zero - height if value > 0 else zero, 2),
                        width=round(bar - 1, 2),
                        height=round(height, 2),
                        sign=sign,
                        level=1.0,
                        says=f"order {order}, {kind}: {text}",
                        # numbers need room; the longest bar has its number always, as the scale of the others
                        text=format_score(value, few_decimals(max(high, -low)))
                        if height > 0.5 and (bar >= 26 or value in ends)
                        else "",
                        text_y=round(zero - height - 4 if value > 0 else zero + height + 11, 2),
                        pattern=kinds.index(kind) % 2,
                    )
                )
        across = tuple(
            (round(8 + slot * (i + 0.5), 2), _BARS + 62.0, str(order)) for i, order in enumerate(orders)
        )
        charts.append(Chart(panel.title or "", tuple(marks), across, (), round(zero, 2), _BARS + 70.0))
    return charts


def matrix_charts(parts: Sequence[Panel], players: tuple[str, ...]) -> tuple[list[Chart], int]:
    """Pairs as a matrix, single players on its diagonal, all scopes on one scale.

    Returns:
        the charts, and the number of players in them: of more than 24 the most involved ones.
    """
    matrices = [p.interactions.matrix() for p in parts]
    chosen = _most_involved(matrices, len(players))
    scale = max((largest(m) for m in matrices), default=0.0)
    signed = any(both_sides(p.interactions) for p in parts)
    cell = round((WIDTH - _LABELS - 4) / max(len(chosen), 1), 3)
    cell = min(cell, 44.0)
    bottom = 4 + cell * len(chosen)
    names = [shorten(players[i], 13) for i in chosen]
    size = min(cell, 10.5)
    across = tuple((round(_LABELS + cell * (i + 0.5) + 3, 2), bottom + 9, n) for i, n in enumerate(names))
    down = tuple((_LABELS - 5, round(4 + cell * (i + 0.5) + size * 0.34, 2), n) for i, n in enumerate(names))
    # the names below stand at 45 degrees; a letter is about 0.6 of its size wide
    foot = 16 + 0.43 * size * max(map(len, names), default=0)
    charts = []
    for panel, matrix in zip(parts, matrices, strict=True):
        part = matrix[np.ix_(chosen, chosen)]
        looks = shades(part.ravel(), scale, signed=signed)
        marks = []
        for i, look in enumerate(looks):
            row, column = divmod(i, len(chosen))
            who = names[row] if row == column else f"{names[row]} · {names[column]}"
            y = 4 + cell * row
            mark = "" if look.level < 0.04 or not signed else "+" if look.sign == "pos" else "−"
            marks.append(
                Mark(
                    x=round(_LABELS + cell * column, 2),
                    y=round(y, 2),
                    width=round(cell - 1, 2),
                    height=round(cell - 1, 2),
                    sign=look.sign,
                    level=look.level,
                    says=f"{who}: {look.text}",
                    text=mark,
                    text_y=round(y + cell / 2 + size * 0.34, 2),
                )
            )
        charts.append(
            Chart(panel.title or "", tuple(marks), across, down, 0.0, round(bottom + foot, 2), letters=size)
        )
    return charts, len(chosen)


def _most_involved(matrices: Sequence[NDArray[np.float64]], n: int) -> list[int]:
    if n <= _PLAYERS:
        return list(range(n))
    weight = np.sum([np.abs(np.nan_to_num(m)).sum(axis=0) for m in matrices], axis=0)
    return sorted(np.argsort(-weight, kind="stable")[:_PLAYERS].tolist())


def has_pairs(interactions: Interactions) -> bool:
    """Whether a matrix of pairs would show anything off its diagonal."""
    return bool((interactions.orders == 2).any())

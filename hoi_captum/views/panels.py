"""What the plots share: one panel for each scope, line styles by kind, legends, the empty picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.views.labels import (
    decimals_for,
    format_score,
    join_names,
    joined,
    largest,
    scope_titles,
    shorten,
)
from hoi_captum.views.palette import INK, NEUTRAL, sign_colour
from hoi_captum.views.wording import caution_of, wording_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
MAX_PANELS = 6
_LISTED = 6  # terms in words below a panel
_GROUPS = 2  # shapes that lie on each other are hard to tell apart
_NOTE = 17  # letters of a note on an inch
_STYLES = ("-", "--", ":", "-.")
_HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class Panel:
    """One scope of a table: its title (None where there is but one nameless scope) and its terms."""

    scope: str
    title: str | None
    interactions: Interactions


def only_scope(interactions: Interactions, scope: str | None) -> Interactions:
    """The terms of one scope; None keeps all.

    Raises:
        InputError: the table has no such scope.
    """
    if scope is None:
        return interactions
    if scope not in interactions.scope_names:
        raise InputError(f"expected scope to be one of {list(interactions.scope_names)}, got {scope!r}")
    return interactions.where(scope=scope)


def panels(interactions: Interactions, scope: str | None, limit: int = MAX_PANELS) -> tuple[list[Panel], str]:
    """One panel for each scope (or for the given one), and a note of those that found no room.

    With more than ``limit`` scopes the strongest, by the sum of absolute scores, are kept.
    """
    only_scope(interactions, scope)
    scopes = list(interactions.scope_names) if scope is None else [scope]
    titles = dict(
        zip(interactions.scope_names, scope_titles(interactions, interactions.scope_names), strict=True)
    )
    parts = {s: interactions.where(scope=s) for s in scopes}
    note = ""
    if len(scopes) > limit:
        strength = {s: float(np.nansum(np.abs(parts[s].scores))) for s in scopes}
        kept = set(sorted(scopes, key=lambda s: -strength[s])[:limit])
        note = f"the {limit} strongest of {len(scopes)} scopes"
        scopes = [s for s in scopes if s in kept]
    return [Panel(s, titles[s] if s else None, parts[s]) for s in scopes], note


def pairs_and_groups(
    parts: Sequence[Panel], k: int, groups: int | None
) -> tuple[list[Interactions], list[Interactions], float]:
    """For each panel the strongest pairs and the strongest terms of order 3 and up; and the largest score.

    What is below a fiftieth of the largest score would be a hair line: it is left out.

    Args:
        parts: the panels.
        k: pairs in a panel, at most.
        groups: terms of order 3 and up, at most; None for 2, or as many as are among the six strongest terms.
    """

    def most(terms: Interactions) -> int:
        return max(_GROUPS, int((terms.top(_LISTED).orders > 2).sum())) if groups is None else groups

    pairs = [p.interactions.where(order=2).top(k) for p in parts]
    larger = [
        p.interactions.take(np.nonzero(p.interactions.orders > 2)[0]).top(most(p.interactions)) for p in parts
    ]
    scale = max(largest(t.scores) for t in (*pairs, *larger)) or 1.0

    def visible(terms: Interactions) -> Interactions:
        with np.errstate(invalid="ignore"):
            return terms.take(np.nonzero(np.isfinite(terms.scores) & (np.abs(terms.scores) >= scale / 50))[0])

    return [visible(t) for t in pairs], [visible(t) for t in larger], scale


def what_is_drawn(
    interactions: Interactions, pairs: Sequence[Interactions], larger: Sequence[Interactions]
) -> str:
    """A note on what :func:`pairs_and_groups` chose: how much was left out, and what the signs are not.

    Nothing is said of what was left out where not every set has a score anyhow.
    """
    said = nothing = ""
    if wording_of(interactions).dense:
        nothing = without_effect(interactions)
    if wording_of(interactions).dense and len(pairs) > 1:
        said = "only the strongest are drawn"
    elif wording_of(interactions).dense:
        totals = (int((interactions.orders == 2).sum()), int((interactions.orders > 2).sum()))
        drawn = (len(pairs[0]), len(larger[0]))
        counts = [
            f"{k} of {total:,} {what}"
            for k, total, what in zip(drawn, totals, ("pairs", "larger sets"), strict=True)
            if k < total
        ]
        said = f"the strongest: {', '.join(counts)}" if counts else ""
    return joined(said, nothing, caution_of(interactions))


def without_effect(interactions: Interactions) -> str:
    """How many pairs have no term since their score is zero, by the array ``pairs``; "" where that is not
    known, and where no pairs are listed.
    """
    n = len(interactions.players)
    pairs = np.asarray(interactions.arrays.get("pairs", ()), dtype=np.float64)
    if pairs.shape != (n, n) or not (interactions.orders == 2).any():
        return ""
    count = int((pairs[np.triu_indices(n, 1)] == 0).sum())
    return (
        f"{count:,} pair{' of no effect is' if count == 1 else 's of no effect are'} left out"
        if count
        else ""
    )


def line_styles(interactions: Interactions) -> dict[str, Any]:
    """A line style for each kind: AND solid, OR dashed, the others what is left, in alphabetical order."""
    return _by_kind(interactions, _STYLES)


def hatches(interactions: Interactions) -> dict[str, Any]:
    """A hatch for each kind, in the order of :func:`line_styles`."""
    return _by_kind(interactions, _HATCHES)


def _by_kind(interactions: Interactions, styles: Sequence[str]) -> dict[str, Any]:
    kinds = [str(k) for k in np.unique(interactions.kinds)]
    fixed = {"and": styles[0], "or": styles[1]}
    chosen = {k: fixed[k] for k in kinds if k in fixed}
    free = [s for s in styles if s not in chosen.values()] or list(styles)
    for i, kind in enumerate(k for k in kinds if k not in fixed):
        chosen[kind] = free[i % len(free)]
    return chosen


def grid(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` axes in rows of ``columns``, each ``width`` x ``height`` inches."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * width, rows * height), dpi=DPI, layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    return figure, axes


def title_axes(axes: Axes, panel: Panel, width: int = 48) -> None:
    """Write the panel's title, literally: names may contain what matplotlib takes for mathematics."""
    if panel.title:
        axes.set_title(shorten(panel.title, width), fontsize=11, color=INK, parse_math=False)


def finish(figure: Figure, title: str | None, note: str = "") -> Figure:
    """Write the figure's title and note, in lines that fit."""
    note = fill(note, max(int(figure.get_figwidth() * _NOTE), 30))
    if title:
        figure.suptitle(shorten(title, 90), fontsize=13, color=INK, parse_math=False)
    if note and figure.legends:  # below the panels, where a label of the figure would lie upon the legend
        heading = figure.legends[-1]
        heading.set_title(note)
        heading.get_title().set(fontsize=8, color=NEUTRAL, parse_math=False, multialignment="center")
    elif note:
        figure.supxlabel(note, fontsize=8, color=NEUTRAL, parse_math=False)
    return figure


def draw_empty(axes: Axes, message: str = "no interactions") -> None:
    """Say in the middle of the axes that there is nothing to draw."""
    axes.text(
        0.5,
        0.5,
        message,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=NEUTRAL,
        fontsize=12,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 6},
    )


def kind_handles(interactions: Interactions) -> list[Any]:
    """Legend entries for the line styles of the kinds; a single kind need not be told from another."""
    from matplotlib.lines import Line2D

    if len(line_styles(interactions)) < 2:
        return []
    return [
        Line2D([], [], color=NEUTRAL, lw=1.8, ls=style, label=shorten(kind))
        for kind, style in line_styles(interactions).items()
    ]


def legend(figure: Figure, handles: list[Any], *, columns: int = 6, **options: Any) -> None:
    """A legend below the panels in at most so many columns, its labels literal."""
    if not handles:
        return
    box = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), columns),
        frameon=False,
        fontsize=9,
        **options,
    )
    for text in box.get_texts():
        text.set_parse_math(False)


def write_terms(axes: Axes, terms: Interactions, drawn: Sequence[Interactions], width: int = 20) -> None:
    """List the strongest terms under the axes, one a line: sign, score, kind and players in words.

    Args:
        axes: of the panel.
        terms: of the panel.
        drawn: what :func:`pairs_and_groups` chose of them: of two players and more only these are listed.
        width: letters of a name.
    """
    visible = {(term.members, term.kind) for chosen in drawn for term in chosen}
    terms = terms.top(_LISTED)
    terms = terms.take(
        np.array(
            [i for i, t in enumerate(terms) if t.order < 2 or (t.members, t.kind) in visible], dtype=np.intp
        )
    )
    decimals = decimals_for(largest(terms.scores))
    for i, term in enumerate(terms):
        axes.annotate(
            f"{format_score(term.score, decimals)}  {term.kind}  "
            f"{join_names(terms.players, term.members, limit=4, width=width)}",
            xy=(0, 0),
            xycoords="axes fraction",
            xytext=(0, -10 - 14 * i),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color=sign_colour(term.score),
            parse_math=False,
            annotation_clip=False,
        )

"""What all models share, and what each has for itself: the lists, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.example import Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.measures.identity import scopes_of
from hoi_captum.measures.salience import salient
from hoi_captum.views.labels import decimals_for, format_score, join_names, largest, scope_titles, shorten
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, sign_colour
from hoi_captum.views.panels import MAX_PANELS, draw_empty, finish, grid, hatches, legend
from hoi_captum.views.pivoted import pivot
from hoi_captum.views.wording import sign_patches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS = "ABCDEF"
_TEXT, _BAR, _GAP = 0.2, 0.15, 0.13  # inches of a row: its names, each of its bars, what is left free
_WIDTH = 3.9


@dataclass(frozen=True)
class SharedTerm:
    """A salient set: its players and kind, and (number of the model, score) of each model listed with it."""

    members: tuple[int, ...]
    kind: str
    scores: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class SharedColumn:
    """A list of salient sets, the strongest first.

    Attributes:
        title: what they have in common.
        terms: those that are listed.
        total: how many there are.
    """

    title: str
    terms: tuple[SharedTerm, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not listed."""
        return self.total - len(self.terms)


def sharing(interactions: Interactions, *, fraction: float = 0.05, k: int = 10) -> list[SharedColumn]:
    """The salient sets of all scopes, and then for each scope those of its own (not salient in all).

    Args:
        interactions: with two scopes or more; of more than six, the lists of the first six.
        fraction: of each scope's largest absolute effect; see :func:`hoi_captum.measures.salient`.
        k: number of sets in a list, at most.
    """
    check_count("k", k)
    scopes = scopes_of(interactions)
    finite = interactions.take(np.nonzero(np.isfinite(interactions.scores))[0])
    terms = pivot(salient(finite, fraction)[0])
    columns = [terms.scopes.index(s) if s in terms.scopes else None for s in scopes]
    # (r, m): whether the set is salient in the scope, in the order of the scopes
    has = np.stack(
        [np.zeros(len(terms), dtype=bool) if c is None else terms.rows[:, c] >= 0 for c in columns], axis=1
    )
    titles = scope_titles(interactions, scopes)

    def listed(title: str, rows: Sequence[int], shown: Sequence[int]) -> SharedColumn:
        found = tuple(
            SharedTerm(
                terms.members[r],
                str(terms.kinds[r]),
                tuple((i, float(terms.scores[r, c])) for i in shown if (c := columns[i]) is not None),
            )
            for r in rows[:k]
        )
        return SharedColumn(title, found, len(rows))

    everywhere = has.all(axis=1)
    what = "models" if all(s.startswith("model:") for s in scopes) else "scopes"
    all_of_them = f"both {what}" if len(scopes) == 2 else f"all {len(scopes)} {what}"
    drawn = range(min(len(scopes), MAX_PANELS))
    lists = [listed(f"In {all_of_them}", np.nonzero(everywhere)[0].tolist(), drawn)]
    for i in drawn:
        own = np.nonzero(has[:, i] & ~everywhere)[0]
        column = columns[i]
        if column is not None:
            own = own[np.argsort(-np.abs(terms.scores[own, column]), kind="stable")]
        title = f"Only {titles[i]}" if len(scopes) == 2 else f"{titles[i]}, not in all"
        lists.append(listed(title, own.tolist(), [i]))
    return lists


def shared_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    fraction: float = 0.05,
    k: int = 10,
    title: str | None = None,
) -> Figure:
    r"""What all models share, and what each has for itself (Chen et al., ICLR 2024, Fig. 5).

    Args:
        interactions: a table with a scope for each model; what is not finite is left out.
        layout: not used; every plot takes it. Default: None
        fraction: salient is what exceeds this part of the model's largest absolute effect. Default: 0.05
        k: sets listed in a column, at most. Default: 10
        title: of the figure. Default: None

    Returns:
        Figure: a column of the salient sets of all models, with a bar for each (A, B, ...), then one for each
        model; all bars on one scale.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", f"model:{i}", 2.0 + i) for i in range(2)]
        >>> table = hoi.Interactions.from_terms("ab", terms, provenance=hoi.Provenance("by-hand"))
        >>> figure = hoi.views.shared_plot(table)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['a · b', '+2.00  A', '+3.00  B']
    """
    from matplotlib.patches import Patch

    if len(scopes_of(interactions)) < 2:
        figure, (ax,) = grid(1, 1, 7.6, 3.0)
        ax.set_axis_off()
        draw_empty(ax, "one model: nothing to share" if len(interactions) else "no interactions")
        return finish(figure, title)
    columns = sharing(interactions, fraction=fraction, k=k)
    height = max([_height(column) for column in columns] + [1.2])
    figure, axes = grid(len(columns), 4, _WIDTH, height + 0.45)
    scores = np.array([s for c in columns for t in c.terms for _, s in t.scores])
    marks = hatches(interactions)
    for i, (column, ax) in enumerate(zip(columns, axes, strict=True)):
        letter = f"{LETTERS[i - 1]}  " if i else ""
        heading = f"{letter}{shorten(column.title, 36)}: {column.total}"
        ax.set_title(heading, loc="left", fontsize=11, color=INK, parse_math=False)
        _frame(ax, scores, height)
        if not column.terms:
            draw_empty(ax, "none" if len(interactions) else "no interactions")
        _draw(ax, column, interactions.players, marks, largest(scores), lettered=i == 0)
    handles = sign_patches(interactions)
    handles += [
        Patch(facecolor=NEUTRAL, edgecolor="white", lw=0, hatch=mark, label=shorten(kind))
        for kind, mark in marks.items()
    ]
    legend(figure, handles)
    said = f"salient sets: above {100 * fraction:g} % of the model’s largest effect"
    if len(scopes_of(interactions)) > MAX_PANELS:
        said += f"; the lists of the first {MAX_PANELS} of {len(scopes_of(interactions))}"
    return finish(figure, title, said)


def _height(column: SharedColumn) -> float:
    """Of all rows of a column, in inches."""
    rows = sum(_TEXT + _BAR * len(t.scores) + _GAP for t in column.terms)
    return rows + (_TEXT if column.more else 0.0)


def _frame(ax: Axes, scores: NDArray[np.float64], height: float) -> None:
    """Room for the rows, in inches from the top, and for a number behind the longest bar of each sign."""
    low, high = scores.min(initial=0.0), scores.max(initial=0.0)
    span = (high - low) or 1.0
    ax.set_xlim(low - 0.3 * span if low < 0 else -0.02 * span, high + 0.3 * span)
    ax.set_ylim(height, 0)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw(
    ax: Axes,
    column: SharedColumn,
    players: tuple[str, ...],
    marks: dict[str, str],
    scale: float,
    *,
    lettered: bool,
) -> None:
    """The rows of a column: names, and below them a bar for each score."""
    decimals = decimals_for(scale)
    left, right = ax.get_xlim()
    words: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "parse_math": False}
    y = 0.0
    for term in column.terms:
        top = y + _TEXT
        names = shorten(join_names(players, term.members, limit=4, width=14), 50)
        ax.text(0, y + _TEXT / 2, names, fontsize=9, color=INK, **words)
        for row, (model, score) in enumerate(term.scores):
            y = top + _BAR * (row + 0.5)
            colour, mark = sign_colour(score), marks[term.kind]
            ax.barh(y, score, _BAR * 0.8, color=colour, hatch=mark, edgecolor="white", lw=0)
            text = format_score(score, decimals) + (f"  {LETTERS[model]}" if lettered else "")
            side = 1 if score >= 0 else -1
            ax.text(
                score + side * 0.02 * (right - left),
                y,
                text,
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=7.5,
                color=INK,
            )
        bottom = top + _BAR * len(term.scores)
        ax.plot([0, 0], [top, bottom], color=FAINT, lw=1, zorder=0)
        y = bottom + _GAP
    if column.more:
        ax.text(0, y + _TEXT / 2, f"and {column.more:,} more", fontsize=8.5, color=NEUTRAL, **words)

"""Arcs over a text: pairs above the words, groups of three and more as strings of beads below."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hoi_captum.core.example import Layout, TextLayout
from hoi_captum.core.interactions import Interactions
from hoi_captum.views.labels import decimals_for, format_score, joined, largest, shorten
from hoi_captum.views.lines import MARGIN, Line, arrange, draw_heading, draw_word
from hoi_captum.views.palette import INK, NEUTRAL, diverging, sign_colour
from hoi_captum.views.panels import (
    DPI,
    Panel,
    finish,
    kind_handles,
    legend,
    line_styles,
    pairs_and_groups,
    panels,
    what_is_drawn,
)
from hoi_captum.views.places import check_places
from hoi_captum.views.wording import sign_handles
from hoi_captum.views.words import words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# everything below is in points (1/72 inch), the unit of the axes too: what is computed cannot overlap
_ARCS = 130.0
_ROW = 17.0


def arc_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    k: int = 12,
    groups: int = 6,
    title: str | None = None,
) -> Figure:
    r"""The words on a line; arcs join the strongest pairs, strings of beads mark the strongest larger groups.

    Colour is the sign, width the absolute score (one scale for all panels), the line's style the kind (AND
    solid, OR dashed); the shade of a word is its own effect (order 1).

    Args:
        interactions: the table to draw.
        layout: a TextLayout; without one the players' names are written in a line. Default: None
        scope: draw this scope alone; None draws a panel for each. Default: None
        k: number of pairs drawn in a panel, at most; faint ones are left out. Default: 12
        groups: number of terms of order 3 and above drawn in a panel, at most. Default: 6
        title: of the figure. Default: None

    Returns:
        Figure.

    Raises:
        InputError: a text of other players.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> figure = hoi.views.arc_plot(table)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['not', 'bad', '+2.50']
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    text = layout if isinstance(layout, TextLayout) else None
    check_places(len(interactions.players), text)
    parts, note = panels(interactions, scope)
    words = words_of(text, interactions.players)
    line = arrange(words)
    pairs, larger, scale = pairs_and_groups(parts, k, groups)
    note = joined(what_is_drawn(interactions, pairs, larger), note)
    singles = max(largest(p.interactions.where(order=1).scores) for p in parts) or 1.0

    def height(i: int) -> float:
        heading = 26.0 if parts[i].title else 8.0
        return heading + (_ARCS if len(pairs[i]) else 24.0) + line.height + _ROW * len(larger[i]) + 22.0

    heights = [height(i) for i in range(len(parts))]
    top, bottom = (34.0 if title else 4.0), (36.0 if note else 24.0)
    total = sum(heights) + top + bottom
    figure = Figure(figsize=(line.width / 72, total / 72), dpi=DPI)
    styles = line_styles(interactions)
    y = total - top
    for i, panel in enumerate(parts):
        y -= heights[i]
        ax = figure.add_axes((0, y / total, 1, heights[i] / total))
        ax.set_xlim(0, line.width)
        base = _ROW * len(larger[i]) + 14.0  # below the words
        ax.set_ylim(-base, heights[i] - base)
        ax.axis("off")
        if panel.title:
            ax.text(
                MARGIN,
                heights[i] - base - 6,
                shorten(panel.title, 90),
                va="top",
                fontsize=11,
                color=INK,
                parse_math=False,
            )
        _draw_words(ax, line, panel, singles)
        if len(panel.interactions):
            _draw_pairs(ax, line, pairs[i], scale, styles)
            _draw_groups(ax, line, larger[i], scale, styles)
        else:
            ax.text(
                line.width / 2, line.height + 10, "no interactions", ha="center", color=NEUTRAL, fontsize=11
            )
    handles = [*sign_handles(interactions), *kind_handles(interactions)]
    if len(interactions.where(order=1)):
        handles.append(Patch(facecolor=diverging()(0.7), label="shade: the word by itself"))
    if len(interactions):
        legend(figure, handles, bbox_to_anchor=(0.5, 0.0), borderaxespad=0.2)
    draw_heading(figure, title)
    return finish(figure, None, note)


def _places(line: Line) -> dict[int, list[float]]:
    places = defaultdict(list)
    for word in line.words:
        if word.player >= 0:
            places[word.player].append(word.x)
    return places


def _draw_words(ax: Axes, line: Line, panel: Panel, singles: float) -> None:
    own: dict[int, float] = defaultdict(float)
    for term in panel.interactions.where(order=1):
        own[term.members[0]] += term.score
    for word in line.words:
        score = own[word.player] if word.player >= 0 else 0.0
        # not the whole scale, so that the letters stay readable
        draw_word(ax, line, word, diverging()(0.5 + 0.3 * score / singles if np.isfinite(score) else 0.5))


def _draw_pairs(ax: Axes, line: Line, pairs: Interactions, scale: float, styles: dict[str, Any]) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    places = _places(line)
    drawn: dict[tuple[int, ...], int] = defaultdict(int)
    decimals = decimals_for(scale)
    labels: list[tuple[float, float]] = []
    spans = [
        abs(places[a][0] - places[b][0]) for t in pairs for a, b in [t.members] if places[a] and places[b]
    ]
    longest = max(spans, default=1.0)
    for term in pairs:
        a, b = (places[m] for m in term.members)
        if not a or not b:  # a player that the layout does not show
            continue
        left, right = sorted((a[0], b[0]))
        # several kinds on one pair: each its own height
        lift = max((_ARCS - 26) * ((right - left) / longest) ** 0.75, 26.0) * 0.8 ** drawn[term.members]
        drawn[term.members] += 1
        foot = line.height
        corners = [(left, foot), (left, foot + 4 / 3 * lift), (right, foot + 4 / 3 * lift), (right, foot)]
        path = Path(corners, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
        thick = 0.8 + 4.2 * abs(term.score) / scale
        ax.add_patch(
            PathPatch(
                path,
                facecolor="none",
                edgecolor=sign_colour(term.score),
                lw=thick,
                ls=styles[term.kind],
                alpha=0.9,
                capstyle="butt",
            )
        )
        # above the arc, or below it; where a stronger one's label is in both, the arc has none
        for place in (lift + thick / 2 + 5, lift - thick / 2 - 6):
            spot = ((left + right) / 2, foot + place)
            if all(abs(spot[0] - x) > 44 or abs(spot[1] - y) > 12 for x, y in labels):
                labels.append(spot)
                ax.text(
                    *spot,
                    format_score(term.score, decimals),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=sign_colour(term.score),
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
                    zorder=5,
                )
                break


def _draw_groups(ax: Axes, line: Line, terms: Interactions, scale: float, styles: dict[str, Any]) -> None:
    places = _places(line)
    decimals = decimals_for(scale)
    for row, term in enumerate(terms):
        y = -_ROW * (row + 0.7)
        xs = sorted(x for m in term.members for x in places[m])
        if not xs:
            continue
        colour = sign_colour(term.score)
        ax.plot(
            [xs[0], xs[-1]],
            [y, y],
            color=colour,
            lw=0.8 + 4.2 * abs(term.score) / scale,
            ls=styles[term.kind],
        )
        ax.plot(xs, [y] * len(xs), "o", ms=6.5, color=colour, mec="white", mew=0.8, ls="none")
        right = xs[-1] + 60 < line.width
        ax.text(
            xs[-1] + 8 if right else xs[0] - 8,
            y,
            format_score(term.score, decimals),
            ha="left" if right else "right",
            va="center",
            fontsize=7.5,
            color=colour,
        )

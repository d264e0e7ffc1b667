"""Players on a circle, pairs as lines between them: for players that stand in no text and no image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hoi_captum.core.example import Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.views.labels import joined, largest, shorten
from hoi_captum.views.palette import INK, diverging, sign_colour
from hoi_captum.views.panels import (
    Panel,
    draw_empty,
    finish,
    grid,
    kind_handles,
    legend,
    line_styles,
    pairs_and_groups,
    panels,
    title_axes,
    what_is_drawn,
    write_terms,
)
from hoi_captum.views.wording import sign_handles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 24  # more names than this do not fit around a circle


def network_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    k: int = 14,
    groups: int | None = None,
    title: str | None = None,
) -> Figure:
    r"""Players on a circle; lines join the strongest pairs, polygons hold the strongest groups.

    Colour is the sign, width the absolute score (one scale for all panels), the line's style the kind; the
    shade of a player is its own effect (order 1). The strongest terms are listed below each panel.

    Args:
        interactions: the table to draw.
        layout: not used; every plot takes it. Default: None
        scope: draw this scope alone; None draws a panel for each. Default: None
        k: number of pairs drawn in a panel, at most; faint ones are left out. Default: 14
        groups: number of terms of order 3 and above drawn in a panel, at most. Default: None (2, or all
            that are among the six strongest terms)
        title: of the figure. Default: None

    Returns:
        Figure: of more than 24 players only those with the largest shares are drawn; the note says so.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> figure = hoi.views.network_plot(table)
        >>> [text.get_text() for text in figure.axes[0].texts][:3]
        ['not', 'bad', '+2.50  k-sii  not · bad']
    """
    parts, note = panels(interactions, scope)
    n = len(interactions.players)
    shown = np.arange(n)
    if n > _SHOWN:
        weight = np.bincount(
            interactions.members, np.repeat(np.abs(interactions.scores), interactions.orders), minlength=n
        )
        shown = np.sort(np.argsort(-weight, kind="stable")[:_SHOWN])
        note = joined(f"the {_SHOWN} players with the most interaction, of {n}", note)
    angles = np.pi / 2 - 2 * np.pi * (np.arange(len(shown)) + 0.5) / max(len(shown), 1)
    places = {int(p): (float(np.cos(a)), float(np.sin(a))) for p, a in zip(shown, angles, strict=True)}
    pairs, larger, scale = pairs_and_groups(parts, k, groups)
    singles = max(largest(p.interactions.where(order=1).scores) for p in parts) or 1.0
    width = 5.0 if len(parts) > 1 else 7.0
    note = joined(what_is_drawn(interactions, pairs, larger), note)
    figure, axes = grid(len(parts), 2, width, width * 0.54 + (2.1 if note else 1.9))
    styles = line_styles(interactions)
    for panel, two, more, ax in zip(parts, pairs, larger, axes, strict=True):
        title_axes(ax, panel, width=40)
        _draw_players(ax, panel, places, singles)
        if not len(panel.interactions):
            draw_empty(ax)
            continue
        _draw_groups(ax, more, places, scale, styles)
        _draw_pairs(ax, two, places, scale, styles)
        write_terms(ax, panel.interactions, (two, more), width=18)
    if len(interactions):
        legend(figure, [*sign_handles(interactions), *kind_handles(interactions)])
    return finish(figure, title, note)


def _draw_players(ax: Axes, panel: Panel, places: dict[int, tuple[float, float]], singles: float) -> None:
    own = np.zeros(len(panel.interactions.players))
    for term in panel.interactions.where(order=1):
        own[term.members[0]] += term.score
    ax.set_aspect("equal", anchor="N")  # room for the list, which is no part of the axes
    # names stand left and right of the circle, so that is where the room is
    ax.set_xlim(-2.25, 2.25)
    ax.set_ylim(-1.22, 1.22)
    ax.axis("off")
    for player, (x, y) in places.items():
        level = own[player] / singles if np.isfinite(own[player]) else 0.0
        ax.plot(x, y, "o", ms=12, color=diverging()(0.5 + 0.5 * level), mec=INK, mew=0.8, zorder=5)
        side = "left" if x > 0.05 else "right" if x < -0.05 else "center"
        ax.annotate(
            shorten(panel.interactions.players[player], 18),
            (x, y),
            xytext=(11 * np.sign(round(x, 6)), 0 if side != "center" else 13 * np.sign(y)),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=9 if len(places) <= 16 else 7.5,
            color=INK,
            parse_math=False,
            zorder=6,
        )


def _draw_pairs(
    ax: Axes,
    pairs: Interactions,
    places: dict[int, tuple[float, float]],
    scale: float,
    styles: dict[str, Any],
) -> None:
    from matplotlib.patches import FancyArrowPatch

    seen: dict[tuple[int, ...], int] = {}
    for term in pairs:
        if not all(m in places for m in term.members):
            continue
        i = seen[term.members] = seen.get(term.members, -1) + 1
        a, b = (places[m] for m in term.members)
        ax.add_patch(
            FancyArrowPatch(
                a,
                b,
                arrowstyle="-",
                # further kinds on one pair bend away from the first
                connectionstyle=f"arc3,rad={0.1 * (-1) ** i * (1 + i // 2)}",
                color=sign_colour(term.score),
                lw=0.8 + 4.5 * abs(term.score) / scale,
                ls=styles[term.kind],
                alpha=0.85,
                shrinkA=0,
                shrinkB=0,
                zorder=3,
            )
        )


def _draw_groups(
    ax: Axes,
    terms: Interactions,
    places: dict[int, tuple[float, float]],
    scale: float,
    styles: dict[str, Any],
) -> None:
    from matplotlib.patches import Polygon

    for term in terms:
        ring = [places[m] for m in term.members if m in places]
        if len(ring) < 3:
            continue
        colour = sign_colour(term.score)
        ax.add_patch(Polygon(ring, facecolor=colour, edgecolor="none", alpha=0.14, zorder=1))
        ax.add_patch(
            Polygon(
                ring,
                facecolor="none",
                edgecolor=colour,
                lw=0.8 + 2 * abs(term.score) / scale,
                ls=styles[term.kind],
                alpha=0.6,
                zorder=2,
            )
        )

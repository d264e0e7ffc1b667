"""Interactions on an image: outlined regions, lines between pairs, shaded groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.example import ImageLayout, Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.views.labels import joined, shorten
from hoi_captum.views.outlines import centres, hull, outlines
from hoi_captum.views.palette import INK, sign_colour
from hoi_captum.views.panels import (
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
from hoi_captum.views.places import check_places
from hoi_captum.views.wording import sign_handles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 16  # with more regions their names would hide the picture


def region_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    k: int = 8,
    groups: int | None = None,
    title: str | None = None,
) -> Figure:
    r"""The image with its regions outlined; lines join the strongest pairs, shapes hold the strongest groups.

    Colour is the sign, width the absolute score (one scale for all panels), the line's style the kind. The
    strongest terms are listed in words below each panel.

    Args:
        interactions: the table to draw.
        layout: an ImageLayout. Default: None
        scope: draw this scope alone; None draws a panel for each. Default: None
        k: number of pairs drawn in a panel, at most; faint ones are left out. Default: 8
        groups: number of terms of order 3 and above drawn in a panel, at most. Default: None (2, or all
            that are among the six strongest terms)
        title: of the figure. Default: None

    Returns:
        Figure.

    Raises:
        InputError: the layout is not that of an image, or not of as many players.

    Examples::

        >>> from hoi_captum.core.example import ImageLayout
        >>> layout = ImageLayout(torch.zeros(2, 4, 3), torch.tensor([[0, 0, 1, 1]]).expand(2, 4))
        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["left", "right"])
        >>> figure = hoi.views.region_plot(table, layout)
        >>> [text.get_text() for text in figure.axes[0].texts][:3]
        ['left', 'right', '+2.50  k-sii  left · right']
    """
    if not isinstance(layout, ImageLayout):
        raise InputError(
            f"expected an ImageLayout to draw regions, got {type(layout).__name__}; "
            "network_plot draws players that have no place in an image"
        )
    check_places(len(interactions.players), layout)
    parts, note = panels(interactions, scope)
    image, mask = (np.asarray(part.detach().cpu()) for part in (layout.image.float(), layout.mask))
    loops, middle = outlines(mask), centres(mask)
    width = {1: 6.4, 2: 5.0}.get(len(parts), 3.4)
    figure, axes = grid(len(parts), 3, width, width + 1.0)
    pairs, larger, scale = pairs_and_groups(parts, k, groups)
    styles = line_styles(interactions)
    for panel, two, more, ax in zip(parts, pairs, larger, axes, strict=True):
        title_axes(ax, panel, width=int(8 * width))
        _draw_image(ax, image, loops)
        _draw_names(ax, interactions.players, loops)
        if not len(panel.interactions):
            draw_empty(ax)
            continue
        for term in more:
            points = [middle[m] for m in term.members if m in middle]
            _draw_group(ax, points, term.score, abs(term.score) / scale, styles[term.kind], image.shape[1])
        for bend, term in _bends(two):
            if all(m in middle for m in term.members):
                a, b = (middle[m] for m in term.members)
                _draw_pair(ax, a, b, term.score, abs(term.score) / scale, styles[term.kind], bend)
        write_terms(ax, panel.interactions, (two, more), width=18)
    if len(interactions):
        legend(figure, [*sign_handles(interactions), *kind_handles(interactions)])
    return finish(figure, title, joined(what_is_drawn(interactions, pairs, larger), note))


def _bends(pairs: Interactions) -> list[tuple[float, Any]]:
    """Each pair with the bend of its line; further kinds on a pair bend the other way, then further out."""
    seen: dict[tuple[int, ...], int] = {}
    out = []
    for term in pairs:
        i = seen[term.members] = seen.get(term.members, -1) + 1
        out.append(((0.16 + 0.12 * (i // 2)) * (-1) ** i, term))
    return out


def _draw_image(ax: Axes, image: NDArray[np.float32], loops: dict[int, list[list[tuple[int, int]]]]) -> None:
    from matplotlib.collections import LineCollection

    height, width = image.shape[:2]
    # pale, so that lines show on dark and on bright images alike
    ax.imshow(0.45 + 0.55 * np.clip(image, 0, 1), extent=(0, width, height, 0), interpolation="nearest")
    closed = [[*loop, loop[0]] for player in loops.values() for loop in player]
    ax.add_collection(LineCollection(closed, colors="white", linewidths=2.2))
    ax.add_collection(LineCollection(closed, colors="#5b626d", linewidths=0.8))
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.axis("off")


def _draw_names(ax: Axes, players: tuple[str, ...], loops: dict[int, list[list[tuple[int, int]]]]) -> None:
    from matplotlib.patheffects import withStroke

    if len(loops) > _NAMED:
        return
    for player, parts in loops.items():
        if player >= len(players):
            continue
        x, y = min((p for loop in parts for p in loop), key=lambda p: (p[1], p[0]))
        ax.annotate(
            shorten(players[player], 14),
            (x, y),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=INK,
            parse_math=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=6,
        )


def _draw_pair(
    ax: Axes,
    a: tuple[float, float],
    b: tuple[float, float],
    score: float,
    share: float,
    style: str,
    bend: float,
) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.patheffects import Normal, withStroke

    width = 1.0 + 4.5 * share
    ax.add_patch(
        FancyArrowPatch(
            a,
            b,
            arrowstyle="-",
            connectionstyle=f"arc3,rad={bend}",
            color=sign_colour(score),
            lw=width,
            ls=style,
            path_effects=[withStroke(linewidth=width + 1.6, foreground="white"), Normal()],
            shrinkA=0,
            shrinkB=0,
            zorder=4,
        )
    )
    ax.plot(*zip(a, b, strict=True), "o", ms=6, color=INK, mec="white", ls="none", zorder=5)


def _draw_group(
    ax: Axes, points: list[tuple[float, float]], score: float, share: float, style: str, size: int
) -> None:
    """A soft shape around the centres of a group: their hull, widened."""
    from matplotlib.patches import Polygon

    if len(points) < 2:
        return
    colour = sign_colour(score)
    ring = hull(points)
    ax.add_patch(
        Polygon(
            ring,
            closed=True,
            facecolor=colour,
            edgecolor=colour,
            alpha=0.16,
            lw=22,
            joinstyle="round",
            zorder=2,
        )
    )
    ax.add_patch(
        Polygon(
            ring,
            closed=True,
            facecolor="none",
            edgecolor=colour,
            lw=1 + 3 * share,
            ls=style,
            alpha=0.85,
            zorder=3,
        )
    )
    ax.plot(*zip(*points, strict=True), "s", ms=7, color=colour, mec="white", ls="none", zorder=5)

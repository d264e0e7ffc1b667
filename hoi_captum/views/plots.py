"""Plots of a whole table: the matrix of pairs and the sums by order; and the plot that suits a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.example import ImageLayout, Layout, TextLayout
from hoi_captum.core.interactions import Interactions
from hoi_captum.views.arcs import arc_plot
from hoi_captum.views.boxes import pair_boxes_plot
from hoi_captum.views.factors import factors_plot
from hoi_captum.views.labels import few_decimals, format_score, joined, largest, shorten
from hoi_captum.views.network import network_plot
from hoi_captum.views.neuron_maps import neuron_map_plot
from hoi_captum.views.pairs import with_pairs
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, diverging, sequential, sign_colour
from hoi_captum.views.panels import draw_empty, finish, grid, hatches, legend, panels, title_axes
from hoi_captum.views.regions import region_plot
from hoi_captum.views.wording import both_sides, caution_of, score_label, sign_patches, sum_label, wording_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "arc_plot",
    "by_order_plot",
    "default_plot",
    "matrix_plot",
    "network_plot",
    "order_sums",
    "region_plot",
]

_NAMED = 40  # with more players the ticks are their numbers
_ANNOTATED = 12
_LEAST_CELL = 0.42  # inches that a cell needs for a score of five characters


def default_plot(interactions: Interactions, layout: Layout | None = None, **options: Any) -> Figure:
    """What suits the input, and the kind of the terms.

    Arcs over a text; the regions of an image, or its strongest pairs apart where every pair has a score;
    factors with their members; for anything else a network, or a matrix where every pair has a score.

    Args:
        interactions: the table to draw.
        layout: of the input. Default: None
        options: of the drawing that is chosen.

    Returns:
        Figure.

    Examples::

        >>> from hoi_captum.core.example import TextLayout
        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> text = TextLayout((("not", 0), (" ", -1), ("bad", 1)))
        >>> figure = hoi.views.default_plot(table, text)  # arcs
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['not', 'bad', '+2.50']
    """
    dense = wording_of(interactions).dense
    match layout:
        case TextLayout():
            return arc_plot(interactions, layout, **options)
        case ImageLayout() if dense:
            return pair_boxes_plot(interactions, layout, **options)
        case ImageLayout():
            return region_plot(interactions, layout, **options)
        case None if "map_shape" in interactions.arrays and not dense:
            return neuron_map_plot(interactions, layout, **options)
        case _ if dense and (interactions.orders == 2).any():
            return matrix_plot(interactions, layout, **options)
        case None if interactions.weights is not None:
            return factors_plot(interactions, layout, **options)
        case _:
            return network_plot(interactions, layout, **options)


def matrix_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    spread: bool = False,
    title: str | None = None,
) -> Figure:
    r"""Player by player: pairs off the diagonal, single players on it.

    A table that lists larger sets alone is drawn by its array ``pairs``, if it has one.

    Args:
        interactions: the table to draw.
        layout: not used; every plot takes it. Default: None
        scope: draw this scope alone; None draws a panel for each. Default: None
        spread: share out terms of order 3 and above among their pairs (see :meth:`Interactions.matrix`).
        title: of the figure. Default: None

    Returns:
        Figure: one image of n x n per scope, all on one colour scale: symmetric about zero, or from zero
        where scores have no sign, or cross derivatives are all positive.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> figure = hoi.views.matrix_plot(table)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['+0.50', '+2.50', '+2.50', '−1.00']
    """
    given = interactions
    interactions = given if spread else with_pairs(given)
    parts, note = panels(interactions, scope)
    matrices = [p.interactions.matrix(spread=spread) for p in parts]
    n = len(interactions.players)
    width = 5.0 if len(parts) > 1 else 7.6
    figure, axes = grid(len(parts), 2, width, width * 0.92)
    scale = largest(np.stack(matrices)) or 1.0
    signed = both_sides(interactions)
    colours, low = (diverging(), -scale) if signed else (sequential("positive"), 0.0)
    image = None
    for panel, matrix, ax in zip(parts, matrices, axes, strict=True):
        title_axes(ax, panel, width=40)
        image = ax.imshow(matrix, cmap=colours, vmin=low, vmax=scale, interpolation="nearest")
        _name_players(ax, interactions.players, room=width)
        if not len(panel.interactions):
            draw_empty(ax)
        elif n <= _ANNOTATED and 0.66 * width / n >= _LEAST_CELL:
            _annotate(ax, matrix, scale, signed)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=30, pad=0.02)
        bar.set_label(score_label(interactions), parse_math=False)
        bar.outline.set_visible(False)
    said = ["off the diagonal: pairs" + (", higher orders shared out among them" if spread else "")]
    if interactions is not given:
        said = ["off the diagonal: pairs, the method’s own, since the table lists larger sets alone"]
    said += ["diagonal: single players"] if (interactions.orders == 1).any() else []
    said += ["kinds are added"] if len(np.unique(interactions.kinds)) > 1 else []
    return finish(figure, title, joined(*said, caution_of(interactions), note))


def _name_players(ax: Axes, players: tuple[str, ...], room: float) -> None:
    ax.tick_params(length=0, colors=INK)
    for spine in ax.spines.values():
        spine.set_color(FAINT)
    n = len(players)
    if n > _NAMED:
        ax.set_xlabel("player")
        ax.set_ylabel("player")
        return
    size = float(np.clip(room * 40 / n, 5.5, 9.5))
    names = [shorten(p, 16) for p in players]
    ax.set_xticks(
        range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size, parse_math=False
    )
    ax.set_yticks(range(n), names, fontsize=size, parse_math=False)


def _annotate(ax: Axes, matrix: NDArray[np.float64], scale: float, signed: bool) -> None:
    decimals = few_decimals(scale)
    if decimals is None or decimals > 3:  # too long for a cell
        return
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value) and abs(value) >= 0.5 * 10.0**-decimals:
            text = format_score(value, decimals)
            ax.text(
                column,
                row,
                text if signed else text.removeprefix("+"),
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if abs(value) > 0.62 * scale else INK,
            )


def order_sums(interactions: Interactions) -> dict[tuple[str, int], tuple[float, float]]:
    """Sum of the positive and sum of the negative scores of each (kind, order) that occurs.

    What is not finite is left out.
    """
    sums = {}
    scores = np.where(np.isfinite(interactions.scores), interactions.scores, 0.0)
    for kind in np.unique(interactions.kinds):
        for order in np.unique(interactions.orders[interactions.kinds == kind]):
            chosen = scores[(interactions.kinds == kind) & (interactions.orders == order)]
            sums[str(kind), int(order)] = (float(chosen[chosen > 0].sum()), float(chosen[chosen < 0].sum()))
    return sums


def by_order_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    title: str | None = None,
) -> Figure:
    r"""How much the interactions of each order weigh: positive sums up, negative sums down.

    Args:
        interactions: the table to draw.
        layout: not used; every plot takes it. Default: None
        scope: draw this scope alone; None draws a panel for each. Default: None
        title: of the figure. Default: None

    Returns:
        Figure: bars in the unit of the scores from one zero line, all panels on one scale. The positive and
        the negative terms of a (kind, order) are summed apart, so that they cannot cancel out of sight.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> figure = hoi.views.by_order_plot(table)
        >>> [text.get_text() for text in figure.axes[0].texts]  # orders 1 (up, down) and 2
        ['+0.50', '−1.00', '+2.50']
    """
    from matplotlib.patches import Patch

    parts, note = panels(interactions, scope)
    figure, axes = grid(len(parts), 2, 5.0 if len(parts) > 1 else 7.6, 3.6)
    orders = sorted({int(o) for p in parts for o in p.interactions.orders})
    marks = hatches(interactions)
    sums = [order_sums(p.interactions) for p in parts]
    ends = [v for s in sums for pair in s.values() for v in pair]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.12 * (high - low) or 1.0
    slot = min(0.8 / max(len(marks), 1), 0.5)
    decimals = few_decimals(max(high, -low))
    for panel, totals, ax in zip(parts, sums, axes, strict=True):
        title_axes(ax, panel, width=40)
        ax.axhline(0, color=INK, lw=1)
        ax.set_ylim(low - margin, high + margin)
        ax.set_xlim(-0.6, max(len(orders), 1) - 0.4)
        ax.set_xticks(range(len(orders)), [str(o) for o in orders])
        ax.set_xlabel("order (players that act together)")
        ax.set_ylabel(sum_label(interactions), parse_math=False)
        ax.tick_params(length=0)
        ax.grid(axis="y", color=FAINT, lw=0.6)
        ax.set_axisbelow(True)
        for spine in ax.spines.values():
            spine.set_visible(False)
        if not totals:
            draw_empty(ax)
        # a number on a bar must not touch its neighbour's
        numbered = len(orders) * len(marks) <= (10 if len(parts) > 1 else 16)
        for (kind, order), pair in totals.items():
            at = orders.index(order) + (list(marks).index(kind) - (len(marks) - 1) / 2) * slot
            for value in pair:
                colour, mark = sign_colour(value), marks[kind]
                ax.bar(at, value, slot * 0.92, color=colour, hatch=mark, edgecolor="white", lw=0)
                if numbered and value:
                    ax.annotate(
                        format_score(value, decimals),
                        (at, value),
                        xytext=(0, 3 if value > 0 else -3),
                        textcoords="offset points",
                        ha="center",
                        va="bottom" if value > 0 else "top",
                        fontsize=7,
                        color=INK,
                    )
    handles = sign_patches(interactions)
    handles += [
        Patch(facecolor=NEUTRAL, edgecolor="white", lw=0, hatch=mark, label=shorten(kind))
        for kind, mark in marks.items()
    ]
    if marks:
        legend(figure, handles)
    return finish(figure, title, joined(caution_of(interactions), note))

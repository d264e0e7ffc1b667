"""How sparse interactions are: their strengths, the largest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hoi_captum.core.example import Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.measures.strength import StrengthCurve, strength_curve
from hoi_captum.views.labels import shorten
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, SERIES
from hoi_captum.views.panels import draw_empty, finish, grid, legend, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
_SALIENT = 0.05
_LEAST = 1e-4  # of the largest: where a logarithmic axis ends


def strength_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    log: bool = False,
    title: str | None = None,
) -> Figure:
    r"""Absolute effects from the largest to the smallest, a curve for each scope.

    Args:
        interactions: the table to draw; what is not finite is left out.
        layout: not used; every plot takes it. Default: None
        scope: draw this scope alone; None draws a curve for each. Default: None
        log: a logarithmic axis of strengths. Default: False
        title: of the figure. Default: None

    Returns:
        Figure: as :func:`strength_curves_plot`.

    Examples::

        >>> figure = hoi.views.strength_plot(hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])))
        >>> figure.axes[0].lines[0].get_ydata()
        array([1. , 0.4, 0.2])
    """
    parts, note = panels(interactions, scope)
    curves = {}
    for panel in parts:
        kept = panel.interactions.take(np.nonzero(np.isfinite(panel.interactions.scores))[0])
        if len(kept):
            curves[panel.title or ""] = strength_curve(kept)
    return strength_curves_plot(curves, log=log, title=title, note=note)


def strength_curves_plot(
    curves: StrengthCurve | Mapping[str, StrengthCurve],
    *,
    log: bool = False,
    title: str | None = None,
    note: str = "",
) -> Figure:
    r"""Strength curves (Chen et al., ICLR 2024, Fig. 2) of several methods, models or tables.

    Args:
        curves: what :func:`hoi_captum.measures.strength_curve` gives, by label; or one without.
        log: a logarithmic axis of strengths, down to 1e-4 of the largest. Default: False
        title: of the figure. Default: None
        note: below the figure. Default: ""

    Returns:
        Figure: each curve in parts of its own largest effect; the legend tells how many effects exceed 5 %.

    Raises:
        InputError: more curves than there are colours for.

    Examples::

        >>> curve = hoi.measures.strength_curve(hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])))
        >>> figure = hoi.views.strength_curves_plot({"k-SII": curve})
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['k-SII: 3 of 3 above 5 %']
    """
    from matplotlib.lines import Line2D

    named = {"": curves} if isinstance(curves, StrengthCurve) else dict(curves)
    if len(named) > len(SERIES):
        raise InputError(
            f"expected at most {len(SERIES)} curves, got {len(named)}: more cannot be told apart"
        )
    figure, (ax,) = grid(1, 1, 7.6, 4.2)
    _axes(ax, log)
    handles = []
    for (label, curve), colour, dash in zip(named.items(), SERIES, DASHES, strict=False):
        ranks = np.arange(1, len(curve.values) + 1)
        drawn = np.where(curve.values > 0, curve.values, np.nan) if log else curve.values
        mark = "o" if len(ranks) == 1 else ""
        ax.plot(ranks, drawn, color=colour, ls=dash, lw=2, marker=mark)
        count = f"{curve.count_above(_SALIENT):,} of {len(ranks):,} above 5 %"
        handles.append(Line2D([], [], color=colour, ls=dash, lw=2, label=_named(label, count)))
    if any(len(c.values) for c in named.values()):
        ax.set_xlim(left=1)
        ax.axhline(_SALIENT, color=NEUTRAL, lw=0.8, ls=":")
        legend(figure, handles, columns=2)
    else:
        draw_empty(ax)
    return finish(figure, title, note)


def _named(label: str, count: str) -> str:
    return f"{shorten(label, 44)}: {count}" if label else count


def _axes(ax: Axes, log: bool) -> None:
    ax.set_xlabel("interactions, the strongest first")
    ax.set_ylabel("strength, in parts of the largest")
    if log:
        ax.set_yscale("log")
        ax.set_ylim(_LEAST, 1.5)
    else:
        ax.set_ylim(0, 1.04)
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)

"""Axes without a box, with faint lines to read values by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hoi_captum.views.labels import shorten
from hoi_captum.views.palette import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plain_axes(ax: Axes, below: str, beside: str, *, lines: Literal["x", "y"] = "y") -> None:
    """Label the axes, literally, and take away all but faint lines across."""
    ax.set_xlabel(shorten(below, 80) if below else "", fontsize=9, color=INK, parse_math=False)
    ax.set_ylabel(shorten(beside, 60) if beside else "", fontsize=9, color=INK, parse_math=False)
    ax.tick_params(length=0, colors=INK, labelsize=8.5)
    ax.grid(axis=lines, color=FAINT, lw=0.6)
    ax.set_axisbelow(True)
    for spine in ax.spines.values():
        spine.set_visible(False)


def whole_numbers(ax: Axes) -> None:
    """No ticks between whole numbers on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))

"""How much of the effects of each order all models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hoi_captum.errors import InputError
from hoi_captum.measures.transfer import SharedRatios
from hoi_captum.views.labels import shorten
from hoi_captum.views.palette import FAINT, INK, NEGATIVE, POSITIVE
from hoi_captum.views.panels import draw_empty, finish, grid, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE = {POSITIVE: "#c3d7f2", NEGATIVE: "#f6d3c2"}


def shared_ratio_plot(
    ratios: SharedRatios,
    *,
    names: Sequence[str] | None = None,
    log: bool = False,
    unit: str = "score",
    title: str | None = None,
) -> Figure:
    r"""By order: all salient effects, and inside them what all models share (Chen et al., ICLR 2024, Fig. 4).

    Args:
        ratios: what :func:`hoi_captum.measures.shared_ratios` gives; means over its samples are drawn.
        names: of the models. Default: None (the scopes)
        log: a symmetric logarithmic axis, as in the paper. Default: False
        unit: of the effects. Default: score
        title: of the figure. Default: None

    Returns:
        Figure: a panel for each model, all on one scale; positive sums up, negative ones down, pale all and
        dark shared. The number at a bar is the share.

    Raises:
        InputError: another number of names than of models.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", f"model:{i}", 2.0) for i in range(2)]
        >>> terms.append(hoi.Term((0,), "and", "model:1", 1.0))
        >>> table = hoi.Interactions.from_terms("ab", terms, provenance=hoi.Provenance("by-hand"))
        >>> figure = hoi.views.shared_ratio_plot(hoi.measures.shared_ratios(table))
        >>> [text.get_text() for text in figure.axes[1].texts]  # of the second model, orders 1 and 2
        ['0 %', '100 %']
    """
    from matplotlib.patches import Patch

    titles = list(ratios.scopes if names is None else names)
    if len(titles) != len(ratios.scopes):
        raise InputError(f"expected {len(ratios.scopes)} names, one for each model, got {len(titles)}")
    figure, axes = grid(len(titles), 2, 5.0 if len(titles) > 1 else 7.6, 3.8)
    every, common, share = ratios.mean_all, ratios.mean_shared, ratios.ratio
    low, high = float(every.min(initial=0.0)), float(every.max(initial=0.0))
    present = every.any(axis=(0, 2))
    orders = range(1, 1 + max(ratios.orders[present].tolist(), default=1))
    for i, (name, ax) in enumerate(zip(titles, axes, strict=True)):
        ax.set_title(shorten(name, 40), fontsize=11, color=INK, parse_math=False)
        _frame(ax, orders, low, high, log=log)
        ax.set_ylabel(f"sum, {unit}", parse_math=False)
        if not every[i].any():
            draw_empty(ax)
        for at, order in enumerate(ratios.orders[: len(orders)].tolist()):
            for side, colour in enumerate((POSITIVE, NEGATIVE)):
                whole = float(every[i, at, side])
                if not whole:
                    continue
                ax.bar(order, whole, 0.66, color=_PALE[colour], lw=0)
                ax.bar(order, float(common[i, at, side]), 0.66, color=colour, lw=0)
                ax.annotate(
                    f"{abs(100 * share[i, at, side]):.0f} %",
                    (order, whole),
                    xytext=(0, 3 if whole > 0 else -3),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if whole > 0 else "top",
                    fontsize=8 if len(orders) < 9 else 6.5,
                    color=INK,
                )
    handles = [
        Patch(facecolor=POSITIVE, label="positive, shared"),
        Patch(facecolor=_PALE[POSITIVE], label="positive, all"),
        Patch(facecolor=NEGATIVE, label="negative, shared"),
        Patch(facecolor=_PALE[NEGATIVE], label="negative, all"),
    ]
    legend(figure, handles)
    samples = len(ratios.all)
    return finish(figure, title, f"mean over {samples} samples" if samples > 1 else "")


def _frame(ax: Axes, orders: Sequence[int], low: float, high: float, *, log: bool) -> None:
    """Axes from the lowest to the highest sum, with room for a number at each end that has bars."""
    if log:
        ax.set_yscale("symlog", linthresh=(max(high, -low) or 1.0) / 100)
        ax.set_ylim(2.2 * low, 2.2 * high if high or low else 1.0)
    else:
        margin = 0.14 * (high - low) or 1.0
        ax.set_ylim(low - margin if low else 0.0, high + margin if high or not low else 0.0)
    ax.axhline(0, color=INK, lw=1)
    ax.set_xlim(0.4, len(orders) + 0.6)
    ax.set_xticks(orders)
    ax.set_xlabel("order (players that act together)")
    ax.tick_params(length=0, colors=INK)
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.set_axisbelow(True)
    for spine in ax.spines.values():
        spine.set_visible(False)

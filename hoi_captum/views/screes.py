"""Advice drawn: screes of factors and members, curves over the number of clusters and dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hoi_captum.corex.advice import ClusterAdvice, DimensionAdvice, FactorAdvice, ThresholdAdvice
from hoi_captum.corex.factors import informational_correlation
from hoi_captum.errors import InputError
from hoi_captum.views.frames import plain_axes, whole_numbers
from hoi_captum.views.palette import INK, NEGATIVE, NEUTRAL, SERIES
from hoi_captum.views.panels import finish, grid, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOUR = SERIES[2]
_MOST = 60  # variables drawn of a scree of members


def scree_plot(
    advice: FactorAdvice | ThresholdAdvice,
    *,
    factors: Sequence[int] | None = None,
    title: str | None = None,
) -> Figure:
    r"""Total correlation by factor, or mutual information by variable, the largest first.

    Args:
        advice: of :func:`hoi_captum.corex.advise_factors`: factors against those of shuffled columns; or of
            :func:`hoi_captum.corex.advise_threshold`: members of each factor with the noise floor, the knee
            and the default threshold.
        factors: of members: which factors. Default: None (the first six)
        title: of the figure. Default: None

    Returns:
        Figure: the information of variables as the correlation sqrt(1 - exp(-2 MI)), which ends at 1.

    Raises:
        InputError: another object, or a factor that does not exist.

    Examples::

        >>> advice = hoi.corex.advise_threshold([[0.9, 0.01, 0.7]], n_rows=100)
        >>> hoi.views.scree_plot(advice).axes[0].get_title()
        'factor 0: 2 members'
    """
    match advice:
        case FactorAdvice():
            return _factor_scree(advice, title)
        case ThresholdAdvice():
            return _member_screes(advice, factors, title)
        case _:
            raise InputError(
                "expected what advise_factors or advise_threshold gives, got "
                f"{type(advice).__name__}; choice_plot draws the others"
            )


def _factor_scree(advice: FactorAdvice, title: str | None) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, (ax,) = grid(1, 1, 6.6, 3.8)
    ranks = np.arange(1, len(advice.tcs) + 1)
    null = np.arange(1, advice.null.shape[1] + 1)
    ax.fill_between(null, advice.null.min(0), advice.null.max(0), color="#d5d9df", lw=0)
    ax.axhline(advice.level, color=NEGATIVE, lw=1.2, ls=(0, (4, 2)))
    above = advice.tcs > advice.level
    ax.plot(ranks, advice.tcs, color=_COLOUR, lw=1.6, zorder=3)
    ax.scatter(ranks[above], advice.tcs[above], s=30, color=_COLOUR, zorder=4)
    ax.scatter(ranks[~above], advice.tcs[~above], s=30, facecolor="white", edgecolor=_COLOUR, zorder=4)
    plain_axes(ax, "factor, the largest first", "total correlation, nats")
    # what an overlapping factor explains alone may be negative
    ax.set_ylim(bottom=min(0.0, 1.05 * float(advice.tcs.min())))
    whole_numbers(ax)
    handles = [
        Line2D(
            [],
            [],
            color=_COLOUR,
            marker="o",
            label=f"{advice.suggested} of {len(ranks)} factors above chance",
        ),
        Patch(facecolor="#d5d9df", label=f"shuffled columns, {len(advice.null)} fits"),
        Line2D([], [], color=NEGATIVE, lw=1.2, ls=(0, (4, 2)), label=f"their largest: {advice.level:.2f}"),
    ]
    legend(figure, handles, columns=3)
    return finish(figure, title)


def _member_screes(advice: ThresholdAdvice, factors: Sequence[int] | None, title: str | None) -> Figure:
    from matplotlib.lines import Line2D

    m, p = advice.mi.shape
    chosen = list(range(min(m, 6)) if factors is None else factors)
    if not chosen or not all(isinstance(j, int | np.integer) and 0 <= j < m for j in chosen):
        raise InputError(f"expected factors in 0..{m - 1}, got {chosen}")
    figure, axes = grid(len(chosen), 3, 3.9 if len(chosen) > 1 else 6.6, 2.8 if len(chosen) > 1 else 3.8)
    most = min(p, max(_MOST, 2 * int(advice.members[chosen].max())))
    for j, ax in zip(chosen, axes, strict=True):
        values = informational_correlation(advice.mi[j, :most])
        ranks = np.arange(1, most + 1)
        members = advice.mi[j, :most] > advice.default[j]
        shades = np.where(members, _COLOUR, "#bcdcd7").tolist()
        ax.vlines(ranks, 0, values, color=shades, lw=min(5.0, 180 / most))
        for level, colour, style in _levels(advice, j):
            ax.axhline(float(informational_correlation(level)), color=colour, lw=1.2, ls=style)
        plain_axes(ax, "variable, the largest first", "√(1 − exp(−2 MI))")
        count = int(advice.members[j])
        ax.set_title(f"factor {j}: {count} member{'s' * (count != 1)}", fontsize=10, color=INK)
        ax.set_ylim(0, 1.04)
    (_, a, d), (_, b, e), (_, c, f) = _levels(advice, 0)
    handles = [
        Line2D([], [], color=a, ls=d, lw=1.2, label="threshold used"),
        Line2D([], [], color=b, ls=e, lw=1.2, label="noise floor"),
        Line2D([], [], color=c, ls=f, lw=1.2, label="knee"),
    ]
    legend(figure, handles)
    return finish(figure, title, f"the first {most} of {p} variables" if most < p else "")


def _levels(advice: ThresholdAdvice, factor: int) -> list[tuple[float, str, object]]:
    return [
        (float(advice.default[factor]), INK, "-"),
        (advice.floor, NEGATIVE, (0, (4, 2))),
        (float(advice.knee[factor]), SERIES[1], ":"),
    ]


def choice_plot(advice: ClusterAdvice | DimensionAdvice, *, title: str | None = None) -> Figure:
    r"""Curves over the number of clusters, or of dimensions, with what the rule suggests.

    Args:
        advice: of :func:`hoi_captum.corex.advise_clusters` or :func:`hoi_captum.corex.advise_dimensions`.
        title: of the figure. Default: None

    Returns:
        Figure.

    Raises:
        InputError: another object.

    Examples::

        >>> rows = np.vstack([np.random.default_rng(0).normal(m, 0.1, size=(30, 2)) for m in (0, 5)])
        >>> advice = hoi.corex.advise_clusters(rows, ks=(2, 3), embedder=None, min_rows=20)
        >>> [axes.get_ylabel() for axes in hoi.views.choice_plot(advice).axes]
        ['silhouette', 'inertia', 'smallest cluster, rows']
    """
    match advice:
        case ClusterAdvice():
            panels = [
                (advice.ks, advice.silhouette, "number of clusters", "silhouette", None),
                (advice.ks, advice.inertia, "number of clusters", "inertia", None),
                (advice.ks, advice.smallest, "number of clusters", "smallest cluster, rows", advice.min_rows),
            ]
        case DimensionAdvice():
            axes_of = np.arange(1, len(advice.variance) + 1)
            kept = f"share of {advice.n_neighbors} neighbours kept"
            panels = [
                (advice.dimensions, advice.kept, "dimensions", kept, None),
                (axes_of, advice.variance, "principal axis of the embedding", "share of the variance", None),
            ]
        case _:
            raise InputError(
                "expected what advise_clusters or advise_dimensions gives, got "
                f"{type(advice).__name__}; scree_plot draws the others"
            )
    figure, axes = grid(len(panels), 3, 4.0, 3.2)
    for number, ((x, y, below, beside, least), ax) in enumerate(zip(panels, axes, strict=True)):
        ax.plot(x, y, color=_COLOUR, lw=1.6, marker="o", ms=4)
        plain_axes(ax, below, beside)
        ax.set_ylim(bottom=0)
        whole_numbers(ax)
        if least is not None:
            ax.set_ylim(top=max(ax.get_ylim()[1], 1.15 * least))
            ax.axhline(least, color=NEGATIVE, lw=1.2, ls=(0, (4, 2)))
            ax.annotate(
                f"wanted: {least}",
                (1, least),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=NEGATIVE,
            )
        of_choice = isinstance(advice, ClusterAdvice) or number == 0
        if of_choice and advice.suggested is not None:
            ax.axvline(advice.suggested, color=NEUTRAL, lw=1, ls=":", zorder=0)
    said = "no number of clusters gives all of them enough rows" if advice.suggested is None else ""
    return finish(figure, title, said or f"dotted: suggested, {advice.suggested}")

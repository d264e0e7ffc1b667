"""Factors by their members: bars of mutual information."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoi_captum.core.example import Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.corex.factors import member_threshold
from hoi_captum.errors import InputError
from hoi_captum.views.frames import plain_axes
from hoi_captum.views.labels import few_decimals, largest, shorten
from hoi_captum.views.palette import INK, SERIES
from hoi_captum.views.panels import draw_empty, finish, grid, only_scope

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOUR = SERIES[2]  # information has no sign: none of the signs' colours
_PALE = "#bcdcd7"
_INCHES = 0.23  # of a bar
_CLASSES = 3  # bars that classes have, however little it is that a factor knows of them
_WIDTH = 26  # characters of a name


def factors_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    scope: str | None = None,
    k: int = 6,
    members: int = 12,
    title: str | None = None,
) -> Figure:
    r"""The strongest factors, a panel for each, with the mutual information of their members.

    Args:
        interactions: a table with soft memberships, such as :meth:`LocalCorEx.interactions` gives.
        layout: not used; every plot takes it. Default: None
        scope: factors of this scope alone. Default: None (of all)
        k: factors drawn, those of the largest score. Default: 6
        members: bars in a panel, those of the largest weight; the title tells how many there are. Default: 12
        title: of the figure. Default: None

    Returns:
        Figure: all panels on one scale.

    Examples::

        >>> term = hoi.Term((0, 1), "corex", "cluster:3", 1.5, weights=(0.9, 0.4))
        >>> table = hoi.Interactions.from_terms("abc", [term], provenance=hoi.Provenance("by-hand"))
        >>> hoi.views.factors_plot(table).axes[0].get_title()
        'cluster:3: TC 1.50, 2 members'
    """
    shown = only_scope(interactions, scope)
    shown = shown.take(np.nonzero(np.isfinite(shown.scores) & (shown.orders > 0))[0])
    if shown.weights is None or not len(shown):
        figure, (ax,) = grid(1, 1, 5.0, 2.4)
        ax.set_axis_off()
        draw_empty(ax, "these interactions have no weights" if len(shown) else "no interactions")
        return finish(figure, title)
    best = shown.top(k)
    rows = []
    for term in best:
        weights = np.nan_to_num(np.array(term.weights, dtype=np.float64))
        first = _shown(weights, np.array(term.members), members, interactions)
        names = [interactions.players[term.members[i]] for i in first]
        more = f" of {term.order}" if term.order > members else ""
        count = f"{len(first)}{more} member{'s' * (term.order != 1)}"
        head = f"TC {term.score:.2f}, {count}"
        number = _number(interactions, term.score)
        # one region for all is told by the title of the figure
        told = number and len(best.scope_names) == 1
        scope = shorten(term.scope, 24) if term.scope and not told else ""
        place = ", ".join(filter(None, (scope, number)))
        rows.append((f"{place}: {head}" if place else head, names, weights[first]))
    figure, axes = _panels([len(names) for _, names, _ in rows])
    scale = max(largest(values) for _, _, values in rows) or 1.0
    for ax, (head, names, values) in zip(axes, rows, strict=True):
        _bars(ax, head, names, values, scale, places=max(len(names) for _, names, _ in rows))
    left_out = f"the {k} strongest of {len(shown)} factors" if len(shown) > k else ""
    return finish(figure, title, left_out)


def _number(interactions: Interactions, score: float) -> str:
    """Which factor a score is of, where the table has those of all factors of its region."""
    found = np.flatnonzero(np.asarray(interactions.arrays.get("tcs", ())) == score)
    return f"factor {found[0]}" if len(found) == 1 else ""


def _shown(
    weights: NDArray[np.float64], members: NDArray[np.int64], k: int, interactions: Interactions
) -> NDArray[np.intp]:
    """The k members of largest weight; classes among the players have up to three of these places."""
    order = np.argsort(-weights, kind="stable")
    n_neurons = interactions.arrays.get("n_neurons")
    if n_neurons is None:
        return order[:k]
    classes = order[members[order] >= int(n_neurons)][:_CLASSES]
    neurons = order[members[order] < int(n_neurons)][: k - len(classes)]
    shown = np.concatenate([neurons, classes])
    return shown[np.argsort(-weights[shown], kind="stable")]


def mi_bars_plot(
    mi: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    tcs: ArrayLike | None = None,
    factors: Sequence[int] | None = None,
    k: int = 10,
    n_rows: int | None = None,
    title: str | None = None,
) -> Figure:
    r"""The variables with most information on each factor.

    Args:
        mi: I(Y_j; X_i) in nats, (m, p) or (p,): the ``mi_`` of a fitted estimator.
        names: of the variables, (p,). Default: None (x0, x1, ...)
        tcs: total correlation of each factor, (m,), for the titles. Default: None
        factors: which factors. Default: None (the first six)
        k: bars in a panel. Default: 10
        n_rows: rows of the fit; tells which variables are members (by the default threshold): the others
            are pale. Default: None (none pale)
        title: of the figure. Default: None

    Returns:
        Figure: a panel for each factor, all on one scale.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or a factor that does not exist.

    Examples::

        >>> figure = hoi.views.mi_bars_plot([[0.9, 0.1]], ["age", "height"])
        >>> figure.axes[0].get_title(), [text.get_text() for text in figure.axes[0].texts]
        ('factor 0', ['0.90', '0.10'])
    """
    table = np.atleast_2d(np.asarray(mi, dtype=np.float64))
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise InputError(
            f"expected finite mutual information (n_factors, n_features), got shape {np.shape(mi)}"
        )
    m, p = table.shape
    named = [f"x{i}" for i in range(p)] if names is None else list(map(str, names))
    totals = None if tcs is None else np.atleast_1d(np.asarray(tcs, dtype=np.float64))
    if len(named) != p:
        raise InputError(f"expected {p} names, one for each variable, got {len(named)}")
    if totals is not None and totals.shape != (m,):
        raise InputError(f"expected {m} tcs, one for each factor, got shape {totals.shape}")
    chosen = list(range(min(m, 6)) if factors is None else factors)
    if not chosen or not all(isinstance(j, int | np.integer) and 0 <= j < m for j in chosen):
        raise InputError(f"expected factors in 0..{m - 1}, got {chosen}")
    figure, axes = _panels([min(k, p)] * len(chosen))
    scale = float(table[chosen].max()) or 1.0
    for ax, j in zip(axes, chosen, strict=True):
        first = np.argsort(-table[j], kind="stable")[:k]
        least = -np.inf if n_rows is None else member_threshold(table[j], n_rows)
        head = f"factor {j}" + ("" if totals is None else f", total correlation {totals[j]:.2f}")
        _bars(
            ax, head, [named[i] for i in first], table[j, first], scale, places=min(k, p), member_above=least
        )
    return finish(figure, title, "" if n_rows is None else "pale: below the threshold of the factor")


def _panels(bars: Sequence[int]) -> tuple[Figure, list[Axes]]:
    columns = min(len(bars), 2 if len(bars) < 5 else 3)
    return grid(len(bars), columns, 4.6, 0.95 + _INCHES * max(*bars, 3))


def _bars(
    ax: Axes,
    head: str,
    names: Sequence[str],
    values: NDArray[np.float64],
    scale: float,
    *,
    places: int,
    member_above: float = -np.inf,
) -> None:
    """Horizontal bars, the first at the top, with their number at the end."""
    ax.set_title(shorten(head, 60), fontsize=10, color=INK, parse_math=False)
    rows = np.arange(len(values))
    colours = [_COLOUR if v > member_above else _PALE for v in values]
    ax.barh(rows, values, 0.72, color=colours, lw=0)
    ax.set_yticks(rows, [shorten(n, _WIDTH) for n in names], fontsize=8.5, parse_math=False)
    ax.set_xlim(min(0.0, float(values.min(initial=0.0))), 1.16 * scale)
    # bars of one thickness in all panels
    ax.set_ylim(max(places, 3) - 0.4, -0.6)
    decimals = few_decimals(scale)
    for place, value in zip(rows, values, strict=True):
        said = f"{value:.2e}" if decimals is None else f"{value:.{decimals}f}"
        ax.annotate(
            said,
            (max(value, 0.0), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )
    plain_axes(ax, "mutual information, nats", "", lines="x")

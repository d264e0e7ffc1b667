"""Maps: rows as points in the plane, coloured by cluster or by a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoi_captum.errors import InputError
from hoi_captum.views.labels import shorten
from hoi_captum.views.palette import FAINT, INK, NEUTRAL
from hoi_captum.views.panels import finish, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CATEGORIES = 30  # more distinct whole numbers are a continuous column
_NOBODY = "none"  # the label -1


def map_plot(
    points: ArrayLike,
    values: ArrayLike | Mapping[str, ArrayLike] | None = None,
    *,
    label: str = "",
    title: str | None = None,
) -> Figure:
    r"""Rows as points, such as a 2-D PHATE map, coloured by cluster or by any column.

    Whole numbers of at most 30 values, names and booleans are categories: each has a colour, and its name
    stands amid its points (-1, what belongs to no cluster, is grey). Other numbers are continuous, from pale
    to dark; what is missing is grey.

    Args:
        points: (n, 2); ``points`` of a :class:`~hoi_captum.corex.ClusterAdvice`, say.
        values: (n,) one for each row, or several columns by name: a panel for each. Default: None (one
            colour)
        label: name of a single column. Default: ""
        title: of the figure. Default: None

    Returns:
        Figure.

    Raises:
        InputError: points that are not (n, 2) finite numbers, or values of another length.

    Examples::

        >>> figure = hoi.views.map_plot([[0.0, 0.0], [0.1, 0.1], [1.0, 1.0]], ["cat", "cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['cat', 'dog']
    """
    xy = np.asarray(points, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or not np.isfinite(xy).all():
        raise InputError(f"expected points (n, 2) of finite numbers, got shape {xy.shape}")
    columns = values if isinstance(values, Mapping) else {label: values}
    if not columns:
        raise InputError("expected at least one column of values, got none")
    figure, axes = grid(len(columns), 3, 4.4 if len(columns) > 1 else 6.6, 4.0 if len(columns) > 1 else 5.6)
    size = float(np.clip(14_000 / len(xy), 3.0, 30.0))
    for (name, column), ax in zip(columns.items(), axes, strict=True):
        _frame(ax, name)
        if column is None:
            ax.scatter(xy[:, 0], xy[:, 1], s=size, color=NEUTRAL, lw=0, alpha=0.7)
            continue
        found = np.asarray(column)
        if found.shape != (len(xy),):
            raise InputError(
                f"expected {len(xy)} values of {name or 'the column'}, one for each point, got shape "
                f"{found.shape}"
            )
        if _are_categories(found):
            _draw_categories(ax, xy, found, size)
        else:
            _draw_numbers(figure, ax, xy, found, size)
    return finish(figure, title)


def _are_categories(values: NDArray[Any]) -> bool:
    if values.dtype.kind in "OUSb":
        return True
    return values.dtype.kind in "iu" and len(np.unique(values)) <= _CATEGORIES


def _frame(ax: Axes, name: str) -> None:
    ax.set_title(shorten(name, 40) if name else "", fontsize=11, color=INK, parse_math=False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.margins(0.04)
    for spine in ax.spines.values():
        spine.set_color(FAINT)


def _draw_categories(ax: Axes, xy: NDArray[np.float64], values: NDArray[Any], size: float) -> None:
    from matplotlib.patheffects import withStroke

    names = np.array([_NOBODY if v == -1 else str(v) for v in values.tolist()])
    kinds = sorted(set(names.tolist()), key=_in_order)
    colours = category_colours(len(kinds))
    for kind, colour in zip(kinds, colours, strict=True):
        chosen = xy[names == kind]
        shade = "#c4c8ce" if kind == _NOBODY else colour
        behind = 1 if kind == _NOBODY else 2
        ax.scatter(chosen[:, 0], chosen[:, 1], s=size, color=shade, lw=0, alpha=0.75, zorder=behind)
    for kind in kinds:
        middle = np.median(xy[names == kind], axis=0)
        # on a point of its own: the median of a crescent lies outside it
        near = xy[names == kind]
        place = near[np.argmin(((near - middle) ** 2).sum(1))]
        ax.annotate(
            shorten(kind, 18),
            tuple(place),
            ha="center",
            va="center",
            fontsize=9,
            color=INK,
            weight="bold",
            parse_math=False,
            zorder=4,
            path_effects=[withStroke(linewidth=2.6, foreground="white")],
        )


def _in_order(name: str) -> tuple[bool, bool, int, str]:
    """Numbers by their size, then names, then what is in no category."""
    number = name.isdecimal()
    return name == _NOBODY, not number, int(name) if number else 0, name


def category_colours(count: int) -> list[Any]:
    """So many colours: of matplotlib's cycle, or around the wheel in steps that keep neighbours apart."""
    from matplotlib import colormaps
    from matplotlib.colors import hsv_to_rgb

    if count <= 10:
        return [colormaps["tab10"](i) for i in range(count)]
    # the golden angle; three lightnesses in turn
    return [
        hsv_to_rgb(((0.618034 * i) % 1, (0.9, 0.55, 0.75)[i % 3], (0.85, 0.7, 0.5)[i % 3]))
        for i in range(count)
    ]


def _draw_numbers(
    figure: Figure, ax: Axes, xy: NDArray[np.float64], values: NDArray[Any], size: float
) -> None:
    if values.dtype.kind not in "fiu":
        raise InputError(f"expected numbers or names to colour by, got {values.dtype}")
    numbers = values.astype(np.float64)
    finite = np.isfinite(numbers)
    missing, there, numbers = xy[~finite], xy[finite], numbers[finite]
    ax.scatter(missing[:, 0], missing[:, 1], s=size, color="#c4c8ce", lw=0, zorder=1)
    if not len(there):
        return
    # what is far out would leave one colour for all the others
    low, high = np.percentile(numbers, [1, 99])
    drawn = ax.scatter(
        there[:, 0],
        there[:, 1],
        s=size,
        c=numbers,
        cmap="viridis_r",
        vmin=low,
        vmax=high if high > low else low + 1.0,
        lw=0,
        alpha=0.85,
        zorder=2,
    )
    bar = figure.colorbar(drawn, ax=ax, shrink=0.8, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=INK)

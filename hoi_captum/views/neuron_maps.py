"""Neuron maps: pictures of a layer's units, of classes on them, and of groups over a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hoi_captum.core.example import Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.views.captum import words_table
from hoi_captum.views.labels import shorten
from hoi_captum.views.maps import category_colours
from hoi_captum.views.neuron_graphs import neuron_graph_plot as neuron_graph_plot
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, diverging, sequential, sign_colour
from hoi_captum.views.panels import draw_empty, finish, grid, legend
from hoi_captum.views.unit_map import shape_of_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 5
_CELL = 0.22  # inches of a unit, as far as a panel's limits allow
_NAMED = 12  # groups written on a map
_NO_UNIT = "#ffffff"
_DEAD = "#e3e6ea"  # hatched, since a class may be grey
_HATCH = "////"
_LINKS = 16  # edges or pairs drawn on a map


class MapsOfClasses(Protocol):
    """What :meth:`GraphSpectral.class_maps` gives, as far as it is drawn."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def maps(self) -> NDArray[np.float64]: ...
    @property
    def contrasts(self) -> NDArray[np.float64]: ...
    @property
    def segmentation(self) -> NDArray[np.float64]: ...


def neuron_maps_plot(
    maps: ArrayLike | torch.Tensor,
    names: Sequence[str] | None = None,
    *,
    groups: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    r"""Small multiples of maps, each by Captum's ``visualize_image_attr``.

    Args:
        maps: (h, w) or (k, h, w), of :meth:`GraphSpectral.neuron_map`; NaN is no unit.
        names: above each. Default: None
        groups: (h, w) or (h w,) numbers of groups, whose borders are drawn. Default: None
        title: of the figure. Default: None

    Returns:
        Figure. Maps without a negative value are pale to dark, others orange to blue; each map has its own
        scale, its strongest unit.

    Raises:
        InputError: other shapes, or groups of another number of units.

    Examples::

        >>> figure = hoi.views.neuron_maps_plot(np.eye(3)[None], ["a diagonal"])
        >>> figure.axes[0].get_title(), figure.axes[0].images[0].get_array().shape
        ('a diagonal', (3, 3))
    """
    figure, _ = _maps(maps, names, groups, title, "")
    return figure


def _maps(
    maps: Any, names: Sequence[str] | None, groups: Any, title: str | None, note: str
) -> tuple[Figure, list[Axes]]:
    values = np.asarray(torch.as_tensor(maps).detach().cpu().double())
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or not values.size:
        raise InputError(f"expected maps (h, w) or (k, h, w), got shape {values.shape}")
    if names is not None and len(names) != len(values):
        raise InputError(f"expected {len(values)} names, one for each map, got {len(names)}")
    h, w = values.shape[1:]
    width = float(np.clip(_CELL * w, 1.7, 6.0))
    columns = _COLUMNS if width < 3 else 1
    figure, axes = grid(len(values), columns, width, float(np.clip(width * h / w, 0.5, 5.0)) + 0.35)
    borders = None if groups is None else np.asarray(groups, dtype=np.float64).reshape(-1)
    units = int(np.isfinite(values[0]).sum())
    if borders is not None and len(borders) not in (units, h * w):
        raise InputError(f"expected groups of the {units} units of a map {h} x {w}, got {len(borders)}")
    for i, (ax, one) in enumerate(zip(axes, values, strict=True)):
        _draw_map(ax, one)
        if borders is not None:
            padded = np.full(h * w, -1.0)
            padded[: len(borders)] = borders
            _draw_borders(ax, padded.reshape(h, w))
        if names is not None:
            ax.set_title(shorten(str(names[i]), 24), fontsize=10, color=INK, parse_math=False)
    scale = "each map on its own scale" if len(values) > 1 else ""
    return finish(figure, title, "; ".join(filter(None, (note, scale)))), axes


def class_maps_plot(class_maps: MapsOfClasses, *, contrast: bool = False, title: str | None = None) -> Figure:
    """The mean map of each class.

    Args:
        class_maps: of :meth:`GraphSpectral.class_maps`.
        contrast: minus the mean of all classes. Default: False
        title: of the figure. Default: None

    Examples::

        >>> net, data = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh()), torch.randn(300, 4)
        >>> method = hoi.GraphSpectral(net, net[1], method="layout", n_swaps=100).fit(data)
        >>> maps = method.class_maps(data, labels=torch.arange(300) % 2)
        >>> [axes.get_title() for axes in hoi.views.class_maps_plot(maps).axes]
        ['0', '1']
    """
    if not contrast:
        return neuron_maps_plot(class_maps.maps, class_maps.names, title=title)
    note = "minus the mean of all classes"
    figure, axes = _maps(class_maps.contrasts, class_maps.names, None, title, note)
    strip = figure.colorbar(axes[0].images[-1], ax=axes, shrink=0.6, aspect=30, ticks=[-1, 0, 1])
    strip.ax.set_yticklabels(["less than the mean", "the mean", "more than the mean"], fontsize=8)
    strip.outline.set_visible(False)
    return figure


def segmentation_plot(class_maps: MapsOfClasses, *, title: str | None = None) -> Figure:
    """The map, each unit in the colour of the class that it is most active for; hatched if it never varies.

    Args:
        class_maps: of :meth:`GraphSpectral.class_maps`.
        title: of the figure. Default: None

    Examples::

        >>> net, data = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh()), torch.randn(300, 4)
        >>> method = hoi.GraphSpectral(net, net[1], method="layout", n_swaps=100).fit(data)
        >>> maps = method.class_maps(data, labels=torch.arange(300) % 2)
        >>> [text.get_text() for text in hoi.views.segmentation_plot(maps).legends[0].get_texts()]
        ['0', '1']
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    segments = class_maps.segmentation
    h, w = segments.shape
    colours = category_colours(len(class_maps.names))
    figure, (ax,) = grid(1, 1, float(np.clip(0.5 * w, 4.0, 9.0)), float(np.clip(0.5 * h, 1.2, 9.0)) + 0.6)
    palette = ListedColormap([_DEAD, *colours]).with_extremes(bad=_NO_UNIT)
    # by cells, so that thin pictures (a ring's) do not vanish
    ax.imshow(
        np.ma.masked_invalid(segments),
        cmap=palette,
        vmin=-1.5,
        vmax=len(colours) - 0.5,
        aspect="equal" if h > 1 else "auto",
    )
    _frame(ax)
    for r, c in np.argwhere(segments == -1):
        ax.add_patch(_dead_patch((c - 0.5, r - 0.5)))
    _draw_borders(ax, segments)
    there = set(segments[np.isfinite(segments)].astype(int).tolist())
    handles: list[Any] = [
        Patch(facecolor=colours[c], label=shorten(name, 24))
        for c, name in enumerate(class_maps.names)
        if c in there
    ]
    if -1 in there:
        handles.append(Patch(facecolor=_DEAD, edgecolor=NEUTRAL, hatch=_HATCH, lw=0, label="never varies"))
    longest = max(len(handle.get_label()) for handle in handles)
    # an entry is a patch and its letters, some 0.08 inches each
    legend(figure, handles, columns=int(np.clip(figure.get_figwidth() // (0.65 + 0.08 * longest), 1, 6)))
    return finish(figure, title)


def _dead_patch(corner: tuple[float, float]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, facecolor=_DEAD, edgecolor=NEUTRAL, hatch=_HATCH, lw=0)


def map_words_html(
    words: Sequence[str],
    maps: ArrayLike | torch.Tensor,
    groups: ArrayLike,
    chosen: Sequence[int] | None = None,
    *,
    legend: bool = True,
) -> str:
    """A text once for each group of units, its tokens coloured by how active the group is there.

    Args:
        words: the tokens, (t,).
        maps: (t, h, w), of ``neuron_map(..., each=True)`` for the text.
        groups: (k,) of :class:`GraphSpectral`'s ``groups_``.
        chosen: numbers of groups. Default: None (all, those whose activity varies most first)
        legend: say what the colours mean. Default: True

    Returns:
        HTML of one ``<div>``, by Captum's ``format_word_importances``; everything is escaped. Colours are of
        what is above or below the group's mean over the text, on a scale of its own.

    Raises:
        InputError: as many maps as words are expected, and a group for each unit.

    Examples::

        >>> maps = np.arange(8.0).reshape(2, 2, 2)  # of two words; each row of a map is a group
        >>> html = hoi.views.map_words_html(["<b>not</b>", "bad"], maps, [0, 0, 1, 1])
        >>> "<b>not" in html, "&lt;b&gt;not" in html
        (False, True)
    """
    from captum.attr import visualization

    values = np.asarray(torch.as_tensor(maps).detach().cpu().double())
    labels = np.asarray(groups)
    if values.ndim != 3 or len(values) != len(words) or values[0].size < len(labels):
        raise InputError(
            f"expected maps ({len(words)}, h, w) of {len(labels)} units, one a word, got {values.shape}"
        )
    flat = values.reshape(len(values), -1)[:, : len(labels)]
    known = sorted(set(labels[labels >= 0].tolist()))
    active = {g: flat[:, labels == g].mean(1) for g in known}
    if chosen is None:
        chosen = sorted(known, key=lambda g: -float(np.nanstd(active[g])))
    if missing := [g for g in chosen if g not in active]:
        raise InputError(f"expected groups of {known}, got {missing}")
    rows = []
    for g in chosen:
        own = np.nan_to_num(active[g] - np.nanmean(active[g]))
        peak = float(np.abs(own).max(initial=0.0)) or 1.0
        record = visualization.VisualizationDataRecord(
            word_attributions=torch.tensor(own / peak, dtype=torch.float32),
            pred_prob=float("nan"),
            pred_class="",
            true_class="",
            attr_class=f"group {g}",
            attr_score=float(np.nanmean(active[g])),
            raw_input_ids=list(map(str, words)),
            convergence_score=float("nan"),
        )
        rows.append(([f"group {g}", f"{int((labels == g).sum())}", f"{record.attr_score:.2f}"], record))
    key = ("less active", "as in the whole text", "more active") if legend else ()
    return words_table(rows, ("Group", "Units", "Mean", "Tokens"), key)


def neuron_map_plot(
    interactions: Interactions, layout: Layout | None = None, *, title: str | None = None
) -> Figure:
    """A row's map with the borders of its groups, or its strongest edges or pairs, of GraphSpectral's tables.

    Args:
        interactions: a table with ``units`` and ``map_shape`` among its arrays; others are said to have none.
        layout: not used; every plot takes it. Default: None
        title: of the figure. Default: None

    Examples::

        >>> net, data = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh()), torch.randn(300, 4)
        >>> method = hoi.GraphSpectral(net, net[1], graph=(2, 4), method="layout", n_swaps=100).fit(data)
        >>> figure = hoi.views.neuron_map_plot(method.interact(data[:1])[0])
        >>> figure.axes[0].images[0].get_array().shape
        (2, 4)
    """
    arrays = interactions.arrays
    shape = shape_of_map(interactions)
    if shape is None or arrays.get("groups", np.zeros((0, 0))).shape != arrays["units"].shape:
        figure, (ax,) = grid(1, 1, 5.0, 2.4)
        ax.set_axis_off()
        draw_empty(ax, "this table has no neuron map" if len(interactions) else "no interactions")
        return finish(figure, title)
    h, w = shape
    cells = np.full(h * w, np.nan)
    cells[: len(arrays["units"])] = arrays["units"]
    figure, (ax,) = grid(1, 1, float(np.clip(0.6 * w, 4.6, 10.0)), float(np.clip(0.6 * h, 1.4, 8.0)) + 0.5)
    _draw_map(ax, cells.reshape(h, w), bar=True)
    padded = np.full(h * w, -1.0)
    padded[: len(arrays["groups"])] = arrays["groups"]
    labels = padded.reshape(h, w)
    links = interactions.where(order=2)
    links = links.take(np.flatnonzero(links.kinds != "group"))
    # the players of pairs of groups are no cells
    if len(links) and len(interactions.players) == len(arrays["units"]):
        drawn = _draw_links(ax, links, w)
        what = "edges" if set(links.kinds.tolist()) == {"edge"} else "pairs"
        said = f"lines: the strongest {drawn} of {len(links):,} {what}, blue above 0"
        return finish(figure, title, said if drawn else f"all {len(links):,} {what} are 0")
    _draw_borders(ax, labels)
    if h > 1:
        _write_groups(ax, labels, interactions)
    note = "lines: borders of groups; numbers: their activation, in standard deviations"
    return finish(figure, title, note if interactions.where(kind="group") else "lines: borders of groups")


def _draw_links(ax: Axes, links: Interactions, w: int) -> int:
    """The strongest edges or pairs, from unit to unit, as thick as their scores; how many."""
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import Normal, Stroke

    terms = [t for t in links.top(_LINKS) if np.isfinite(t.score) and t.score]
    peak = max((abs(t.score) for t in terms), default=1.0)
    widths = [1.2 + 3.3 * abs(t.score) / peak for t in terms]
    lines = LineCollection(
        [[(m % w, m // w) for m in t.members] for t in terms],
        colors=[sign_colour(t.score) for t in terms],
        linewidths=widths,
        capstyle="round",
        zorder=3,
    )
    lines.set_path_effects([Stroke(linewidth=max(widths, default=1) + 1.6, foreground="white"), Normal()])
    ax.add_collection(lines)
    return len(terms)


def _write_groups(ax: Axes, labels: NDArray[np.float64], interactions: Interactions) -> None:
    """Each group's score amid its units."""
    from matplotlib.patheffects import withStroke

    w = labels.shape[1]
    for term in interactions.where(kind="group").top(_NAMED):
        cells = np.array([(m // w, m % w) for m in term.members], dtype=np.float64)
        # on a unit of its own: the middle of a crescent lies outside it
        y, x = cells[((cells - cells.mean(0)) ** 2).sum(1).argmin()]
        ax.text(
            x,
            y,
            f"{term.score:+.1f}",
            ha="center",
            va="center",
            fontsize=9,
            color=INK,
            weight="bold",
            path_effects=[withStroke(linewidth=2.4, foreground="white")],
        )


def _draw_map(ax: Axes, values: NDArray[np.float64], *, bar: bool = False) -> None:
    """One map by Captum; a map of zeros, and cells without a unit, are dealt with."""
    from captum.attr import visualization

    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    signed = bool((filled < 0).any())
    colours = diverging() if signed else sequential("positive")
    peak = float(np.abs(filled).max(initial=0.0))
    if peak:
        visualization.visualize_image_attr(
            (filled / peak)[..., None],
            None,
            method="heat_map",
            sign="all" if signed else "positive",
            plt_fig_axis=(ax.figure, ax),
            # of Captum's rounding, not of outliers: a single unit may be the point
            outlier_perc=1e-6,
            cmap=colours,
            use_pyplot=False,
        )
    else:
        ax.imshow(filled, cmap=colours, vmin=0, vmax=1)
    image = ax.images[-1]
    image.set_cmap(colours.with_extremes(bad=_NO_UNIT))
    image.set_data(np.ma.masked_where(~known, np.asarray(image.get_array())))
    ax.set_aspect("equal" if values.shape[0] > 1 else "auto")
    _frame(ax)
    if bar and ax.figure is not None:
        low = "−" if signed else "0"
        ticks = [-1, 0, 1] if signed else [0, 1]
        strip = ax.figure.colorbar(image, ax=ax, shrink=0.85, aspect=30, ticks=ticks)
        strip.ax.set_yticklabels([f"{low}{peak:.2g}", "0", f"{peak:.2g}"] if signed else ["0", f"{peak:.2g}"])
        strip.outline.set_visible(False)


def _frame(ax: Axes) -> None:
    ax.set_axis_on()
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(FAINT)


def _draw_borders(ax: Axes, labels: NDArray[np.float64]) -> None:
    """Lines between neighbouring cells of different labels."""
    from matplotlib.collections import LineCollection

    filled = np.where(np.isfinite(labels), labels, -2)
    lines = [
        [(c + 0.5, r - 0.5), (c + 0.5, r + 0.5)] for r, c in np.argwhere(filled[:, 1:] != filled[:, :-1])
    ]
    lines += [[(c - 0.5, r + 0.5), (c + 0.5, r + 0.5)] for r, c in np.argwhere(filled[1:] != filled[:-1])]
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=1.0, capstyle="projecting"))

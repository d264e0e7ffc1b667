"""Neuron maps: pictures of a layer's units, of classes on them, of the graph, and of groups over a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hoi_captum.core.example import Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.views.captum import words_table
from hoi_captum.views.labels import shorten
from hoi_captum.views.maps import category_colours
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, diverging, sequential
from hoi_captum.views.panels import draw_empty, finish, grid, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 5
_CELL = 0.22  # inches of a unit, as far as a panel's limits allow
_NAMED = 12  # groups written on a map
_NO_UNIT = "#ffffff"
_DEAD = "#c4c8ce"


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
        title: of the figure.

    Returns:
        Figure. Maps without a negative value are pale to dark, others orange to blue; each map has its own
        scale, its strongest unit.

    Raises:
        InputError: other shapes.
    """
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
    borders = None if groups is None else np.asarray(groups, dtype=np.float64).reshape(-1)[: h * w]
    for i, (ax, one) in enumerate(zip(axes, values, strict=True)):
        _draw_map(ax, one)
        if borders is not None:
            padded = np.full(h * w, -1.0)
            padded[: len(borders)] = borders
            _draw_borders(ax, padded.reshape(h, w))
        if names is not None:
            ax.set_title(shorten(str(names[i]), 24), fontsize=10, color=INK, parse_math=False)
    note = "each map on its own scale" if len(values) > 1 else ""
    return finish(figure, title, note)


def class_maps_plot(class_maps: MapsOfClasses, *, contrast: bool = False, title: str | None = None) -> Figure:
    """The mean map of each class.

    Args:
        class_maps: of :meth:`GraphSpectral.class_maps`.
        contrast: minus the mean of all classes. Default: False
        title: of the figure.
    """
    maps = class_maps.contrasts if contrast else class_maps.maps
    return neuron_maps_plot(maps, class_maps.names, title=title)


def segmentation_plot(class_maps: MapsOfClasses, *, title: str | None = None) -> Figure:
    """The map, each unit in the colour of the class that it is most active for; grey where it never varies.

    Args:
        class_maps: of :meth:`GraphSpectral.class_maps`.
        title: of the figure.
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
    _draw_borders(ax, segments)
    there = set(segments[np.isfinite(segments)].astype(int).tolist())
    handles: list[Any] = [
        Patch(facecolor=colours[c], label=shorten(name, 24))
        for c, name in enumerate(class_maps.names)
        if c in there
    ]
    if -1 in there:
        handles.append(Patch(facecolor=_DEAD, label="never varies"))
    legend(figure, handles)
    return finish(figure, title)


def neuron_graph_plot(
    graph: NeuronGraph,
    values: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Nodes and links of a graph, coloured by values or by groups.

    Args:
        graph: of n nodes.
        values: (n,) numbers, such as activations. Default: None
        labels: (n,) numbers of groups or classes, -1 for none. Default: None
        names: of the labels 0, 1, ... Default: None
        title: of the figure.

    Raises:
        InputError: values or labels of another number of nodes.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    for what, given in (("values", values), ("labels", labels)):
        if given is not None and np.shape(given) != (graph.n_nodes,):
            raise InputError(f"expected {graph.n_nodes} {what}, one for each node, got {np.shape(given)}")
    places = graph.places()
    figure, (ax,) = grid(1, 1, 6.0, 5.4)
    links = graph.weights / (graph.weights.max(initial=0.0) or 1.0)
    shown = links > 0.02  # fainter ones would only grey the picture
    ax.add_collection(
        LineCollection(
            list(places[graph.edges[shown]]), colors=NEUTRAL, alpha=0.5, linewidths=0.3 + 1.4 * links[shown]
        )
    )
    size = float(np.clip(9_000 / graph.n_nodes, 12.0, 160.0))
    options: dict[str, Any] = {"s": size, "zorder": 2, "edgecolors": INK, "linewidths": 0.5}
    handles = []
    if labels is not None:
        kinds = np.asarray(labels, dtype=int)
        colours = category_colours(max(int(kinds.max(initial=0)) + 1, 1))
        ax.scatter(places[:, 0], places[:, 1], c=[colours[k] if k >= 0 else _DEAD for k in kinds], **options)
        for k in sorted(set(kinds.tolist())):
            said = "none" if k < 0 else str(k if names is None else names[k])
            colour = _DEAD if k < 0 else colours[k]
            handles.append(Line2D([], [], ls="", marker="o", color=colour, label=shorten(said, 24)))
    elif values is not None:
        numbers = np.asarray(values, dtype=np.float64)
        signed = bool((numbers < 0).any())
        peak = float(np.nanmax(np.abs(numbers), initial=0.0)) or 1.0
        cmap = diverging() if signed else sequential("positive")
        drawn = ax.scatter(
            places[:, 0],
            places[:, 1],
            c=numbers,
            cmap=cmap,
            vmin=-peak if signed else 0,
            vmax=peak,
            **options,
        )
        figure.colorbar(drawn, ax=ax, shrink=0.8, aspect=30).outline.set_visible(False)
    else:
        ax.scatter(places[:, 0], places[:, 1], color=FAINT, **options)
    ax.set_axis_off()
    ax.margins(0.06)
    ax.set_aspect("equal" if graph.shape is not None or graph.name in ("ring", "star") else "auto")
    legend(figure, handles)
    return finish(figure, title)


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
        legend: say what the colours mean.

    Returns:
        HTML of one ``<div>``, by Captum's ``format_word_importances``; everything is escaped. Colours are of
        what is above or below the group's mean over the text, on a scale of its own.

    Raises:
        InputError: as many maps as words are expected, and a group for each unit.
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
    """A row's map with the borders of its groups, of GraphSpectral's tables.

    Args:
        interactions: a table with ``units`` and ``map_shape`` among its arrays; others are said to have none.
        layout: not used; every plot takes it.
        title: of the figure.
    """
    arrays = interactions.arrays
    if not {"units", "map_shape", "groups"} <= set(arrays):
        figure, (ax,) = grid(1, 1, 5.0, 2.4)
        ax.set_axis_off()
        draw_empty(ax)
        return finish(figure, title)
    h, w = arrays["map_shape"].tolist()
    cells = np.full(h * w, np.nan)
    cells[: len(arrays["units"])] = arrays["units"]
    figure, (ax,) = grid(1, 1, float(np.clip(0.6 * w, 4.6, 10.0)), float(np.clip(0.6 * h, 1.4, 8.0)) + 0.5)
    _draw_map(ax, cells.reshape(h, w), bar=True)
    padded = np.full(h * w, -1.0)
    padded[: len(arrays["groups"])] = arrays["groups"]
    labels = padded.reshape(h, w)
    _draw_borders(ax, labels)
    if h > 1:
        _write_groups(ax, labels, interactions)
    return finish(
        figure, title, "lines: borders of groups; numbers: their activation, in standard deviations"
    )


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

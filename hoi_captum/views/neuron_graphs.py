"""Graphs of neurons as nodes and links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoi_captum.errors import InputError
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.views.labels import shorten
from hoi_captum.views.maps import category_colours
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, diverging, sequential
from hoi_captum.views.panels import finish, grid, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NONE = "#c4c8ce"


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
        title: of the figure. Default: None

    Returns:
        Figure.

    Raises:
        InputError: values or labels of another number of nodes.

    Examples::

        >>> figure = hoi.views.neuron_graph_plot(hoi.graphs.star(5), title="a star")
        >>> nodes = figure.axes[0].collections[-1]
        >>> nodes.get_offsets().shape
        (5, 2)
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    for what, given in (("values", values), ("labels", labels)):
        if given is not None and np.shape(given) != (graph.n_nodes,):
            raise InputError(f"expected {graph.n_nodes} {what}, one for each node, got {np.shape(given)}")
    if labels is not None and names is not None and len(names) <= int(np.max(labels)):
        raise InputError(f"expected names of the labels 0 to {int(np.max(labels))}, got {len(names)} of them")
    places = _places(graph)
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
        ax.scatter(places[:, 0], places[:, 1], c=[colours[k] if k >= 0 else _NONE for k in kinds], **options)
        for k in sorted(set(kinds.tolist())):
            said = "none" if k < 0 else str(k if names is None else names[k])
            colour = _NONE if k < 0 else colours[k]
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


def _places(graph: NeuronGraph) -> NDArray[np.float64]:
    """Where the nodes go; pieces that nothing joins lie beside each other, largest first."""
    if graph.positions is not None or graph.is_connected:
        return graph.places()
    pieces = [np.flatnonzero(graph.components == c) for c in range(int(graph.components.max()) + 1)]
    pieces.sort(key=len, reverse=True)
    found = np.zeros((graph.n_nodes, 2))
    widest = float(np.ceil(np.sqrt(graph.n_nodes))) * 1.3
    x = y = row = 0.0
    for piece in pieces:
        own = NeuronGraph(graph.adjacency[np.ix_(piece, piece)]).places()
        # as much room as it has nodes
        side = float(np.sqrt(len(piece))) if len(piece) > 1 else 0.3
        spread = np.ptp(own, axis=0)
        own = (own - own.min(0)) / np.where(spread > 0, spread, 1.0) * side
        if x and x + side > widest:
            x, y, row = 0.0, y - row - 0.8, 0.0
        found[piece] = own + np.array([x, y - side])
        x, row = x + side + 0.8, max(row, side)
    return found

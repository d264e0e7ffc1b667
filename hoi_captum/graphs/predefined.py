"""Graphs that are given rather than learned, and what an option may name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from hoi_captum.core.options import check_choice, check_count
from hoi_captum.errors import InputError, OptionError
from hoi_captum.graphs.neuron_graph import NeuronGraph

LEARNED = "learned"
_MOST_OBLONG = 2.0  # a picture this many times as wide as high is still a map


def grid(n_nodes: int, shape: tuple[int, int] | None = None) -> NeuronGraph:
    """Cells of a picture, each beside those above, below, left and right of it.

    Args:
        n_nodes: n; the last row is short where the shape has more cells.
        shape: (h, w). Default: None (as square as it can be)

    Returns:
        NeuronGraph: edges of weight 1.

    Raises:
        InputError: a shape that n nodes do not fill.
        OptionError: ``n_nodes`` below 1.

    Examples::

        >>> hoi.graphs.grid(5)
        NeuronGraph(grid, 2 x 3: 5 nodes, 5 edges)
        >>> hoi.graphs.grid(6, (2, 3)).degrees
        array([2., 3., 2., 2., 3., 2.])
    """
    n, (h, w) = check_count("n_nodes", n_nodes), _shape(n_nodes, shape)
    if not (h - 1) * w < n <= h * w:
        raise InputError(f"expected a shape (h, w) that {n} nodes fill, got {h} x {w}")
    a = np.zeros((h * w, h * w))
    cells = np.arange(h * w).reshape(h, w)
    for before, behind in ((cells[:, :-1], cells[:, 1:]), (cells[:-1], cells[1:])):
        a[before.ravel(), behind.ravel()] = a[behind.ravel(), before.ravel()] = 1.0
    return NeuronGraph(a[:n, :n], "grid", (h, w), _cell_places(n, w))


def torus(n_nodes: int, shape: tuple[int, int] | None = None) -> NeuronGraph:
    """A grid whose left is beside its right, and its top beside its bottom.

    Args:
        n_nodes (int): n, at least 9.
        shape (tuple[int, int], optional): (h, w), at least 3 x 3. Default: None (as square as it can be)

    Returns:
        NeuronGraph: edges of weight 1, four at each node.

    Raises:
        InputError: a number of nodes that makes no rectangle of 3 x 3 or more, or a shape of other cells.
        OptionError: ``n_nodes`` below 1.

    Examples::

        >>> hoi.graphs.torus(9).degrees
        array([4., 4., 4., 4., 4., 4., 4., 4., 4.])
        >>> hoi.graphs.torus(4)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.InputError: expected a torus of h x w nodes with h, w >= 3, got 4 nodes as 2 ...
    """
    n = check_count("n_nodes", n_nodes)
    h, w = shape or _factors(n)
    if h * w != n or min(h, w) < 3:
        raise InputError(
            f"expected a torus of h x w nodes with h, w >= 3, got {n} nodes as {h} x {w}; choose another "
            "n_nodes, or the grid, whose last row may be short"
        )
    cells, a = np.arange(n).reshape(h, w), np.zeros((n, n))
    for axis in (0, 1):
        behind = np.roll(cells, -1, axis).ravel()
        a[cells.ravel(), behind] = a[behind, cells.ravel()] = 1.0
    return NeuronGraph(a, "torus", (h, w), _cell_places(n, w))


def ring(n_nodes: int) -> NeuronGraph:
    """A cycle of three nodes or more.

    Args:
        n_nodes (int): n, at least 3.

    Returns:
        NeuronGraph: n edges of weight 1.

    Raises:
        OptionError: fewer.

    Examples::

        >>> hoi.graphs.ring(4).edges.tolist()
        [[0, 1], [0, 3], [1, 2], [2, 3]]
    """
    n = check_count("n_nodes", n_nodes, low=3)
    angle = 2 * np.pi * np.arange(n) / n
    return NeuronGraph(_joined(n, np.arange(n), (np.arange(n) + 1) % n), "ring", None, _circle(angle))


def line(n_nodes: int) -> NeuronGraph:
    """A path.

    Args:
        n_nodes (int): n, at least 1.

    Returns:
        NeuronGraph: n - 1 edges of weight 1.

    Raises:
        OptionError: fewer.

    Examples::

        >>> hoi.graphs.line(4).edges.tolist()
        [[0, 1], [1, 2], [2, 3]]
    """
    n = check_count("n_nodes", n_nodes)
    places: Any = np.stack([np.arange(n), np.zeros(n)], 1)
    return NeuronGraph(_joined(n, np.arange(n - 1), np.arange(1, n)), "line", None, places)


def tree(n_nodes: int) -> NeuronGraph:
    """A balanced binary tree: node i hangs on node (i - 1) // 2.

    Args:
        n_nodes (int): n, at least 1.

    Returns:
        NeuronGraph: n - 1 edges of weight 1.

    Raises:
        OptionError: fewer.

    Examples::

        >>> hoi.graphs.tree(7).edges.tolist()
        [[0, 1], [0, 2], [1, 3], [1, 4], [2, 5], [2, 6]]
    """
    n = check_count("n_nodes", n_nodes)
    child = np.arange(1, n)
    depth = np.floor(np.log2(np.arange(1, n + 1)))
    x = (np.arange(1, n + 1) - 2**depth + 0.5) / 2**depth
    places: Any = np.stack([x * float(depth.max()) * 2, -depth], 1)
    return NeuronGraph(_joined(n, child, (child - 1) // 2), "tree", None, places)


def star(n_nodes: int) -> NeuronGraph:
    """Node 0, and all others beside it alone.

    Args:
        n_nodes (int): n, at least 1.

    Returns:
        NeuronGraph: n - 1 edges of weight 1.

    Raises:
        OptionError: fewer.

    Examples::

        >>> hoi.graphs.star(4).edges.tolist()
        [[0, 1], [0, 2], [0, 3]]
    """
    n = check_count("n_nodes", n_nodes)
    places = np.concatenate([np.zeros((1, 2)), _circle(2 * np.pi * np.arange(n - 1) / max(n - 1, 1))])
    return NeuronGraph(_joined(n, np.zeros(n - 1, dtype=int), np.arange(1, n)), "star", None, places)


def hierarchical(n_nodes: int, branching: int = 4) -> NeuronGraph:
    """Clusters of clusters: nodes of one block of b are beside each other with weight 1, those of one block
    of b^2 with weight 1/b, of b^3 with 1/b^2, and so on, so that each level weighs about the same.

    Args:
        n_nodes: n; the last blocks are smaller where n is no power of b.
        branching: b, at least 2. Default: 4

    Returns:
        NeuronGraph: of all pairs of nodes.

    Raises:
        OptionError: ``n_nodes`` below 1, or ``branching`` below 2.

    Examples::

        >>> hoi.graphs.hierarchical(4, branching=2).adjacency
        array([[0. , 1. , 0.5, 0.5],
               [1. , 0. , 0.5, 0.5],
               [0.5, 0.5, 0. , 1. ],
               [0.5, 0.5, 1. , 0. ]])
    """
    n, b = check_count("n_nodes", n_nodes), check_count("branching", branching, low=2)
    node = np.arange(n)
    a = np.zeros((n, n))
    size = b
    while size < n * b:
        same = node[:, None] // size == node[None] // size
        a[same & (a == 0)] = b / size
        size *= b
    np.fill_diagonal(a, 0.0)
    return NeuronGraph(a, "hierarchical", None, _nested_places(n, b))


GRAPHS: dict[str, Callable[[int], NeuronGraph]] = {
    "grid": grid,
    "torus": torus,
    "ring": ring,
    "line": line,
    "tree": tree,
    "star": star,
    "hierarchical": hierarchical,
}


def check_graph(graph: Any) -> Any:
    """What an option ``graph`` may be: a name, (h, w) or ``"HxW"`` of a grid, a :class:`NeuronGraph`,
    or an adjacency.

    Returns:
        the name or the shape as it came, else a :class:`NeuronGraph`.

    Raises:
        OptionError: another name or shape.
        InputError: no adjacency, or one without edges.
    """
    if isinstance(graph, NeuronGraph):
        return _with_edges(graph)
    if isinstance(graph, str) and re.fullmatch(r"\d+x\d+", graph):  # as the command line spells it
        graph = tuple(int(side) for side in graph.split("x"))
    if isinstance(graph, str):
        return check_choice("graph", graph, (*GRAPHS, LEARNED))
    if graph is None:
        raise OptionError(f"expected graph to be {', '.join(GRAPHS)}, {LEARNED}, (h, w) or an adjacency")
    if isinstance(graph, tuple) and len(graph) == 2 and all(isinstance(side, Integral) for side in graph):
        return tuple(check_count("a side of graph", side) for side in graph)
    return _with_edges(NeuronGraph.from_adjacency(graph))


def _with_edges(graph: NeuronGraph) -> NeuronGraph:
    if not len(graph.edges):
        raise InputError(
            f"expected a graph with edges, got {graph.n_nodes} nodes without any: no two would be neighbours"
        )
    return graph


def is_learned(graph: Any) -> bool:
    """Whether an option means the graph that is learned."""
    return isinstance(graph, str) and graph == LEARNED


def graph_for(graph: Any, n_nodes: int, what: str = "neurons") -> NeuronGraph:
    """The graph of so many nodes that an option means, but for ``learned``.

    Args:
        graph: as :func:`check_graph` gives it.
        n_nodes: n.
        what: the nodes are, for the message.

    Raises:
        InputError: a graph of another size.
    """
    if isinstance(graph, str):
        return GRAPHS[graph](n_nodes)
    size = math.prod(graph) if isinstance(graph, tuple) else graph.n_nodes
    if size != n_nodes:
        said = f"{graph[0]} x {graph[1]} = {size}" if isinstance(graph, tuple) else str(size)
        raise InputError(
            f"expected a graph of as many nodes as there are {what}, {n_nodes}; got one of {said}"
        )
    return grid(n_nodes, graph) if isinstance(graph, tuple) else graph


def n_nodes_of(graph: Any) -> int | None:
    """How many nodes an option prescribes; None where it leaves that open."""
    if isinstance(graph, str):
        return None
    return math.prod(graph) if isinstance(graph, tuple) else int(graph.n_nodes)


def _joined(n: int, first: Any, second: Any) -> Any:
    a = np.zeros((n, n))
    a[first, second] = a[second, first] = 1.0
    return a


def _factors(n: int) -> tuple[int, int]:
    h = next(h for h in range(math.isqrt(n), 0, -1) if n % h == 0)
    return h, n // h


def _shape(n: int, shape: tuple[int, int] | None) -> tuple[int, int]:
    """As square as it can be: a full rectangle, or else one whose last row is short."""
    if shape is not None:
        return shape
    h, w = _factors(n)
    if w <= _MOST_OBLONG * h:
        return h, w
    w = math.ceil(math.sqrt(n))
    return math.ceil(n / w), w


def _cell_places(n: int, w: int) -> Any:
    return np.stack([np.arange(n) % w, -(np.arange(n) // w)], 1).astype(np.float64)


def _circle(angle: Any) -> Any:
    return np.stack([np.sin(angle), np.cos(angle)], 1)


def _nested_places(n: int, b: int) -> Any:
    """Circles of circles."""
    places, size, radius = np.zeros((n, 2)), 1, 1.0
    while size < n:
        # four around a middle lie on a square's corners, and not on its sides' middles
        places += radius * _circle(2 * np.pi * ((np.arange(n) // size) % b + 0.5) / b)
        size, radius = size * b, radius * 2.4
    return places

"""A graph whose nodes are neurons: adjacency, Laplacians, spectrum, and the picture it is drawn as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from hoi_captum.core.options import check_choice
from hoi_captum.errors import InputError

LAPLACIANS = ("unnormalized", "symmetric", "random-walk")
_ROUNDING = 1e-8  # by which an adjacency may miss symmetry


@dataclass(frozen=True, eq=False)
class NeuronGraph:
    r"""An undirected graph of neurons, with weights on its edges.

    Attributes:
        adjacency: (n, n) float64, symmetric, not negative, zero on the diagonal; read-only.
        name: what it is called, ``grid``.
        shape: (h, w) of the picture whose cells are the nodes, row by row; the last row may be short.
            Default: None (one row of n cells)
        positions: (n, 2) where to draw the nodes, x to the right and y upwards. Default: None (by the
            spectrum, see :meth:`places`)

    Raises:
        InputError: an adjacency that is none, or a shape or positions that do not go with it.

    Examples::

        >>> graph = hoi.graphs.NeuronGraph.from_adjacency([[0, 1, 0], [1, 0, 2], [0, 2, 0]])
        >>> graph.n_nodes, graph.weights
        (3, array([1., 2.]))
        >>> graph.laplacian()
        array([[ 1., -1.,  0.],
               [-1.,  3., -2.],
               [ 0., -2.,  2.]])
    """

    adjacency: NDArray[np.float64]
    name: str = "adjacency"
    shape: tuple[int, int] | None = None
    positions: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        a = _checked(self.adjacency)
        a.flags.writeable = False
        object.__setattr__(self, "adjacency", a)
        if self.shape is not None:
            h, w = self.shape
            if not (h - 1) * w < len(a) <= h * w:
                raise InputError(f"expected a shape (h, w) that {len(a)} nodes fill, got {self.shape}")
        if self.positions is not None:
            places = np.array(self.positions, dtype=np.float64)
            if places.shape != (len(a), 2) or not np.isfinite(places).all():
                raise InputError(f"expected positions ({len(a)}, 2), finite, got shape {places.shape}")
            places.flags.writeable = False
            object.__setattr__(self, "positions", places)

    @classmethod
    def from_adjacency(cls, adjacency: Any, *, shape: tuple[int, int] | None = None) -> Self:
        """A graph from any (n, n) weights: array, Tensor, nested lists, scipy's sparse matrices.

        Raises:
            InputError: weights that are not square, symmetric, finite and at least 0 with a zero diagonal.
        """
        if isinstance(adjacency, Tensor):
            adjacency = adjacency.detach().cpu().double().numpy()
        return cls(adjacency.toarray() if sparse.issparse(adjacency) else adjacency, shape=shape)

    def __repr__(self) -> str:
        shape = "" if self.shape is None else f", {self.shape[0]} x {self.shape[1]}"
        return f"{type(self).__name__}({self.name}{shape}: {self.n_nodes} nodes, {len(self.edges)} edges)"

    @property
    def n_nodes(self) -> int:
        """n, the number of nodes."""
        return len(self.adjacency)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(h, w) of its picture; (1, n) where it has no shape of its own."""
        return self.shape or (1, self.n_nodes)

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """(m, 2), the smaller node first."""
        found = np.argwhere(np.triu(self.adjacency) > 0)
        found.flags.writeable = False
        return found

    @property
    def weights(self) -> NDArray[np.float64]:
        """(m,) of the edges."""
        found: NDArray[np.float64] = self.adjacency[self.edges[:, 0], self.edges[:, 1]]
        return found

    @property
    def degrees(self) -> NDArray[np.float64]:
        """(n,) sums of weights."""
        found: NDArray[np.float64] = self.adjacency.sum(1)
        return found

    # ---------------------------------------------------------------- spectrum
    def laplacian(self, kind: str = "unnormalized") -> NDArray[np.float64]:
        r"""The Laplacian, (n, n) float64.

        Args:
            kind: ``unnormalized`` :math:`D - A`, ``symmetric`` :math:`I - D^{-1/2} A D^{-1/2}` or
                ``random-walk`` :math:`I - D^{-1} A`. A node without edges has a row of zeros in each.

        Raises:
            OptionError: another kind.
        """
        check_choice("laplacian", kind, LAPLACIANS)
        d = self.degrees
        scaled: NDArray[Any]
        if kind == "unnormalized":
            return np.diag(d) - self.adjacency
        inverse = np.divide(1.0, d, out=np.zeros_like(d), where=d > 0)
        if kind == "random-walk":
            scaled = np.asarray(inverse[:, None] * self.adjacency)
        else:
            root = np.sqrt(inverse)
            scaled = np.asarray(root[:, None] * self.adjacency * root)
        return np.asarray(np.diag((d > 0).astype(np.float64)) - scaled, dtype=np.float64)

    def null_vectors(self, kind: str = "unnormalized") -> NDArray[np.float64]:
        """Orthonormal vectors that the Laplacian does not see, one for each component: (n, c)."""
        labels = self.components
        found = np.zeros((self.n_nodes, labels.max() + 1))
        weight = np.sqrt(self.degrees) if kind == "symmetric" else np.ones(self.n_nodes)
        alone = self.degrees == 0
        found[np.arange(self.n_nodes), labels] = np.where(alone, 1.0, weight)
        return np.asarray(found / np.linalg.norm(found, axis=0), dtype=np.float64)

    def eigenvalues(self, kind: str = "unnormalized") -> NDArray[np.float64]:
        """Of the Laplacian, (n,), smallest first; as many are 0 as there are components."""
        check_choice("laplacian", kind, LAPLACIANS)
        # those of the random walk are those of the symmetric one, to which it is similar
        symmetric = self.laplacian("unnormalized" if kind == "unnormalized" else "symmetric")
        return np.asarray(np.linalg.eigvalsh(symmetric), dtype=np.float64)

    @cached_property
    def components(self) -> NDArray[np.int64]:
        """(n,) number of the connected component that each node is in."""
        _, labels = connected_components(sparse.csr_array(self.adjacency), directed=False)
        found = np.asarray(labels, dtype=np.int64)
        found.flags.writeable = False
        return found

    @property
    def is_connected(self) -> bool:
        """Whether each node can be reached from every other."""
        return self.n_nodes > 0 and int(self.components.max()) == 0

    # ---------------------------------------------------------------- pictures
    def as_map(self, values: ArrayLike) -> NDArray[np.float64]:
        """Values of nodes as pictures: (..., n) -> (..., h, w); cells without a node are NaN.

        Raises:
            InputError: another number of nodes.
        """
        given = np.asarray(values, dtype=np.float64)
        if given.ndim == 0 or given.shape[-1] != self.n_nodes:
            raise InputError(f"expected values of {self.n_nodes} nodes, got shape {given.shape}")
        h, w = self.map_shape
        full = np.full((*given.shape[:-1], h * w), np.nan)
        full[..., : self.n_nodes] = given
        return full.reshape(*given.shape[:-1], h, w)

    def places(self) -> NDArray[np.float64]:
        """(n, 2) where to draw the nodes: ``positions``, else by two eigenvectors of the Laplacian."""
        if self.positions is not None:
            return self.positions
        from hoi_captum.graphs.layouts import spectral_places

        return spectral_places(self.adjacency)


def _checked(adjacency: Any) -> NDArray[np.float64]:
    """A copy of the weights.

    Raises:
        InputError: they are no adjacency.
    """
    try:
        a = np.array(adjacency, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected an adjacency (n, n) of numbers: {error}") from error
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not len(a):
        raise InputError(f"expected an adjacency (n, n), got shape {a.shape}")
    if not np.isfinite(a).all() or (a < 0).any():
        raise InputError("expected an adjacency of finite weights >= 0, got NaN, infinity or a negative one")
    if np.diagonal(a).any():
        raise InputError(
            f"expected a zero diagonal, got edges of {np.count_nonzero(np.diagonal(a))} nodes to themselves; "
            "np.fill_diagonal(adjacency, 0) takes them out"
        )
    if np.abs(a - a.T).max() > _ROUNDING * max(a.max(), 1.0):
        raise InputError("expected a symmetric adjacency; (A + A.T) / 2 is one")
    return (a + a.T) / 2

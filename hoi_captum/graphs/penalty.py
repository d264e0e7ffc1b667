"""How rough activations are on a graph: what the regulariser adds to a loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import expm
from torch import Tensor

from hoi_captum.core.options import check_choice, check_number
from hoi_captum.errors import InputError
from hoi_captum.graphs.neuron_graph import NeuronGraph

FORMS = ("raw", "rayleigh", "heat")
_EPS = 1e-12  # of the authors' Rayleigh quotient


class SmoothnessPenalty:
    r"""The mean roughness of rows of activations z on a graph; differentiable.

    - ``raw``: :math:`z^T L z`, with the unnormalised Laplacian
      :math:`\tfrac12 \sum_{ij} A_{ij} (z_i - z_j)^2`. It falls as z shrinks.
    - ``rayleigh``: :math:`\tilde z^T L \tilde z / (\tilde z^T \tilde z + 10^{-12})`, which no scale changes.
      :math:`\tilde z` is z without what L does not see (the mean of each component), since a large mean would
      make any quotient small.
      The random-walk Laplacian is no symmetric matrix: on graphs of unequal degrees its form can be negative
      (a star's is, for a large middle), so that ``symmetric`` is the safe one to train with.
    - ``heat``: :math:`\lVert z - e^{-tL} z \rVert_1`: what diffusion for a time t would change.

    Source: Tong et al., "Interpretable neuron structuring with graph spectral regularization", section 3;
    centring is ours.

    Args:
        graph: of n nodes.
        laplacian: ``unnormalized``, ``symmetric`` or ``random-walk``. Default: unnormalized
        form: ``raw``, ``rayleigh`` or ``heat``. Default: raw
        time: t of ``heat``. Default: 1

    Raises:
        OptionError: another form or Laplacian.

    Examples::

        >>> raw = hoi.graphs.SmoothnessPenalty(hoi.graphs.line(3))
        >>> raw(torch.tensor([[1.0, 1.0, 3.0]]))  # (1 - 1)^2 + (3 - 1)^2
        tensor(4.)
    """

    def __init__(
        self, graph: NeuronGraph, *, laplacian: str = "unnormalized", form: str = "raw", time: float = 1.0
    ) -> None:
        self.graph, self.form = graph, check_choice("form", form, FORMS)
        self.kind = laplacian
        self.time = check_number("time", time, low=0.0)
        operator = graph.laplacian(laplacian)
        if form == "heat":
            operator = np.eye(graph.n_nodes) - expm(-self.time * operator)
        # only the symmetric part of a quadratic form counts
        self._operator = operator if form == "heat" else (operator + operator.T) / 2
        self._null = graph.null_vectors(laplacian)
        self._placed: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, activations: Tensor) -> Tensor:
        """The mean over rows, a number.

        Args:
            activations: (m, n).

        Raises:
            InputError: another number of neurons.
        """
        return self.rows(activations).mean()

    def rows(self, activations: Tensor) -> Tensor:
        """(m,) of each row.

        Raises:
            InputError: another number of neurons.
        """
        if activations.dim() != 2 or activations.shape[1] != self.graph.n_nodes:
            raise InputError(
                f"expected activations (rows, {self.graph.n_nodes}) for {self.graph!r}, got shape "
                f"{tuple(activations.shape)}"
            )
        z = activations.to(torch.promote_types(activations.dtype, torch.float32))
        operator, null = self._on(z)
        if self.form == "heat":
            return (z @ operator.T).abs().sum(1)
        if self.form == "raw":
            return ((z @ operator) * z).sum(1)
        centred = z - (z @ null) @ null.T
        return ((centred @ operator) * centred).sum(1) / (centred.square().sum(1) + _EPS)

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._placed:
            self._placed[key] = (_placed(self._operator, like), _placed(self._null, like))
        return self._placed[key]


def _placed(array: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(array).to(like)

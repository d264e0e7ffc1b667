"""Pairs of units, or of groups of them, by their joint effect on the model's output."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.cost import GRADIENT, REVERSE, Cost, announce
from hoi_captum.core.derivatives import gradient, hessian, piecewise_linear_steps
from hoi_captum.core.differences import occlusion
from hoi_captum.core.layer_method import LayerRows
from hoi_captum.core.pair_table import PairInteractions
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.state import frozen_for_derivatives
from hoi_captum.core.term import Term
from hoi_captum.errors import DataWarning, InputError
from hoi_captum.methods.graph_spectral.map_gates import MapGates

if TYPE_CHECKING:
    from hoi_captum.methods.graph_spectral.method import GraphSpectral


_ROUNDINGS = 32  # of the output and the first-order effects: pairs that are all smaller are none


@dataclass(frozen=True, eq=False)
class MapPairs:
    """Pairs of a batch.

    Attributes:
        names: of the players.
        pairs: (B, k, k), symmetric, zero on the diagonal.
        main, curvature: (B, k) first and second derivatives by the gates.
        mode: ``exact`` or ``occlusion``.
        forward_passes, backward_passes: for each row.
    """

    names: tuple[str, ...]
    pairs: Tensor
    main: Tensor
    curvature: Tensor
    mode: str
    forward_passes: int
    backward_passes: int

    def table(self, row: int, arrays: Mapping[str, NDArray[Any]], provenance: Provenance) -> PairInteractions:
        """One row's table."""
        matrix = self.pairs[row].numpy()
        terms = [
            Term(members=(i, j), kind="taylor", scope=None, score=float(matrix[i, j]), weights=None)
            for i, j in combinations(range(len(matrix)), 2)
        ]
        own = {
            "pairs": matrix,
            "main": self.main[row].numpy(),
            "curvature": self.curvature[row].numpy(),
        }
        return PairInteractions.from_terms(
            self.names, terms, provenance=provenance, arrays=dict(arrays) | own
        )


def gates_of_map(
    method: GraphSpectral, rows: LayerRows, *, of_units: bool
) -> tuple[tuple[str, ...], MapGates]:
    """Gates of the units, or of the groups where these were asked for."""
    count = method.units_.count
    if of_units or method.n_groups is None:
        names, players = method.unit_names, torch.arange(count)
    else:
        players = torch.as_tensor(np.array(method.groups_))
        names = tuple(f"group {g}" for g in range(int(players.max()) + 1))
    gates = MapGates(
        rows,
        method.layer,
        method.units_,
        method.pooling,
        players,
        at_input=method._at_input,
    )
    return names, gates


def first_derivatives(method: GraphSpectral, rows: LayerRows) -> Tensor:
    """(B, k) derivatives by the gates of the units: gradient x activation."""
    with frozen_for_derivatives(method.forward_func):
        _, gates = gates_of_map(method, rows, of_units=True)
        return gradient(gates)


def pairs_of(
    method: GraphSpectral, rows: LayerRows, show_progress: bool, *, of_units: bool = False
) -> MapPairs:
    """Exact cross derivatives; differences by switching off where piecewise linear steps hide them.

    Raises:
        TooManyPlayersError: more players than the method's limit.
        InputError: fewer than two players.
    """
    with frozen_for_derivatives(method.forward_func):
        names, gates = gates_of_map(method, rows, of_units=of_units)
        k = gates.n_units
        if k < 2:
            raise InputError(f"expected at least two units or groups to have pairs, got {k}")
        mode = "occlusion" if piecewise_linear_steps(gates) else "exact"
        passes = 1 + k + k * (k - 1) / 2 if mode == "occlusion" else float(GRADIENT + REVERSE * k)
        cost = Cost(f"{k} units, mode {mode!r}", passes, len(rows))
        ways_out = _ways_out(method, of_units)
        announce(cost, k, method.max_players, show=show_progress, ways_out=ways_out)
        main = gradient(gates)
        sets = torch.tensor(list(combinations(range(k), 2)))
        curvature = torch.full_like(main, torch.nan)
        label = "pairs of units"
        if mode == "exact":
            with progress_bar(label, k, "unit", show_progress) as bar:
                full = hessian(gates, on_row=lambda done: bar.update(done - bar.n))
            curvature = full.diagonal(dim1=1, dim2=2).clone()
            pairs = (full + full.transpose(1, 2)) / 2
            pairs.diagonal(dim1=1, dim2=2).zero_()
        else:
            total = len(rows) * int(passes)
            with progress_bar(label, total, "row", show_progress) as bar:
                found = occlusion(gates, sets, on_rows=lambda done: bar.update(done - bar.n))
            pairs = torch.zeros(len(rows), k, k, dtype=torch.float64)
            pairs[:, sets[:, 0], sets[:, 1]] = pairs[:, sets[:, 1], sets[:, 0]] = found
    if mode == "occlusion":  # differences of rounded outputs are not zero where nothing interacts
        output = rows.arguments.select(rows.output, torch.arange(len(rows))).detach()
        size = output.abs().to(main) + main.abs().sum(1)
        pairs[pairs.abs().amax((1, 2)) <= size * torch.finfo(rows.neurons.dtype).eps * _ROUNDINGS] = 0.0
    if not bool(pairs.any()):
        warnings.warn(
            "no two units interact: behind the layer the explained output is linear in what they say; choose "
            "an earlier layer, or another output (a probability, say)",
            DataWarning,
            stacklevel=4,
        )
    forward, backward = (spent // len(rows) for spent in (gates.forward_passes, gates.backward_passes))
    return MapPairs(names, pairs, main, curvature, mode, forward, backward)


def _ways_out(method: GraphSpectral, of_units: bool) -> str:
    """How to have fewer units."""
    ways = (
        ["a smaller n_nodes"] if method.method == "probe" else ["method='probe' with fewer units (n_nodes)"]
    )
    if not of_units:  # a map shows units
        ways.append("n_groups=..., whose pairs are then those of groups")
    return f"use {' or '.join(ways)}"

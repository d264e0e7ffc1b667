"""What methods ought to find, computed with plain calls of the model and without the library."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.matrix.samples import Sample

Gated = Callable[[Tensor], Tensor]  # gates (rows, players) -> (rows,)
Matrix = NDArray[np.float64]

# of a gate; a shorter one would show that the norms of a LLaMA are float32 whatever its weights are
STEP = 0.03


def coalitions(players: int) -> Tensor:
    """All sets of players, (2^n, n) of 0 and 1, from nobody to all."""
    return torch.tensor(list(product((0.0, 1.0), repeat=players)))


def gated_logit(sample: Sample) -> Gated:
    """The logit with gates on the words or quarters; of a language model on what is attended to."""
    if len(sample.columns) == 2:
        return lambda gates: sample.logit(
            sample.masked.inputs.expand(len(gates), -1, -1), attention_mask=_attention_bias(sample, gates)
        )
    return lambda gates: sample.logit(sample.gated(gates))


def _attention_bias(sample: Sample, gates: Tensor) -> Tensor:
    """log gate of each key, for all queries but its own; HuggingFace adds it to the scores of all layers."""
    keys = sample.on_cells(gates)[..., 0].log()
    tokens = keys.shape[1]
    bias = keys[:, None, :].expand(-1, tokens, -1).masked_fill(torch.eye(tokens).bool(), 0.0)
    return bias.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), -torch.inf).unsqueeze(1)


def cross_differences(function: Gated, players: int) -> Matrix:
    """Second derivatives by all pairs of gates at 1, by central differences, (n, n).

    Two steps are taken, which tell the part of the error that goes by the step's square (Richardson).
    """
    short, long = (_differences(function, players, 1.0, h) / (4 * h * h) for h in (STEP, 2 * STEP))
    return (4 * short - long) / 3


def occlusions(function: Gated, players: int) -> Matrix:
    """f - f_i - f_j + f_ij of all pairs that are there or switched off, (n, n)."""
    return _differences(function, players, 0.5, 0.5)


def _differences(function: Gated, players: int, centre: float, step: float) -> Matrix:
    """f(++) - f(+-) - f(-+) + f(--) of the gates of all pairs, all other gates at 1."""
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]]).double()
    found = np.zeros((players, players))
    for i, j in combinations(range(players), 2):
        gates = torch.ones(4, players).double()
        gates[:, [i, j]] = centre + step * signs
        with torch.no_grad():
            found[i, j] = found[j, i] = float(function(gates) @ signs.prod(1))
    return found


def gradients(function: Gated, points: Tensor) -> Matrix:
    """By the gates, at points (rows, n)."""
    points = points.double().requires_grad_()
    (found,) = torch.autograd.grad(function(points).sum(), points)
    return found.numpy()


def strongest(matrix: Matrix) -> tuple[int, int]:
    """The pair of the largest size."""
    i, j = max(combinations(range(len(matrix)), 2), key=lambda pair: abs(matrix[pair]))
    return i, j

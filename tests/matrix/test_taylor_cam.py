"""TaylorCAM: cross derivatives by gates against differences, and what pairs do when they are switched off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hoi_captum as hoi
from tests.matrix.oracles import Matrix, cross_differences, gated_logit, gradients, occlusions, strongest
from tests.matrix.page import Check
from tests.matrix.routes import Ask
from tests.matrix.samples import Sample

METHOD = hoi.TaylorCAM
_DIFFERENCES = "cross derivatives of all pairs by gates on {} equal central differences; here the strongest"
FACTS = {
    "BERT": _DIFFERENCES.format("embeddings"),
    "LLaMA": _DIFFERENCES.format("attention"),
    "CNN": "scores of all pairs equal differences of gradients at gates 1.5 and 0.5; here the strongest",
}


def derivatives(sample: Sample) -> Matrix:
    """By differences of outputs, or of gradients where ReLUs leave nothing else."""
    function, players = gated_logit(sample), sample.players
    if sample.is_text:
        return cross_differences(function, players)
    step = 0.5 * torch.eye(players).double()
    found = gradients(function, 1 + step) - gradients(function, 1 - step)
    return (found + found.T) / 2


def test_cross_derivatives_of_all_pairs(sample: Sample, ask: Ask, check: Check) -> None:
    exact = sample.in_double()
    expected = derivatives(exact)
    table = ask(sample, METHOD)
    measured = table.matrix()
    off_diagonal = ~np.eye(sample.players, dtype=bool)
    size = np.abs(expected[off_diagonal]).max()
    np.testing.assert_allclose(measured[off_diagonal], expected[off_diagonal], rtol=0, atol=0.002 * size)
    pair = strongest(expected)
    (best,) = table.top(1)
    assert best.members == pair
    # what they do together; a gate on attention is never quite 0
    together = occlusions(gated_logit(exact), sample.players)[pair]
    assert table.synergy(best) == pytest.approx(together, rel=0.01)
    check(float(expected[pair]), float(measured[pair]), rel=0.002)

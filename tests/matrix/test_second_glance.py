"""SecondGlance: the surrogate's Hessian against differences close by, and against all coalitions."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

import hoi_captum as hoi
from tests.matrix.oracles import Matrix, coalitions, cross_differences, gated_logit, gradients, strongest
from tests.matrix.page import Check
from tests.matrix.routes import Ask
from tests.matrix.samples import Sample

METHOD = hoi.SecondGlance
_CLOSE = "scores of all pairs, from gates on {} drawn close by, equal central differences; here the strongest"
FACTS = {
    "BERT": _CLOSE.format("embeddings"),
    "LLaMA": _CLOSE.format("attention"),
    "CNN": "scores of all pairs, from 1,024 drawn coalitions, are within 4 standard errors of how much one's "
    "presence changes the other's gradient, the mean over all 16; here the strongest",
}
CLOSE_BY: dict[str, Any] = {"width": 0.02}
COALITIONS: dict[str, Any] = {"sampling": "bernoulli", "n_samples": 1024}


def over_coalitions(sample: Sample) -> Matrix:
    """The mean difference of gradient j with i present and absent, (n, n), symmetrised."""
    sets = coalitions(sample.players)
    found = gradients(gated_logit(sample), sets)
    there = sets.numpy() > 0
    slopes = np.stack(
        [found[there[:, i]].mean(0) - found[~there[:, i]].mean(0) for i in range(sample.players)]
    )
    return (slopes + slopes.T) / 2


def test_the_hessian_of_all_pairs(sample: Sample, ask: Ask, check: Check) -> None:
    exact = sample.in_double()
    if sample.is_text:
        expected = cross_differences(gated_logit(exact), sample.players)
        table = ask(sample, METHOD, **CLOSE_BY)
        allowed = np.full_like(expected, 0.005 * np.abs(expected).max())
    else:
        expected = over_coalitions(exact)
        table = ask(sample, METHOD, **COALITIONS)
        allowed = 4 * table.stderr
    pair, measured = strongest(expected), table.matrix()
    assert allowed[pair] < 0.1 * abs(expected[pair])
    for i, j in combinations(range(sample.players), 2):
        assert abs(measured[i, j] - expected[i, j]) < allowed[i, j]
    assert table.top(1)[0].members == pair
    check(float(expected[pair]), float(measured[pair]), abs=float(allowed[pair]))

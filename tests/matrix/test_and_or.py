"""GeneralizableAndOr: the terms rebuild the output for every coalition, as plain passes give it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hoi_captum as hoi
from tests.matrix.oracles import coalitions
from tests.matrix.page import Check
from tests.matrix.routes import Ask
from tests.matrix.samples import Sample

METHOD = hoi.GeneralizableAndOr
_REBUILT = "terms rebuild the outputs of all 16 coalitions; here their sum v(all) - v(none), {}"
FACTS = {
    "BERT": _REBUILT.format('log-odds of "positive"'),
    "LLaMA": _REBUILT.format('logit of "good" less that of "bad"'),
    "CNN": _REBUILT.format("log-odds of the digit"),
}


def test_terms_rebuild_all_coalitions(sample: Sample, ask: Ask, check: Check) -> None:
    sets = coalitions(sample.players)
    with torch.no_grad():
        values = sample.log_odds(sample.gated(sets)).numpy()
    table = ask(sample, METHOD, "log_odds", error_bound=0)
    assert table.base == pytest.approx(values[0], abs=1e-4)
    rebuilt = np.full(len(sets), float(table.base))
    for term in table:
        there = sets[:, list(term.members)].bool()
        rebuilt += term.score * (there.all(1) if term.kind == "and" else there.any(1)).numpy()
    np.testing.assert_allclose(rebuilt, values, rtol=0, atol=1e-3 * abs(values[-1] - values[0]))
    # and are sparser than AND terms alone, of which there is one such sum
    contains = (sets[:, None] >= sets[None]).all(-1).double().numpy()
    alone = np.linalg.solve(contains, values)[1:]
    assert np.abs(table.scores).sum() < np.abs(alone).sum()
    check(float(values[-1] - values[0]), float(table.scores.sum()), rel=1e-4)

"""LayerLocalCorEx: groups planted in a layer are found, with their total correlation in closed form."""

from __future__ import annotations

import numpy as np
import pytest

import hoi_captum as hoi
from tests.matrix.page import Check
from tests.matrix.planted import CAUSES, Planted
from tests.matrix.routes import Ask

METHOD = hoi.LayerLocalCorEx
_CAUSES = (
    "four factors have as members the copies of four hidden causes planted in {}, and as scores their total "
    "correlations -1/2 ln det R; here the largest, in nats"
)
FACTS = {
    "BERT": _CAUSES.format("the dense layer of a block"),
    "LLaMA": _CAUSES.format("the projection of a block"),
    "CNN": _CAUSES.format("a linear layer of a VGG"),
}


def test_planted_causes(planted: Planted, ask: Ask, check: Check) -> None:
    expected = planted.total_correlations()
    table = ask(planted.sample, METHOD, n_factors=CAUSES, n_clusters=1)
    measured = {}
    for term in table:
        (cause,) = set(planted.groups[list(term.members)])
        assert term.members == tuple(np.flatnonzero(planted.groups == cause))
        measured[cause] = term.score
    assert len(measured) == len(table) == CAUSES
    # data that are not quite normal, and the estimator's own bit of noise
    assert [measured[cause] for cause in range(CAUSES)] == pytest.approx(expected, rel=0.01)
    check(max(expected), float(table.top(1)[0].score), rel=0.01)

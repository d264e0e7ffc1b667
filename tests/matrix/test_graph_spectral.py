"""GraphSpectral: groups planted in a layer are found, as active as a plain hook and numpy say."""

from __future__ import annotations

import numpy as np
import pytest

import hoi_captum as hoi
from tests.matrix.page import Check
from tests.matrix.planted import CAUSES, Planted
from tests.matrix.routes import Ask

METHOD = hoi.GraphSpectral
_CAUSES = (
    "the graph learned of {} falls into the copies of four hidden causes planted there, whose score is the "
    "mean of their standardised activations; here the largest"
)
FACTS = {
    "BERT": _CAUSES.format("the dense layer of a block"),
    "LLaMA": _CAUSES.format("the projection of a block"),
    "CNN": _CAUSES.format("a linear layer of a VGG"),
}


def test_planted_causes(planted: Planted, ask: Ask, check: Check) -> None:
    sample = planted.sample
    assert sample.background is not None
    usual = planted.neurons(sample.background.tensors)
    here = (planted.neurons([sample.masked.inputs])[0] - usual.mean(0)) / usual.std(0)
    expected = [float(here[planted.groups == cause].mean()) for cause in range(CAUSES)]
    # a layout, so that units are the neurons; nearly all rows teach it, as the numbers above have all
    table = ask(sample, METHOD, method="layout", graph="learned", pooling="mean", held_out=0.01)
    np.testing.assert_allclose(table.arrays["units"], here, rtol=0, atol=0.05)
    measured = {}
    for term in table:
        (cause,) = set(planted.groups[list(term.members)])
        assert term.members == tuple(np.flatnonzero(planted.groups == cause))
        measured[cause] = term.score
    assert len(measured) == len(table) == CAUSES
    assert [measured[cause] for cause in range(CAUSES)] == pytest.approx(expected, rel=0.02, abs=0.02)
    largest = max(expected, key=abs)
    check(largest, measured[expected.index(largest)], rel=0.02)

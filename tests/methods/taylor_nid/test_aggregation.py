"""All 63 choices of six rows with all five aggregations, by brute force."""

from __future__ import annotations

from itertools import combinations
from statistics import mean, median, multimode

import numpy as np
import pytest

from hoi_captum.core.provenance import Provenance
from hoi_captum.methods.taylor_nid.aggregation import AGGREGATES, aggregated
from hoi_captum.methods.taylor_nid.growth import Found
from hoi_captum.methods.taylor_nid.representatives import REPRESENTATIVES
from hoi_captum.methods.taylor_nid.result import TaylorNIDInteractions

BRUTE = {
    "mean": mean,
    "median": median,
    "min": min,
    "max": max,
    "mode": lambda values: min(multimode(values)),
}


@pytest.fixture(scope="module")
def derivatives():
    values = np.random.default_rng(0).normal(size=(10, 6)).round(1)
    values[:, 4] = -values[:, 1]  # the same size twice: a mode
    return values


def test_every_aggregation_is_tested():
    assert BRUTE.keys() == AGGREGATES.keys()
    assert len(REPRESENTATIVES) == 6


@pytest.mark.parametrize("how", AGGREGATES)
def test_of_absolute_values(derivatives, how):
    expected = [BRUTE[how]([abs(v) for v in row]) for row in derivatives.tolist()]
    assert aggregated(derivatives, how).tolist() == pytest.approx(expected, abs=1e-15)


def test_all_315_scores_of_a_table(derivatives):
    sets = np.column_stack(np.triu_indices(5, 1))
    provenance = Provenance("m", options={"representatives": list(REPRESENTATIVES), "aggregate": "mean"})
    table = TaylorNIDInteractions.from_found("abcde", [Found(sets, derivatives)], "mean", provenance)
    shuffled = table.take(np.array([3, 9, 0, 5]))
    tried = 0
    for size in range(1, 7):
        for chosen in combinations(range(6), size):
            for how, function in BRUTE.items():
                names = [REPRESENTATIVES[c] for c in chosen]
                expected = [function([abs(row[c]) for c in chosen]) for row in derivatives.tolist()]
                assert table.aggregated(names, how).scores.tolist() == pytest.approx(expected, abs=1e-15)
                narrowed = shuffled.aggregated(names, how).scores.tolist()
                assert narrowed == pytest.approx([expected[i] for i in (3, 9, 0, 5)], abs=1e-15)
                tried += 1
    assert tried == 315

"""The conformance suite of hoi-captum: Captum's contract, nothing left behind, what interactions owe."""

from __future__ import annotations

from hoi_captum_shapiq import ShapiqInteractions

from hoi_captum.testing import GameConformance


class TestExact(GameConformance):
    method = ShapiqInteractions
    complete = True


class TestTriples(GameConformance):
    method = ShapiqInteractions
    options = {"index": "STII", "max_order": 3}
    complete = True


class TestEstimates(GameConformance):
    """A budget that is larger than all coalitions, so that what is estimated is nearly exact."""

    method = ShapiqInteractions
    options = {"approximator": "KernelSHAPIQ", "budget": 64, "seed": 3}
    exactness = 1e-4
    tolerance = 1e-3
    complete = True

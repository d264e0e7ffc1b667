"""The six built-in methods pass the suites that authors subclass."""

from __future__ import annotations

from typing import Any

import hoi_captum as hoi
from hoi_captum.testing import (
    Case,
    GradientConformance,
    LayerConformance,
    SeveralModelsConformance,
)


class TestGeneralizableAndOr(SeveralModelsConformance):
    method = hoi.GeneralizableAndOr
    exactness = 2e-3  # of its solver
    waivers = {
        "test_it_is_linear_in_the_model": "the sparsest split of a sum is not the sum of the splits",
    }


class TestTaylorCAM(GradientConformance):
    method = hoi.TaylorCAM


class TestTaylorNID(GradientConformance):
    method = hoi.TaylorNID
    waivers = {"test_other_baselines_have_other_answers": "it needs them with multiply_by_inputs only"}

    def prepare(self, method: Any, case: Case) -> None:
        method.fit(case.background, show_progress=False)


class TestSecondGlance(GradientConformance):
    method = hoi.SecondGlance
    exactness = 1e-4  # of its ridge


class TestLayerLocalCorEx(LayerConformance):
    method = hoi.LayerLocalCorEx


class TestGraphSpectral(LayerConformance):
    method = hoi.GraphSpectral
    options = {"force": True, "max_steps": 300, "n_nodes": 16}

"""Small right methods pass all checks: what ``test_broken`` finds is found because of the defects."""

from __future__ import annotations

import hoi_captum as hoi
from hoi_captum.testing import (
    GameConformance,
    GradientConformance,
    LayerConformance,
    MethodConformance,
    SeveralModelsConformance,
)
from tests.testing import references


class TestDividends(GameConformance):
    method = references.Dividends
    complete = True


class TestSeeded(MethodConformance):
    method = references.Seeded
    options = {"seed": 3}


class TestCrossDerivatives(GradientConformance):
    method = references.CrossDerivatives


class TestSharedDividends(SeveralModelsConformance):
    method = references.SharedDividends
    complete = True


class TestLayerLocalCorEx(LayerConformance):
    method = hoi.LayerLocalCorEx
    options = references.LAYER_OPTIONS

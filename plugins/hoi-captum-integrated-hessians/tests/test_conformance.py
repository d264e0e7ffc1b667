"""The conformance suite of hoi-captum: Captum's contract, nothing left behind, what interactions owe."""

from __future__ import annotations

from hoi_captum_integrated_hessians import IntegratedHessians

from hoi_captum.testing import GradientConformance


class TestIntegratedHessians(GradientConformance):
    method = IntegratedHessians
    complete = True

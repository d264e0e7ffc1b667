"""The conformance suite of hoi-captum: Captum's contract, nothing left behind, what interactions owe."""

from __future__ import annotations

from hoi_captum_smoothhess import SmoothHess

from hoi_captum.testing import GradientConformance

_NOISE = "each player has its own noise: scores agree within their standard errors"


class TestSmoothHess(GradientConformance):
    method = SmoothHess
    options = {"n_samples": 256, "seed": 3, "sigma": 0.3}
    waivers = {
        "test_a_dummy_has_no_part": _NOISE,
        "test_players_that_can_be_exchanged_have_equal_scores": _NOISE,
        "test_renamed_players_have_renamed_terms": _NOISE,
    }

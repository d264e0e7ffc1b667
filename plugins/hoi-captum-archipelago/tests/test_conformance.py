"""The conformance suite of hoi-captum: Captum's contract, nothing left behind, what interactions owe."""

from __future__ import annotations

from hoi_captum_archipelago import Archipelago

from hoi_captum.testing import GameConformance


class TestArchipelago(GameConformance):
    method = Archipelago
    waivers = {
        "test_it_is_linear_in_the_model": "which sets are merged depends on both parts of a sum",
    }

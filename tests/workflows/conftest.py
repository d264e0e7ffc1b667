"""Fitted methods, made once for all tests that only ask them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from hoi_captum.testing import Case
from hoi_captum.testing.cases import two_inputs_case
from tests.workflows import methods
from tests.workflows.methods import Ready

_CASES = {"features": methods.features, "two tensors": two_inputs_case, "images": methods.images}


@pytest.fixture(scope="session")
def ready() -> Ready:
    """A method that is ready to explain, and its case, both by their names."""

    @cache
    def made(name: str, case_name: str) -> tuple[Any, Case]:
        case = _CASES[case_name]()
        return methods.ALL[name](case), case

    return made

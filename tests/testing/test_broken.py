"""Every check of every suite catches a method that breaks what it checks."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from hoi_captum.errors import HoiWarning
from hoi_captum.testing import (
    GameConformance,
    GradientConformance,
    LayerConformance,
    MethodConformance,
    SeveralModelsConformance,
)
from tests.testing import broken_contract, broken_families, broken_results  # noqa: F401 - they fill the table
from tests.testing.table import BROKEN, Broken

SUITES = (
    MethodConformance,
    GameConformance,
    GradientConformance,
    LayerConformance,
    SeveralModelsConformance,
)


@contextmanager
def undone() -> Iterator[None]:
    """What broken methods do to torch and to the random state is undone."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    flash = torch.backends.cuda.flash_sdp_enabled()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", HoiWarning)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.backends.cuda.enable_flash_sdp(flash)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_the_defect_is_caught(broken: Broken) -> None:
    with undone():
        try:
            with pytest.raises(broken.raises, match=broken.says or None):
                broken.run()
        except pytest.skip.Exception as skipped:
            pytest.fail(f"{broken.check} was skipped: {skipped}")


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_every_check_has_a_broken_method(suite: type[Any]) -> None:
    """Of the check itself: one that a suite overrides needs a method of its own."""
    caught = {getattr(b.suite, b.check) for b in BROKEN}
    missing = [name for name in suite.checks() if getattr(suite, name) not in caught]
    assert not missing, f"{suite.__name__}: no broken method in tests/testing for {missing}"


def test_no_broken_method_is_listed_twice() -> None:
    named = [f"{b} {b.says}" for b in BROKEN]
    assert len(named) == len(set(named))

"""Checks of options."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hoi_captum.core.options import check_choice, check_count, check_number
from hoi_captum.errors import OptionError


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.5), np.int64(1)])
def test_numbers_in_range(value):
    result = check_number("rate", value, low=0, high=1)
    assert type(result) is float
    assert result == value


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None, 0.5j, [0.5]])
def test_other_numbers(value):
    with pytest.raises(OptionError, match=r"expected rate to be a number in \[0, 1\], got"):
        check_number("rate", value, low=0, high=1)


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_counts(value):
    result = check_count("steps", value)
    assert type(result) is int
    assert result == value


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None, math.inf])
def test_other_counts(value):
    with pytest.raises(OptionError, match="expected steps to be an int >= 1, got"):
        check_count("steps", value)


def test_choices():
    assert check_choice("solver", "a", ("a", "b")) == "a"
    for value in ("c", "A", None, 1, ["a"]):
        with pytest.raises(OptionError, match="expected solver to be one of a, b; got"):
            check_choice("solver", value, ("a", "b"))

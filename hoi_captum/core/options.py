"""Checks of constructor options: one clear message each."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from hoi_captum.errors import OptionError


def check_number(
    name: str, value: object, *, low: float = -math.inf, high: float = math.inf, finite: bool = True
) -> float:
    """A real number in [low, high], finite unless infinity has a meaning.

    Raises:
        OptionError: anything else (NaN and booleans included).
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or (finite and math.isinf(number)):
        bounds = f"in [{low:g}, {high:g}]" if high < math.inf else f"of at least {low:g}"
        bounds += ", and finite" if finite and high == math.inf else ""
        raise OptionError(f"expected {name} to be a number {bounds}, got {value!r}")
    return number


def check_count(name: str, value: object, *, low: int = 1) -> int:
    """An integer of at least ``low``.

    Raises:
        OptionError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise OptionError(f"expected {name} to be an int >= {low}, got {value!r}")
    return int(value)


def check_flag(name: str, value: object) -> bool:
    """True or False.

    Raises:
        OptionError: anything else.
    """
    if not isinstance(value, bool):
        raise OptionError(f"expected {name} to be True or False, got {value!r}")
    return value


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of the given names.

    Raises:
        OptionError: anything else.
    """
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"expected {name} to be one of {', '.join(choices)}; got {value!r}")
    return value

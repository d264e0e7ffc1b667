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

    Args:
        name (str): of the option, for the message.
        value: as given.
        low, high (float): the bounds, which are allowed. Default: none
        finite (bool): whether infinity is refused. Default: True

    Returns:
        *float*: the value.

    Raises:
        OptionError: anything else (NaN and booleans included).

    Examples::

        >>> from hoi_captum.authoring import check_number
        >>> check_number("fraction", 1, low=0.0, high=1.0)
        1.0
        >>> check_number("fraction", 5, low=0.0, high=1.0)
        Traceback (most recent call last):
            ...
        hoi_captum.errors.OptionError: expected fraction to be a number in [0, 1], got 5
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or (finite and math.isinf(number)):
        bounds = f"in [{low:g}, {high:g}]" if high < math.inf else f"of at least {low:g}"
        bounds += ", and finite" if finite and high == math.inf else ""
        raise OptionError(f"expected {name} to be a number {bounds}, got {value!r}")
    return number


def check_count(name: str, value: object, *, low: int = 1) -> int:
    """An integer of at least ``low``.

    Args:
        name (str): of the option, for the message.
        value: as given.
        low (int): the least allowed. Default: 1

    Returns:
        *int*: the value; numpy's integers become Python's.

    Raises:
        OptionError: anything else.

    Examples::

        >>> from hoi_captum.authoring import check_count
        >>> check_count("order", 3, low=2)
        3
        >>> check_count("order", 1, low=2)
        Traceback (most recent call last):
            ...
        hoi_captum.errors.OptionError: expected order to be an int >= 2, got 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise OptionError(f"expected {name} to be an int >= {low}, got {value!r}")
    return int(value)


def check_flag(name: str, value: object) -> bool:
    """True or False.

    Args:
        name (str): of the option, for the message.
        value: as given.

    Returns:
        *bool*: the value.

    Raises:
        OptionError: anything else.

    Examples::

        >>> from hoi_captum.authoring import check_flag
        >>> check_flag("force", 1)
        Traceback (most recent call last):
            ...
        hoi_captum.errors.OptionError: expected force to be True or False, got 1
    """
    if not isinstance(value, bool):
        raise OptionError(f"expected {name} to be True or False, got {value!r}")
    return value


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of the given names.

    Args:
        name (str): of the option, for the message.
        value: as given.
        choices (Collection[str]): what it may be.

    Returns:
        *str*: the value.

    Raises:
        OptionError: anything else.

    Examples::

        >>> from hoi_captum.authoring import check_choice
        >>> check_choice("gate", "inputs", ("input", "layer"))
        Traceback (most recent call last):
            ...
        hoi_captum.errors.OptionError: expected gate to be one of input, layer; got 'inputs'
    """
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"expected {name} to be one of {', '.join(choices)}; got {value!r}")
    return value

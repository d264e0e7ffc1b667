"""The table of broken methods: which check of which suite has to catch them, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from hoi_captum.testing import GameConformance

Wrong = AssertionError, pytest.fail.Exception


@dataclass(frozen=True)
class Broken:
    """A method with a defect.

    Attributes:
        method: the class.
        check: that catches it.
        suite: whose check it is.
        says: a pattern of the message.
        raises: what the check lets through, where the method itself raises.
        options: class attributes of the suite.
    """

    method: type
    check: str
    suite: type
    says: str
    raises: Any = Wrong
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.check}-{self.method.__name__}"

    def run(self) -> None:
        """The check, called on the method."""
        suite: Any = type("TestBroken", (self.suite,), {"method": self.method, **self.options})
        getattr(suite(), self.check)()


BROKEN: list[Broken] = []


def caught_by(
    check: str, says: str, *, suite: type = GameConformance, raises: Any = Wrong, **options: Any
) -> Callable[[type], type]:
    """Put a method into the table."""

    def listed(method: type) -> type:
        BROKEN.append(Broken(method, check, suite, says, raises, options))
        return method

    return listed

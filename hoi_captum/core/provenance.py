"""Where a result came from: enough to make it again, and to judge it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from hoi_captum.core.state import unwrapped

# the packages whose version can change a number
_LIBRARIES = (
    "hoi-captum",
    "captum",
    "torch",
    "torchvision",
    "transformers",
    "numpy",
    "scikit-learn",
    "phate",
)


@cache
def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that can change a result."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a source tree, or the library is not needed here
            continue
    return versions


@dataclass(frozen=True)
class Provenance:
    """How an :class:`~hoi_captum.Interactions` was computed.

    Attributes:
        method: registered name, ``generalizable-and-or``.
        options: constructor options of the method.
        target: the explained output, as given.
        model: one description for each model.
        seed: seed of the random numbers drawn; None where none were.
        forward_passes, backward_passes: model rows spent (one input through one model = 1).
        seconds: wall time.
        libraries: versions of the libraries.
        details: what the method measured of itself (gap, roughness, R^2, ...), JSON values only.

    Examples::

        >>> source = hoi.Provenance("by-hand", options={"alpha": 0.5}, forward_passes=4)
        >>> hoi.Provenance.from_json(source.to_json()) == source
        True
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    model: tuple[str, ...] = ()
    seed: int | None = None
    forward_passes: int = 0
    backward_passes: int = 0
    seconds: float = 0.0
    libraries: Mapping[str, str] = field(default_factory=library_versions)
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """All fields as JSON; values that JSON does not know as their text."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "model": tuple(fields["model"])})


def describe_model(forward_func: Any) -> str:
    """A short name for a model or a plain function.

    Args:
        forward_func (Callable): a module (its class names it), or a function (its ``description`` or name).

    Returns:
        *str*

    Examples::

        >>> from hoi_captum.authoring import describe_model
        >>> describe_model(torch.nn.Linear(2, 1)), describe_model(lambda x: x)
        ('Linear', '<lambda>')
    """
    if isinstance(forward_func, nn.Module):
        return type(unwrapped(forward_func)).__qualname__
    name = getattr(forward_func, "description", None)
    return str(name or getattr(forward_func, "__qualname__", type(forward_func).__qualname__))

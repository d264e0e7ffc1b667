"""Scikit-learn estimators of total correlation: latent factors that explain why variables move together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hoi_captum.corex.bio import BioCorEx
    from hoi_captum.corex.linear import LinearCorEx
    from hoi_captum.corex.local import LocalCorEx

_HOMES = {"BioCorEx": "bio", "LinearCorEx": "linear", "LocalCorEx": "local"}

__all__ = ["BioCorEx", "LinearCorEx", "LocalCorEx"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"hoi_captum.corex.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Scikit-learn estimators of total correlation: latent factors that explain why variables move together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hoi_captum.corex.advice import (
        ClusterAdvice,
        DimensionAdvice,
        FactorAdvice,
        ThresholdAdvice,
        advise_clusters,
        advise_dimensions,
        advise_factors,
        advise_threshold,
    )
    from hoi_captum.corex.bio import BioCorEx
    from hoi_captum.corex.factors import factor_interactions, factor_members
    from hoi_captum.corex.linear import LinearCorEx
    from hoi_captum.corex.local import LocalCorEx

_HOMES = {
    "advice": (
        "ClusterAdvice",
        "DimensionAdvice",
        "FactorAdvice",
        "ThresholdAdvice",
        "advise_clusters",
        "advise_dimensions",
        "advise_factors",
        "advise_threshold",
    ),
    "bio": ("BioCorEx",),
    "factors": ("factor_interactions", "factor_members"),
    "linear": ("LinearCorEx",),
    "local": ("LocalCorEx",),
}

__all__ = [
    "BioCorEx",
    "ClusterAdvice",
    "DimensionAdvice",
    "FactorAdvice",
    "LinearCorEx",
    "LocalCorEx",
    "ThresholdAdvice",
    "advise_clusters",
    "advise_dimensions",
    "advise_factors",
    "advise_threshold",
    "factor_interactions",
    "factor_members",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"hoi_captum.corex.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

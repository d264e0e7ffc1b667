"""Scikit-learn estimators of total correlation: latent factors that explain why variables move together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoi_captum.core.lazy import lazy_getattr

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


__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

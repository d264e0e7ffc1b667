"""Higher-order interactions for Captum: which words, patches or neurons act together.

Public names only; each is loaded when it is first used, so that importing the package loads neither
plugins nor transformers nor torchvision.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hoi_captum import corex, errors, graphs, measures, views, zoo
    from hoi_captum.adapters.baselines import LearnedBaseline
    from hoi_captum.core.example import Example, PerModel
    from hoi_captum.core.games import MaskedGame
    from hoi_captum.core.interactions import Interactions
    from hoi_captum.core.provenance import Provenance
    from hoi_captum.core.term import Term
    from hoi_captum.estimation import Estimate, estimate
    from hoi_captum.explanation import Explanation, explain
    from hoi_captum.graphs.regularizer import GraphSpectralRegularizer
    from hoi_captum.hookspecs import API_VERSION, hookimpl
    from hoi_captum.inputs import adapt, image_example, tabular_example, text_example
    from hoi_captum.learning import learn_baseline
    from hoi_captum.methods.and_or import GeneralizableAndOr
    from hoi_captum.methods.and_or.result import AndOrInteractions
    from hoi_captum.methods.graph_spectral import GraphSpectral
    from hoi_captum.methods.local_corex import LayerLocalCorEx
    from hoi_captum.methods.second_glance import SecondGlance, SecondGlanceInteractions
    from hoi_captum.methods.taylor_cam import TaylorCAM, TaylorInteractions
    from hoi_captum.methods.taylor_nid import TaylorNID
    from hoi_captum.methods.taylor_nid.result import TaylorNIDInteractions
    from hoi_captum.registry import get_method, methods, plugins

_HOMES = {
    "API_VERSION": "hookspecs",
    "AndOrInteractions": "methods.and_or.result",
    "Estimate": "estimation",
    "Example": "core.example",
    "Explanation": "explanation",
    "GeneralizableAndOr": "methods.and_or",
    "GraphSpectral": "methods.graph_spectral",
    "GraphSpectralRegularizer": "graphs.regularizer",
    "Interactions": "core.interactions",
    "LayerLocalCorEx": "methods.local_corex",
    "LearnedBaseline": "adapters.baselines",
    "MaskedGame": "core.games",
    "PerModel": "core.example",
    "Provenance": "core.provenance",
    "SecondGlance": "methods.second_glance",
    "SecondGlanceInteractions": "methods.second_glance",
    "TaylorNID": "methods.taylor_nid",
    "TaylorNIDInteractions": "methods.taylor_nid.result",
    "TaylorCAM": "methods.taylor_cam",
    "TaylorInteractions": "methods.taylor_cam",
    "Term": "core.term",
    "adapt": "inputs",
    "estimate": "estimation",
    "explain": "explanation",
    "get_method": "registry",
    "hookimpl": "hookspecs",
    "image_example": "inputs",
    "learn_baseline": "learning",
    "plugins": "registry",
    "tabular_example": "inputs",
    "text_example": "inputs",
}
_MODULES = ("corex", "errors", "graphs", "measures", "views", "zoo")

__all__ = [
    "API_VERSION",
    "AndOrInteractions",
    "Estimate",
    "Example",
    "Explanation",
    "GeneralizableAndOr",
    "GraphSpectral",
    "GraphSpectralRegularizer",
    "Interactions",
    "LayerLocalCorEx",
    "LearnedBaseline",
    "MaskedGame",
    "PerModel",
    "Provenance",
    "SecondGlance",
    "SecondGlanceInteractions",
    "TaylorCAM",
    "TaylorInteractions",
    "TaylorNID",
    "TaylorNIDInteractions",
    "Term",
    "adapt",
    "corex",
    "errors",
    "estimate",
    "explain",
    "get_method",
    "graphs",
    "hookimpl",
    "image_example",
    "learn_baseline",
    "measures",
    "methods",
    "plugins",
    "tabular_example",
    "text_example",
    "views",
    "zoo",
]


class _CallablePackage(ModuleType):
    """The package ``hoi_captum.methods``, which is also the function of that name.

    Importing a method's module puts its package here, in the place of any function.
    """

    def __call__(self) -> dict[str, type]:
        """All registered method classes by name, sorted.

        Examples::

            >>> hoi.methods()["taylor-cam"] is hoi.TaylorCAM
            True
        """
        from hoi_captum.registry import methods

        return methods()


import_module(f"{__name__}.methods").__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value  # found at once the next time
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

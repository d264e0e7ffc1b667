"""The methods, adapters and views that come with the library, registered as a plugin's would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoi_captum.hookspecs import hookimpl


@hookimpl
def hoi_captum_register_methods(register: Callable[[str, type], None]) -> None:
    from hoi_captum.methods.and_or import GeneralizableAndOr
    from hoi_captum.methods.graph_spectral import GraphSpectral
    from hoi_captum.methods.local_corex import LayerLocalCorEx
    from hoi_captum.methods.second_glance import SecondGlance
    from hoi_captum.methods.taylor_cam import TaylorCAM
    from hoi_captum.methods.taylor_nid import TaylorNID

    register("generalizable-and-or", GeneralizableAndOr)
    register("graph-spectral", GraphSpectral)
    register("layer-local-corex", LayerLocalCorEx)
    register("second-glance", SecondGlance)
    register("taylor-cam", TaylorCAM)
    register("taylor-nid", TaylorNID)


@hookimpl
def hoi_captum_register_adapters(register: Callable[[str, type], None]) -> None:
    from hoi_captum.adapters.huggingface import CausalLMAdapter, SequenceClassifierAdapter
    from hoi_captum.adapters.tabular import TabularAdapter
    from hoi_captum.adapters.torchvision import ImageClassifierAdapter

    register("sequence-classifier", SequenceClassifierAdapter)
    register("causal-lm", CausalLMAdapter)
    register("image-classifier", ImageClassifierAdapter)
    register("tabular", TabularAdapter)


@hookimpl
def hoi_captum_register_views(register: Callable[[str, Callable[..., Any]], None]) -> None:
    from hoi_captum.views import VIEWS

    for name, view in VIEWS.items():
        register(name, view)

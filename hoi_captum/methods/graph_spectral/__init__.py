"""GraphSpectral: a layer's neurons laid out on a graph."""

from __future__ import annotations

from hoi_captum.methods.graph_spectral.class_maps import ClassMaps
from hoi_captum.methods.graph_spectral.method import GraphSpectral
from hoi_captum.methods.graph_spectral.results import AccuracyKept, MapQuality

__all__ = ["AccuracyKept", "ClassMaps", "GraphSpectral", "MapQuality"]

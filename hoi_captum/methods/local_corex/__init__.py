"""Local CorEx on a layer: groups of neurons that share information, found per region of the data."""

from hoi_captum.methods.local_corex.method import LayerLocalCorEx
from hoi_captum.methods.local_corex.results import Ablation, Perturbation

__all__ = ["Ablation", "LayerLocalCorEx", "Perturbation"]

"""SecondGlance: Hessians of ReLU networks from a surrogate of their gradients."""

from hoi_captum.methods.second_glance.method import SecondGlance
from hoi_captum.methods.second_glance.result import SecondGlanceInteractions

__all__ = ["SecondGlance", "SecondGlanceInteractions"]

"""TaylorCAM: which positions, patches or words act together, by cross derivatives."""

from hoi_captum.methods.taylor_cam.method import TaylorCAM
from hoi_captum.methods.taylor_cam.result import TaylorInteractions

__all__ = ["TaylorCAM", "TaylorInteractions"]

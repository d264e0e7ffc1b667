"""What hides HuggingFace, torchvision and tables from the methods."""

from hoi_captum.adapters.base import Adapter, Objective
from hoi_captum.adapters.outputs import OUTPUTS

__all__ = ["OUTPUTS", "Adapter", "Objective"]

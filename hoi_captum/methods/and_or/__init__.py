"""AND and OR interactions: the method, its dictionary, its solvers and its result."""

from hoi_captum.methods.and_or.method import GeneralizableAndOr
from hoi_captum.methods.and_or.result import AndOrInteractions, Transferability

__all__ = ["AndOrInteractions", "GeneralizableAndOr", "Transferability"]

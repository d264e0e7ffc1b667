"""Cross derivatives of a model at rows that stand for its data: global interactions of any order."""

from hoi_captum.methods.taylor_nid.method import TaylorNID
from hoi_captum.methods.taylor_nid.result import TaylorNIDInteractions
from hoi_captum.methods.taylor_nid.weights import neural_interaction_detection

__all__ = ["TaylorNID", "TaylorNIDInteractions", "neural_interaction_detection"]

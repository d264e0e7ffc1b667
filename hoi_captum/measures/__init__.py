"""What interactions are worth: the paper's measures, and the faithfulness of any table.

Measures of sparsity, agreement and stability (Chen, Lou, Huang, Zhang, ICLR 2024) take one table or a list
of tables, one for each sample, and compare the scopes of each (``model:0``, ``model:1``, ...). Measures of
faithfulness take a table and the game that it explains; k-SII of the same game is a table to compare it with.
Measures of detection take a table and the sets that truly interact, of functions where these are known.
Measures of neuron maps take activations and a graph of neurons.
All numbers are numpy float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoi_captum.core.lazy import lazy_getattr

if TYPE_CHECKING:
    from hoi_captum.measures.attributions import interactions_from_attributions
    from hoi_captum.measures.detection import interaction_auc, pruned, r_precision
    from hoi_captum.measures.fidelity import Faithfulness, faithfulness
    from hoi_captum.measures.insertion import InsertionDeletion, insertion_deletion
    from hoi_captum.measures.matching import MatchingErrors, matching_errors
    from hoi_captum.measures.neuron_maps import (
        Tested,
        class_separation,
        dead_units,
        fraction_of_variance_explained,
        morans_i,
        same_class_edges,
    )
    from hoi_captum.measures.polarity import PolarityAgreement, polarity_agreement
    from hoi_captum.measures.rebuilding import rebuild
    from hoi_captum.measures.repeats import Stability, stability
    from hoi_captum.measures.salience import salient, shared, strongest
    from hoi_captum.measures.shapley import k_sii
    from hoi_captum.measures.strength import StrengthCurve, strength_curve
    from hoi_captum.measures.transfer import SharedRatios, Transfer, shared_ratios, transferability
    from hoi_captum.measures.values import draw_coalitions

_HOMES = {
    "attributions": ("interactions_from_attributions",),
    "detection": ("interaction_auc", "pruned", "r_precision"),
    "fidelity": ("Faithfulness", "faithfulness"),
    "insertion": ("InsertionDeletion", "insertion_deletion"),
    "matching": ("MatchingErrors", "matching_errors"),
    "neuron_maps": (
        "Tested",
        "class_separation",
        "dead_units",
        "fraction_of_variance_explained",
        "morans_i",
        "same_class_edges",
    ),
    "polarity": ("PolarityAgreement", "polarity_agreement"),
    "rebuilding": ("rebuild",),
    "salience": ("salient", "shared", "strongest"),
    "repeats": ("Stability", "stability"),
    "shapley": ("k_sii",),
    "strength": ("StrengthCurve", "strength_curve"),
    "transfer": ("SharedRatios", "Transfer", "shared_ratios", "transferability"),
    "values": ("draw_coalitions",),
}

__all__ = [
    "Faithfulness",
    "InsertionDeletion",
    "MatchingErrors",
    "PolarityAgreement",
    "SharedRatios",
    "Stability",
    "StrengthCurve",
    "Tested",
    "Transfer",
    "class_separation",
    "dead_units",
    "draw_coalitions",
    "faithfulness",
    "fraction_of_variance_explained",
    "insertion_deletion",
    "interaction_auc",
    "interactions_from_attributions",
    "k_sii",
    "matching_errors",
    "morans_i",
    "polarity_agreement",
    "pruned",
    "r_precision",
    "rebuild",
    "salient",
    "same_class_edges",
    "shared",
    "shared_ratios",
    "stability",
    "strength_curve",
    "strongest",
    "transferability",
]


__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Terms of a row's map: groups of units that are active together, and edges of the graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.term import Term
from hoi_captum.graphs.neuron_graph import NeuronGraph


def group_terms(
    groups: NDArray[np.int64], membership: NDArray[np.float64], standard: NDArray[np.float64]
) -> list[Term]:
    """One for each group; its score the mean of its units' standardised activations.

    Args:
        groups, membership: (k,) of the units.
        standard: (k,) activations of a row, in standard deviations from the mean.
    """
    terms = []
    for g in range(int(groups.max(initial=-1)) + 1):
        members = np.flatnonzero(groups == g)
        terms.append(
            Term(
                members=tuple(members.tolist()),
                kind="group",
                scope=None,
                score=float(standard[members].mean()),
                weights=tuple(membership[members].tolist()),
            )
        )
    return terms


def edge_terms(graph: NeuronGraph, standard: NDArray[np.float64]) -> list[Term]:
    """One for each edge: its weight times both standardised activations."""
    scores = graph.weights * standard[graph.edges].prod(1)
    return [
        Term(members=(i, j), kind="edge", scope=None, score=s, weights=None)
        for (i, j), s in zip(graph.edges.tolist(), scores.tolist(), strict=True)
    ]

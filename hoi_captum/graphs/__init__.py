"""Graphs of neurons: given or learned, their spectra, layouts and groups, and the penalty that makes
activations smooth on them. Needs no explained model.
"""

from __future__ import annotations

from hoi_captum.graphs.affinities import learned_graph
from hoi_captum.graphs.groups import spectral_groups
from hoi_captum.graphs.layouts import assign_to_graph, spectral_places
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.graphs.penalty import SmoothnessPenalty
from hoi_captum.graphs.predefined import grid, hierarchical, line, ring, star, torus, tree
from hoi_captum.graphs.regularizer import GraphSpectralRegularizer, Health
from hoi_captum.graphs.schedule import GraphLearner, GraphSchedule

__all__ = [
    "GraphLearner",
    "GraphSchedule",
    "GraphSpectralRegularizer",
    "Health",
    "NeuronGraph",
    "SmoothnessPenalty",
    "assign_to_graph",
    "grid",
    "hierarchical",
    "learned_graph",
    "line",
    "ring",
    "spectral_groups",
    "spectral_places",
    "star",
    "torus",
    "tree",
]

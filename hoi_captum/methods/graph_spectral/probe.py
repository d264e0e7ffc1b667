"""Training the probe: an autoencoder of a layer whose hidden units are smooth on a graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hoi_captum.core.progress import progress_bar
from hoi_captum.core.state import preserved_rng, single_thread
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.graphs.penalty import SmoothnessPenalty
from hoi_captum.graphs.schedule import GraphLearner
from hoi_captum.methods.graph_spectral.units import ProbeUnits

_BATCH = 128


@dataclass(frozen=True)
class Training:
    """How a probe is trained.

    Attributes:
        alpha: weight of the mean Rayleigh quotient of the units.
        max_steps, learning_rate: of Adam, in batches of 128.
        seed: of initial weights and batches.
    """

    alpha: float
    max_steps: int
    learning_rate: float
    seed: int


def train_probe(
    samples: Tensor,
    mean: Tensor,
    scale: Tensor,
    n_units: int,
    graph: NeuronGraph | GraphLearner,
    training: Training,
    *,
    show_progress: bool = False,
) -> ProbeUnits:
    r"""Minimise :math:`\text{mse}(z, V(u)) + \alpha \cdot \text{mean Rayleigh}(u)`, u = ReLU(W z + b).

    Args:
        samples: (s, n) of the layer, not standardised.
        mean, scale: (n,) to standardise by.
        n_units: k.
        graph: of k nodes; a learner makes one of the units' own activations, and ends the training where its
            schedule does.
        training: settings.
        show_progress: a bar on stderr.
    """
    z = (samples - mean) / scale
    n = z.shape[1]
    with preserved_rng(), single_thread(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(training.seed)
        encoder, decoder = nn.Linear(n, n_units), nn.Linear(n_units, n)
        optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], training.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, training.learning_rate, total_steps=training.max_steps
        )
        penalty: SmoothnessPenalty | None = None
        z = z.clone()  # inference tensors have no gradients
        with progress_bar("probe", training.max_steps, "step", show_progress) as bar:
            for _ in range(training.max_steps):
                batch = z[torch.randint(len(z), (_BATCH,))]
                units = encoder(batch).relu()
                loss = (decoder(units) - batch).square().mean()
                now = graph.advance(units) if isinstance(graph, GraphLearner) else graph
                if now is not None and training.alpha:
                    if penalty is None or penalty.graph is not now:
                        kind = "symmetric" if isinstance(graph, GraphLearner) else "unnormalized"
                        penalty = SmoothnessPenalty(now, form="rayleigh", laplacian=kind)
                    loss = loss + training.alpha * penalty(units)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update(1)
                if isinstance(graph, GraphLearner) and graph.phase == "done":
                    break
    weights = (encoder.weight, encoder.bias, decoder.weight, decoder.bias)
    return ProbeUnits(mean, scale, *(w.detach().clone() for w in weights))

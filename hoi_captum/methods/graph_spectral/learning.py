"""What GraphSpectral learns of a layer: units, their graph, and groups of units that are active together."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.layer_method import LayerMethod
from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.core.pooling import Pooling
from hoi_captum.core.state import preserved_state, warn_of_training_mode
from hoi_captum.errors import (
    DataWarning,
    FidelityError,
    FidelityWarning,
    InputError,
    NotFittedError,
    OptionError,
)
from hoi_captum.graphs.affinities import AFFINITIES, correlations, graph_of_rows
from hoi_captum.graphs.groups import spectral_groups
from hoi_captum.graphs.layouts import assign_to_graph
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.graphs.penalty import SmoothnessPenalty
from hoi_captum.graphs.predefined import check_graph, graph_for, is_learned, n_nodes_of
from hoi_captum.graphs.schedule import GraphLearner, GraphSchedule
from hoi_captum.measures.neuron_maps import dead_units, fraction_of_variance_explained
from hoi_captum.methods.graph_spectral.probe import Training, train_probe
from hoi_captum.methods.graph_spectral.results import MapQuality
from hoi_captum.methods.graph_spectral.samples import Reservoir, WholeRows
from hoi_captum.methods.graph_spectral.saving import read_fitted, some_weights, write_fitted
from hoi_captum.methods.graph_spectral.units import LayoutUnits, Units

_LEARNED = (
    *("units_", "graph_", "quality_", "groups_", "membership_", "unit_mean_", "unit_std_", "unit_names"),
    *("layer_name_", "n_neurons_", "fit_rows_", "fit_seconds_"),
)
METHODS = ("probe", "layout")
TERMS = ("groups", "edges", "pairs")
N_NODES = 64  # of a probe's map, 8 x 8 as in the paper
MOST_SAMPLES = 20_000
MOST_ROWS = 1_000  # whose maps tell what is usual
_LEAST_ROWS = 20
_WELCOME = 0.8  # FVE below it is warned of
_USABLE = 0.5  # and below this refused
_DEAD = 0.25  # units
_ROUNDING = 4e-6  # of a float32 neuron's largest value: a standard deviation below it is none


class LayerMap(LayerMethod):
    """A layer method that has a map of units; arguments as of ``GraphSpectral``."""

    poolings: ClassVar[tuple[str, ...]] = ("each", "mean", "last", "none")
    _weights: list[float] | None = None  # of the model at fit, where it is seen

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        *,
        graph: Any = "grid",
        method: str = "probe",
        n_nodes: int | None = None,
        alpha: float = 0.1,
        pooling: str | Pooling = "each",
        neuron_dim: int | None = None,
        terms: str = "groups",
        n_groups: int | None = None,
        affinity: str | None = None,
        n_swaps: int | None = None,
        max_steps: int = 3000,
        learning_rate: float = 3e-3,
        held_out: float = 0.1,
        force: bool = False,
        max_players: int = 256,
        random_state: int = 42,
    ) -> None:
        super().__init__(forward_func, layer, device_ids, pooling=pooling, neuron_dim=neuron_dim)
        self.graph = check_graph(graph)
        self.method = check_choice("method", method, METHODS)
        self.n_nodes = None if n_nodes is None else check_count("n_nodes", n_nodes, low=2)
        given = None if is_learned(self.graph) else n_nodes_of(self.graph)
        if None not in (given, self.n_nodes) and given != self.n_nodes:
            raise OptionError(
                f"expected a graph of n_nodes={self.n_nodes} nodes, got one of {given}; leave n_nodes out"
            )
        self.alpha = check_number("alpha", alpha, low=0.0)
        self.terms = check_choice("terms", terms, TERMS)
        self.n_groups = None if n_groups is None else check_count("n_groups", n_groups)
        self.affinity = None if affinity is None else check_choice("affinity", affinity, AFFINITIES)
        if affinity is not None and not is_learned(self.graph):
            raise OptionError(f"expected affinity only with graph='learned', got {affinity!r}; leave it out")
        self.n_swaps = None if n_swaps is None else check_count("n_swaps", n_swaps, low=0)
        if n_swaps is not None and (method == "probe" or is_learned(self.graph)):
            raise OptionError(
                f"expected n_swaps only with method='layout' on a given graph, got {n_swaps}; leave it out"
            )
        self.schedule = GraphSchedule(
            warm_up=check_count("max_steps", max_steps, low=10) // 3, affinity=self.affinity or "knn"
        )
        self.held_out = check_number("held_out", held_out, low=0.01, high=0.5)
        self.force = check_flag("force", force)
        self.max_players = check_count("max_players", max_players)
        self.random_state = check_count("random_state", random_state, low=0)
        learning_rate = check_number("learning_rate", learning_rate, low=1e-8)
        self.training = Training(self.alpha, max_steps, learning_rate, self.random_state)

    # ---------------------------------------------------------------- learning
    def fit(
        self,
        data: Any,
        *,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Self:
        """Learn the map from what the layer gives for the data.

        The data are read once, batch by batch; 20,000 samples of them, drawn evenly, are kept meanwhile.

        Args:
            data: a Tensor, a tuple of Tensors (several inputs), a Dataset, or an iterable of batches such as
                a DataLoader; see :func:`hoi_captum.core.batches.batches`.
            additional_forward_args (Any, optional): as in Captum; an attention mask among them is heeded.
            attribute_to_layer_input (bool): explain what enters the layer. Default: False
            internal_batch_size (int, optional): rows of a forward pass, of data given whole. Default:
                None (64)
            show_progress (bool): bars on stderr. Default: False

        Returns:
            self

        Raises:
            InputError: a layer that does not run, too few rows, activations that are not finite or do not
                vary, or a graph of another size than the layer (``layout``).
            FidelityError: the units explain less than half of the layer's variance (``force=True`` accepts).
        """
        started = time.perf_counter()
        warn_of_training_mode(self.forward_func)
        reservoir = Reservoir(MOST_SAMPLES, self.random_state)
        whole = WholeRows(MOST_ROWS, MOST_SAMPLES, self.random_state)
        with preserved_state(self.forward_func):
            for rows in self._stream(
                self.forward_func,
                data,
                additional_forward_args=additional_forward_args,
                batch_size=internal_batch_size,
                at_input=attribute_to_layer_input,
                show_progress=show_progress,
            ):
                samples = self.pooling.samples(rows.tensors, rows.arguments.additional)
                reservoir.add(samples.values, samples.kept)
                whole.add(samples.values, samples.kept)
        if reservoir.n_rows < _LEAST_ROWS:
            raise InputError(
                f"expected at least {_LEAST_ROWS} rows to learn a map from, got {reservoir.n_rows}"
            )
        learning, judging = reservoir.split(self.held_out, self.random_state)
        mean, scale, constant = _standards(learning)
        units, graph = self._learn(learning, mean, scale, show_progress)
        seen = units.encode(learning).double().numpy()
        quality = _judged(units, graph, judging, seen, constant, len(learning))
        self._check(quality)
        groups, membership = self._groups(graph, seen)
        # nothing before this line changed what an earlier fit had learned
        self.units_, self.graph_, self.quality_ = units, graph, quality
        self._at_input, self.layer_name_ = attribute_to_layer_input, self._layer_name()
        self.n_neurons_ = samples.values.shape[-1]
        maps = seen
        if reservoir.seen != reservoir.n_rows:  # maps of inputs vary less than their tokens or positions
            maps = np.stack([units.encode(own).double().mean(0).numpy() for own in whole.rows() if len(own)])
        self.unit_mean_, self.unit_std_ = maps.mean(0), np.maximum(maps.std(0), 1e-12)
        self.groups_, self.membership_ = groups, membership
        self._weights = some_weights(self.forward_func)
        self.fit_rows_, self.fit_seconds_ = reservoir.n_rows, time.perf_counter() - started
        return self

    def _learn(
        self, samples: Tensor, mean: Tensor, scale: Tensor, show_progress: bool
    ) -> tuple[Units, NeuronGraph]:
        n = samples.shape[1]
        if self.method == "layout":
            if self.n_nodes not in (None, n):
                raise InputError(
                    f"expected n_nodes={n}, the layer's neurons, with a layout; got {self.n_nodes}"
                )
            return self._laid_out(samples, mean, scale, show_progress)
        if is_learned(self.graph):
            learner = GraphLearner(self.schedule)
            k = self.n_nodes or N_NODES
            probe = train_probe(samples, mean, scale, k, learner, self.training, show_progress=show_progress)
            assert learner.graph is not None
            if learner.phase != "learning":
                step, pieces = learner.zeros[-1]
                warnings.warn(
                    f"the learned graph fell apart into {pieces} pieces at step {step:,}, where learning "
                    "stopped: no edge says how they lie to each other; graph='grid' makes one picture",
                    DataWarning,
                    stacklevel=3,
                )
            return probe, learner.graph
        k = n_nodes_of(self.graph) or self.n_nodes or N_NODES
        graph = graph_for(self.graph, k, "units")
        probe = train_probe(samples, mean, scale, k, graph, self.training, show_progress=show_progress)
        return probe, graph

    def _laid_out(
        self, samples: Tensor, mean: Tensor, scale: Tensor, show_progress: bool
    ) -> tuple[Units, NeuronGraph]:
        n, rows = samples.shape[1], samples.double().numpy()
        if is_learned(self.graph):
            graph, still = graph_of_rows(rows, self.affinity or "adaptive", None)
            if not graph.is_connected:
                alone = f" ({int(still.sum())} of them constant neurons)" if still.any() else ""
                warnings.warn(
                    f"the learned graph has {int(graph.components.max()) + 1} pieces{alone} that nothing "
                    "joins: no edge says how they lie to each other; graph='grid' makes one picture",
                    DataWarning,
                    stacklevel=4,
                )
            return LayoutUnits(mean, scale, torch.arange(n)), graph
        graph = graph_for(self.graph, n)
        affinity, _ = correlations(rows)
        # a second or two, whatever the layer's size
        n_swaps = 60_000 if self.n_swaps is None else self.n_swaps
        order = assign_to_graph(
            affinity,
            graph.adjacency,
            graph.places(),
            n_swaps=n_swaps,
            seed=self.random_state,
            show_progress=show_progress,
        )
        return LayoutUnits(mean, scale, torch.as_tensor(order)), graph

    def _groups(
        self, graph: NeuronGraph, seen: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Groups of neighbours that are active together, and how much each unit goes with its group."""
        r, constant = correlations(seen)
        together = graph.adjacency * np.maximum(r, 0.0)
        labels = spectral_groups(NeuronGraph(together), self.n_groups, seed=self.random_state)
        labels[constant] = -1
        membership = np.zeros(len(labels))
        z = (seen - seen.mean(0)) / np.maximum(seen.std(0), 1e-12)
        for g in range(labels.max() + 1):
            inside = labels == g
            middle = z[:, inside].mean(1)
            spread = middle.std()
            if spread > 0:
                membership[inside] = np.clip(z[:, inside].T @ (middle / spread) / len(z), 0.0, 1.0)
        return labels, membership

    def _check(self, quality: MapQuality) -> None:
        """Refuse or warn of a map that says little about the layer."""
        killed = (
            f"alpha={self.alpha:g} leaves too little of the layer: use a smaller one, more steps or more "
            "nodes"
        )
        if not quality.fve >= _USABLE and not self.force:
            raise FidelityError(
                f"the units explain {quality.fve:.0%} of the layer's variance on samples that taught them "
                f"nothing, and {quality.dead:.0%} of them never vary; {killed}, give more data "
                f"({quality.n_samples:,} samples came), or accept it with force=True"
            )
        if not quality.fve >= _WELCOME or quality.dead > _DEAD:
            warnings.warn(
                f"the units explain {quality.fve:.0%} of the layer's variance on samples that taught them "
                f"nothing, and {quality.dead:.0%} of them never vary; {killed}",
                FidelityWarning,
                stacklevel=3,
            )

    if not TYPE_CHECKING:  # a checker would take it that every attribute is there

        def __getattr__(self, name: str) -> Any:
            if name in _LEARNED:
                raise NotFittedError(
                    f"this {type(self).__name__} has no {name} yet; call fit(data) before using it"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _write(self, path: str | os.PathLike[str]) -> Path:
        return write_fitted(self, path)

    @classmethod
    def _read_file(cls, path: str | os.PathLike[str], *args: Any) -> Self:
        return read_fitted(cls, path, *args)

    def _parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options, and what was learned, but for units and graph."""
        options = {
            "method": self.method,
            "n_nodes": self.n_nodes,
            "alpha": self.alpha,
            "pooling": asdict(self.pooling),
            "terms": self.terms,
            "n_groups": self.n_groups,
            "affinity": self.affinity,
            "n_swaps": self.n_swaps,
            "max_steps": self.training.max_steps,
            "learning_rate": self.training.learning_rate,
            "held_out": self.held_out,
            "force": self.force,
            "max_players": self.max_players,
            "random_state": self.random_state,
        }
        names = ("layer_name_", "n_neurons_", "fit_rows_", "fit_seconds_", "_at_input", "_weights")
        return options, {name: getattr(self, name) for name in names}


def _standards(samples: Tensor) -> tuple[Tensor, Tensor, int]:
    """Means and scales of neurons, and how many are constant, which is said.

    Raises:
        InputError: none of them varies.
    """
    exact = samples.double()
    mean, spread = exact.mean(0), exact.std(0, correction=0)
    still = spread <= _ROUNDING * exact.abs().amax(0)
    count = int(still.sum())
    if count == samples.shape[1]:
        raise InputError(f"expected a layer whose neurons vary over the data, got {count} constant ones")
    if count:
        warnings.warn(
            f"{count} of {samples.shape[1]} neurons are constant over the data, and the map says nothing "
            "of them; more data, or the layer before a ReLU, may have them vary",
            DataWarning,
            stacklevel=3,
        )
    return mean.float(), torch.where(still, 1.0, spread).float(), count


def _judged(
    units: Units,
    graph: NeuronGraph,
    judging: Tensor,
    seen: NDArray[np.float64],
    constant: int,
    n_samples: int,
) -> MapQuality:
    read = units.encode(judging)
    said = (units.decode(read) - units.mean) / units.scale
    penalty = SmoothnessPenalty(graph, form="rayleigh")
    return MapQuality(
        fve=fraction_of_variance_explained(((judging - units.mean) / units.scale).numpy(), said.numpy()),
        roughness=float(penalty(read.double())),
        dead=float(dead_units(seen).mean()),
        constant=constant,
        n_samples=n_samples,
        n_judged=len(judging),
    )

"""GraphSpectralRegularizer: train a layer so that its neurons are laid out on a graph."""

from __future__ import annotations

import warnings
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hoi_captum.core.layers import check_cells, check_layer, tensors_in
from hoi_captum.core.options import check_choice, check_count, check_number
from hoi_captum.core.pooling import Pooling
from hoi_captum.errors import FidelityWarning, InputError, ModelOutputError, OptionError
from hoi_captum.graphs.neuron_graph import LAPLACIANS, NeuronGraph
from hoi_captum.graphs.penalty import FORMS, SmoothnessPenalty
from hoi_captum.graphs.predefined import check_graph, graph_for, is_learned
from hoi_captum.graphs.schedule import GraphLearner, GraphSchedule, check_schedule

SCALES = ("none", "first")
_WATCHED = 100  # steps after which the layer's health is looked at
_SHRUNK = 0.01  # of its first size: less is nothing
_DEAD_SHARE = 0.25  # more units than these died since the start
_CALIBRATION = 20  # steps whose scale is that of the layer
_WARM_UP = 100  # steps before a scale is taken, see the class


@dataclass(frozen=True)
class Health:
    """What the layer does in training.

    Attributes:
        step: of the regulariser.
        mean_size: mean absolute activation over the last hundred steps.
        dead: share of units that gave 0 in all of these steps.

    Examples::

        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh())
        >>> with hoi.GraphSpectralRegularizer(net[1], "ring") as regularizer:
        ...     for _ in range(100):
        ...         loss = net(torch.ones(1, 2)).sum() + regularizer.penalty()
        >>> regularizer.health_[0].step, regularizer.health_[0].dead
        (100, 0.0)
    """

    step: int
    mean_size: float
    dead: float


class GraphSpectralRegularizer:
    r"""A penalty on a layer's activations z in training, so that neighbours on a graph are alike.

    .. math:: \text{loss} = \text{task} + \alpha \cdot \text{mean}_b \; z_b^T L z_b

    It is a context: the layer is hooked while it lasts, and :meth:`penalty` is added to each step's loss
    (call ``model.gradient_checkpointing_disable()`` first: recomputed passes would be counted again).
    Passes in evaluation mode are not counted.

    Source: Tong et al., "Interpretable neuron structuring with graph spectral regularization",
    arXiv 1810.00424, section 3.

    Args:
        layer (torch.nn.Module): gives (rows, n), (rows, tokens, n), whose tokens are rows of their own, or
            (rows, n, height, width), whose positions are; n neurons are the nodes.
        graph: ``grid``, ``torus``, ``ring``, ``line``, ``tree``, ``star``, ``hierarchical``, ``learned``,
            (h, w) of a grid, an adjacency (n, n), or a :class:`~hoi_captum.graphs.NeuronGraph`.
            Default: grid
        alpha (float): weight of the penalty. Activations of about 1, and ``scale="first"``, want 0.01 to 0.1
            with ``raw``, and about 1 with ``rayleigh``. Default: 0.03
        form (str): ``raw``, ``rayleigh`` or ``heat``, see :class:`~hoi_captum.graphs.SmoothnessPenalty`.
            Default: raw
        laplacian (str): ``unnormalized``, ``symmetric`` or ``random-walk``. Default: unnormalized; of a
            learned graph symmetric
        scale (str): ``first`` divides z by its root mean square over the last 20 steps of the warm-up, so
            that ``alpha`` means the same in any layer; ``none`` takes it as it is, as in the paper. (A scale
            that went on to follow z would pull it to 0.) Default: none
        warm_up (int, optional): steps without a penalty. A new network's activations are next to nothing, and
            divided by these any ``alpha`` kills the layer: let the loss begin to fall first. (Digits, 1000
            steps of Adam at 1e-3: with 100 steps and ``alpha`` of 0.01 to 0.3 accuracies are 0.93 to 0.94, as
            without a penalty, Moran's I 0.5 to 0.7, whatever the layer is multiplied by; 1 is too much. At
            1e-4 it takes 500 steps.) Default: None (100 with ``scale="first"``, else 0; of a learned graph
            its schedule's)
        time (float): of ``heat``. Default: 1
        schedule (GraphSchedule, optional): of a learned graph. Default: None (the paper's)
        neuron_dim (int, optional): dimension of the neurons. Default: None (the last of three, otherwise the
            first behind the rows)

    Attributes:
        graph_: the graph in force; None before the first step and while a learned one warms up.
        health_: a :class:`Health` for each hundred steps.

    Raises:
        OptionError, InputError: arguments that cannot be used.

    Examples::

        >>> net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        >>> optimiser = torch.optim.Adam(net.parameters())
        >>> x, y = torch.randn(8, 6), torch.randint(2, (8,))
        >>> with hoi.GraphSpectralRegularizer(net[1], "grid") as regularizer:
        ...     loss = torch.nn.functional.cross_entropy(net(x), y) + regularizer.penalty()
        ...     loss.backward()
        ...     optimiser.step()
        >>> regularizer.graph_
        NeuronGraph(grid, 4 x 4: 16 nodes, 24 edges)
    """

    def __init__(
        self,
        layer: nn.Module,
        graph: Any = "grid",
        alpha: float = 0.03,
        *,
        form: str = "raw",
        laplacian: str | None = None,
        scale: str = "none",
        warm_up: int | None = None,
        time: float = 1.0,
        schedule: GraphSchedule | None = None,
        neuron_dim: int | None = None,
    ) -> None:
        check_layer(layer)
        self.layer, self.graph = layer, check_graph(graph)
        self.alpha = check_number("alpha", alpha, low=0.0)
        self.form = check_choice("form", form, FORMS)
        learned = is_learned(self.graph)
        default = "symmetric" if learned else "unnormalized"
        self.laplacian = check_choice("laplacian", default if laplacian is None else laplacian, LAPLACIANS)
        self.scale = check_choice("scale", scale, SCALES)
        self.time = check_number("time", time, low=0.0)
        if form == "heat" and not self.time:
            raise OptionError("expected time above 0 with form='heat', got 0, in which nothing diffuses")
        self.warm_up = _warm_up(warm_up, scale, learned)
        self.pooling = Pooling("each", neuron_dim)
        self.graph_: NeuronGraph | None = None
        self.health_: list[Health] = []
        schedule = check_schedule(schedule, learned)
        self._learner = GraphLearner(schedule or GraphSchedule()) if learned else None
        self._penalty: SmoothnessPenalty | None = None
        self._handle: RemovableHandle | None = None
        self._rows: list[Tensor] = []
        self._ran, self._step = False, 0
        # mean squares and mean sizes of the last steps without a penalty, or of the first ones with it
        self._first: deque[tuple[float, float]] = deque(maxlen=_CALIBRATION)
        self._warm = False  # there were steps without a penalty
        self._begun = False
        self._sizes: list[float] = []
        self._awake: Tensor | None = None
        self._warned = False

    @property
    def phase(self) -> str:
        """``warm-up``, ``on``; of a learned graph ``warm-up``, ``learning``, ``fallen apart``, ``done``."""
        if self._learner is None:
            return "warm-up" if self._step < self.warm_up else "on"
        return self._learner.phase

    @property
    def done(self) -> bool:
        """Whether a learned graph has fallen apart and its last steps are over: time to stop training."""
        return self.phase == "done"

    # ---------------------------------------------------------------- hooks
    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    def attach(self) -> Self:
        """Hook the layer, until :meth:`detach`; for trainers whose loop is not one's own."""
        if self._handle is None:
            self._handle = self.layer.register_forward_hook(self._keep)
        return self

    def detach(self) -> None:
        """Take the hook off the layer, and let go of activations."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self._rows, self._ran = None, [], False

    def _keep(self, module: nn.Module, args: Any, output: Any) -> None:
        self._ran = True
        if not module.training:
            return
        tensors = tensors_in(output)
        if not tensors:
            raise InputError(
                f"the output of the layer {type(module).__name__} holds no tensor; give another layer (see "
                "model.named_modules())"
            )
        if not tensors[0].numel():
            name = type(module).__name__
            raise InputError(
                f"expected at least one row of the layer {name}, got an empty batch; leave it out"
            )
        check_cells(tensors[0], self.pooling.neuron_dim)
        cells = self.pooling.samples(tensors[:1])
        # a copy: what follows may work in place
        self._rows.append(cells.values.flatten(0, 1).clone())

    # ---------------------------------------------------------------- the penalty
    def penalty(self) -> Tensor:
        """alpha times the roughness of what the layer gave since the last call, a number to add to the loss;
        0 in the warm-up, and after passes in evaluation mode.

        Raises:
            InputError: outside the context, or the layer did not run or gave no rows; a graph of another size
                than the layer.
            ModelOutputError: activations that are not finite.
        """
        if self._handle is None:
            raise InputError(
                "the layer is not hooked: use the regulariser as a context (with regularizer: ...), or "
                "call attach()"
            )
        if not self._ran:
            raise InputError(
                f"the layer {type(self.layer).__name__} did not run since the last penalty(); call it once "
                "for each forward pass, give a module that the model calls, and attach before the first pass "
                "of a compiled model"
            )
        rows, self._rows, self._ran = self._rows, [], False
        if not rows:
            return torch.zeros(())
        z = torch.cat(rows)
        self._check(z)
        self._step += 1
        penalty = self._penalty_for(z)
        waits = penalty is None or self._step <= self.warm_up
        self._begun = self._begun or not waits
        self._watch(z.detach())
        if penalty is None or waits:
            return z.new_zeros(())
        mean_square = self._at_first[0]
        if self.scale == "first" and mean_square > 0:
            z = z / mean_square**0.5
        return self.alpha * penalty(z)

    def _check(self, z: Tensor) -> None:
        name = type(self.layer).__name__
        if not bool(torch.isfinite(z.detach()).all()):
            raise ModelOutputError(
                f"expected finite activations, got NaN or infinity at the layer {name} in step "
                f"{self._step + 1:,}; lower the learning rate, or look for the step that made them"
            )

    @property
    def _at_first(self) -> tuple[float, float]:
        """Mean square and mean size of the layer where the penalty began."""
        squares, sizes = zip(*self._first, strict=True)
        return sum(squares) / len(squares), sum(sizes) / len(sizes)

    def _penalty_for(self, z: Tensor) -> SmoothnessPenalty | None:
        graph = self.graph_
        if self._learner is not None:
            graph = self._learner.advance(z)
        elif graph is None:
            graph = graph_for(self.graph, z.shape[1])
        if graph is None:
            return None
        if self._penalty is None or self._penalty.graph is not graph:
            self._penalty = SmoothnessPenalty(graph, laplacian=self.laplacian, form=self.form, time=self.time)
        self.graph_ = graph
        return self._penalty

    def _watch(self, z: Tensor) -> None:
        """The layer's scale, and whether it is still alive."""
        size = float(z.double().abs().mean())
        # what the penalty has changed already is no measure, unless there is no other
        if not self._begun or (not self._warm and len(self._first) < _CALIBRATION):
            self._first.append((float(z.double().square().mean()), size))
        self._warm = self._warm or not self._begun
        awake = (z != 0).any(0)
        self._awake = awake if self._awake is None else self._awake | awake
        self._sizes.append(size)
        if len(self._sizes) < _WATCHED:
            return
        dead = 1 - float(self._awake.double().mean())
        now = Health(self._step, sum(self._sizes) / len(self._sizes), dead)
        self.health_.append(now)
        self._sizes, self._awake = [], None
        shrunk = now.mean_size < _SHRUNK * self._at_first[1]
        died = now.dead - self.health_[0].dead > _DEAD_SHARE or now.dead > 1 - _DEAD_SHARE
        if (shrunk or died) and not self._warned and self.alpha and self._begun:
            self._warned = True
            said = self._of_a_shrunk_layer(now) if shrunk else self._of_dead_units(now)
            warnings.warn(said, FidelityWarning, stacklevel=3)

    def _of_a_shrunk_layer(self, now: Health) -> str:
        advice = "use a smaller alpha"
        if self.form != "rayleigh":
            advice += ", or form='rayleigh', which gains nothing by shrinking it"
        if self.scale == "first":
            advice += (
                f"; or a warm_up of more than {self.warm_up} steps, since scale='first' is that of its end"
                if self._learner is None
                else "; or a longer warm_up of the schedule, since scale='first' is that of its end"
            )
        dead = f", and {now.dead:.0%} of its units are always 0" if now.dead else ""
        return (
            f"alpha={self.alpha:g} is killing the layer: after {now.step} steps its mean absolute "
            f"activation is {now.mean_size:.3g} (at first {self._at_first[1]:.3g}){dead}; {advice}"
        )

    def _of_dead_units(self, now: Health) -> str:
        return (
            f"{now.dead:.0%} of the layer's units are always 0 after {now.step} steps with "
            f"alpha={self.alpha:g} ({self.health_[0].dead:.0%} in the first {_WATCHED}), though its mean "
            f"absolute activation is {now.mean_size:.3g}: they are holes in the map; a smaller alpha or "
            "learning rate keeps more of them"
        )


def _warm_up(given: int | None, scale: str, learned: bool) -> int:
    """Steps without a penalty; those of a learned graph's schedule are counted there.

    Raises:
        OptionError: no number, or one beside a schedule.
    """
    if learned and given is not None:
        raise OptionError(
            f"expected warm_up only with a given graph, got {given!r} with graph='learned'; "
            "schedule=GraphSchedule(warm_up=...) has that of a learned one"
        )
    if given is not None:
        return check_count("warm_up", given, low=0)
    return _WARM_UP if scale == "first" and not learned else 0

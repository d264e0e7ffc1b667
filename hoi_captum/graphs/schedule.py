"""A graph that is learned while a network is trained: warm-up, rebuilding, and when to stop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hoi_captum.core.options import check_choice, check_count, check_number
from hoi_captum.errors import OptionError
from hoi_captum.graphs.affinities import AFFINITIES, graph_of_rows
from hoi_captum.graphs.neuron_graph import NeuronGraph

PHASES = ("warm-up", "learning", "fallen apart", "done")
_KEPT_ROWS = 512  # of activations, whatever the size of a batch


@dataclass(frozen=True)
class GraphSchedule:
    """When a learned graph is made, and when it is left alone.

    Source: Tong et al., section 3.2 and the authors' experiments.

    Attributes:
        warm_up: steps without a penalty, in which neurons find what they are about. Default: 5000
        rebuild_every: steps from one graph to the next. Default: 100
        cooling: steps that follow once the graph has fallen apart; then there is no penalty any more, and
            ``done`` is True. Default: 200
        tolerance: eigenvalues of the symmetric Laplacian below it count as 0; a graph with more than one of
            these has fallen apart. Default: 1e-3
        affinity, n_neighbors: as of :func:`~hoi_captum.graphs.learned_graph`. Default: knn, 5

    Raises:
        OptionError: a number outside its range.

    Examples::

        >>> hoi.graphs.GraphSchedule(warm_up=100, rebuild_every=50).cooling
        200
        >>> hoi.graphs.GraphSchedule(warm_up=-1)
        Traceback (most recent call last):
            ...
        hoi_captum.errors.OptionError: expected warm_up to be an int >= 0, got -1
    """

    warm_up: int = 5000
    rebuild_every: int = 100
    cooling: int = 200
    tolerance: float = 1e-3
    affinity: str = "knn"
    n_neighbors: int | None = None

    def __post_init__(self) -> None:
        check_count("warm_up", self.warm_up, low=0)
        check_count("rebuild_every", self.rebuild_every)
        check_count("cooling", self.cooling, low=0)
        check_number("tolerance", self.tolerance, low=0.0)
        check_choice("affinity", self.affinity, AFFINITIES)
        if self.n_neighbors is not None:
            check_count("n_neighbors", self.n_neighbors, low=2)


def check_schedule(schedule: Any, learned: bool) -> GraphSchedule | None:
    """A schedule that was given, which only a learned graph has.

    Raises:
        OptionError: of another type, or of a graph that is given.
    """
    if schedule is not None and not isinstance(schedule, GraphSchedule):
        raise OptionError(
            f"expected schedule to be a hoi_captum.graphs.GraphSchedule, got {type(schedule).__name__}"
        )
    if schedule is not None and not learned:
        raise OptionError(
            "expected schedule only with graph='learned', got one with a given graph; leave it out"
        )
    return schedule


@dataclass
class GraphLearner:
    """A graph on its way through a schedule.

    Attributes:
        schedule: as given.
        graph: the one in force; None before the first.
        phase: one of ``PHASES``.
        step: how many there were.
        zeros: (step, eigenvalues that count as 0) of each graph that was made.

    Examples::

        >>> learner = hoi.graphs.GraphLearner(hoi.graphs.GraphSchedule(warm_up=1, rebuild_every=1))
        >>> z = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
        >>> learner.advance(z), learner.phase
        (None, 'warm-up')
        >>> learner.advance(z).n_nodes, learner.phase
        (8, 'learning')
    """

    schedule: GraphSchedule
    graph: NeuronGraph | None = None
    phase: str = "warm-up"
    step: int = 0
    zeros: list[tuple[int, int]] = field(default_factory=list)
    _rows: deque[Tensor] = field(default_factory=deque)
    _apart_at: int = 0

    def advance(self, activations: Tensor) -> NeuronGraph | None:
        """The graph for this step; None where there is no penalty.

        Args:
            activations: (m, n) of the step's batch; some 512 of the last rows are remembered.
        """
        plan = self.schedule
        self._remember(activations)
        self.step += 1
        if self.phase == "fallen apart" and self.step > self._apart_at + plan.cooling:
            self.phase = "done"
        if self.phase == "warm-up" and self.step > plan.warm_up:
            self.phase = "learning"
        due = self.graph is None or (self.step - plan.warm_up - 1) % plan.rebuild_every == 0
        if self.phase == "learning" and due:
            self._rebuild()
        return self.graph if self.phase in ("learning", "fallen apart") else None

    def _rebuild(self) -> None:
        rows = torch.cat(tuple(self._rows)).cpu().double().numpy()
        if len(rows) < 8:  # too few to tell; the next step tries again
            return
        plan = self.schedule
        # units that a batch does not wake are common in training, and no news
        graph, constant = graph_of_rows(rows, plan.affinity, plan.n_neighbors)
        # a unit that no row wakes is no piece of the graph
        awake = np.flatnonzero(~constant)
        inner = NeuronGraph(graph.adjacency[np.ix_(awake, awake)]) if len(awake) else graph
        count = int(np.count_nonzero(inner.eigenvalues("symmetric") < plan.tolerance))
        self.zeros.append((self.step, count))
        if count > 1:
            self.phase, self._apart_at = "fallen apart", self.step
        # a graph in pieces still says which neurons are alike: it is the last one
        self.graph = graph

    def _remember(self, activations: Tensor) -> None:
        self._rows.append(activations.detach()[-_KEPT_ROWS:].clone())
        while sum(map(len, self._rows)) - len(self._rows[0]) >= _KEPT_ROWS:
            self._rows.popleft()

"""GraphSchedule and GraphLearner: when a learned graph is made, and when it is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hoi_captum.errors import OptionError
from hoi_captum.graphs import GraphLearner, GraphSchedule, learned_graph
from hoi_captum.graphs.schedule import PHASES


def joined(seed: int, m: int = 64) -> torch.Tensor:
    """One group of ten neurons."""
    random = torch.Generator().manual_seed(seed)
    latent = torch.randn(m, 1, generator=random)
    return latent + 0.8 * torch.randn(m, 10, generator=random)


def apart(seed: int, m: int = 64) -> torch.Tensor:
    """Two groups of five."""
    random = torch.Generator().manual_seed(seed)
    latent = torch.randn(m, 2, generator=random).repeat_interleave(5, 1)
    return latent + 0.1 * torch.randn(m, 10, generator=random)


def test_phases_follow_each_other() -> None:
    learner = GraphLearner(GraphSchedule(warm_up=5, rebuild_every=4, cooling=3, n_neighbors=3))
    phases, graphs = [], []
    for step in range(1, 24):
        graph = learner.advance(joined(step, 512) if step < 12 else apart(step, 512))
        phases.append(learner.phase)
        graphs.append(graph)
    # graphs of steps 6, 10 and 14, the last in pieces, which is kept for three steps more
    assert phases == ["warm-up"] * 5 + ["learning"] * 8 + ["fallen apart"] * 4 + ["done"] * 6
    assert [learner.zeros[i][0] for i in range(3)] == [6, 10, 14]
    assert [count for _, count in learner.zeros] == [1, 1, 2]
    assert [graph is None for graph in graphs] == [True] * 5 + [False] * 12 + [True] * 6
    kept = [next(i for i, g in enumerate(graphs) if g is graph) + 1 for graph in graphs[5:17]]
    assert kept == [6] * 4 + [10] * 4 + [14] * 4
    assert learner.graph is graphs[16]
    assert learner.step == 23
    assert set(phases) == set(PHASES)


def test_no_warm_up_and_no_cooling() -> None:
    learner = GraphLearner(GraphSchedule(warm_up=0, rebuild_every=1, cooling=0, n_neighbors=3))
    assert learner.advance(joined(0)) is not None
    assert learner.advance(apart(1, 512)) is not None
    assert learner.phase == "fallen apart"
    assert learner.advance(apart(2)) is None
    assert learner.phase == "done"


@pytest.mark.parametrize("affinity", ["knn", "correlation", "adaptive", "gaussian"])
def test_the_graph_is_that_of_the_rows_that_are_remembered(affinity: str) -> None:
    learner = GraphLearner(GraphSchedule(warm_up=2, affinity=affinity))
    batches = [joined(seed) for seed in range(3)]
    graph = [learner.advance(batch) for batch in batches][-1]
    assert graph is not None
    known = learned_graph(torch.cat(batches).double().numpy(), affinity)
    np.testing.assert_allclose(graph.adjacency, known.adjacency, atol=1e-10)


@pytest.mark.parametrize("m", [1, 30, 64, 300, 511, 512, 2000])
def test_about_512_rows_are_remembered(m: int) -> None:
    learner = GraphLearner(GraphSchedule(warm_up=10_000))
    given = torch.randn(m, 3, requires_grad=True)
    for _ in range(1200 // m + 3):
        learner.advance(given)
        rows = torch.cat(tuple(learner._rows))
        assert len(rows) < 512 + min(m, 512)
    assert len(rows) >= 512
    assert not rows.requires_grad
    assert rows.untyped_storage().nbytes() < 2 * 1024 * 3 * 4


def test_the_latest_rows_are_remembered() -> None:
    learner = GraphLearner(GraphSchedule(warm_up=10_000))
    for step in range(30):
        learner.advance(torch.full((100, 2), float(step)))
    assert set(torch.cat(tuple(learner._rows))[:, 0].tolist()) == {24.0, 25.0, 26.0, 27.0, 28.0, 29.0}
    learner.advance(torch.arange(2000.0).reshape(1000, 2))
    assert torch.cat(tuple(learner._rows))[-1].tolist() == [1998.0, 1999.0]


def test_activations_may_change_later() -> None:
    learner = GraphLearner(GraphSchedule(warm_up=10_000))
    given = torch.ones(4, 2)
    learner.advance(given)
    given.zero_()
    assert learner._rows[0].tolist() == [[1.0, 1.0]] * 4


def test_too_few_rows_are_tried_again_at_the_next_step() -> None:
    learner = GraphLearner(GraphSchedule(warm_up=0, rebuild_every=100, n_neighbors=3))
    assert learner.advance(joined(0, 4)) is None
    assert learner.advance(joined(1, 64)) is not None


def test_a_dead_unit_is_no_falling_apart() -> None:
    learner = GraphLearner(GraphSchedule(warm_up=0, n_neighbors=3))
    rows = joined(0, 512)
    rows[:, 4] = 0.0
    assert learner.advance(rows) is not None
    assert learner.phase == "learning"


def test_zeros_are_counted_by_the_tolerance() -> None:
    plan = {"warm_up": 0, "affinity": "correlation"}
    rows = torch.cat([joined(0, 256), apart(1, 256)])
    values = learned_graph(rows.double().numpy(), "correlation").eigenvalues("symmetric")
    middle = float(values[1:3].mean())
    for tolerance, count in ((1e-9, 1), (middle, 2)):
        learner = GraphLearner(GraphSchedule(tolerance=tolerance, **plan))  # type: ignore[arg-type]
        learner.advance(rows)
        assert learner.zeros == [(1, count)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warm_up": -1}, "expected warm_up to be an int >= 0"),
        ({"warm_up": 1.5}, "expected warm_up"),
        ({"rebuild_every": 0}, "expected rebuild_every to be an int >= 1"),
        ({"cooling": -1}, "expected cooling to be an int >= 0"),
        ({"tolerance": -1e-3}, "expected tolerance to be a number"),
        ({"tolerance": float("nan")}, "expected tolerance to be a number"),
        ({"affinity": "near"}, "expected affinity to be one of"),
        pytest.param({"n_neighbors": 1}, "expected n_neighbors to be an int >= 2"),
        pytest.param({"n_neighbors": "five"}, "expected n_neighbors to be an int >= 2"),
    ],
)
def test_other_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GraphSchedule(**options)


def test_defaults_are_the_paper_s() -> None:
    plan = GraphSchedule()
    assert (plan.warm_up, plan.rebuild_every, plan.cooling, plan.tolerance) == (5000, 100, 200, 1e-3)
    assert (plan.affinity, plan.n_neighbors) == ("knn", None)

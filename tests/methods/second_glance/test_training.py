"""Teaching a network: the split, the score by hand, and the state that a training ends in."""

from __future__ import annotations

import math
import random
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hoi_captum.errors import FidelityError
from hoi_captum.methods.second_glance.training import Score, Split, teach

NAN = math.nan


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(inputs: int, outputs: int, hidden: int = 16, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs)).double()


def parameters(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def taught(module: nn.Module, inputs: Tensor, targets: Tensor, split: Split, **options) -> tuple[int, float]:
    usual = {"max_steps": 200, "learning_rate": 0.01, "seed": 0}
    return teach(module, inputs, targets, split, **usual | options)


# ---------------------------------------------------------------- the split
@given(rows=st.integers(3, 400), validation=st.floats(0.01, 0.9), seed=st.integers(0, 1000))
def test_a_split_is_a_partition(rows, validation, seed):
    split = Split.of(rows, validation, seed)
    parts = [part.tolist() for part in (split.training, split.stopping, split.held_out)]
    assert sorted(chain(*parts)) == list(range(rows))
    assert all(parts)
    assert len(split.stopping) == len(split.held_out)
    assert abs(len(split.held_out) - rows * validation / 2) <= 1


def test_a_split_is_seeded_and_random():
    split, again, other = (Split.of(1000, 0.2, seed) for seed in (3, 3, 4))
    for part in ("training", "stopping", "held_out"):
        assert torch.equal(getattr(split, part), getattr(again, part))
        assert not torch.equal(getattr(split, part), getattr(other, part))
        # rows from everywhere: the mean of 100 out of 1000 has the standard deviation 27
        assert float(getattr(split, part).double().mean()) == pytest.approx(499.5, abs=110)


# ---------------------------------------------------------------- the score
def test_the_score_is_that_of_its_formula():
    found, targets, training = drawn(30, 4), drawn(30, 4, seed=1), drawn(50, 4, seed=2) + 0.5
    targets[::3, 1] = NAN
    targets[:, 3] = NAN
    training[::2, 1] = NAN
    training[5, 2] = NAN
    missed, whole = np.zeros(4), np.zeros(4)
    for output in range(4):
        taught_by = [float(t) for t in training[:, output] if not t.isnan()]
        mean = sum(taught_by) / len(taught_by)
        for said, target in zip(found[:, output], targets[:, output], strict=True):
            if not target.isnan():
                missed[output] += float(target - said) ** 2
                whole[output] += (float(target) - mean) ** 2
    score = Score.of(found, targets, training)
    np.testing.assert_allclose(score.r2[:3], 1 - missed[:3] / whole[:3], rtol=1e-12)
    assert math.isnan(score.r2[3])
    assert score.rows == 30
    assert score.pooled == pytest.approx(1 - missed.sum() / whole.sum(), rel=1e-12)


def test_scores_of_the_extremes():
    targets, training = drawn(30, 2), drawn(50, 2, seed=1)
    perfect = Score.of(targets, targets, training)
    assert perfect.r2.tolist() == [1, 1]
    assert perfect.pooled == 1
    mean = Score.of(training.mean(0).expand(30, 2), targets, training)
    assert mean.r2.tolist() == pytest.approx([0, 0], abs=1e-12)
    assert mean.pooled == pytest.approx(0, abs=1e-12)
    assert Score.of(-3 * targets, targets, training).pooled < -1
    nothing = Score.of(targets, torch.full((30, 2), NAN), training)
    assert nothing.r2.isnan().all()
    assert math.isnan(nothing.pooled)


def test_an_output_that_varies_by_rounding_only_has_no_score():
    targets, training = drawn(30, 2), drawn(50, 2, seed=1)
    for of in (targets, training):
        of[:, 1] = 0.1 + 1e-9 * of[:, 1]
    score = Score.of(torch.zeros_like(targets), targets, training)
    assert score.r2.isnan().tolist() == [False, True]
    for of in (targets, training):  # it counts where there is nothing larger
        of[:, 0] = 0.0
    said = 0.1 + torch.zeros_like(targets)
    assert float(Score.of(said, targets, training).r2[1]) == pytest.approx(0, abs=0.3)


def test_outputs_count_by_their_variance():
    training = torch.tensor([[0.0, 0.0]])
    targets = torch.tensor([[3.0, 1.0], [-3.0, -1.0]])
    score = Score.of(torch.tensor([[3.0, 0.0], [-3.0, 0.0]]), targets, training)
    assert score.r2.tolist() == [1, 0]
    assert score.pooled == pytest.approx(0.9)


# ---------------------------------------------------------------- the training
def test_a_training_ends_in_its_best_state_on_the_stopping_rows():
    # noise: the more it is learned, the worse other rows are predicted
    inputs, targets, split = drawn(40, 3), drawn(40, 3, seed=1), Split.of(40, 0.5, 0)
    module, seen = network(3, 3, 32), {}

    def look(step: int) -> None:
        assert not module.training
        with torch.no_grad():
            error = (module(inputs[split.stopping]) - targets[split.stopping]).square().mean()
        seen[step] = float(error)

    best, error = taught(module, inputs, targets, split, max_steps=1230, learning_rate=0.02, on_step=look)
    assert min(seen, key=seen.__getitem__) == best
    assert best < max(seen)
    assert error == pytest.approx(seen[best], rel=1e-12)
    assert max(seen.values()) > 1.2 * seen[best]
    step = max(seen) + 1
    look(step)
    assert seen[step] == pytest.approx(seen[best], rel=1e-12)
    assert not any(p.requires_grad for p in module.parameters())


def test_it_looks_every_fifty_steps_and_at_the_last_one():
    inputs = drawn(40, 2)
    steps: list[int] = []
    split, options = Split.of(40, 0.3, 0), {"max_steps": 130, "learning_rate": 1e-3}
    best, _ = taught(network(2, 2), inputs, inputs, split, on_step=steps.append, **options)
    assert steps == [50, 100, 130]
    assert best == 130  # it was still learning


def test_it_stops_after_a_thousand_steps_that_gain_nothing():
    inputs, targets = drawn(40, 3), drawn(40, 3, seed=1)
    steps: list[int] = []
    best, _ = taught(
        network(3, 3), inputs, targets, Split.of(40, 0.3, 0), max_steps=9000, on_step=steps.append
    )
    assert steps[-1] == best + 1000
    assert steps == list(range(50, steps[-1] + 1, 50))


def test_it_learns_what_is_there_and_nothing_of_what_is_not():
    inputs = drawn(60, 2)
    weight = torch.tensor([[1.0, -0.5], [0.3, 0.8]], dtype=torch.float64)
    targets = inputs @ weight.T + torch.tensor([0.2, -0.4])
    # an output that is nowhere is left as it was
    gone = torch.rand(60, 2, generator=torch.Generator().manual_seed(2)) < 0.4
    targets = torch.cat([targets.masked_fill(gone, NAN), torch.full((60, 1), NAN)], 1)
    torch.manual_seed(0)
    module = nn.Linear(2, 3).double()
    before = module.weight[2].clone()
    taught(module, inputs, targets, Split.of(60, 0.2, 0), max_steps=1500)
    torch.testing.assert_close(module.weight[:2].detach(), weight, rtol=0, atol=1e-4)
    assert module.bias[:2].tolist() == pytest.approx([0.2, -0.4], abs=1e-4)
    assert torch.equal(module.weight[2], before)


@pytest.mark.parametrize("part", ["held_out", "stopping", "training"])
def test_what_rows_have_a_say_in(part):
    inputs, targets, split = drawn(50, 2), drawn(50, 2, seed=1), Split.of(50, 0.4, 0)
    moved = targets.clone()
    moved[getattr(split, part)] += 10 * drawn(len(getattr(split, part)), 2, seed=2)
    found = []
    for steps in (2, 300):
        for aims in (targets, moved):
            module = network(2, 2)
            taught(module, inputs, aims, split, max_steps=steps)
            found.append(parameters(module))
    same = torch.equal(found[0], found[1]), torch.equal(found[2], found[3])
    # those that stop it say which state is the best, and are not learned from
    assert same == {"held_out": (True, True), "stopping": (True, False), "training": (False, False)}[part]


@pytest.mark.parametrize("rows", [100, 600])
def test_the_same_seed_gives_the_same_bits(rows):
    inputs, targets, split = drawn(rows, 3), drawn(rows, 3, seed=1), Split.of(rows, 0.2, 0)
    found = []
    for seed in (0, 0, 1):
        module = network(3, 3)
        torch.manual_seed(100 + len(found))  # what others have drawn must not matter
        taught(module, inputs, targets, split, max_steps=60, seed=seed)
        found.append(parameters(module))
    assert torch.equal(found[0], found[1])
    # mini-batches are drawn where there are more than 256 rows; below, all rows are in each
    assert torch.equal(found[0], found[2]) == (rows == 100)


def test_random_numbers_and_threads_are_left_alone():
    module = network(3, 3)
    random.seed(1)
    state, threads = (torch.get_rng_state(), np.random.get_state()[1].copy()), torch.get_num_threads()  # noqa: NPY002
    drawn_by_python = random.getstate()
    with torch.no_grad():
        taught(module, drawn(600, 3), drawn(600, 3, seed=1), Split.of(600, 0.2, 0), max_steps=60)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert random.getstate() == drawn_by_python
    assert torch.get_num_threads() == threads


def test_a_network_is_trained_in_its_training_mode_and_left_in_the_other():
    modes: list[bool] = []

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.append(self.training)
            return super().forward(x)

    module = Watched(2, 2).double().eval()
    taught(module, drawn(20, 2), drawn(20, 2, seed=1), Split.of(20, 0.2, 0), max_steps=51)
    assert modes == [True] * 50 + [False, True, False]
    assert not module.training


# ---------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize("bad", [math.inf, 1e200])
def test_an_error_that_is_not_finite_is_refused(bad):
    targets = drawn(20, 2)
    targets[:, 0] = bad
    with pytest.raises(FidelityError, match=r"not finite from the start; give a smaller learning_rate"):
        taught(network(2, 2), drawn(20, 2), targets, Split.of(20, 0.2, 0), max_steps=60)


def test_a_training_that_breaks_down_keeps_its_best_state():
    class Breaking(nn.Linear):
        steps = 0

        def forward(self, x: Tensor) -> Tensor:
            self.steps += self.training
            return super().forward(x) * (NAN if self.steps == 120 and self.training else 1)

    torch.manual_seed(0)
    module, inputs, states = Breaking(2, 2).double(), drawn(40, 2), {}

    def look(step: int) -> None:
        states[step] = parameters(module)

    best, _ = taught(module, inputs, inputs, Split.of(40, 0.2, 0), max_steps=400, on_step=look)
    assert best == 100
    assert states[150].isnan().all()
    assert torch.equal(parameters(module), states[100])

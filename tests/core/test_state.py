"""Models and random numbers are left as they were found, whatever happens."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from hoi_captum.core.state import (
    evaluation_mode,
    frozen,
    module_behind,
    preserved_rng,
    preserved_state,
    single_thread,
    unwrapped,
    warn_of_training_mode,
)
from hoi_captum.errors import TrainingModeWarning


class Oops(Exception):
    pass


def leave(context, work, fails: bool) -> None:
    try:
        with context:
            work()
            if fails:
                raise Oops
    except Oops:
        assert fails
    else:
        assert not fails


def model() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)))
    net[1].eval()  # mixed, as in fine-tuning
    net[0].weight.requires_grad_(False)
    return net


def flags(net: nn.Module) -> list[bool]:
    return [m.training for m in net.modules()] + [p.requires_grad for p in net.parameters()]


def draw() -> tuple:
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("context", [preserved_rng, preserved_state])
def test_random_numbers_go_on_as_if_nothing_was_drawn(context, fails):
    def seed() -> None:
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        torch.manual_seed(3)

    seed()
    expected = draw()
    seed()
    leave(context(), draw, fails)
    assert draw() == expected
    seed()
    leave(context(), lambda: torch.manual_seed(99), fails)
    assert draw() == expected


@pytest.mark.parametrize("fails", [False, True])
def test_flags_of_every_model_come_back(fails):
    nets = [model(), model()]
    before = [flags(net) for net in nets]

    def meddle() -> None:
        for net in nets:
            net.eval()
            net.requires_grad_(False)
            net[0].train()
            net[0].weight.requires_grad_(True)
        assert [flags(net) for net in nets] != before

    leave(preserved_state(*nets, lambda x: x, 3), meddle, fails)
    assert [flags(net) for net in nets] == before


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_mode(fails):
    nets = [model(), model()]
    before = [flags(net) for net in nets]

    def look() -> None:
        assert not any(m.training for net in nets for m in net.modules())

    leave(evaluation_mode(*nets), look, fails)
    assert [flags(net) for net in nets] == before


def test_evaluation_mode_leaves_batch_statistics_alone():
    net = model()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with evaluation_mode(net):
        first, second = net(torch.ones(4, 2)), net(torch.ones(4, 2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("fails", [False, True])
def test_threads(fails):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        leave(single_thread(), lambda: seen.append(torch.get_num_threads()), fails)
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_running_statistics_of_a_model_in_training_mode_are_restored():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with preserved_state(model):
        model(torch.randn(8, 3))
        assert not torch.equal(model[1].running_mean, before["1.running_mean"])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_training_mode_is_warned_of_where_it_matters():
    noisy = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    with pytest.warns(TrainingModeWarning, match="Dropout"):
        warn_of_training_mode(noisy)

    class Forward:
        module = noisy

    with pytest.warns(TrainingModeWarning):
        warn_of_training_mode(Forward())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_training_mode(noisy.eval(), nn.Linear(3, 4).train(), lambda x: x)


def test_the_module_behind_a_function_is_watched_over():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    class Forward:
        module = model

    mean = model[1].running_mean.clone()
    with preserved_state(Forward()):
        model(torch.randn(8, 3))
        model.eval()
    assert model.training
    assert torch.equal(model[1].running_mean, mean)


def compiled(net: nn.Module) -> nn.Module:
    return torch.compile(net, backend="eager")


WRAPPERS = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "parallel, compiled": lambda net: compiled(nn.DataParallel(net)),
    "compiled, parallel": lambda net: nn.DataParallel(compiled(net)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_is_the_model(wrap):
    net = model()
    wrapped = wrap(net)

    class Forward:
        module = wrapped

    before = flags(wrapped)
    assert unwrapped(wrapped) is unwrapped(net) is net
    assert module_behind(Forward()) is module_behind(wrapped) is net
    with pytest.warns(TrainingModeWarning, match="Sequential is in training mode"):
        warn_of_training_mode(wrapped)
    with frozen(wrapped), evaluation_mode(wrapped):
        assert not any(flags(net))
    assert flags(wrapped) == before


def test_a_model_with_a_part_called_module_is_no_wrapper():
    net = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert unwrapped(net) is net


def test_a_model_is_not_judged_by_its_length():
    class Empty(nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def __len__(self) -> int:
            return 0

    net = Empty()
    with frozen(net):
        assert not net.weight.requires_grad
    assert net.weight.requires_grad

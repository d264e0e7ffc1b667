"""Compiled models run as they were before, where compiled code would hide what is asked of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from hoi_captum.core.differentiable import differentiable
from hoi_captum.core.eager import eager
from hoi_captum.core.layers import tapped
from hoi_captum.core.softplus import SoftplusForReLU


class Tells(nn.Module):
    """Tells whether it is compiled: it adds 100 where it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.steps(x)
        return out if torch.compiler.is_compiling() else out + 100


@pytest.fixture
def compiled() -> Iterator[nn.Module]:
    """A model whose compiled code is there."""
    torch.manual_seed(0)
    model: nn.Module = torch.compile(Tells(), backend="eager")
    assert ran_compiled(model)
    yield model
    assert ran_compiled(model)  # again


def ran_compiled(model: nn.Module) -> bool:
    return bool((model(torch.ones(2, 3)) < 50).all())


def test_what_was_compiled_runs_eagerly(compiled: nn.Module) -> None:
    with eager():
        assert not ran_compiled(compiled)
        with eager():
            assert not ran_compiled(compiled)
        assert not ran_compiled(compiled)


def test_it_is_compiled_again_after_an_error(compiled: nn.Module) -> None:
    with pytest.raises(RuntimeError), eager():
        raise RuntimeError


def test_derivatives_hooks_and_modes_are_eager(compiled: nn.Module) -> None:
    seen: list[int] = []
    contexts = {
        "derivatives": differentiable(),
        "a hook": tapped(compiled.steps[1], lambda tensors: seen.append(len(tensors))),
        "a mode": SoftplusForReLU(5.0),
    }
    for name, context in contexts.items():
        with context:
            assert not ran_compiled(compiled), name
        assert ran_compiled(compiled), name
    assert seen == [1]


def test_nothing_is_asked_of_a_compiler_that_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    monkeypatch.delattr(torch.compiler, "set_stance")
    with eager():
        pass

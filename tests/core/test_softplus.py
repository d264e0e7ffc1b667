"""Softplus in the place of ReLUs, however they are written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _len_torch_function_stack

from hoi_captum.core.softplus import SoftplusForReLU

X = torch.linspace(-2, 2, 9, dtype=torch.float64)


def smooth(x: Tensor, beta: float) -> Tensor:
    return (1 + (beta * x).exp()).log() / beta


def in_place(call):
    def f(x: Tensor) -> Tensor:
        x = x.clone()
        call(x)  # what it gives is not used
        return x

    return f


WAYS = {
    "module": nn.ReLU(),
    "module-in-place": lambda x: nn.ReLU(inplace=True)(x.clone()),
    "functional": functional.relu,
    "functional-named": lambda x: functional.relu(input=x),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "functional-in-place": lambda x: functional.relu(x.clone(), inplace=True),
    "in-place": lambda x: x.clone().relu_(),
    "statement": in_place(lambda x: x.relu_()),
    "statement-torch": in_place(torch.relu_),
    "statement-functional": in_place(functional.relu_),
    "statement-flag": in_place(lambda x: functional.relu(x, True)),
    "statement-module": in_place(nn.ReLU(inplace=True)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("beta", [1.0, 10.0])
def test_relus_are_softplus(way, beta):
    with SoftplusForReLU(beta):
        found = WAYS[way](X)
    torch.testing.assert_close(found, smooth(X, beta), rtol=0, atol=1e-8)
    assert torch.equal(WAYS[way](X), X.clamp(min=0))


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives_are_those_of_softplus(way):
    x = X.clone().requires_grad_()
    with SoftplusForReLU(3.0):
        value = WAYS[way](x * 1).sum()
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    s = torch.sigmoid(3.0 * X)
    torch.testing.assert_close(first.detach(), s, rtol=0, atol=1e-12)
    torch.testing.assert_close(second, 3.0 * s * (1 - s), rtol=0, atol=1e-12)


def test_other_functions_stay():
    with SoftplusForReLU(10.0):
        assert torch.equal(functional.gelu(X), functional.gelu(X))
        assert torch.equal(functional.leaky_relu(X), torch.where(X > 0, X, 0.01 * X))


def test_it_ends_with_the_context_also_after_an_error():
    stack = _len_torch_function_stack()
    with pytest.raises(ValueError, match="stop"), SoftplusForReLU(10.0):
        raise ValueError("stop")
    assert _len_torch_function_stack() == stack
    assert torch.equal(torch.relu(X), X.clamp(min=0))

"""Networks that are taught gradients: written out by hand, and their derivatives against autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import functional
from torch.nn.functional import softplus

from hoi_captum.errors import OptionError
from hoi_captum.methods.second_glance.networks import (
    PotentialGradient,
    jacobian,
    own_network,
    paper_network,
    second_jacobian,
    softplus_network,
)

EXACT = {"rtol": 0, "atol": 1e-12}


def drawn(rows: int, units: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, units, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(build: Callable[..., nn.Module], *sizes: int, seed: int = 0) -> nn.Module:
    """A network in float64, with no parameter at zero."""
    network = build(*sizes).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    return network


def potential(network: PotentialGradient, z: Tensor) -> Tensor:
    """The network whose gradient it is, (n,)."""
    inner = softplus(z @ network.first.weight.T + network.first.bias)
    outer = softplus(inner @ network.second.weight.T + network.second.bias)
    return outer @ network.weight + z @ network.slope


def expected_jacobian(network: nn.Module, z: Tensor) -> Tensor:
    return torch.stack([functional.jacobian(lambda x: network(x.unsqueeze(0))[0], row) for row in z])


# ---------------------------------------------------------------- what they compute
def test_the_potentials_gradient_is_that_of_autograd():
    network, z = made(PotentialGradient, 4, 6), drawn(5, 4)
    x = z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(potential(network, x).sum(), x)
    torch.testing.assert_close(network(z), expected, **EXACT)


@given(units=st.integers(1, 5), hidden=st.integers(1, 8), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_jacobian_of_a_potentials_gradient_is_symmetric(units, hidden, seed):
    network, z = made(PotentialGradient, units, hidden, seed=seed), drawn(3, units, seed)
    found = jacobian(network, z)
    torch.testing.assert_close(found, found.transpose(1, 2), **EXACT)
    hessians = torch.stack([functional.hessian(lambda x: potential(network, x), row) for row in z])
    torch.testing.assert_close(found, hessians, **EXACT)


def test_a_new_potential_bends():
    torch.manual_seed(0)
    network = PotentialGradient(3, 16).double()
    assert jacobian(network, drawn(4, 3)).abs().amax(0).min() > 1e-4
    assert network.slope.tolist() == [0, 0, 0]


def test_networks_by_hand():
    z = drawn(6, 3)
    network = made(softplus_network, 3, 5, 7)
    w = [p.detach() for p in network.parameters()]
    expected = softplus(softplus(z @ w[0].T + w[1]) @ w[2].T + w[3]) @ w[4].T + w[5]
    torch.testing.assert_close(network(z), expected, **EXACT)
    assert [tuple(p.shape) for p in w] == [(7, 3), (7,), (7, 7), (7,), (5, 7), (5,)]
    network = made(paper_network, 3, 5, 7)
    w = [p.detach() for p in network.parameters()]
    h = (z @ w[0].T + w[1]).clamp(min=0)
    h = (h @ w[2].T + w[3]).clamp(min=0)
    h = 1 / (1 + torch.exp(-(h @ w[4].T + w[5])))
    torch.testing.assert_close(network(z), torch.tanh(h @ w[6].T + w[7]), **EXACT)


# ---------------------------------------------------------------- derivatives
@pytest.mark.parametrize(
    "network",
    [
        made(softplus_network, 4, 6, 5),
        made(softplus_network, 4, 2, 5),
        made(paper_network, 4, 4, 5),
        made(PotentialGradient, 4, 5),
    ],
    ids=["wide", "narrow", "paper", "potential"],
)
def test_the_jacobian_is_that_of_autograd(network):
    z = drawn(7, 4)
    found = jacobian(network, z)
    torch.testing.assert_close(found, expected_jacobian(network, z), **EXACT)
    assert not found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(jacobian(network, z), found, **EXACT)


@pytest.mark.parametrize("build", [softplus_network, paper_network, PotentialGradient])
def test_second_derivatives_are_those_of_autograd(build):
    network = made(build, *((4, 6) if build is PotentialGradient else (4, 4, 6)))
    z = drawn(3, 4)
    for row, found in zip(z, second_jacobian(network, z), strict=True):
        expected = torch.stack(
            [functional.hessian(lambda x, j=j: network(x.unsqueeze(0))[0, j], row) for j in range(4)]
        )
        torch.testing.assert_close(found, expected, **EXACT)
        assert found.abs().max() > 1e-3


def test_derivatives_of_what_does_not_depend_are_zero():
    class Constant(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.ones(len(z), 3, dtype=torch.float64)

    z = drawn(2, 3)
    assert jacobian(Constant(), z).tolist() == torch.zeros(2, 3, 3).tolist()
    assert second_jacobian(Constant(), z).tolist() == torch.zeros(2, 3, 3, 3).tolist()


class Cube(torch.autograd.Function):
    """With a reverse derivative, and no forward one."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


class Old(torch.autograd.Function):
    """Written the old way, which forward derivatives refuse."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


@pytest.mark.parametrize("function", [Cube, Old])
@pytest.mark.parametrize("derivatives", [jacobian, second_jacobian])
def test_a_module_without_forward_derivatives_is_refused(function, derivatives):
    class Own(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return function.apply(z)

    network = own_network(Own(), 2)
    with pytest.raises(OptionError, match=r"surrogate that can be differentiated forward \(torch.func.jvp\)"):
        derivatives(network, drawn(2, 2))


# ---------------------------------------------------------------- a module of one's own
def test_a_module_of_ones_own_is_copied():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    module[0].requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = own_network(module, 3)
    assert all(p.dtype == torch.float64 and p.requires_grad for p in network.parameters())
    assert not any(m.training for m in network.modules())
    assert int(network[1].num_batches_tracked) == 0
    with torch.no_grad():
        network[0].weight += 1
        network[1].running_mean += 1
    assert all(m.training for m in module.modules())
    assert [p.requires_grad for p in module[0].parameters()] == [False, False]
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name


def test_the_copy_computes_what_the_module_does():
    module = made(softplus_network, 3, 3, 4).float().eval()
    z = drawn(5, 3)
    torch.testing.assert_close(own_network(module, 3)(z), module(z.float()).double(), rtol=0, atol=1e-5)


class Doubled(nn.Module):
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z, z


class TwoArguments(nn.Module):
    def forward(self, z: Tensor, other: Tensor) -> Tensor:
        return z + other


class Unpacking(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        first, second = z.unbind(1)
        return torch.stack([first, second], 1)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(4, 3), "got a Linear that fails on such rows: .*shapes cannot be multiplied"),
        (TwoArguments(), "got a TwoArguments that fails on such rows: .*missing 1 required"),
        (Unpacking(), "got a Unpacking that fails on such rows: too many values to unpack"),
        (nn.Linear(3, 4), r"from \(rows, 3\) to \(rows, 3\), got \(2, 4\) for 2 rows"),
        (nn.Flatten(0), r"got \(6,\) for 2 rows"),
        (Doubled(), "got tuple for 2 rows"),
    ],
)
def test_modules_that_do_not_fit_are_refused(module, message):
    with pytest.raises(OptionError, match=message):
        own_network(module, 3)

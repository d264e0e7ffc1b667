"""Networks that are taught the gradients of a model, and their derivatives."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from hoi_captum.errors import OptionError


class PotentialGradient(nn.Module):
    r"""The gradient of a network with one output, so that its Jacobian is symmetric, as a Hessian is.

    The potential is :math:`w^T \sigma(W_2 \, \sigma(W_1 z + b_1) + b_2) + c^T z` with softplus as
    :math:`\sigma`; its gradient is written out, and costs no more than a plain network.

    Args:
        units: k, inputs and outputs.
        hidden: neurons in each of the two layers.
    """

    def __init__(self, units: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(units, hidden), nn.Linear(hidden, hidden)
        self.weight = nn.Parameter(torch.randn(hidden) / math.sqrt(hidden))
        self.slope = nn.Parameter(torch.zeros(units))

    def forward(self, z: Tensor) -> Tensor:
        before = self.first(z)
        above = self.second(functional.softplus(before))
        # softplus has the sigmoid as its derivative
        back = (torch.sigmoid(above) * self.weight) @ self.second.weight
        gradient: Tensor = (torch.sigmoid(before) * back) @ self.first.weight + self.slope
        return gradient


def softplus_network(units: int, outputs: int, hidden: int) -> nn.Module:
    """Two softplus layers and a linear output: smooth, so that it has derivatives of every order."""
    return nn.Sequential(
        nn.Linear(units, hidden),
        nn.Softplus(),
        nn.Linear(hidden, hidden),
        nn.Softplus(),
        nn.Linear(hidden, outputs),
    )


def paper_network(units: int, outputs: int, hidden: int) -> nn.Module:
    """The paper's for its bank data: ReLU, ReLU, sigmoid, and outputs in [-1, 1] by tanh."""
    return nn.Sequential(
        nn.Linear(units, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.Sigmoid(),
        nn.Linear(hidden, outputs),
        nn.Tanh(),
    )


def own_network(module: nn.Module, units: int) -> nn.Module:
    """A copy of a user's module, in float64, that was seen to map k numbers to k.

    Raises:
        OptionError: it does not.
    """
    network = copy.deepcopy(module).double().requires_grad_(True).eval()
    try:
        with torch.no_grad():
            found = network(torch.zeros(2, units, dtype=torch.float64))
    except Exception as error:  # whatever a module of somebody else's raises
        raise OptionError(
            f"expected a surrogate module from (rows, {units}) to (rows, {units}), got a "
            f"{type(module).__name__} that fails on such rows: {error}"
        ) from error
    if not isinstance(found, Tensor) or tuple(found.shape) != (2, units):
        came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise OptionError(
            f"expected a surrogate module from (rows, {units}) to (rows, {units}), got {came} for 2 rows"
        )
    return network


def jacobian(network: nn.Module, z: Tensor, spans: Tensor | None = None) -> Tensor:
    """Derivatives of outputs by inputs, (m, outputs, inputs); rows do not see each other.

    Args:
        network: of k inputs.
        z: (m, k).
        spans: (k, 2), the values of inputs that have only two, NaN of others. What lies between two values
            nothing was taught: such an input's derivative is the difference between them, by their distance.

    Raises:
        OptionError: a module with an operation that has no forward derivatives.
    """
    columns = [_derivative(network, z, unit, spans).detach() for unit in range(z.shape[1])]
    return torch.stack(columns, -1)


def second_jacobian(network: nn.Module, z: Tensor, spans: Tensor | None = None) -> Tensor:
    """Second derivatives of outputs by inputs, (m, outputs, inputs, inputs), as :func:`jacobian` takes them.

    Raises:
        OptionError: as :func:`jacobian`.
    """
    k = z.shape[1]
    out = z.new_zeros(len(z), k, k, k)
    for i in range(k):
        for j in range(i, k):
            both = _derivative(partial(_derivative, network, unit=i, spans=spans), z, j, spans).detach()
            out[:, :, i, j] = out[:, :, j, i] = both
    return out


def _derivative(function: Callable[..., Tensor], z: Tensor, unit: int, spans: Tensor | None) -> Tensor:
    """Derivatives by one input, for all rows at once."""
    if spans is not None and bool(spans[unit].isfinite().all()):
        low, high = z.clone(), z.clone()
        low[:, unit], high[:, unit] = spans[unit, 0], spans[unit, 1]
        difference: Tensor = (function(high) - function(low)) / (spans[unit, 1] - spans[unit, 0])
        return difference
    tangent = torch.zeros_like(z)
    tangent[:, unit] = 1.0
    try:
        with warnings.catch_warnings():  # the first call warns its users of torch's own use of torch.jit
            warnings.filterwarnings("ignore", r"`torch\.jit", FutureWarning)
            found: Tensor = torch.func.jvp(function, (z,), (tangent,))[1]
    except (NotImplementedError, RuntimeError) as error:
        raise OptionError(
            f"expected a surrogate that can be differentiated forward (torch.func.jvp), got one that cannot: "
            f"{error}"
        ) from error
    return found

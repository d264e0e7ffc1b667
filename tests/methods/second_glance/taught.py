"""ReLU and smooth networks that have learned a known function, so that their second derivatives are known.

Everything is seeded and leaves the random state as it was; each network trains in seconds on one thread.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

N_INPUTS = 4


def pair(x: Tensor) -> Tensor:
    """x1 x2 + x3; x4 does nothing."""
    return x[:, 0] * x[:, 1] + x[:, 2]


def triple(x: Tensor) -> Tensor:
    """x1 x2 x3 + x4."""
    return x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3]


def hessian_of_pair(x: Tensor) -> Tensor:
    """(n, 4, 4) float64."""
    out = torch.zeros(len(x), N_INPUTS, N_INPUTS, dtype=torch.float64)
    out[:, 0, 1] = out[:, 1, 0] = 1.0
    return out


def inputs(n: int, seed: int, width: int = N_INPUTS) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2 * torch.rand(n, width, generator=torch.Generator().manual_seed(seed)) - 1


def network(activation: type[nn.Module], seed: int, width: int = N_INPUTS) -> nn.Sequential:
    """Three hidden layers of 64, of random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for size in (width, 64, 64):
            layers += [nn.Linear(size, 64), activation()]
        return nn.Sequential(*layers, nn.Linear(64, 1))


def teach(
    function: Callable[[Tensor], Tensor],
    activation: type[nn.Module] = nn.ReLU,
    *,
    seed: int = 0,
    width: int = N_INPUTS,
    steps: int = 3000,
) -> nn.Sequential:
    """A network that has learned a function of uniform inputs."""
    model = network(activation, seed, width)
    data = inputs(20_000, seed=1000 + seed, width=width)
    truth = function(data)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(data), (256,), generator=generator)
        optimiser.zero_grad()
        functional.mse_loss(model(data[rows]).squeeze(1), truth[rows]).backward()
        optimiser.step()
        schedule.step()
    model.zero_grad()
    return model.eval().requires_grad_(False)


def r2(model: nn.Module, function: Callable[[Tensor], Tensor], width: int = N_INPUTS) -> float:
    """How well a network does what it was taught."""
    x = inputs(5000, seed=99, width=width)
    truth = function(x)
    with torch.no_grad():
        said = model(x).squeeze(1)
    return 1 - float((said - truth).square().mean() / truth.var(correction=0))


def exact_hessian(model: nn.Module, x: Tensor) -> Tensor:
    """By automatic differentiation, (n, k, k) float64."""
    double = x.double().requires_grad_()
    first = torch.autograd.grad(model.double()(double).sum(), double, create_graph=True)[0]
    rows = [torch.autograd.grad(first[:, i].sum(), double, retain_graph=True)[0] for i in range(x.shape[1])]
    model.float()
    return torch.stack(rows, 1).detach()


def first_model(x: Tensor, y: Tensor, train: Tensor, seed: int) -> nn.Sequential:
    """The paper's M1 of a table: three hidden layers of four ReLU neurons, which give the log-odds.

    Args:
        x: (n, features), standardised.
        y: (n,) 0 or 1.
        train: rows to learn from.
        seed: of weights and batches.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for size in (x.shape[1], 4, 4):
            layers += [nn.Linear(size, 4), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(4, 1))
    truth = y.to(x)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1500)
    for _ in range(1500):
        rows = train[torch.randint(len(train), (min(256, len(train)),), generator=generator)]
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], truth[rows]).backward()
        optimiser.step()
        schedule.step()
    model.zero_grad()
    return model.eval().requires_grad_(False)

"""Small models with known second derivatives, and all that a call may not leave changed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import _len_torch_function_stack

from hoi_captum.core.pair_table import PairInteractions
from tests.core.gated_models import hooks, kernels

SHRUNK = 3e-4  # what the ridge takes of a slope, in parts of the largest


def drawn(rows: int, features: int, seed: int = 0) -> Tensor:
    """Numbers uniform in [-1, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(rows, features, generator=generator, dtype=torch.float64) - 1


def tokens() -> Tensor:
    """Two rows of five positions, (2, 5, 4)."""
    return torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def same(
    found: Sequence[PairInteractions], expected: Sequence[PairInteractions], tolerance: float = 1e-10
) -> None:
    """Whether tables have the same numbers."""
    for one, other in zip(found, expected, strict=True):
        assert one.players == other.players
        np.testing.assert_allclose(one.pairs, other.pairs, rtol=0, atol=tolerance)
        np.testing.assert_allclose(one.main, other.main, rtol=0, atol=tolerance)
        np.testing.assert_allclose(one.node_scores(), other.node_scores(), rtol=0, atol=10 * tolerance)


def quadratic(x: Tensor) -> Tensor:
    """Derivatives that a linear surrogate has exactly: 1 of the pair 0, 1 and -3 of 1, 3."""
    return x[:, 0] * x[:, 1] - 3 * x[:, 1] * x[:, 3] + x[:, 2].square() + 2 * x[:, 0]


def cubic(x: Tensor) -> Tensor:
    """x0 x1 x2 and a pair; of the second degree in no surrogate but a quadratic one."""
    return x[:, :3].prod(1) + x[:, 0] * x[:, 3]


def relu_net(features: int = 4, outputs: int = 3) -> nn.Sequential:
    """Nothing smooth, random weights, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = (nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, outputs))
        return nn.Sequential(*steps).double().eval()


class Fails(nn.Module):
    """A model that raises after some passes, and draws random numbers in each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.passes, self.until = net, 0, 10**9

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        self.passes += 1
        if self.passes > self.until:
            raise ValueError("stop")
        return out


def state(*models: nn.Module) -> dict[str, Any]:
    """What a call has to leave as it was."""
    parameters = [p for m in models for p in m.parameters()]
    return {
        "hooks": hooks(*models),
        "training": [m.training for model in models for m in model.modules()],
        "requires_grad": [p.requires_grad for p in parameters],
        "values": [p.detach().tolist() for p in parameters],
        "gradients": [p.grad for p in parameters],
        "buffers": [b.clone().tolist() for m in models for b in m.buffers()],
        "kernels": kernels(),
        "modes": _len_torch_function_stack(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
    }

"""Networks whose maps are known, or which others can be computed of by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from hoi_captum import GraphSpectral
from hoi_captum.errors import DataWarning
from tests.methods import planted

QUICK = {"force": True, "max_steps": 300}


@dataclass(frozen=True, eq=False)
class Digits:
    """A network that knows digits, and those that it was not trained on."""

    net: nn.Sequential
    layer: nn.Module
    seen: Tensor
    x: Tensor
    y: Tensor

    def fit(self, **options: Any) -> GraphSpectral:
        with pytest.warns(DataWarning, match="of 64 neurons are constant over the data"):
            return GraphSpectral(self.net, self.layer, **options).fit(self.seen)


def digits() -> Digits:
    """64-128-64-10 with ReLU, trained by 2000 steps of Adam."""
    x, y = load_digits(return_X_y=True)
    split = train_test_split((x / 16).astype(np.float32), y, test_size=0.3, stratify=y, random_state=0)
    seen, x, labels, y = (torch.as_tensor(part) for part in split)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        adam = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(2000):
            rows = torch.randint(len(seen), (128,))
            adam.zero_grad()
            functional.cross_entropy(net(seen[rows]), labels[rows]).backward()
            adam.step()
    net.zero_grad()
    return Digits(net.eval(), net[3], seen, x, y)


def mlp(behind: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """6-12(tanh)-8-3; ``[1]`` is the layer of the tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, 8), behind(), nn.Linear(8, 3)
        )
    return net.eval()


def conv() -> nn.Sequential:
    """Channels of 6 x 6 positions at ``[1]``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 2)
        )
    return net.eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted_groups() -> tuple[nn.Sequential, Tensor, NDArray[np.int64]]:
    """48 neurons, 6 groups of 8: a group's neurons share a latent, and have noise of their own."""
    g = torch.Generator().manual_seed(0)
    groups = torch.randperm(48, generator=g) % 6
    first = nn.Linear(54, 48, bias=False)
    weight = torch.zeros(48, 54)
    weight[torch.arange(48), groups] = 1.0
    weight[torch.arange(48), 6 + torch.arange(48)] = 0.5
    first.weight.data = weight
    net = nn.Sequential(first, nn.Tanh(), nn.Linear(48, 2)).eval()
    return net, noise(1000, 54), groups.numpy()


class MaskedBert(nn.Module):
    """A planted BERT that takes an attention mask."""

    def __init__(self, scores: planted.BertScores | planted.LlamaScores) -> None:
        super().__init__()
        self.model = copy.deepcopy(scores.model)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embeddings, attention_mask=mask).logits
        return logits if logits.dim() == 2 else logits[:, -1]


def said(method: GraphSpectral, z: Tensor) -> Tensor:
    """V u + c, step by step, of neurons in the last dimension; probes only."""
    units = method.units_
    u = activations(method, z)
    return (u @ units.decoder.to(z).T + units.back.to(z)) * units.scale.to(z) + units.mean.to(z)


def activations(method: GraphSpectral, z: Tensor) -> Tensor:
    units = method.units_
    standard = (z - units.mean.to(z)) / units.scale.to(z)
    return (standard @ units.encoder.to(z).T + units.bias.to(z)).clamp(min=0)

"""Networks whose neurons are copies and mixtures of known groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

GROUPS = 4


@dataclass(frozen=True)
class Planted:
    """A model, one of its layers, data, and the group of each neuron (-1: a neuron of its own)."""

    model: Any
    layer: nn.Module
    data: Tensor
    groups: NDArray[np.int64]


def mixing(neurons: int, sources: int, seed: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Weights (neurons, sources): three quarters of the neurons are noisy copies, of either sign, of one of
    the first ``GROUPS`` sources; the others have a source each.
    """
    g = torch.Generator().manual_seed(seed)
    groups = np.full(neurons, -1)
    weight = torch.zeros(neurons, sources)
    members = torch.randperm(neurons, generator=g)
    grouped = 3 * neurons // 4
    for rank, neuron in enumerate(members.tolist()):
        if rank < grouped:
            groups[neuron] = rank % GROUPS
            sign = 1.0 if torch.rand(1, generator=g) < 0.7 else -1.0
            weight[neuron, groups[neuron]] = sign * (0.5 + float(torch.rand(1, generator=g)))
        own = GROUPS + rank  # noise of its own
        weight[neuron, own] = 0.4 if rank < grouped else 1.0
    return weight, groups


def planted_mlp(neurons: int = 40, seed: int = 0) -> Planted:
    """A hidden layer of tanh units that mix the inputs."""
    weight, groups = mixing(neurons, GROUPS + neurons, seed)
    first = nn.Linear(weight.shape[1], neurons, bias=False)
    first.weight.data = weight
    model = nn.Sequential(first, nn.Tanh(), nn.Linear(neurons, 3)).eval()
    data = torch.randn(600, weight.shape[1], generator=torch.Generator().manual_seed(seed + 1))
    return Planted(model, model[1], data, groups)


def planted_bert(seed: int = 0) -> Planted:
    """A real BERT: the dense layer that ends its second block mixes the units before it, in groups."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96
    )
    model = BertForSequenceClassification(config).eval()
    weight, groups = mixing(32, GROUPS + 32, seed)
    dense = model.bert.encoder.layer[1].output.dense
    # units before it are correlated: whitened on their own data, they are sources
    embeddings = torch.randn(500, 6, 32, generator=torch.Generator().manual_seed(seed + 1))
    before: list[Tensor] = []
    hook = dense.register_forward_pre_hook(lambda module, args: before.append(args[0]))
    with torch.no_grad():
        model(inputs_embeds=embeddings)
    hook.remove()
    units = before[0].mean(1)
    centred = (units - units.mean(0)).double()
    _, singular, right = torch.linalg.svd(centred / len(units) ** 0.5, full_matrices=False)
    sources = right[: weight.shape[1]] / singular[: weight.shape[1], None]
    dense.weight.data = (weight.double() @ sources).float()
    dense.bias.data = -(dense.weight.data @ units.mean(0))
    return Planted(lambda x: model(inputs_embeds=x).logits, dense, embeddings, groups)


def planted_resnet(seed: int = 0) -> Planted:
    """A torchvision ResNet: the second convolution of its last block mixes the channels before it."""
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(seed)
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3).eval()
    block = model.layer2[0]
    neurons = block.conv2.out_channels
    images = torch.randn(400, 3, 24, 24, generator=torch.Generator().manual_seed(seed + 1))
    images += torch.randn(400, 3, 1, 1, generator=torch.Generator().manual_seed(seed + 2))
    before: list[Tensor] = []
    hook = block.conv2.register_forward_pre_hook(lambda module, args: before.append(args[0]))
    with torch.no_grad():
        model(images)
    hook.remove()
    pooled = before[0].mean((2, 3)).double()
    centred = pooled - pooled.mean(0)
    _, singular, right = torch.linalg.svd(centred / len(pooled) ** 0.5, full_matrices=False)
    weight, groups = mixing(neurons, GROUPS + neurons, seed)
    kept = min(weight.shape[1], int((singular > 1e-6).sum()))
    # a 1 x 1 convolution, so that the mean over positions mixes the means before it
    sources = right[:kept] / singular[:kept, None]
    conv = nn.Conv2d(neurons, neurons, 1, bias=False)
    conv.weight.data = (weight[:, :kept].double() @ sources).float().view(neurons, neurons, 1, 1)
    block.conv2 = conv
    return Planted(model, conv, images, groups)

r"""Real networks with a layer whose neurons are noisy copies of four hidden causes.

The inputs of a linear layer, pooled over tokens, are whitened on the data at hand; what comes out of it then
has exactly the covariance of :math:`z_i = w_i s_{g(i)} + \sigma e_i`, whatever the network does before.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from hoi_captum import zoo
from tests.matrix.samples import (
    Sample,
    bert_sample,
    cnn_sample,
    llama_sample,
    with_images,
    with_texts,
)

CAUSES = 4
NOISE = 0.4  # sigma
INPUTS = 200  # to learn from
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}


@dataclass(frozen=True, eq=False)
class Planted:
    """A network and what is hidden in its layer.

    Attributes:
        sample: with the layer and the data.
        groups: (n,) the cause of each neuron.
        copies: (n,) w, how strongly it shows it.
    """

    sample: Sample
    groups: NDArray[np.int64]
    copies: NDArray[np.float64]

    def total_correlations(self) -> list[float]:
        r"""Of each group, in nats: :math:`-\frac12 \ln \det R` of its correlations, in closed form."""
        found = []
        for cause in range(CAUSES):
            ratio = (self.copies[self.groups == cause] / NOISE) ** 2
            found.append(float(np.log1p(ratio).sum() - np.log1p(ratio.sum())) / 2)
        return found

    def neurons(self, inputs: Sequence[Tensor]) -> NDArray[np.float64]:
        """What the layer gives, the mean over tokens, (rows, n)."""
        return _pooled(self.sample, inputs, before=False).numpy()


def planted_bert(folder: Path) -> Planted:
    """The dense layer that ends a BERT's second block; a directory of HuggingFace's."""
    tokenizer = zoo.load("sentiment-bert-a").processor
    labels = ("negative", "positive")
    config = BertConfig(
        vocab_size=len(tokenizer),
        id2label=dict(enumerate(labels)),
        label2id={label: column for column, label in enumerate(labels)},
        **SIZE,
    )
    model = _random(BertForSequenceClassification, config)
    sample = bert_sample(model, tokenizer, str(folder / "bert"))
    return _saved(_planted(_reading(sample, folder), "bert.encoder.layer.1.output.dense"))


def planted_llama(folder: Path) -> Planted:
    """The projection that ends a LLaMA's second block; a directory of HuggingFace's."""
    tokenizer = zoo.load("sentiment-llama-a").processor
    model = _random(LlamaForCausalLM, LlamaConfig(vocab_size=len(tokenizer), **SIZE))
    sample = llama_sample(model, tokenizer, str(folder / "llama"))
    return _saved(_planted(_reading(sample, folder), "model.layers.1.mlp.down_proj"))


def planted_vgg(folder: Path) -> Planted:
    """The first linear layer of a torchvision VGG that reads digits; in a zoo of its own."""
    model, transforms = zoo.load("digits-vgg")
    sample = cnn_sample(model, transforms, "zoo:planted-vgg", folder)
    images = [image for image, _ in zoo.samples("digits-vgg", INPUTS)]
    planted = _planted(with_images(sample, images, folder / "images"), "classifier.0")
    home = folder / "zoo" / "planted-vgg"
    shutil.copytree(zoo.path("digits-vgg"), home)
    save_file(model.state_dict(), home / "model.safetensors")
    return replace(planted, sample=replace(planted.sample, zoo=home.parent))


def _random(kind: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config).eval()


def _reading(sample: Sample, folder: Path) -> Sample:
    """With real reviews to learn from."""
    reviews = [text for text, _ in zoo.samples("sentiment-bert-a", INPUTS)]
    return with_texts(sample, reviews, folder / f"reviews-{Path(sample.source).name}.txt")


def _planted(sample: Sample, layer: str) -> Planted:
    """Change the layer's weights so that it has the causes."""
    sample = replace(sample, layer=layer)
    linear = sample.model.get_submodule(layer)
    n = linear.out_features
    generator = torch.Generator().manual_seed(0)
    groups = torch.randperm(n, generator=generator) % CAUSES
    copies = 0.5 + torch.rand(n, generator=generator, dtype=torch.float64)
    mixing = torch.cat([torch.zeros(n, CAUSES).double(), NOISE * torch.eye(n).double()], 1)
    mixing[torch.arange(n), groups] = copies
    assert sample.background is not None
    given = _pooled(sample, sample.background.tensors, before=True)
    middle = given.mean(0)
    _, sizes, directions = torch.linalg.svd((given - middle) / len(given) ** 0.5, full_matrices=False)
    signs = directions.sum(1).sign()  # either would do; the same on all machines
    weight = mixing @ (directions * (signs / sizes)[:, None])[: CAUSES + n]
    linear.weight.data = weight.float()
    if linear.bias is not None:
        linear.bias.data = -(weight @ middle).float()
    return Planted(sample, groups.numpy(), copies.numpy())


def _pooled(sample: Sample, inputs: Sequence[Tensor], *, before: bool) -> Tensor:
    """The layer's inputs or outputs, averaged over tokens, (rows, n) float64."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        values = args[0] if before else output
        found.append(values.double().mean(1) if values.dim() == 3 else values.double())

    handle = sample.model.get_submodule(sample.layer).register_forward_hook(keep)
    try:
        with torch.no_grad():
            for one in inputs:
                sample.run(sample.model, one)
    finally:
        handle.remove()
    return torch.cat(found)


def _saved(planted: Planted) -> Planted:
    """Written to where the sample's name says."""
    for part in (planted.sample.model, planted.sample.processor):
        part.save_pretrained(planted.sample.source)
    return planted

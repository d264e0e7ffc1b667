"""Small models with random weights, of each family that explanations are for, and with traps for a method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN, TOKENS = 16, 5


def _seeded(build: Callable[[], nn.Module], seed: int) -> Any:
    """Built with random weights of its own, in evaluation mode; the random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


class SmoothNet(nn.Module):
    """(B, 4) -> (B, 3), with tanh; ``inner`` has 8 neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)

    def forward(self, x: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        out: Tensor = self.last(self.inner(self.first(x + shift)))
        return out


class TwoInputs(nn.Module):
    """(B, 2) and (B, 3) -> (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.inner = nn.Linear(2, 6), nn.Linear(3, 6), nn.Tanh()
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.last(self.inner(self.left(x) * self.right(y)))
        return out


class StatefulNet(nn.Module):
    """(B, 4) -> (B, 2) with batch norm and dropout, which show whether flags and buffers are left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.inner = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh()
        self.dropout, self.last = nn.Dropout(0.5), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.dropout(self.inner(self.norm(self.first(x)))))
        return out


class FailedOnPurpose(Exception):
    """What :class:`FailsLater` raises."""


class FailsLater(nn.Module):
    """A model that gives an answer so many times, and then fails."""

    def __init__(self, model: nn.Module, passes: int = 1) -> None:
        super().__init__()
        self.model, self.passes = model, passes

    def forward(self, *inputs: Any) -> Any:
        self.passes -= 1
        if self.passes < 0:
            raise FailedOnPurpose("the model failed on purpose")
        return self.model(*inputs)


class ImageNet(nn.Module):
    """(B, 1, 8, 8) -> (B, 3): two convolutions with GELU, ``maps`` has 6 channels; smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.maps = nn.Conv2d(1, 6, 3, padding=1), nn.GELU()
        self.second, self.last = nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.Linear(6 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = functional.gelu(self.second(self.maps(self.first(x))))
        out: Tensor = self.last(z.flatten(1))
        return out


class EmbeddingScores(nn.Module):
    """A HuggingFace model as a function of its embeddings: (B, T, H) -> (B, classes or vocabulary).

    Attributes:
        model: the HuggingFace model.
        block: a layer of it that keeps (B, T, H).
    """

    def __init__(self, model: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.__dict__["block"] = block  # part of the model already

    def forward(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embeddings).logits
        return logits[:, -1] if logits.dim() == 3 else logits


def smooth_net(seed: int = 0) -> SmoothNet:
    """A :class:`SmoothNet` in evaluation mode.

    Args:
        seed (int): of the weights. Default: 0

    Returns:
        *torch.nn.Module*: (B, 4) -> (B, 3); its layer ``inner`` has 8 neurons.

    Examples::

        >>> from hoi_captum.testing import smooth_net
        >>> smooth_net()(torch.ones(2, 4)).shape
        torch.Size([2, 3])
    """
    net: SmoothNet = _seeded(SmoothNet, seed)
    return net


def two_inputs(seed: int = 0) -> TwoInputs:
    """A :class:`TwoInputs` in evaluation mode.

    Args:
        seed (int): of the weights. Default: 0

    Returns:
        *torch.nn.Module*: (B, 2) and (B, 3) -> (B, 2); its layer ``inner`` has 6 neurons.

    Examples::

        >>> from hoi_captum.testing import two_inputs
        >>> two_inputs()(torch.ones(2, 2), torch.ones(2, 3)).shape
        torch.Size([2, 2])
    """
    net: TwoInputs = _seeded(TwoInputs, seed)
    return net


def stateful_net(seed: int = 0) -> StatefulNet:
    """A :class:`StatefulNet` in evaluation mode.

    Args:
        seed (int): of the weights. Default: 0

    Returns:
        *torch.nn.Module*: (B, 4) -> (B, 2); its layer ``inner`` has 8 neurons.

    Examples::

        >>> from hoi_captum.testing import stateful_net
        >>> stateful_net()(torch.ones(2, 4)).shape
        torch.Size([2, 2])
    """
    net: StatefulNet = _seeded(StatefulNet, seed)
    return net


def tiny_cnn(seed: int = 0) -> ImageNet:
    """An :class:`ImageNet` in evaluation mode.

    Args:
        seed (int): of the weights. Default: 0

    Returns:
        *torch.nn.Module*: (B, 1, 8, 8) -> (B, 3); its layer ``maps`` has 6 channels.

    Examples::

        >>> from hoi_captum.testing import tiny_cnn
        >>> tiny_cnn()(torch.ones(2, 1, 8, 8)).shape
        torch.Size([2, 3])
    """
    net: ImageNet = _seeded(ImageNet, seed)
    return net


def tiny_bert(seed: int = 0, *, attention: str = "sdpa") -> EmbeddingScores:
    """A BERT of two layers and 16 dimensions with two classes, on embeddings.

    Args:
        seed: of the weights. Default: 0
        attention: ``attn_implementation``. Default: sdpa

    Returns:
        *torch.nn.Module*: embeddings (B, T, 16) -> (B, 2); its layer ``block`` gives (B, T, 16).

    Examples::

        >>> from hoi_captum.testing import tiny_bert
        >>> tiny_bert()(torch.ones(2, 5, 16)).shape  # two classes
        torch.Size([2, 2])
    """
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=2,
        initializer_range=0.3,
        attn_implementation=attention,
    )
    model = _seeded(lambda: BertForSequenceClassification(config), seed)
    return EmbeddingScores(model, model.bert.encoder.layer[0]).eval()


def tiny_llama(seed: int = 0, *, attention: str = "sdpa") -> EmbeddingScores:
    """A LLaMA of two layers and 16 dimensions with a vocabulary of 30, on embeddings.

    Args:
        seed: of the weights. Default: 0
        attention: ``attn_implementation``. Default: sdpa

    Returns:
        *torch.nn.Module*: embeddings (B, T, 16) -> (B, 30); its layer ``block`` gives (B, T, 16).

    Examples::

        >>> from hoi_captum.testing import tiny_llama
        >>> tiny_llama()(torch.ones(2, 5, 16)).shape  # scores of the next token
        torch.Size([2, 30])
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=30,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.3,
        attn_implementation=attention,
    )
    model = _seeded(lambda: LlamaForCausalLM(config), seed)
    return EmbeddingScores(model, model.model.layers[0]).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers of a generator of their own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

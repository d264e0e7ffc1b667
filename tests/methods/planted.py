"""Small models trained on tasks whose one interaction is known: which pair must act together.

- Images of 4 x 4 striped patches and a ReLU network that learns ``2 a b + c - .5 d`` of the contrasts of four
  patches: the patches of a and b interact, nothing else does.
- Sequences of tokens and a BERT and a LLaMA that learn whether two certain tokens are both there (AND): these
  two interact, wherever they stand.

Everything is seeded and leaves the random state as it was; each model trains in seconds on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

GRID, CELL = 4, 4  # patches along a side, pixels along a patch's side
N_PATCHES = GRID * GRID
PATCH_A, PATCH_B, PATCH_C, PATCH_D = 5, 10, 3, 12
_NOISE = 0.05

START, END, NO, YES, TOKEN_A, TOKEN_B = range(1, 7)
FIRST_FILLER, VOCABULARY = 7, 30
N_TOKENS = 10  # between the start and the end token


@dataclass(frozen=True, eq=False)
class Images:
    """Striped images.

    Attributes:
        pixels: (n, 1, 16, 16).
        targets: (n,) what the network is to say.
        contrasts: (n, 16) in [-1, 1], of each patch; negative stripes are shifted by half a period.
    """

    pixels: Tensor
    targets: Tensor
    contrasts: Tensor

    @property
    def interaction(self) -> Tensor:
        """The true second difference of the planted pair, (n,): 2 a b."""
        return 2 * self.contrasts[:, PATCH_A] * self.contrasts[:, PATCH_B]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Token sequences.

    Attributes:
        ids: (n, 12): start, ten tokens, end.
        labels: (n,) 1 where both tokens are there.
        pairs: (n, 2) players of the two tokens, the smaller first; of use where both are there.
    """

    ids: Tensor
    labels: Tensor
    pairs: Tensor


# --- data ---------------------------------------------------------------------------------------------------


def images(n: int, seed: int, least_contrast: float = 0.0) -> Images:
    """Images of patches with contrasts of either sign, sizes uniform in [least_contrast, 1]."""
    return _images(n, torch.Generator().manual_seed(seed), least_contrast)


def _images(n: int, generator: torch.Generator, least_contrast: float = 0.0) -> Images:
    sizes = least_contrast + (1 - least_contrast) * torch.rand(n, N_PATCHES, generator=generator)
    contrasts = sizes * (2 * torch.randint(2, sizes.shape, generator=generator) - 1)
    stripes = torch.tensor([1.0, -1.0]).repeat(GRID * CELL // 2)
    cells = contrasts.view(n, 1, GRID, GRID).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    pixels = cells * stripes
    pixels += _NOISE * torch.randn(pixels.shape, generator=generator)
    a, b, c, d = contrasts[:, [PATCH_A, PATCH_B, PATCH_C, PATCH_D]].unbind(1)
    return Images(pixels, 2 * a * b + c - 0.5 * d, contrasts)


def patch_mask() -> Tensor:
    """The feature mask of the patches, (1, 1, 16, 16)."""
    ids = torch.arange(N_PATCHES).view(1, 1, GRID, GRID)
    return ids.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)


def sequences(n: int, seed: int, *, both: bool = False) -> Sequences:
    """Sequences of which half hold both tokens (all of them, if ``both``), the others at most one of them."""
    return _sequences(n, torch.Generator().manual_seed(seed), both=both)


def _sequences(n: int, generator: torch.Generator, *, both: bool = False) -> Sequences:
    ids = torch.randint(FIRST_FILLER, VOCABULARY, (n, N_TOKENS), generator=generator)
    held = torch.randint(6, (n,), generator=generator)  # 0: neither, 1: the first, 2: the second, else both
    if both:
        held = torch.full_like(held, 3)
    places = torch.rand(n, N_TOKENS, generator=generator).argsort(1)[:, :2]
    for token, place, without in ((TOKEN_A, places[:, 0], 2), (TOKEN_B, places[:, 1], 1)):
        rows = ((held != 0) & (held != without)).nonzero().flatten()
        ids[rows, place[rows]] = token
    ends = [torch.full((n, 1), token) for token in (START, END)]
    return Sequences(torch.cat((ends[0], ids, ends[1]), 1), (held >= 3).long(), places.sort(1).values)


def token_mask() -> Tensor:
    """The feature mask of the ten tokens on embeddings, (1, 12, 1): start and end are never absent."""
    mask = torch.full((1, N_TOKENS + 2, 1), -1)
    mask[0, 1:-1, 0] = torch.arange(N_TOKENS)
    return mask


# --- models -------------------------------------------------------------------------------------------------


class BertScores(nn.Module):
    """Both labels' logits, from embeddings (n, 12, H)."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embeddings).logits
        return logits


class LlamaScores(nn.Module):
    """The vocabulary's logits after the last token, from embeddings (n, 12, H)."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor) -> Tensor:
        output = self.model(inputs_embeds=embeddings, use_cache=False, logits_to_keep=1)
        logits: Tensor = output.logits[:, -1]
        return logits


def embed(scores: BertScores | LlamaScores, ids: Tensor) -> Tensor:
    """The embeddings of token ids, (n, 12, H)."""
    with torch.no_grad():
        embeddings: Tensor = scores.model.get_input_embeddings()(ids)
    return embeddings


def train_cnn(seed: int = 0) -> nn.Sequential:
    """Convolutions and ReLU, nothing smooth; ``[3]`` is a map of 4 x 4 positions, one for each patch."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 128, GRID),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )

    def loss() -> Tensor:
        batch = _images(128, generator)
        return functional.mse_loss(model(batch.pixels).squeeze(1), batch.targets)

    _fit(model, loss, steps=1500, learning_rate=5e-3)
    return model


def train_bert(seed: int = 0) -> BertScores:
    """Two layers of BERT with a classification head, of random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        scores = BertScores(BertForSequenceClassification(config))
    _fit_sequences(scores, seed, columns=torch.tensor([0, 1]))
    return scores


def train_llama(seed: int = 0, *, width: int = 64, layers: int = 2) -> LlamaScores:
    """A LLaMA that answers with the token NO or YES, of random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            intermediate_size=2 * width,
            max_position_embeddings=32,
        )
        scores = LlamaScores(LlamaForCausalLM(config))
    _fit_sequences(scores, seed, columns=torch.tensor([NO, YES]))
    return scores


def _fit_sequences(scores: BertScores | LlamaScores, seed: int, columns: Tensor) -> None:
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        batch = _sequences(64, generator)
        embeddings = scores.model.get_input_embeddings()(batch.ids)
        return functional.cross_entropy(scores(embeddings), columns[batch.labels])

    _fit(scores, loss, steps=300, learning_rate=1e-3)


def _fit(model: nn.Module, loss: Callable[[], Tensor], steps: int, learning_rate: float) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
    model.zero_grad()
    model.eval()


# --- measures -----------------------------------------------------------------------------------------------


def r2(model: nn.Module, data: Images) -> float:
    """How well the network does what it was taught."""
    with torch.no_grad():
        said = model(data.pixels).squeeze(1)
    return 1 - float((said - data.targets).square().mean() / data.targets.var(correction=0))


def accuracy(scores: BertScores | LlamaScores, data: Sequences) -> float:
    """The share of sequences with the right label as the strongest logit."""
    with torch.no_grad():
        said = scores(embed(scores, data.ids)).argmax(1)
    right = data.labels if isinstance(scores, BertScores) else data.labels + NO
    return float((said == right).double().mean())


def found(pairs: Tensor, planted: Tensor) -> Tensor:
    """Where the strongest pair, by size, is the planted one: (n,) bool.

    Args:
        pairs: (n, k, k), symmetric; only i < j is read.
        planted: (2,) or (n, 2), the smaller player first.
    """
    k = pairs.shape[-1]
    members = torch.tensor(list(combinations(range(k), 2)))
    top = members[pairs[:, members[:, 0], members[:, 1]].abs().argmax(1)]
    return (top == planted).all(1)

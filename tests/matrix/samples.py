"""A real model of each family with one input, made without the library's adapters.

Tensors come from the processors alone, and ``run`` is a plain call of the model, so that what a test computes
with them knows nothing of the code that it judges.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hoi_captum import zoo

FAMILIES = ("BERT", "LLaMA", "CNN")
TEXT = "not a bad film"
SIDE, HALF = 28, 14  # pixels of an image, and of its quarters


class Masked(NamedTuple):
    """Captum's inputs, baselines and feature mask: four players, the words or the quarters."""

    inputs: Tensor
    baselines: Tensor
    feature_mask: Tensor


class Background(NamedTuple):
    """What methods learn from: as it is, as Tensors, and where the command line finds it."""

    raws: Sequence[Any]
    tensors: Sequence[Tensor]
    path: Path


@dataclass(frozen=True, eq=False)
class Sample:
    """A model and one input.

    Attributes:
        model: a HuggingFace or torchvision module.
        processor: the tokenizer, or the transforms.
        source: what the command line calls the model.
        raw: the text, or the image; ``shown`` is what the command line gets for it.
        masked: the input with its players.
        run: a model and inputs -> scores (rows, columns).
        target: a label, or a pair of them to contrast; ``columns`` are theirs.
        call: options of the example, as ``hoi.explain`` has them.
        layer: dotted name, for methods that explain a layer.
        background: for methods that learn.
        zoo: a directory in which the command line finds the model, instead of the library's own.
    """

    model: Any
    processor: Any
    source: str
    raw: Any
    shown: str
    masked: Masked
    run: Callable[..., Tensor]
    target: str | tuple[str, str]
    columns: tuple[int, ...]
    call: dict[str, Any] = field(default_factory=dict)
    layer: str | None = None
    background: Background | None = None
    zoo: Path | None = None

    @property
    def players(self) -> int:
        return int(self.masked.feature_mask.max()) + 1

    @property
    def is_text(self) -> bool:
        return isinstance(self.raw, str)

    def logit(self, inputs: Tensor, **options: Any) -> Tensor:
        """The target's score, or the difference of two, (rows,)."""
        scores = self.run(self.model, inputs, **options)[:, list(self.columns)]
        return scores[:, 0] if len(self.columns) == 1 else scores[:, 0] - scores[:, 1]

    def log_odds(self, inputs: Tensor) -> Tensor:
        """log p / (1 - p) of the target; of two against each other their logits' difference, (rows,)."""
        if len(self.columns) == 2:
            return self.logit(inputs)
        return self.run(self.model, inputs).softmax(-1)[:, self.columns[0]].logit()

    def log_prob(self, inputs: Tensor) -> Tensor:
        """(rows,)."""
        return self.run(self.model, inputs).log_softmax(-1)[:, self.columns[0]]

    def at(self, inputs: Tensor) -> Sample:
        """The same question about another input of the same shape."""
        return replace(self, masked=self.masked._replace(inputs=inputs))

    def in_double(self) -> Sample:
        """The same in float64."""
        inputs, baselines, mask = self.masked
        masked = Masked(inputs.double(), baselines.double(), mask)
        return replace(self, model=copy.deepcopy(self.model).double(), masked=masked)

    def gated(self, gates: Tensor) -> Tensor:
        """Inputs whose players were moved towards the baseline; gates (rows, players), 1: as they are."""
        inputs, baselines, _ = self.masked
        return baselines + self.on_cells(gates) * (inputs - baselines)

    def on_cells(self, gates: Tensor) -> Tensor:
        """The gate of each cell, 1 where nobody plays: the mask's shape, with a row for each of ``gates``."""
        # the mask's -1 picks the last column
        return torch.cat([gates, torch.ones_like(gates[:, :1])], 1)[:, self.masked.feature_mask[0]]


def scores_of_embeddings(model: nn.Module, embeddings: Tensor, **options: Any) -> Tensor:
    """Of a HuggingFace model; those of the next token, if it gives scores for each position."""
    logits: Tensor = model(inputs_embeds=embeddings, **options).logits
    return logits[:, -1] if logits.dim() == 3 else logits


def masked_text(model: Any, tokenizer: Any, text: str, template: str = "{}") -> Masked:
    """Embeddings; the text's words, which spaces part, become the mask token's."""
    encoded = tokenizer(template.format(text), return_offsets_mapping=True)
    start = template.index("{}")
    words = [
        text[: first - start].count(" ") if start <= first < last <= start + len(text) else -1
        for first, last in encoded["offset_mapping"]
    ]
    mask = torch.tensor(words).view(1, -1, 1)
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        inputs = embedding(torch.tensor([encoded["input_ids"]]))
        absent = embedding(torch.tensor(tokenizer.mask_token_id))
    return Masked(inputs, torch.where(mask >= 0, absent, inputs), mask)


def masked_image(image: Tensor) -> Masked:
    """Quarters of an image (1, 28, 28), black if absent."""
    place = torch.arange(SIDE) // HALF
    mask = (2 * place.view(-1, 1) + place).view(1, 1, SIDE, SIDE)
    return Masked(image[None], torch.zeros_like(image[None]), mask)


def bert_sample(model: Any, tokenizer: Any, source: str) -> Sample:
    """The class "positive" of a review."""
    return Sample(
        model=model,
        processor=tokenizer,
        source=source,
        raw=TEXT,
        shown=TEXT,
        masked=masked_text(model, tokenizer, TEXT),
        run=scores_of_embeddings,
        target="positive",
        columns=(1,),
    )


def llama_sample(model: Any, tokenizer: Any, source: str) -> Sample:
    """The next token after a review in a prompt, "good" against "bad"."""
    template = zoo.prompt("sentiment-llama-a")
    assert template is not None
    words = ("good", "bad")
    return Sample(
        model=model,
        processor=tokenizer,
        source=source,
        raw=TEXT,
        shown=TEXT,
        masked=masked_text(model, tokenizer, TEXT, template),
        run=partial(scores_of_embeddings, use_cache=False),
        target=words,
        columns=tuple(tokenizer.convert_tokens_to_ids(words)),
        call={"template": template, "baseline": "mask"},
    )


def cnn_sample(model: nn.Module, transforms: Any, source: str, folder: Path) -> Sample:
    """The class of a digit."""
    image, label = zoo.samples("digits-resnet", 1)[0]
    path = folder / "digit.png"
    image.save(path)
    return Sample(
        model=model,
        processor=transforms,
        source=source,
        raw=image,
        shown=str(path),
        masked=masked_image(transforms(image)),
        run=nn.Module.__call__,
        target=label,
        columns=(int(label),),
        call={"players": (2, 2)},
    )


def with_texts(sample: Sample, texts: Sequence[str], path: Path) -> Sample:
    """With texts to learn from, one on each line of a file."""
    path.write_text("\n".join(texts), "utf-8")
    template = sample.call.get("template", "{}")
    tensors = [masked_text(sample.model, sample.processor, text, template).inputs for text in texts]
    return replace(sample, background=Background(texts, tensors, path))


def with_images(sample: Sample, images: Sequence[Any], folder: Path) -> Sample:
    """With images to learn from, files of a directory."""
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number:03}.png")  # the command line reads them in the order of their names
    tensors = [sample.processor(image)[None] for image in images]
    return replace(sample, background=Background(images, tensors, folder))

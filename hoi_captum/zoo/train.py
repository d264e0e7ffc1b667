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

import torch

from hoi_captum.errors import FileError, HoiError
from hoi_captum.zoo import cards, digits, held_out, measure, reviews, teacher, text
from hoi_captum.zoo.loading import load_directory

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
            else:
                train_text(options.name, directory, options.seed, options.data, options.cache)
    except HoiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hoi_captum.zoo.train", description=__doc__)
    parser.add_argument("name", choices=[*digits.RECIPES, *text.RECIPES, _HELD_OUT])
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
    digits.save_model(model, recipe.config, directory)
    _write_record(name, recipe, directory, seed, seconds)


def train_text(name: str, directory: Path, seed: int, data: Path | None, cache: Path | None) -> None:
    """Train a sentiment model, and its teacher unless ``cache`` holds it, and write its directory."""
    recipe = text.RECIPES[name]
    training, _ = reviews.split(_reviews(data))
    lesson = teacher.prepare(training, seed, cache)
    model, tokenizer, seconds = text.train(recipe, lesson, seed)
    text.save(model, tokenizer, recipe, directory)
    _write_record(name, recipe, directory, seed, seconds, lesson.seconds)


def _reviews(data: Path | None) -> list[reviews.Review]:
    return reviews.fetch() if data is None else reviews.read(data)


def _write_record(
    name: str,
    recipe: digits.Recipe | text.Recipe,
    directory: Path,
    seed: int,
    seconds: float,
    teacher_seconds: float = 0.0,
) -> None:
    """Measure what was stored, as anyone will load it, and write it down."""
    weights = directory / "model.safetensors"
    weights.chmod(0o644)  # safetensors lets only the owner read it
    labels = list(recipe.labels)
    samples = held_out.samples(recipe.kind, labels)
    model, processor = load_directory(directory, recipe.kind)
    figures = measure.figures(model, processor, samples, labels, recipe.prompt)
    told = ("kind", "labels", "prompt")  # in fields of their own
    settings = {key: value for key, value in asdict(recipe).items() if key not in told}
    packages = ("torch", "torchvision") if name in digits.RECIPES else ("torch", "transformers", "tokenizers")
    cards.Record(
        name=name,
        kind=recipe.kind,
        labels=labels,
        prompt=recipe.prompt,
        baseline=cards.baseline(recipe.kind, getattr(processor, "mask_token_id", None)),
        held_out=len(samples),
        accuracy=figures.accuracy,
        effect_full=figures.effect_full,
        effect_empty=figures.effect_empty,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        weight_bytes=weights.stat().st_size,
        seed=seed,
        seconds=seconds + teacher_seconds,
        teacher_seconds=teacher_seconds,
        recipe=settings,
        versions={package: importlib.metadata.version(package) for package in packages},
    ).write(directory)


if __name__ == "__main__":
    sys.exit(main())

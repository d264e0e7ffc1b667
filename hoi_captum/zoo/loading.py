"""Reading a model directory of the zoo: quietly, and without moving the random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hoi_captum.zoo import ZooModel


def load_directory(directory: Path, kind: str) -> ZooModel:
    """Load what ``hoi_captum.zoo.train`` wrote; ``kind`` is that of the directory's record."""
    with torch.random.fork_rng(devices=[]):
        if kind in ("resnet", "vgg"):
            from hoi_captum.zoo import digits

            return ZooModel(digits.load_model(directory), digits.DigitTransforms())

        if kind == "relations":
            from hoi_captum.zoo import relations

            return ZooModel(relations.load_model(directory), relations.RelationProcessor())

        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        family = AutoModelForCausalLM if kind == "llama" else AutoModelForSequenceClassification
        with quiet():
            model = family.from_pretrained(directory, dtype=torch.float32)
            return ZooModel(model.eval(), AutoTokenizer.from_pretrained(directory))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing warnings and progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

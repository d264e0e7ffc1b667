"""Models by their name: HuggingFace's from directories, GGUF files and the hub, and torchvision's."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch

from hoi_captum.errors import InputError

GGUF = ".gguf"


def load_pretrained(name: str) -> tuple[Any, Any]:
    """A model in eval mode and its tokenizer, from a local path or the hub; never remote code.

    Args:
        name: a directory that ``save_pretrained`` wrote, a ``.gguf`` file of a causal LM, a directory with
            one such file and no ``config.json``, or a hub name.

    Raises:
        InputError: nothing can be loaded, or it is neither a sequence classifier nor a causal LM.
    """
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )
    from transformers.models.auto import modeling_auto

    file = gguf_file(name)
    if file is not None:
        return _load_gguf(file)
    if name.startswith((".", "/", "~")) and not Path(name).exists():
        raise InputError(f"there is no directory or file {name!r}; give the path of a model, or a hub name")
    try:
        config = AutoConfig.from_pretrained(name)
        architectures = set(config.architectures or ())
        for loader, names in (
            (
                AutoModelForSequenceClassification,
                modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
            ),
            (AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ):
            known = {n for entry in names.values() for n in ([entry] if isinstance(entry, str) else entry)}
            if architectures & known:
                return loader.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot load a model from {name!r}: expected zoo:NAME, a directory with a HuggingFace model, a "
            f"{GGUF} file, or a hub name ({_first_line(error)})"
        ) from error
    raise InputError(
        f"{name!r} holds {', '.join(architectures) or 'no known architecture'}; expected a sequence "
        "classifier or a causal language model"
    )


def gguf_file(name: str) -> Path | None:
    """The GGUF file that a path stands for: itself, or the only one in a directory without ``config.json``.

    Raises:
        InputError: there is no such file, or there are several.
    """
    path = Path(name)
    if path.is_dir():
        found = [] if (path / "config.json").exists() else sorted(path.glob(f"*{GGUF}"))
        if len(found) > 1:
            raise InputError(
                f"{name!r} holds {len(found)} {GGUF} files ({', '.join(f.name for f in found)}); give the "
                "path of one of them"
            )
        return found[0] if found else None
    if path.suffix != GGUF:
        return None
    if not path.is_file():
        raise InputError(f"expected the path of a {GGUF} file, got {name!r}, and there is no such file")
    return path


def load_torchvision(name: str) -> tuple[Any, Any, list[str]]:
    """A classifier of torchvision with its default weights, in eval mode, its transforms and its classes.

    Weights that torch has not kept from an earlier time are downloaded to its own cache.

    Raises:
        InputError: no such classifier, or its weights cannot be had.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean torchvision:{close[0]}?" if close else ""
        raise InputError(f"torchvision has no classifier {name!r}{hint}")
    weights = models.get_model_weights(name).DEFAULT
    try:
        model = models.get_model(name, weights=weights)
    except Exception as error:  # of damaged bytes the reader may make anything
        raise InputError(
            f"cannot get the weights of torchvision:{name}, which come from {weights.url}: "
            f"{_first_line(error)}; download them to {Path(torch.hub.get_dir()) / 'checkpoints'}"
        ) from error
    return model.eval(), weights.transforms(), list(weights.meta["categories"])


def _load_gguf(file: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import is_gguf_available

    if not is_gguf_available():
        raise InputError(f"reading {file.name!r} needs the package gguf: pip install gguf")
    folder, name = str(file.parent), file.name
    try:
        # given, so that the model does not parse the file's head for it once more
        config = AutoConfig.from_pretrained(folder, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, config=config)
        return model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except Exception as error:  # of damaged bytes the reader may make anything
        raise InputError(
            f"cannot load a model from {str(file)!r}: expected a GGUF file of a causal language model, whole "
            f"and of an architecture that transformers reads ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""HuggingFace models by their name."""

from __future__ import annotations

from typing import Any

from hoi_captum.errors import InputError


def load_pretrained(name: str) -> tuple[Any, Any]:
    """A model in eval mode and its tokenizer, from a local directory or the hub; never remote code.

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
        first_line = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot load a model from {name!r}: expected zoo:NAME, a directory with a HuggingFace model, or "
            f"a hub name ({first_line})"
        ) from error
    raise InputError(
        f"{name!r} holds {', '.join(architectures) or 'no known architecture'}; expected a sequence "
        "classifier or a causal language model"
    )

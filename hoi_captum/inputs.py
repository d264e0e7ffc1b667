"""From models and raw data to adapters and examples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from hoi_captum import zoo
from hoi_captum.adapters.base import Adapter
from hoi_captum.adapters.outputs import Output
from hoi_captum.core.example import Example
from hoi_captum.core.state import evaluation_mode
from hoi_captum.errors import InputError, OptionError, PluginWarning
from hoi_captum.registry import registry

ZOO_PREFIX = "zoo:"
DEFAULT_OUTPUT = "log_odds"


def adapt(
    model: Any,
    *,
    tokenizer: Any = None,
    transforms: Callable[[Any], Any] | None = None,
    labels: Sequence[str] | None = None,
    output: Output | None = None,
) -> Adapter:
    """An adapter for a model: its forward function, its examples, its targets.

    Args:
        model: a module of a known family (HuggingFace sequence classifier or causal LM, image
            classifier, tabular module), ``zoo:NAME``, or the path or hub name of a HuggingFace model.
        tokenizer: of a text model. Default: loaded with a named model
        transforms: of an image model: PIL image -> (C, H, W).
        labels: names of the output's columns. Default: the model's own
        output: what is explained: ``log_odds``, ``logit``, ``log_prob``, ``prob``, ``margin`` or a function
            of the scores (rows, columns). Default: ``log_odds``

    Raises:
        InputError: nothing can be loaded by that name, or no family accepts the model.

    Examples::

        >>> bert = adapt("zoo:sentiment-bert-a")
        >>> bert.forward_func(bert.example("not a bad film").inputs).shape
        torch.Size([1, 2])
    """
    if isinstance(model, Adapter):
        if (tokenizer, transforms, labels, output) != (None, None, None, None):
            raise OptionError(
                "an adapter has its tokenizer, transforms, labels and output already; leave them out"
            )
        return model
    if transforms is not None and not callable(transforms):
        raise InputError(f"expected transforms to be a callable, got {type(transforms).__name__}")
    name = None
    if isinstance(model, str | Path):
        # a directory is called by its own name: where it lies on this machine is nobody's business
        name = Path(model).name if Path(model).is_dir() else str(model).removeprefix(ZOO_PREFIX)
        model, tokenizer, transforms = _load(str(model), tokenizer, transforms)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"expected a model (torch module), its name or an adapter, got {type(model).__name__}"
        )
    for family in registry().adapters_in_order():
        if _accepts(family, model, tokenizer, transforms):
            return family(
                model,
                tokenizer=tokenizer,
                transforms=transforms,
                labels=labels,
                output=DEFAULT_OUTPUT if output is None else output,
                name=name,
            )
    takes = ", ".join(signature(model.forward).parameters)
    raise InputError(
        f"no adapter accepts a {type(model).__name__}, whose forward takes ({takes}); write one, or use the "
        "method's class"
    )


def text_example(model: Any, text: str, *, tokenizer: Any = None, **options: Any) -> Example:
    """A text with its players, for one model or a list of models.

    Args:
        model: what :func:`adapt` takes, or a list of these.
        text: the text.
        tokenizer: of the model, or one for each in a list.
        options: ``players``, ``baseline``, ``template``: see the adapter's ``example``.

    Examples::

        >>> text_example("zoo:sentiment-bert-a", "not a bad film").names
        ('not', 'a', 'bad', 'film')
    """
    return _example(model, text, options, tokenizer=tokenizer)


def image_example(
    model: Any, image: Any, *, transforms: Callable[[Any], Any] | None = None, **options: Any
) -> Example:
    """An image with its players, for one model or a list of models.

    Args:
        model: what :func:`adapt` takes, or a list of these.
        image: path, PIL image, array, or Tensor (C, H, W).
        transforms: PIL image -> (C, H, W).
        options: ``players`` (a grid or a mask), ``baseline``: see the adapter's ``example``.
    """
    return _example(model, image, options, transforms=transforms)


def tabular_example(model: Any, row: Any, **options: Any) -> Example:
    """A row of numbers with its players, for one model or a list of models.

    Args:
        model: what :func:`adapt` takes, or a list of these.
        row: sequence, array, Tensor or mapping.
        options: ``players``, ``baseline``, ``background``, ``names``: see the adapter's ``example``.
    """
    return _example(model, row, options)


def adapters_for(
    model: Any,
    *,
    tokenizer: Any = None,
    transforms: Any = None,
    output: Output | None = None,
    default_output: Output = DEFAULT_OUTPUT,
    **options: Any,
) -> list[Adapter]:
    """An adapter for each model; tokenizer and transforms may be one for all or a list.

    ``default_output`` is that of models; an adapter has its own.

    Raises:
        InputError: lists of different lengths.
    """
    models = list(model) if isinstance(model, list | tuple) else [model]
    if not models:
        raise InputError("expected a model or a list of models, got an empty list")

    def each(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list | tuple):
            return [value] * len(models)
        if len(value) != len(models):
            raise InputError(f"expected one {name} for each of {len(models)} models, got {len(value)}")
        return list(value)

    tokenizers, transformers = each(tokenizer, "tokenizer"), each(transforms, "transforms")
    return [
        adapt(
            m,
            tokenizer=tokenizers[i],
            transforms=transformers[i],
            output=default_output if output is None and not isinstance(m, Adapter) else output,
            **options,
        )
        for i, m in enumerate(models)
    ]


def _example(model: Any, raw: Any, options: dict[str, Any], **processors: Any) -> Example:
    adapters = adapters_for(model, **processors)
    with evaluation_mode(*(a.model for a in adapters)):
        return Example.combine([adapter.example(raw, **options) for adapter in adapters])


def _accepts(family: type[Adapter], model: nn.Module, tokenizer: Any, transforms: Any) -> bool:
    try:
        return family.accepts(model, tokenizer=tokenizer, transforms=transforms)
    except Exception as error:  # one bad adapter must not keep the others from their models
        reason = f"its accepts() raised {type(error).__name__}: {error}"
        warnings.warn(f"the adapter {family.__name__} was passed over: {reason}", PluginWarning, stacklevel=3)
        return False


def _load(name: str, tokenizer: Any, transforms: Any) -> tuple[nn.Module, Any, Any]:
    if name.startswith(ZOO_PREFIX):
        model, processor = zoo.load(name)
        # an image model's processor are its transforms; one given by the user wins
        if hasattr(processor, "is_fast"):
            return model, tokenizer or processor, transforms
        return model, tokenizer, transforms or processor
    from hoi_captum.adapters.pretrained import load_pretrained

    if name in zoo.names() and not Path(name).exists():
        raise InputError(
            f"expected a directory or hub name, got {name!r}; did you mean {ZOO_PREFIX + name!r}?"
        )
    model, processor = load_pretrained(name)
    return model, tokenizer or processor, transforms

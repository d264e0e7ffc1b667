"""From models and raw data to adapters and examples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from hoi_captum import zoo
from hoi_captum.adapters.base import Adapter
from hoi_captum.adapters.outputs import Output
from hoi_captum.core.example import Example
from hoi_captum.core.state import evaluation_mode, unwrapped
from hoi_captum.errors import InputError, OptionError, PluginWarning
from hoi_captum.registry import registry

ZOO_PREFIX, TORCHVISION_PREFIX = "zoo:", "torchvision:"
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
            classifier, tabular module), also compiled or in a ``DataParallel``; ``zoo:NAME``;
            ``torchvision:NAME`` (a classifier with its default weights, ``torchvision:resnet18``); the path
            (a directory, a ``.gguf`` file) or hub name of a HuggingFace model.
        tokenizer: of a text model. Default: loaded with a named model
        transforms: of an image model: PIL image -> (C, H, W). Default: None (loaded with a named model)
        labels: names of the output's columns. Default: the model's own
        output: what is explained: ``log_odds``, ``logit``, ``log_prob``, ``prob``, ``margin`` or a function
            of the scores (rows, columns). Default: ``log_odds``

    Returns:
        *Adapter*: with ``forward_func``, ``example(raw)``, ``target(label)``, ``objective(target, example)``.

    Raises:
        InputError: nothing can be loaded by that name, or no family accepts the model.
        OptionError: options beside an adapter, which has its own; an output of another name.

    Examples::

        >>> bert = hoi.adapt("zoo:sentiment-bert-a")
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
        name, loaded = _name_of(model), _load(str(model))
        model = loaded.model
        # what the user gives wins
        tokenizer = loaded.tokenizer if tokenizer is None else tokenizer
        transforms = loaded.transforms if transforms is None else transforms
        labels = loaded.labels if labels is None else labels
    if not isinstance(model, nn.Module):
        raise InputError(
            f"expected a model (torch module), its name or an adapter, got {type(model).__name__}"
        )
    plain = unwrapped(model)
    for family in registry().adapters_in_order():
        if _accepts(family, plain, tokenizer, transforms):
            return family(
                model,
                tokenizer=tokenizer,
                transforms=transforms,
                labels=labels,
                output=DEFAULT_OUTPUT if output is None else output,
                name=name,
            )
    takes = ", ".join(signature(plain.forward).parameters)
    raise InputError(
        f"no adapter accepts a {type(plain).__name__}, whose forward takes ({takes}); write one, or use the "
        "method's class"
    )


def text_example(model: Any, text: str, *, tokenizer: Any = None, **options: Any) -> Example:
    """A text with its players, for one model or a list of models.

    Args:
        model: what :func:`adapt` takes, or a list of these.
        text: the text.
        tokenizer: of the model, or one for each in a list. Default: None
        options: ``players``, ``baseline``, ``template``: see the adapter's ``example``.

    Returns:
        *Example*: of one row; values are ``PerModel`` for a list of models.

    Raises:
        InputError: a text or players that cannot be used, or models that disagree about the players.

    Examples::

        >>> hoi.text_example("zoo:sentiment-bert-a", "not a bad film").names
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
        transforms: PIL image -> (C, H, W). Default: None
        options: ``players`` (a grid or a mask), ``baseline``: see the adapter's ``example``.

    Returns:
        *Example*: inputs (1, C, H, W); values are ``PerModel`` for a list of models.

    Raises:
        InputError: an image or players that cannot be used.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 2))
        >>> example = hoi.image_example(model, torch.rand(1, 4, 4), players=(2, 2))
        >>> example.names, example.feature_mask.shape
        (('r1c1', 'r1c2', 'r2c1', 'r2c2'), torch.Size([1, 1, 4, 4]))
    """
    return _example(model, image, options, transforms=transforms)


def tabular_example(model: Any, row: Any, **options: Any) -> Example:
    """A row of numbers with its players, for one model or a list of models.

    Args:
        model: what :func:`adapt` takes, or a list of these.
        row: sequence, array, Tensor or mapping.
        options: ``players``, ``baseline``, ``background``, ``names``: see the adapter's ``example``.

    Returns:
        *Example*: inputs (1, columns); values are ``PerModel`` for a list of models.

    Raises:
        InputError: a row or players that cannot be used.

    Examples::

        >>> example = hoi.tabular_example(torch.nn.Linear(2, 1), {"age": 30.0, "height": 1.5})
        >>> example.names, example.inputs.shape
        (('age', 'height'), torch.Size([1, 2]))
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
        said = f"the adapter {family.__name__} was passed over: {reason}; tell the author of its plugin"
        warnings.warn(said, PluginWarning, stacklevel=3)
        return False


def _name_of(model: str | Path) -> str:
    """What results call a model; of a path its last part alone."""
    path = Path(model)  # where it lies on this machine is nobody's business
    if path.is_dir():
        return path.absolute().name
    if path.is_file():
        return path.stem
    return str(model).removeprefix(ZOO_PREFIX).removeprefix(TORCHVISION_PREFIX)


class _Loaded(NamedTuple):
    model: nn.Module
    tokenizer: Any = None
    transforms: Callable[[Any], Any] | None = None
    labels: Sequence[str] | None = None


def _load(name: str) -> _Loaded:
    """A model by its name, with all that belongs to it."""
    if name.startswith(ZOO_PREFIX):
        model, processor = zoo.load(name)
        if hasattr(processor, "is_fast"):
            return _Loaded(model, tokenizer=processor)
        return _Loaded(model, transforms=processor)
    from hoi_captum.adapters.pretrained import load_pretrained, load_torchvision

    if name.startswith(TORCHVISION_PREFIX):
        model, transforms, labels = load_torchvision(name.removeprefix(TORCHVISION_PREFIX))
        return _Loaded(model, transforms=transforms, labels=labels)
    if name in zoo.names() and not Path(name).exists():
        raise InputError(
            f"expected a directory or hub name, got {name!r}; did you mean {ZOO_PREFIX + name!r}?"
        )
    model, tokenizer = load_pretrained(name)
    return _Loaded(model, tokenizer=tokenizer)

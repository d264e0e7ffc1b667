"""From a method's class to its answers: made, fitted where it learns, and called with what it takes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hoi_captum.adapters.base import Adapter
from hoi_captum.core.example import Example
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError, OptionError
from hoi_captum.registry import get_method

_SET_BY_US = ("forward_func", "layer", "device_ids")


def method_class(method: Any) -> type:
    """The class of a method, given by its name or as it is.

    Raises:
        InputError: neither.
        UnknownNameError, PluginError: no such name, or its plugin failed.
    """
    if isinstance(method, str):
        return get_method(method)
    if isinstance(method, type) and not callable(getattr(method, "interact", None)):
        raise InputError(
            f"{method.__name__} has no interact(): it finds no interactions; see hoi_captum.methods()"
        )
    if not isinstance(method, type):
        raise InputError(
            f"expected method to be a name or a class, got {type(method).__name__}; options of the method "
            "are arguments of explain()"
        )
    return method


def merged(method_options: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a method's constructor that came as a mapping, and those that came by name.

    Raises:
        OptionError: no mapping of names, or a name that came both ways.
    """
    if method_options is None:
        return options
    if not isinstance(method_options, Mapping) or not all(isinstance(name, str) for name in method_options):
        raise OptionError(
            "expected method_options as a mapping from names of the method's options to values, got "
            f"{method_options!r}"
        )
    if twice := [name for name in method_options if name in options]:
        raise OptionError(
            f"expected each option once, got {', '.join(twice)} in method_options and by name; leave one out"
        )
    return {**method_options, **options}


def construct(cls: type, forward_func: Any, adapter: Adapter, layer: Any, options: dict[str, Any]) -> Any:
    """An instance, with the layer and the names of the classes where it takes them.

    Raises:
        OptionError: an option that the method does not have.
        InputError: no such layer.
    """
    accepted = inspect.signature(cls).parameters
    known = [name for name in accepted if name not in _SET_BY_US]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise OptionError(f"{cls.__name__} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    if "class_names" in accepted:
        options = {"class_names": adapter.label} | options
    for name in getattr(cls, "class_options", ()):
        if isinstance(options.get(name), list | tuple):
            columns = [adapter.column(c) if isinstance(c, str) else c for c in options[name]]
            options = options | {name: columns}
    if "layer" not in accepted:
        if layer is not None:
            raise OptionError(f"{cls.__name__} explains inputs, not layers; leave layer out")
        return cls(forward_func, **options)
    if isinstance(layer, str):
        try:
            layer = adapter.model.get_submodule(layer)
        except AttributeError as error:
            names = [name for name, _ in adapter.model.named_modules()]
            close = difflib.get_close_matches(layer, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"the model has no layer {layer!r}; {hint}See model.named_modules()") from error
    if layer is None and accepted["layer"].default is inspect.Parameter.empty:
        layer = adapter.default_layer()
    return cls(forward_func, layer, **options)


def run_method(instance: Any, call: dict[str, Any], extra: dict[str, Any]) -> tuple[Any, Interactions]:
    """Attributions and interactions, from one evaluation where the method can do both at once."""

    given = call | extra
    both = getattr(instance, "attribute_and_interact", None)
    if both is not None:
        attributions, results = both(**arguments_for(both, given))
    else:
        results = instance.interact(**arguments_for(instance.interact, given))
        attributions = instance.attribute(**arguments_for(instance.attribute, given))
    return attributions, results[0]


def arguments_for(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a function takes."""
    accepted = inspect.signature(function).parameters
    return {name: value for name, value in given.items() if name in accepted}


def learns(cls: type) -> bool:
    """Whether a method has to be fitted before it explains."""
    return callable(getattr(cls, "fit", None))


def needs_fit(cls: type) -> bool:
    """Whether a method that learns cannot explain without it."""
    return learns(cls) and getattr(cls, "needs_fit", True)


def fit_method(
    instance: Any,
    adapter: Adapter,
    background: Any,
    *,
    example: Example,
    target: Any,
    template: str | None,
    show_progress: bool,
) -> None:
    """Fit a method that learns, on raw data.

    Args:
        instance: the method.
        adapter: of its model.
        background: what the adapter's ``examples`` takes: texts, images, rows.
        example: the explained input, whose players are those of the data where ``fit`` takes a mask.
        target: of the model, handed on where ``fit`` takes it.
        template: of texts, as in ``example``.
        show_progress: handed on where ``fit`` takes it.

    Raises:
        InputError: no data, or data that the adapter cannot read.
    """
    check_background(instance, adapter, background)
    accepted = inspect.signature(instance.fit).parameters
    options: dict[str, Any] = {"show_progress": show_progress, "target": target}
    like = None
    if "feature_mask" in accepted and getattr(instance, "layer", None) is None:
        options["names"] = example.names
        if adapter.players_come_and_go:
            like = example
        else:
            options["feature_mask"] = example.feature_mask
    data = adapter.examples(background, template=template, like=like)
    instance.fit(data, **arguments_for(instance.fit, options))


def check_background(instance: Any, adapter: Adapter, background: Any) -> None:
    """Refuse what nothing can be learned from.

    Raises:
        InputError: no data, or no list of them.
    """
    if background is None:
        raise InputError(
            f"{type(instance).__name__} learns from data before it explains: give background=..., many "
            f"inputs of the kind that the {adapter.family} model takes"
        )
    if isinstance(background, str | bytes) or not isinstance(background, Iterable):
        raise InputError(f"expected background as a list of inputs, got {type(background).__name__}")

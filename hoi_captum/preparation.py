"""From a model, raw data and a method's name to the method and what it is to be called with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hoi_captum.adapters.base import Adapter, Objective, example_options
from hoi_captum.adapters.outputs import Output
from hoi_captum.calling import construct, fit_method, learns, merged, method_class, needs_fit
from hoi_captum.core.example import Example, PerModel, TableLayout
from hoi_captum.core.state import evaluation_mode
from hoi_captum.errors import InputError, OptionError
from hoi_captum.inputs import DEFAULT_OUTPUT, adapters_for


@dataclass(frozen=True, eq=False)
class Prepared:
    """One input of some models, and the method that is to explain it.

    Attributes:
        cls, instance: the method.
        adapters, objectives: of each model.
        example: the input.
        call: arguments of the method's verbs.
        background, template: as given.
    """

    cls: type
    instance: Any
    adapters: list[Adapter]
    objectives: list[Objective]
    example: Example
    call: dict[str, Any]
    background: Any
    template: str | None

    @property
    def learns_first(self) -> bool:
        """Whether the method is to be fitted before it explains."""
        return learns(self.cls) and (self.background is not None or needs_fit(self.cls))

    def check_checkpoint(self, checkpoint: Any) -> None:
        """Refuse a file for a method that keeps no values.

        Raises:
            OptionError: it does not.
        """
        if (
            checkpoint is not None
            and "checkpoint" not in inspect.signature(self.instance.interact).parameters
        ):
            raise OptionError(f"{self.cls.__name__} keeps no values in a file; leave checkpoint out")

    def fit(self, *, show_progress: bool) -> None:
        """Fit the method on the background.

        Raises:
            InputError: as :func:`~hoi_captum.calling.fit_method`.
        """
        fit_method(
            self.instance,
            self.adapters[0],
            self.background,
            example=self.example,
            target=self.objectives[0].target,
            template=self.template,
            show_progress=show_progress,
        )


@contextmanager
def prepared(
    model: Any,
    data: Any,
    method: str | type,
    *,
    tokenizer: Any = None,
    target: Any = None,
    layer: Any = None,
    background: Any = None,
    players: Any = None,
    baseline: Any = None,
    template: str | None = None,
    transforms: Any = None,
    labels: Sequence[str] | None = None,
    output: Output | None = None,
    method_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[Prepared]:
    """Everything that explaining needs, with the models in evaluation mode meanwhile.

    Args:
        model, data, method, tokenizer, target, layer, background, players, baseline, template, transforms,
            labels, output, method_options, options: as of :func:`~hoi_captum.explanation.explain`.

    Raises:
        InputError: arguments that cannot be used; its subclasses say which.
    """
    cls = method_class(method)
    options = merged(method_options, options)
    several = isinstance(model, list | tuple)
    if several and not getattr(cls, "several_models", False):
        raise InputError(
            f"{cls.__name__} explains one model, got a {type(model).__name__} of {len(model)}; explain "
            "each by itself"
        )
    adapters = adapters_for(
        model,
        tokenizer=tokenizer,
        transforms=transforms,
        labels=labels,
        output=output,
        default_output=getattr(cls, "default_output", DEFAULT_OUTPUT),
    )
    baselines = baseline if isinstance(baseline, PerModel) else PerModel(*[baseline] * len(adapters))
    if len(baselines) != len(adapters):
        raise InputError(f"expected PerModel baseline for {len(adapters)} models, got {len(baselines)}")
    makes_baselines = all("background" in inspect.signature(a.example).parameters for a in adapters)
    if background is not None and not learns(cls) and not makes_baselines:
        raise OptionError(f"{cls.__name__} learns nothing from data; leave background out")
    given = {"players": players, "template": template}
    # what a method learns from is no part of the example, unless the family makes baselines of it too
    if not learns(cls) or makes_baselines:
        given["background"] = background
    with evaluation_mode(*(a.model for a in adapters)):
        examples = [
            a.example(data, **example_options(a, given | {"baseline": b}, target))
            for a, b in zip(adapters, baselines, strict=True)
        ]
        targets = [target] * len(adapters)
        if target is None:  # all models explain what the first one predicts
            column = adapters[0].predict(examples[0])
            targets = [column, *[adapters[0].label(column)] * (len(adapters) - 1)]
        objectives = [a.objective(t, e) for a, t, e in zip(adapters, targets, examples, strict=True)]
        forwards: list[Any] = [o.forward_func for o in objectives]
        example = Example.combine(examples)
        call = _at_layer(example, layer) | {
            "target": PerModel(*(o.target for o in objectives)) if several else objectives[0].target
        }
        instance = construct(cls, forwards if several else forwards[0], adapters[0], layer, options)
        yield Prepared(cls, instance, adapters, objectives, example, call, background, template)


def _at_layer(example: Example, layer: Any) -> dict[str, Any]:
    """What of an example can be handed to a method: the columns of a table are no players of a layer."""
    if layer is None or not isinstance(example.layout, TableLayout):
        return dict(example)
    return {name: value for name, value in example.items() if name != "feature_mask"}

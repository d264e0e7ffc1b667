"""The base class of adapters: a model of some family under one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hoi_captum.adapters.outputs import OUTPUTS, Output, as_output, find_label
from hoi_captum.core.coalitions import Players
from hoi_captum.core.evaluators import CoalitionEvaluator
from hoi_captum.core.example import Example
from hoi_captum.core.state import unwrapped
from hoi_captum.errors import OptionError, TargetError

Label = str | int


@dataclass(frozen=True)
class Objective:
    """What is explained: a forward function and the column of its output.

    Attributes:
        forward_func: gives (rows, columns) or (rows,).
        target: Captum's ``target``; None where the output is one number for each row.
        label: in words: ``positive``, ``Paris - London``.

    Examples::

        >>> adapter = hoi.adapt(torch.nn.Linear(2, 3), labels=["cat", "dog", "cow"])
        >>> objective = adapter.objective(("cat", "dog"), adapter.example([1.0, 2.0]))
        >>> objective.label, objective.target, objective.forward_func(torch.ones(4, 2)).shape
        ('cat - dog', None, torch.Size([4]))
    """

    forward_func: Forward
    target: int | None
    label: str


@dataclass(frozen=True)
class Forward:
    """A forward function made of a model's scores and an output function.

    Attributes:
        scores: inputs -> (rows, columns).
        output: (rows, columns) -> (rows, columns) or (rows,).
        description: for the provenance.
        module: the model behind it, whose state is watched over.
        evaluator: makes an evaluator of coalitions that gives scores, or None
            (:class:`~hoi_captum.core.evaluators.EvaluatesCoalitions`).
    """

    scores: Callable[..., Tensor]
    output: Callable[[Tensor], Tensor]
    description: str
    module: nn.Module
    evaluator: Callable[..., CoalitionEvaluator | None] = lambda *arguments: None

    def __call__(self, *inputs: Any) -> Tensor:
        return self.of_scores(self.scores(*inputs))

    def of_scores(self, scores: Tensor) -> Tensor:
        """The output for given scores."""
        # scores of half-precision models are compared in float32: interactions are small differences
        return self.output(scores.to(torch.promote_types(scores.dtype, torch.float32)))

    def coalition_evaluator(
        self,
        inputs: tuple[Tensor, ...],
        baselines: tuple[Tensor, ...],
        players: Players,
        additional: tuple[Any, ...],
    ) -> CoalitionEvaluator | None:
        """An evaluator that gives this function's output, where the adapter has one of its scores."""
        evaluator = self.evaluator(inputs, baselines, players, additional)
        return None if evaluator is None else _OutputEvaluator(evaluator, self)


@dataclass(frozen=True)
class _OutputEvaluator:
    """An evaluator of scores, with an output function behind it."""

    scores: CoalitionEvaluator
    forward: Forward

    @property
    def most_rows(self) -> int:
        return self.scores.most_rows

    @property
    def work(self) -> Mapping[str, int]:
        return self.scores.work

    def __call__(self, coalitions: Tensor) -> Tensor:
        return self.forward.of_scores(self.scores(coalitions))

    def release(self) -> None:
        self.scores.release()


def _contrast(output: Callable[[Tensor], Tensor], first: int, second: int) -> Callable[[Tensor], Tensor]:
    def difference(scores: Tensor) -> Tensor:
        values = output(scores)
        count = values.shape[1] if values.dim() == 2 else 1
        if max(first, second) >= count:
            raise TargetError(f"expected targets in 0..{count - 1}, got {first} and {second}")
        return values[:, first] - values[:, second]

    return difference


def example_options(adapter: Adapter, given: Mapping[str, Any], target: Any = None) -> dict[str, Any]:
    """The options of an adapter's ``example``: what is given and not None, and the target if it takes one.

    Raises:
        OptionError: one that this family's inputs do not have.
    """
    accepted = signature(adapter.example).parameters
    options = {name: value for name, value in given.items() if value is not None}
    unknown = [name for name in options if name not in accepted]
    if unknown:
        known = ", ".join(name for name in accepted if name not in ("raw", "target"))
        raise OptionError(
            f"{', '.join(unknown)} cannot be used with a {adapter.family} model, whose inputs take {known}; "
            "leave it out"
        )
    return options | ({"target": target} if "target" in accepted else {})


def takes_one_input(model: nn.Module) -> bool:
    """Whether a model's forward needs no more than one argument: others answer more than an example holds."""
    star = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    needed = [
        p for p in signature(model.forward).parameters.values() if p.default is p.empty and p.kind not in star
    ]
    return len(needed) <= 1


class Adapter(ABC):
    """A model of some family: how to run it, how to make inputs with players, what its outputs mean.

    Args:
        model: the module; it may be compiled, or in a ``DataParallel``.
        tokenizer: of a text model. Default: None
        transforms: of an image model: PIL image -> (C, H, W). Default: None
        labels: names of the output's columns. Default: the model's own, or their numbers
        output: ``log_odds``, ``logit``, ``log_prob``, ``prob``, ``margin`` or a function of the scores (rows,
            columns). Default: ``log_odds``
        name: what results call the model. Default: its class

    Attributes:
        model: the model itself, :func:`~hoi_captum.core.state.unwrapped`: its config, layers and weights.
        run: what was given, which is what :meth:`scores` calls.

    Examples::

        >>> adapter = hoi.adapt(torch.nn.Linear(2, 3), labels=["cat", "dog", "cow"])
        >>> adapter.family, adapter.target("dog"), adapter.forward_func(torch.ones(4, 2)).shape
        ('tabular', 1, torch.Size([4, 3]))
    """

    family: ClassVar[str]
    players_come_and_go: ClassVar[bool] = False  # as words do, which not every text has

    def __init__(
        self,
        model: nn.Module,
        *,
        tokenizer: Any = None,
        transforms: Callable[[Any], Tensor] | None = None,
        labels: Sequence[str] | None = None,
        output: Output = "log_odds",
        name: str | None = None,
    ) -> None:
        # a family's models have attributes of their own, which no common type knows
        self.model: Any = unwrapped(model)
        self.run: Callable[..., Any] = model
        self.tokenizer = tokenizer
        self.transforms = transforms
        self.labels = () if labels is None else tuple(map(str, labels))
        self.name = name or type(self.model).__name__
        self.output = as_output(output)

    # ---------------------------------------------------------------- what a family provides
    @classmethod
    @abstractmethod
    def accepts(cls, model: nn.Module, *, tokenizer: Any, transforms: Any) -> bool:
        """Whether the model is of this family."""

    @abstractmethod
    def scores(self, *inputs: Any) -> Tensor:
        """The model's scores before any normalisation, (rows, columns)."""

    @abstractmethod
    def example(self, *args: Any, **options: Any) -> Example:
        """One input with its players: ``example(raw, players=..., baseline=...)``."""

    @abstractmethod
    def default_layer(self) -> nn.Module:
        """The layer that layer methods explain when none is named."""

    def coalition_evaluator(
        self,
        inputs: tuple[Tensor, ...],
        baselines: tuple[Tensor, ...],
        players: Players,
        additional: tuple[Any, ...],
    ) -> CoalitionEvaluator | None:
        """Scores of one example's coalitions, faster than row by row; None where the family has no way.

        Arguments as of :meth:`~hoi_captum.core.evaluators.EvaluatesCoalitions.coalition_evaluator`.
        """
        return None

    # ---------------------------------------------------------------- what follows from it
    def examples(
        self, raws: Iterable[Any], *, template: str | None = None, like: Example | None = None
    ) -> Iterator[Example]:
        """Many inputs, for methods that learn from data.

        Args:
            raws: what ``example`` takes, many of it.
            template: of texts, the prompt with ``{}`` where each of them goes.
            like: of families whose players come and go, an input whose players are marked wherever they
                stand in the others, by their names. Default: None (nobody plays in them)
        """
        return (Example(inputs=self.example(raw).inputs) for raw in raws)

    def column(self, label: Label) -> int:
        """The output column of a label.

        Raises:
            TargetError: no such label.
        """
        return find_label(label, self.labels)

    def label(self, column: int) -> str:
        """The name of an output column."""
        return self.labels[column] if column < len(self.labels) else str(column)

    @property
    def forward_func(self) -> Forward:
        """A function for Captum's classes, (rows, columns) of output values."""
        return self._forward(self.output)

    def target(self, label: Label) -> int:
        """Captum's ``target`` for a label; see :meth:`objective` for pairs."""
        return self.column(label)

    def objective(self, target: Label | tuple[Label, Label] | None, example: Example) -> Objective:
        """What to explain for a target.

        Args:
            target: a label or column; a pair of these is a contrast, the difference of their outputs
                (of their logits, where the output is log-odds); None is what the model predicts.
            example: the input, run once where the target is None.

        Raises:
            TargetError: no such label.
        """
        if isinstance(target, tuple | list):
            if len(target) != 2:
                raise TargetError(f"expected one target or a pair of targets to contrast, got {len(target)}")
            first, second = (self.column(label) for label in target)
            values = OUTPUTS["logit"] if self.output is OUTPUTS["log_odds"] else self.output
            forward = self._forward(_contrast(values, first, second))
            return Objective(forward, None, f"{self.label(first)} - {self.label(second)}")
        column = self.predict(example) if target is None else self.column(target)
        return Objective(self.forward_func, column, self.label(column))

    def _forward(self, output: Callable[[Tensor], Tensor]) -> Forward:
        return Forward(self.scores, output, self.name, self.model, self.coalition_evaluator)

    def predict(self, example: Example) -> int:
        """The column with the largest score."""
        inputs = example.inputs if isinstance(example.inputs, tuple) else (example.inputs,)
        with torch.no_grad():
            return int(self.scores(*inputs)[0].argmax())

"""What a suite calls a method with: models, inputs, and how the method under test is made and fitted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hoi_captum.core.interactions import Interactions
from hoi_captum.testing import models
from hoi_captum.testing.models import noise
from hoi_captum.testing.suite import Suite, as_tuple

ROWS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """A model and a call.

    Attributes:
        model: a module or a function.
        inputs: a batch of three rows.
        layer: of the model, for methods that explain one.
        call: more arguments: ``target``, ``feature_mask``, ...
        background: 64 rows like the inputs, for methods that learn from data.

    Examples::

        >>> from hoi_captum.testing import Case, smooth_net
        >>> net = smooth_net()
        >>> case = Case(net, torch.ones(3, 4), net.inner, {"target": 1})
        >>> case.model(case.inputs).shape
        torch.Size([3, 3])
    """

    model: Any
    inputs: Any
    layer: nn.Module | None = None
    call: Mapping[str, Any] = field(default_factory=dict)
    background: Any = None


def smooth_case() -> Case:
    """Four features, a network with tanh."""
    net = models.smooth_net()
    return Case(net, noise(ROWS, 4, seed=1), net.inner, {"target": 1}, noise(64, 4, seed=2))


def two_inputs_case() -> Case:
    """Two tensors of inputs."""
    net = models.two_inputs()
    inputs, more = (
        (noise(ROWS, 2, seed=1), noise(ROWS, 3, seed=2)),
        (noise(64, 2, seed=3), noise(64, 3, seed=4)),
    )
    return Case(net, inputs, net.inner, {"target": 0}, more)


def stateful_case() -> Case:
    """Batch norm and dropout, in evaluation mode."""
    net = models.stateful_net()
    return Case(net, noise(ROWS, 4, seed=1), net.inner, {"target": 1}, noise(64, 4, seed=2))


def image_case() -> Case:
    """A convolutional network, and four patches of 4 x 4 pixels."""
    net = models.tiny_cnn()
    patches = torch.arange(4).view(1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    call = {"target": 2, "feature_mask": patches}
    return Case(net, noise(ROWS, 1, 8, 8, seed=1), net.maps, call, noise(64, 1, 8, 8, seed=2))


def text_case(build: Callable[[], models.EmbeddingScores]) -> Case:
    """A tiny BERT or LLaMA on embeddings, each token a player but the first, which is always there."""
    scores = build()
    inputs = noise(ROWS, models.TOKENS, models.HIDDEN, seed=1)
    background = noise(64, models.TOKENS, models.HIDDEN, seed=2)
    tokens = torch.arange(-1, models.TOKENS - 1).view(1, -1, 1)
    return Case(scores, inputs, scores.__dict__["block"], {"target": 1, "feature_mask": tokens}, background)


class MethodCases(Suite):
    """Base of the suites: which method is under test, and how it is made.

    Class attributes:
        method: the class under test.
        options: of its constructor.
        tolerance: of comparisons, in parts of the largest number. Default: 1e-4 (models are float32)
        compares_dtypes: whether models that differ in the last digits have answers that do. Default: True
        explains_targets: whether another target has another answer. Default: True

    A method that is made or fitted in another way than ``method(forward_func, **options)`` overrides
    :meth:`make` or :meth:`prepare`.
    """

    method: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    tolerance: ClassVar[float] = 1e-4
    compares_dtypes: ClassVar[bool] = True
    explains_targets: ClassVar[bool] = True

    def make(self, forward_func: Any, case: Case) -> Any:
        """An instance of the method."""
        return self.method(forward_func, **self.options)

    def prepare(self, method: Any, case: Case) -> None:
        """What has to be done before it explains: ``method.fit(case.background)``, say."""

    # ---------------------------------------------------------------- what the checks use
    def build(self, case: Case, forward_func: Any = None) -> Any:
        """An instance that is ready to explain."""
        method = self.make(case.model if forward_func is None else forward_func, case)
        self.prepare(method, case)
        return method

    def attribute(self, method: Any, inputs: Any, **call: Any) -> Any:
        """The method's ``attribute``, with those of the arguments that it takes."""
        return method.attribute(inputs, **_accepted(method.attribute, call))

    def interact(self, method: Any, inputs: Any, **call: Any) -> list[Interactions]:
        """The method's ``interact``, with those of the arguments that it takes."""
        tables: list[Interactions] = method.interact(inputs, **_accepted(method.interact, call))
        return tables

    def long_work(self, method: Any, case: Case, show_progress: bool) -> None:
        """What shows progress: ``interact``, or ``fit`` of a method that learns."""
        self.interact(method, case.inputs, **case.call, show_progress=show_progress)

    def shapes(self, case: Case) -> Any:
        """The shapes that attributions have to have: those of the inputs."""
        return [tuple(x.shape) for x in as_tuple(case.inputs)]

    def mirrors_inputs(self) -> bool:
        """Whether attributions are a tuple where the inputs are one."""
        return True


def _accepted(function: Callable[..., Any], call: Mapping[str, Any]) -> dict[str, Any]:
    # what only says who the players are may be left out; everything else the method has to take
    names = inspect.signature(function).parameters
    return {k: v for k, v in call.items() if k in names or k != "feature_mask"}


def rows_of(inputs: Any, index: Any) -> Any:
    """Some rows of a tensor, or of each of a tuple."""
    return tuple(x[index] for x in inputs) if isinstance(inputs, tuple) else inputs[index]


def converted(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A tensor, or each of a tuple, changed."""
    return tuple(map(change, inputs)) if isinstance(inputs, tuple) else change(inputs)

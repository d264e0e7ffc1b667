"""Methods that leave something behind, or whose tables say too little; one defect each."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from hoi_captum.authoring import Answer, Interactions, Term
from hoi_captum.core.row_method import Call
from hoi_captum.errors import ModelOutputError
from hoi_captum.testing import GradientConformance, MethodConformance
from hoi_captum.testing.models import FailedOnPurpose
from tests.testing.references import CrossDerivatives, Dividends, Seeded
from tests.testing.table import caught_by

LEFT = "test_the_model_is_left_as_it_was"


class Before(Dividends):
    """Does something before it explains, and something after; the base of some that follow."""

    def before(self, inputs: Any) -> None: ...

    def after(self, inputs: Any) -> None: ...

    def _explain_all(self, given: Any, *more: Any) -> Any:
        self.before(given[0])
        found = super()._explain_all(given, *more)
        self.after(given[0])
        return found


# ---------------------------------------------------------------- the model
@caught_by(LEFT, "training flags changed in attribute")
class EvaluationModeLeft(Before):
    """``eval()`` for its own passes, and never back."""

    def before(self, inputs: Any) -> None:
        if isinstance(self.forward_func, nn.Module):
            self.forward_func.eval()


@caught_by(LEFT, "training flags changed")
class RootFlagRestored(Before):
    """``train(was)`` afterwards, for all modules alike."""

    def after(self, inputs: Any) -> None:
        self.forward_func.train(self.forward_func.training)


@caught_by(LEFT, "hooks changed")
class HookLeft(Before):
    """A hook that nobody removes."""

    def before(self, inputs: Any) -> None:
        self.forward_func.inner.register_forward_hook(lambda *_: None)


@caught_by(LEFT, "buffers changed")
class TrainsMeanwhile(Before):
    """Passes in training mode, of which the batch norm's statistics learn."""

    def before(self, inputs: Any) -> None:
        self.forward_func.norm.train()
        self.forward_func(inputs)
        self.forward_func.norm.eval()


@caught_by(LEFT, "requires_grad changed")
class ParametersThawed(Before):
    """All parameters want gradients afterwards."""

    def after(self, inputs: Any) -> None:
        self.forward_func.requires_grad_(True)


@caught_by("test_making_and_fitting_leave_the_model_as_it_was", "requires_grad changed before")
class FrozenByTheConstructor(Dividends):
    """Parameters are frozen when the method is made."""

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        if isinstance(forward_func, nn.Module):
            forward_func.requires_grad_(False)


@caught_by("test_a_failing_model_is_left_as_it_was", "hooks changed when the model failed")
class HookLeftByFailures(Dividends):
    """A hook that is removed where all goes well."""

    def _explain_all(self, *given: Any) -> Any:
        hook = self.forward_func.register_forward_hook(lambda *_: None)
        found = super()._explain_all(*given)
        hook.remove()
        return found


@caught_by("test_a_failing_model_is_left_as_it_was", "the model failed", raises=ModelOutputError)
class ErrorsRenamed(Dividends):
    """The model's own errors do not get through."""

    def _explain_all(self, *given: Any) -> Any:
        try:
            return super()._explain_all(*given)
        except FailedOnPurpose as error:
            raise ModelOutputError("the model failed") from error


@caught_by("test_parameters_get_no_gradients", "gradients changed", suite=GradientConformance)
class BackwardToParameters(CrossDerivatives):
    """``backward()``, which adds to the gradients of parameters."""

    def _explain_all(self, given: Any, *more: Any) -> Any:
        self.forward_func(given[0]).sum().backward()
        return super()._explain_all(given, *more)


# ---------------------------------------------------------------- inputs, random state, settings
@caught_by("test_inputs_are_left_as_they_were", "changed in place")
class InputsChanged(Before):
    """Inputs are scaled in place."""

    def before(self, inputs: Any) -> None:
        inputs.mul_(0.5)


@caught_by("test_inputs_are_left_as_they_were", "requires_grad was changed")
class InputsWantGradients(Before):
    """``requires_grad_`` on the caller's own tensor."""

    def before(self, inputs: Any) -> None:
        inputs.requires_grad_()


@caught_by("test_inputs_are_left_as_they_were", "gradients were left on the inputs")
class GradientsOnInputs(Before):
    """``backward()`` to the caller's own tensor."""

    def before(self, inputs: Any) -> None:
        if inputs.requires_grad:
            self.forward_func(inputs).sum().backward()


@caught_by("test_inputs_are_left_as_they_were", "feature_mask was changed")
class MaskChanged(Dividends):
    """Cells of no player are renumbered in the caller's mask."""

    def _explain_all(self, given: Any, *more: Any) -> Any:
        if given[4] is not None:
            given[4].add_(1)
        return super()._explain_all(given, *more)


@caught_by("test_the_random_state_is_left_as_it_was", r"by attribute\(\)")
class GeneratorSeeded(Before):
    """``torch.manual_seed`` of the global generator."""

    def after(self, inputs: Any) -> None:
        torch.manual_seed(0)


@caught_by("test_the_random_state_is_left_as_it_was", r"by making or fitting it")
class NumpySeeded(Dividends):
    """``numpy.random.seed`` in the constructor."""

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        np.random.seed(0)  # noqa: NPY002


@caught_by("test_the_same_seed_gives_the_same_answer", "")
class GlobalGenerator(Dividends):
    """Random numbers of the global generator, in the last digits."""

    def _explain(self, game: Any) -> Answer:
        answer = super()._explain(game)
        return replace(answer, shares=answer.shares + 1e-3 * torch.rand(len(answer.shares)))


@caught_by("test_settings_are_left_as_they_were", "'flash attention'")
class KernelsLeft(Before):
    """An attention kernel is switched off, and never on again."""

    def before(self, inputs: Any) -> None:
        torch.backends.cuda.enable_flash_sdp(False)


@caught_by("test_settings_are_left_as_they_were", "eager")
class EagerLeft(Before):
    """A HuggingFace model is set to eager attention."""

    def before(self, inputs: Any) -> None:
        self.forward_func.model.config._attn_implementation = "eager"


@caught_by("test_the_callers_grad_mode_does_not_matter", "does not require grad", raises=RuntimeError)
class GradientsNotSwitchedOn(Before):
    """Gradients in whatever mode the caller is."""

    def before(self, inputs: Any) -> None:
        x = inputs.detach().clone().requires_grad_()
        torch.autograd.grad(self.forward_func(x).sum(), x)


@caught_by("test_the_callers_grad_mode_does_not_matter", "no_grad was left")
class GradientsSwitchedOn(Before):
    """Gradients switched on for good."""

    def after(self, inputs: Any) -> None:
        torch.set_grad_enabled(True)


@caught_by("test_the_callers_grad_mode_does_not_matter", "no_grad: they differ")
class ZeroWithoutGradients(Dividends):
    """Nothing is found where the caller has no gradients."""

    def _explain(self, game: Any) -> Answer:
        answer = super()._explain(game)
        return answer if self._wanted else replace(answer, shares=answer.shares * 0)

    def _explain_all(self, *given: Any) -> Any:
        self._wanted = torch.is_grad_enabled()
        return super()._explain_all(*given)


@caught_by("test_attributions_have_no_graph", "requires_grad")
class GraphKept(Dividends):
    """Attributions with the graph of the inputs."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        return Dividends._on_cells(call, answers, inputs) + 0 * inputs


@caught_by("test_nothing_keeps_the_model_alive", "kept alive")
class CachedForGood(Dividends):
    """A cache of the class that keeps instances, and with them their models."""

    @functools.lru_cache  # noqa: B019 - the defect
    def _orders(self, n_players: int) -> int:
        return n_players

    def _check(self, n_players: int) -> None:
        self._orders(n_players)


# ---------------------------------------------------------------- tables
DECLARED = "test_terms_are_what_the_class_declares"


class Changed(Dividends):
    """Changes terms; the base of some that follow."""

    def change(self, terms: list[Term]) -> list[Term]:
        return terms

    def _explain(self, game: Any) -> Answer:
        answer = super()._explain(game)
        return replace(answer, terms=self.change(list(answer.terms)))


@caught_by(DECLARED, "'and' is not among kinds")
class KindsWrong(Dividends):
    """Terms of a kind that the class does not name."""

    kinds = ("or",)


@caught_by(DECLARED, r"order 1, declared \(2, None\)")
class OrdersWrong(Dividends):
    """Terms of an order that the class does not name."""

    orders = (2, None)


@caught_by(DECLARED, "is there twice")
class TermTwice(Changed):
    """A term twice."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [*terms, terms[0]]


@caught_by(DECLARED, "is nan")
class NaNScore(Changed):
    """A score that is no number."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [*terms[1:], replace(terms[0], score=float("nan"))]

    def _check_answers(self, *given: Any) -> None:
        """Not looked at, as in a class that stands on no base of ours."""


COST = "test_cost_is_what_is_spent"


@caught_by(COST, "passes were told")
class FewerToldThanMade(Dividends):
    """A number that was right for pairs."""

    def _passes(self, n_players: int) -> int:
        return 1 + n_players


@caught_by(COST, "about 300000 passes were told")
class MoreToldThanMade(Dividends):
    """A bound that is far from the truth."""

    def _passes(self, n_players: int) -> float:
        return 1e5


SOURCE = "test_provenance_is_complete"


class Source(Dividends):
    """Changes the provenance; the base of some that follow."""

    fields: ClassVar[dict[str, Any]] = {}

    def _table(self, *given: Any) -> Interactions:
        table = super()._table(*given)
        return replace(table, provenance=replace(table.provenance, **self.fields))


@caught_by(SOURCE, "expected method 'dividends'")
class AnotherName(Source):
    """A table of another method."""

    name = "dividends"
    fields = {"method": "Dividends"}


@caught_by(SOURCE, "model is not named")
class ModelNotNamed(Source):
    """No model."""

    fields = {"model": ()}


@caught_by(SOURCE, "expected target 1")
class TargetNotNamed(Source):
    """No target."""

    fields = {"target": ""}


@caught_by(SOURCE, "no pass of the model is counted")
class NothingCounted(Source):
    """No passes."""

    fields = {"forward_passes": 0}


@caught_by(SOURCE, "JSON compliant", raises=ValueError)
class NaNInJSON(Source):
    """A detail that JSON does not have."""

    fields = {"details": {"gap": float("nan")}}


@caught_by(
    SOURCE, "another seed gives another answer: record it", suite=MethodConformance, options={"seed": 3}
)
@caught_by(SOURCE, "another seed gives another answer", suite=MethodConformance)
class SeedNotRecorded(Seeded):
    """A seed that the provenance does not have, also where it is the default."""

    def _table(self, *given: Any) -> Interactions:
        table = super()._table(*given)
        return replace(table, provenance=replace(table.provenance, seed=None))


@caught_by(SOURCE, "the option weight is not recorded", options={"weight": 2.0})
class OptionForgotten(Dividends):
    """A private option."""

    def __init__(self, forward_func: Any, *, weight: float = 1.0) -> None:
        super().__init__(forward_func)
        self.weight = weight

    def options(self) -> dict[str, Any]:
        return {}


@caught_by(SOURCE, "weight=2.0 is recorded as 1.0", options={"weight": 2.0})
class OptionMisread(OptionForgotten):
    """An option that is recorded as its default."""

    def options(self) -> dict[str, Any]:
        return {"weight": 1.0}


FILE = "test_tables_survive_a_file"


class WeightsForgotten(Interactions):
    """A file without weights."""

    def pack(self) -> Any:
        arrays, metadata = super().pack()
        arrays.pop("weights", None)
        return arrays, metadata


class Rounded(Interactions):
    """A file with fewer digits."""

    def pack(self) -> Any:
        arrays, metadata = super().pack()
        return arrays | {"scores": arrays["scores"].astype(np.float16).astype(np.float64)}, metadata


class Base(Interactions):
    """Comes back as another type."""

    @classmethod
    def load(cls, path: str | Path) -> Any:
        return Interactions.load(path)


class Writable(Interactions):
    """Columns that can be written into."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("offsets", "scores"):
            object.__setattr__(self, name, getattr(self, name).copy())


class Loose(Interactions):
    """Fields that can be set."""

    __setattr__ = object.__setattr__


@caught_by(FILE, "the members' weights changed in a file")
class WeightsLost(Changed):
    """A table whose file lacks the weights."""

    result = WeightsForgotten

    def change(self, terms: list[Term]) -> list[Term]:
        return [replace(t, weights=(0.5,) * t.order) for t in terms]


@caught_by(FILE, "after a file: expected")
class ScoresRounded(Dividends):
    """A table whose file has fewer digits."""

    result = Rounded


@caught_by(FILE, "a Base came back as Interactions")
class TypeLost(Dividends):
    """A table that comes back as another type."""

    result = Base


@caught_by("test_results_cannot_be_changed", "writeable")
class WritableArrays(Dividends):
    """Columns that can be written into."""

    result = Writable


@caught_by("test_results_cannot_be_changed", "DID NOT RAISE")
class FieldsCanBeSet(Dividends):
    """Fields that can be set."""

    result = Loose

"""Methods that break what interactions, games, derivatives, layers or several models owe; one defect each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import hoi_captum as hoi
from hoi_captum import authoring
from hoi_captum.authoring import Answer, Term
from hoi_captum.core.example import PerModel
from hoi_captum.errors import HoiError, InputError, NotFittedError
from hoi_captum.testing import GradientConformance, LayerConformance, SeveralModelsConformance
from tests.testing.broken_results import Changed
from tests.testing.references import LAYER_OPTIONS, CrossDerivatives, Dividends, SharedDividends
from tests.testing.table import caught_by


# ---------------------------------------------------------------- interactions
@caught_by("test_a_dummy_has_no_part", "with a dummy in it")
class NoisyScores(Changed):
    """Noise on every score, also on those that are zero."""

    def change(self, terms: list[Term]) -> list[Term]:
        noise = torch.rand(len(terms), generator=torch.Generator().manual_seed(0)).tolist()
        return [replace(t, score=t.score + 1e-3 * e) for t, e in zip(terms, noise, strict=True)]


@caught_by("test_a_dummy_has_no_part", "abs")
class SharedAmongAll(Dividends):
    """The effect shared evenly among all players, dummies too."""

    def _explain(self, game: Any) -> Answer:
        answer = super()._explain(game)
        return replace(answer, shares=torch.full_like(answer.shares, float(answer.shares.mean())))


@caught_by("test_players_that_can_be_exchanged_have_equal_scores", "players exchanged")
@caught_by("test_renamed_players_have_renamed_terms", "players renamed")
class FirstComeFirstServed(Changed):
    """Scores that depend on the players' order."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [replace(t, score=t.score / (1 + t.members[-1])) for t in terms]


@caught_by("test_it_is_linear_in_the_model", r"f \+ 2 g")
class Squared(Changed):
    """Squared scores."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [replace(t, score=t.score**2) for t in terms]


@caught_by("test_a_constant_changes_no_term", r"f \+ 3")
class BaseLeaks(Dividends):
    """The value of the empty coalition is put on the single players."""

    def _explain(self, game: Any) -> Answer:
        answer = super()._explain(game)
        terms = [
            replace(t, score=t.score + answer.base / game.n_players) if t.order == 1 else t
            for t in answer.terms
        ]
        return replace(answer, terms=terms)


@caught_by("test_a_constant_changes_no_term", r"f \+ 3")
class PartsOfTheOutput(Dividends):
    """Shares in parts of the output."""

    def _explain(self, game: Any) -> Answer:
        answer = super()._explain(game)
        return replace(answer, shares=answer.shares / game.all_present())


@caught_by("test_planted_terms_are_found", "no term of the planted orders was found")
class NeighboursOnly(Changed):
    """Only players that stand side by side."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [t for t in terms if t.score and t.members[-1] - t.members[0] == t.order - 1]


@caught_by("test_planted_terms_are_found", "the strongest is")
class LastPairFirst(Changed):
    """One pair, which is always the same."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [replace(t, score=9.0) if t.members == (3, 4) else t for t in terms]


@caught_by("test_planted_terms_are_found", r"with \+3, found -3")
class SignTurned(Changed):
    """Minus and plus exchanged."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [replace(t, score=-t.score) for t in terms]


@caught_by("test_all_scores_together_are_the_effect", "", complete=True)
class SinglesLeftOut(Changed):
    """Terms of several players only, of a method that says that it is complete."""

    def change(self, terms: list[Term]) -> list[Term]:
        return [t for t in terms if t.order > 1]


# ---------------------------------------------------------------- games
@caught_by("test_gradients_are_not_needed", "nothing was found without gradients")
class NeedsGradients(CrossDerivatives):
    """A method that differentiates, in the suite of games."""


@caught_by("test_token_ids_are_explained", "", raises=IndexError)
class FloatsOnly(Dividends):
    """Inputs are made floating point numbers, which index nothing."""

    def _explain_all(self, given: Any, *more: Any) -> Any:
        return super()._explain_all((given[0].float(), *given[1:]), *more)


# ---------------------------------------------------------------- derivatives
@caught_by("test_frozen_parameters_do_not_matter", "frozen", suite=GradientConformance)
class NothingToDifferentiate(CrossDerivatives):
    """A frozen model is taken for one without gradients."""

    def _explain_all(self, *given: Any) -> Any:
        self._trained = any(p.requires_grad for p in self.forward_func.parameters())
        return super()._explain_all(*given)

    def _answer(self, shares: Tensor, matrix: Tensor) -> Answer:
        return super()._answer(shares * self._trained, matrix)


@caught_by("test_attention_kernels_do_not_matter", "", suite=GradientConformance, raises=RuntimeError)
class AnyKernel(CrossDerivatives):
    """Second derivatives of whatever kernel the attention has: torch's has none."""

    def _derivatives(self, gates: authoring.InputGates, rows: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            scale = torch.ones(len(rows), gates.n_units, dtype=gates.dtype, requires_grad=True)
            (first,) = torch.autograd.grad(gates.run(rows, scale).sum(), scale, create_graph=True)
            second = [
                torch.autograd.grad(first[:, i].sum(), scale, retain_graph=True)[0]
                for i in range(gates.n_units)
            ]
        return first.detach(), torch.stack(second, 1)


# ---------------------------------------------------------------- layers
def in_a_layer(check: str, says: str, **more: Any) -> Any:
    return caught_by(check, says, suite=LayerConformance, options=LAYER_OPTIONS, **more)


@in_a_layer("test_an_output_that_is_not_finite_is_refused", "DID NOT RAISE")
class NaNActivations(hoi.LayerLocalCorEx):
    """Activations that are no numbers are taken for zeros."""

    def _explained(self, inputs: Any, *more: Any, **call: Any) -> Any:
        return super()._explained(inputs.nan_to_num(), *more, **call)


@in_a_layer("test_unfitted_it_says_so", "local_", raises=AttributeError)
class UnfittedRaw(hoi.LayerLocalCorEx):
    """Before ``fit`` an attribute is missing."""

    def _check_fitted(self) -> None:
        try:
            super()._check_fitted()
        except NotFittedError:
            raise AttributeError("no attribute 'local_'") from None


@in_a_layer("test_fit_gives_itself", "None is")
class FitGivesNothing(hoi.LayerLocalCorEx):
    """``fit`` without a result."""

    def fit(self, *data: Any, **call: Any) -> Any:
        super().fit(*data, **call)


@in_a_layer("test_data_may_come_in_batches", "data in batches")
class LastBatchesLost(hoi.LayerLocalCorEx):
    """Half of the batches."""

    def fit(self, data: Any, **call: Any) -> Any:
        return super().fit(data[:2] if isinstance(data, list) else data, **call)


@in_a_layer("test_a_failed_fit_leaves_what_was_learned", "not fitted", raises=NotFittedError)
class ForgetsFirst(hoi.LayerLocalCorEx):
    """What was learned is gone as soon as ``fit`` begins."""

    def fit(self, *data: Any, **call: Any) -> Any:
        self.__dict__.pop("layer_name_", None)
        return super().fit(*data, **call)


@in_a_layer("test_a_failed_fit_leaves_what_was_learned", "equal")
class HalfLearned(hoi.LayerLocalCorEx):
    """What could be learned of bad data replaces what was there."""

    def fit(self, data: Any, **call: Any) -> Any:
        try:
            return super().fit(data, **call)
        except HoiError:
            super().fit(data[32:], **call)
            raise


@in_a_layer("test_a_layer_that_does_not_run_is_refused", "list index", raises=IndexError)
class LayerNotLookedFor(hoi.LayerLocalCorEx):
    """A layer that does not run is an empty list somewhere."""

    def fit(self, *data: Any, **call: Any) -> Any:
        try:
            return super().fit(*data, **call)
        except InputError:
            raise IndexError("list index out of range") from None


@in_a_layer("test_what_was_learned_survives_a_file", "after a file")
class LearnedRounded(hoi.LayerLocalCorEx):
    """A file with half of the digits."""

    @classmethod
    def load(cls, *given: Any) -> Any:
        again = super().load(*given)
        for model in again.local_.models_:
            model.mi_ = model.mi_.astype(np.float16).astype(np.float64)
        return again


@in_a_layer("test_making_and_fitting_leave_the_model_as_it_was", "hooks changed before")
class HookLeftByFit(hoi.LayerLocalCorEx):
    """A hook of ``fit`` on the layer that nobody removes."""

    def fit(self, *data: Any, **call: Any) -> Any:
        self.layer.register_forward_hook(lambda *_: None)
        return super().fit(*data, **call)


@in_a_layer("test_the_random_state_is_left_as_it_was", "by making or fitting")
class FitSeeds(hoi.LayerLocalCorEx):
    """``fit`` seeds the global generator."""

    def fit(self, *data: Any, **call: Any) -> Any:
        torch.manual_seed(self.random_state)
        return super().fit(*data, **call)


# ---------------------------------------------------------------- several models
def of_several(check: str, says: str, **more: Any) -> Any:
    return caught_by(check, says, suite=SeveralModelsConformance, **more)


@of_several("test_several_models_are_declared", "is True")
class SeveralNotDeclared(SharedDividends):
    """A method of several models that does not say so."""

    several_models = False


@of_several("test_each_model_has_its_attributions", "isinstance")
class AttributionsInAList(SharedDividends):
    """Attributions in a list, which may be rows."""

    def _per_model(self, items: list[Any]) -> Any:
        return items if isinstance(self.forward_func, list) else items[0]


@of_several("test_each_model_has_its_attributions", "a model among others")
class ModelsTurned(SharedDividends):
    """The models' attributions in the wrong order."""

    def _per_model(self, items: list[Any]) -> Any:
        return super()._per_model(items[::-1])


@of_several("test_the_same_model_twice_has_the_same_terms_twice", "a scope for each model")
class FirstModelOnly(SharedDividends):
    """No terms of the second model."""

    def _dividends(self, values: Tensor) -> Tensor:
        found = super()._dividends(values)
        found[1:] = 0
        return found


@of_several("test_the_same_model_twice_has_the_same_terms_twice", "")
class WhatIsNew(SharedDividends):
    """Of each model what those before it do not have, and a little of the rest."""

    def _dividends(self, values: Tensor) -> Tensor:
        found = super()._dividends(values)
        found[1:] -= 0.9 * found[:-1].clone()
        return found


@of_several("test_the_models_order_does_not_matter", "models exchanged")
class FirstModelIsTheUnit(SharedDividends):
    """Scores in parts of the first model's strongest."""

    def _dividends(self, values: Tensor) -> Tensor:
        found = super()._dividends(values)
        return found / found[0].abs().max()


@of_several("test_per_model_inputs_are_taken", "PerModel inputs")
class FirstInputsForAll(SharedDividends):
    """The first model's inputs for all of them."""

    def _tables(self, arguments: Any, *more: Any) -> Any:
        inputs = arguments[0]
        if isinstance(inputs, PerModel):
            inputs = PerModel(*[inputs[0]] * len(inputs))
        return super()._tables((inputs, *arguments[1:]), *more)

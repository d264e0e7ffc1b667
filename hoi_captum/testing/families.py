"""The suites that authors subclass: one for each family of methods."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hoi_captum.core.example import PerModel
from hoi_captum.errors import HoiError, InputError, NotFittedError
from hoi_captum.testing import models
from hoi_captum.testing.cases import ROWS, Case, rows_of, smooth_case
from hoi_captum.testing.contract import ContractChecks
from hoi_captum.testing.games import planted_pair, two_alike
from hoi_captum.testing.interactions import InteractionChecks
from hoi_captum.testing.models import noise
from hoi_captum.testing.results import ResultChecks
from hoi_captum.testing.state import StateChecks
from hoi_captum.testing.suite import (
    as_tuple,
    assert_close,
    assert_same_scores,
    assert_unchanged,
    scores_of,
    snapshot,
)


class MethodConformance(ContractChecks, StateChecks, ResultChecks):
    """What every method owes: Captum's contract, nothing left behind, tables that say where they come from.

    ::

        class TestMyMethod(MethodConformance):
            method = MyMethod
            options = {"seed": 0}
            waivers = {"test_half_precision_runs": "its solver needs float32"}

    Examples::

        >>> from hoi_captum.testing import MethodConformance
        >>> class TestMyMethod(MethodConformance):
        ...     method = hoi.TaylorCAM
        ...     waivers = {"test_half_precision_runs": "its solver needs float32"}
        >>> "test_half_precision_runs" in TestMyMethod.checks()
        True
    """


class GameConformance(MethodConformance, InteractionChecks):
    """For methods that need nothing of a model but its outputs: any function will do.

    Examples::

        >>> from hoi_captum.testing import GameConformance
        >>> class TestMyMethod(GameConformance):
        ...     method = hoi.GeneralizableAndOr
        >>> TestMyMethod().test_token_ids_are_explained()  # pytest runs each check so
    """

    def test_gradients_are_not_needed(self) -> None:
        """A forward function without any gradient is explained."""
        case = smooth_case()

        def detached(*inputs: Any) -> torch.Tensor:
            with torch.no_grad():
                out: torch.Tensor = case.model(*inputs).round(decimals=2)
            return out

        tables = self.interact(self.build(case, detached), case.inputs, **case.call)
        assert len(tables) == ROWS
        assert any(term.score for table in tables for term in table), "nothing was found without gradients"

    def test_token_ids_are_explained(self) -> None:
        """Integers can be masked."""
        embeddings = noise(10, 2, seed=3)

        def scores(ids: torch.Tensor) -> torch.Tensor:
            e = embeddings[ids]
            return torch.stack([e[:, 0, 0] * e[:, 1, 0], e.sum((1, 2))], 1)

        ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
        case = Case(scores, ids, None, {"target": 0}, torch.randint(10, (64, 3), generator=torch.Generator()))
        method = self.build(case)
        assert len(self.interact(method, ids, **case.call)) == 2
        assert self.attribute(method, ids, **case.call).shape == ids.shape


class GradientConformance(MethodConformance, InteractionChecks):
    """For methods that differentiate the model.

    Examples::

        >>> from hoi_captum.testing import GradientConformance
        >>> class TestMyMethod(GradientConformance):
        ...     method = hoi.TaylorCAM
        >>> TestMyMethod().test_frozen_parameters_do_not_matter()  # pytest runs each check so
    """

    def test_parameters_get_no_gradients(self) -> None:
        """Also where the caller trains: gradients that are there stay as they are."""
        case = smooth_case()
        case.model(case.inputs).sum().backward()
        before = snapshot(case.model)
        method = self.build(case)
        self.attribute(method, case.inputs, **case.call)
        self.interact(method, case.inputs, **case.call)
        assert_unchanged(before, snapshot(case.model), "in a model that is trained")

    def test_frozen_parameters_do_not_matter(self) -> None:
        """A model without any parameter that wants a gradient has the same answer."""
        case = smooth_case()
        expected = self.attribute(self.build(case), case.inputs, **case.call)
        case.model.requires_grad_(False)
        assert_close(
            self.attribute(self.build(case), case.inputs, **case.call), expected, self.tolerance, "frozen"
        )

    def test_attention_kernels_do_not_matter(self) -> None:
        """A BERT with torch's attention is explained as one with eager attention."""
        from hoi_captum.testing.cases import text_case

        answers = []
        for kernel in ("sdpa", "eager"):
            case = text_case(lambda kernel=kernel: models.tiny_bert(attention=kernel))  # type: ignore[misc]
            answers.append(self.attribute(self.build(case), case.inputs, **case.call))
        assert_close(answers[0], answers[1], max(self.tolerance, 1e-3), "sdpa and eager attention")


class LayerConformance(MethodConformance):
    """For methods that learn from a layer and explain it: ``M(forward_func, layer).fit(data)``.

    Examples::

        >>> from hoi_captum.testing import LayerConformance
        >>> class TestMyMethod(LayerConformance):
        ...     method = hoi.LayerLocalCorEx
        >>> TestMyMethod().test_unfitted_it_says_so()  # pytest runs each check so
    """

    # a fit to numbers that were rounded otherwise may find another optimum
    compares_dtypes = False
    # what is known of neurons need not be about an output
    explains_targets = False

    def make(self, forward_func: Any, case: Case) -> Any:
        return self.method(forward_func, case.layer, **self.options)

    def prepare(self, method: Any, case: Case) -> None:
        method.fit(case.background)

    def long_work(self, method: Any, case: Case, show_progress: bool) -> None:
        method.fit(case.background, show_progress=show_progress)

    def test_an_output_that_is_not_finite_is_refused(self) -> None:
        """Of the layer, here: with one of the library's errors."""
        case = smooth_case()
        method = self.build(case)
        for verb in (self.attribute, self.interact):
            with pytest.raises(HoiError):
                verb(method, case.inputs * float("nan"), **case.call)

    def shapes(self, case: Case) -> Any:
        return [tuple(x.shape) for x in self._read(case)]

    def mirrors_inputs(self) -> bool:
        return False

    @staticmethod
    def _read(case: Case) -> tuple[torch.Tensor, ...]:
        found: list[Any] = []
        assert case.layer is not None
        hook = case.layer.register_forward_hook(lambda module, given, out: found.append(out))
        try:
            with torch.no_grad():
                case.model(*as_tuple(case.inputs))
        finally:
            hook.remove()
        return as_tuple(found[-1] if isinstance(found[-1], torch.Tensor) else found[-1][0])

    def test_unfitted_it_says_so(self) -> None:
        """Both verbs raise NotFittedError before ``fit``."""
        case = smooth_case()
        method = self.make(case.model, case)
        for verb in (self.attribute, self.interact):
            with pytest.raises(NotFittedError):
                verb(method, case.inputs, **case.call)

    def test_fit_gives_itself(self) -> None:
        """``M(...).fit(data)`` can be written in one line."""
        case = smooth_case()
        method = self.make(case.model, case)
        assert method.fit(case.background) is method

    def test_data_may_come_in_batches(self) -> None:
        """A tensor and an iterable of its batches teach the same."""
        case = smooth_case()
        whole = self.build(case)
        parts = self.make(case.model, case).fit(
            [rows_of(case.background, slice(i, i + 16)) for i in range(0, 64, 16)]
        )
        found, expected = (self.attribute(m, case.inputs, **case.call) for m in (parts, whole))
        assert_close(found, expected, self.tolerance, "data in batches")

    def test_a_failed_fit_leaves_what_was_learned(self) -> None:
        """Data that cannot be used raise, and the method goes on explaining as before."""
        case = smooth_case()
        method = self.build(case)
        before = self.attribute(method, case.inputs, **case.call)
        bad = case.background.clone()
        bad[3] = float("nan")
        with pytest.raises(HoiError):
            method.fit(bad)
        assert torch.equal(self.attribute(method, case.inputs, **case.call), before)

    def test_a_layer_that_does_not_run_is_refused(self) -> None:
        """With one of the library's errors."""
        case = smooth_case()
        other = Case(case.model, case.inputs, nn.Linear(2, 2), case.call, case.background)
        with pytest.raises(InputError):
            self.build(other)

    def test_what_was_learned_survives_a_file(self) -> None:
        """``save`` and ``load`` give a method with the same answers."""
        case = smooth_case()
        method = self.build(case)
        expected = self.attribute(method, case.inputs, **case.call)
        tables = [scores_of(t) for t in self.interact(method, case.inputs, **case.call)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "learned.safetensors"
            method.save(path)
            again = self.method.load(path, case.model, case.layer)
        assert_close(self.attribute(again, case.inputs, **case.call), expected, 1e-6, "after a file")
        for one, other in zip(self.interact(again, case.inputs, **case.call), tables, strict=True):
            assert_same_scores(scores_of(one), other, 1e-6, "after a file")


class SeveralModelsConformance(GameConformance):
    """For methods that explain several models together: ``M([f, g])``.

    Examples::

        >>> from hoi_captum.testing import SeveralModelsConformance
        >>> class TestMyMethod(SeveralModelsConformance):
        ...     method = hoi.GeneralizableAndOr
        >>> TestMyMethod().test_several_models_are_declared()  # pytest runs each check so
    """

    def test_several_models_are_declared(self) -> None:
        """``several_models`` says that a list is taken."""
        assert self.method.several_models is True

    def test_each_model_has_its_attributions(self) -> None:
        """``PerModel`` of them, in the order of the models."""
        case = smooth_case()
        other = models.smooth_net(seed=1)
        method = self.make([case.model, other], case)
        found = self.attribute(method, case.inputs, **case.call)
        assert isinstance(found, PerModel)
        assert len(found) == 2
        alone = [self.attribute(self.make(f, case), case.inputs, **case.call) for f in (case.model, other)]
        for one, wanted in zip(found, alone, strict=True):
            assert_close(one, wanted, self.tolerance, "a model among others")

    def test_the_same_model_twice_has_the_same_terms_twice(self) -> None:
        """Scopes tell the models apart; theirs are the same scores."""
        row = torch.tensor([[1.0, -0.5, 0.8, 1.5, 0.6]], dtype=torch.float64)
        game = planted_pair()
        table = self.interact(self.make([game, game], Case(game, row)), row)[0]
        parts = [scores_of(table.where(scope=scope)) for scope in table.scope_names]
        assert len(parts) == 2, f"expected a scope for each model, got {table.scope_names}"
        one, other = ({key[:2]: score for key, score in part.items()} for part in parts)
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)

    def test_the_models_order_does_not_matter(self) -> None:
        """Models exchanged, scopes exchanged."""
        row = torch.tensor([[1.0, -0.5, 0.8, 1.5, 0.6]], dtype=torch.float64)
        f, g = planted_pair(), two_alike()
        tables = [self.interact(self.make(pair, Case(f, row)), row)[0] for pair in ([f, g], [g, f])]
        names = tables[0].scope_names
        assert len(names) == 2
        for here, there in zip(names, reversed(names), strict=True):
            one, other = scores_of(tables[0].where(scope=here)), scores_of(tables[1].where(scope=there))
            assert_same_scores(
                {(m, k, ""): v for (m, k, _), v in one.items()},
                {(m, k, ""): v for (m, k, _), v in other.items()},
                max(self.exactness, 1e-5),
                "models exchanged",
            )

    def test_per_model_inputs_are_taken(self) -> None:
        """``PerModel`` gives each model its own inputs, with the same players."""
        case = smooth_case()
        twin = copy.deepcopy(case.model)
        inputs = case.inputs, noise(ROWS, 4, seed=6)
        alone = [self.attribute(self.make(case.model, case), x, **case.call) for x in inputs]
        found = self.attribute(self.make([case.model, twin], case), PerModel(*inputs), **case.call)
        for one, other in zip(found, alone, strict=True):
            assert_close(one, other, self.tolerance, "PerModel inputs")

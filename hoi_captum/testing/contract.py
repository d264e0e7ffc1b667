"""Captum's contract: arguments, shapes, targets, batches, dtypes."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import Attribution, NoiseTunnel

from hoi_captum.errors import HoiError
from hoi_captum.registry import check_method
from hoi_captum.testing import models
from hoi_captum.testing.cases import (
    ROWS,
    Case,
    MethodCases,
    image_case,
    rows_of,
    smooth_case,
    text_case,
    two_inputs_case,
)
from hoi_captum.testing.models import noise
from hoi_captum.testing.suite import as_tuple, assert_close, assert_same_scores, needs, scores_of

_HALF = 0.2  # bfloat16 holds eight bits: of sums of differences one or two digits are left
_KNOWN_FIRST = ("baselines", "target", "additional_forward_args", "feature_mask")


class ContractChecks(MethodCases):
    """What Captum's users expect of a class, whatever it computes."""

    # ---------------------------------------------------------------- the class
    def test_it_can_be_registered(self) -> None:
        """It is a Captum class with both verbs, kinds, orders and a summary, as the registry asks."""
        assert issubclass(self.method, Attribution)
        check_method(getattr(self.method, "name", "method"), self.method)

    def test_arguments_are_captums(self) -> None:
        """Both verbs take Captum's arguments, under its names and in its order."""
        for verb in (self.method.attribute, self.method.interact):
            names = list(inspect.signature(verb).parameters)
            known = [name for name in names if name in _KNOWN_FIRST]
            assert known == [name for name in _KNOWN_FIRST if name in known], f"{verb.__qualname__}: {names}"
            assert names[1] == "inputs", f"{verb.__qualname__}: {names}"

    def test_it_is_documented(self) -> None:
        """The class says what it is, both verbs what they take and give."""
        assert self.method.__doc__, "the class has no docstring of its own"
        for verb in (self.method.attribute, self.method.interact):
            text = inspect.getdoc(verb) or ""
            assert "Args:" in text, f"{verb.__qualname__} has no Args: in its docstring"
            assert "Returns:" in text, f"{verb.__qualname__} has no Returns: in its docstring"

    def test_what_cannot_be_called_is_refused(self) -> None:
        """A forward function that is none raises one of the library's errors."""
        with pytest.raises(HoiError):
            self.make("no function", smooth_case())

    # ---------------------------------------------------------------- shapes
    def test_attributions_have_their_shape(self) -> None:
        """A tensor for a tensor, finite, shaped like the inputs (or the layer)."""
        case = smooth_case()
        found = self.attribute(self.build(case), case.inputs, **case.call)
        assert isinstance(found, torch.Tensor), f"expected a Tensor for a Tensor, got {type(found).__name__}"
        assert [tuple(found.shape)] == self.shapes(case)
        assert bool(found.isfinite().all())

    def test_a_tuple_gives_a_tuple(self) -> None:
        """Two input tensors, two attributions."""
        case = two_inputs_case()
        found = self.attribute(self.build(case), case.inputs, **case.call)
        if self.mirrors_inputs():
            assert isinstance(found, tuple), f"expected a tuple for a tuple, got {type(found).__name__}"
        assert [tuple(x.shape) for x in as_tuple(found)] == self.shapes(case)

    def test_each_row_has_its_table(self) -> None:
        """``interact`` gives as many tables as there are rows."""
        for case in (smooth_case(), two_inputs_case()):
            assert len(self.interact(self.build(case), case.inputs, **case.call)) == ROWS

    def test_images_are_explained(self) -> None:
        """A convolutional network, by patches."""
        self._explains(image_case())

    def test_bert_is_explained(self) -> None:
        """A HuggingFace BERT, by tokens."""
        self._explains(text_case(models.tiny_bert))

    def test_llama_is_explained(self) -> None:
        """A HuggingFace LLaMA, by tokens."""
        self._explains(text_case(models.tiny_llama))

    def _explains(self, case: Case) -> None:
        method = self.build(case)
        found = self.attribute(method, case.inputs, **case.call)
        assert [tuple(x.shape) for x in as_tuple(found)] == self.shapes(case)
        tables = self.interact(method, case.inputs, **case.call)
        assert len(tables) == ROWS
        for table in tables:
            assert all(map(math.isfinite, scores_of(table).values()))

    # ---------------------------------------------------------------- targets and arguments
    def test_targets_have_all_of_captums_forms(self) -> None:
        """An int, a list, a Tensor and a tuple mean the same; rows may have targets of their own."""
        case = smooth_case()
        method = self.build(case)
        one = self._answers(method, case, target=1)
        for form in ([1] * ROWS, torch.tensor([1] * ROWS), torch.tensor(1), (1,)):
            self._assert_same(self._answers(method, case, target=form), one, f"target={form!r}")
        other = self._answers(method, case, target=2)
        if self.explains_targets:
            assert _differ(one, other), "targets 1 and 2 have the same answer: is the target used?"
        mixed = self._answers(method, case, target=[1, 2, 1])
        for row in range(ROWS):
            single = other if row == 1 else one
            assert_same_scores(mixed[1][row], single[1][row], self.tolerance, "targets of their own")
            assert_close(mixed[0][row], single[0][row], self.tolerance, "targets of their own")

    def test_a_target_that_does_not_exist_is_refused(self) -> None:
        """With one of the library's errors."""
        case = smooth_case()
        method = self.build(case)
        for verb in (self.attribute, self.interact):
            with pytest.raises(HoiError):
                verb(method, case.inputs, target=7)

    def test_additional_arguments_reach_the_model(self) -> None:
        """Tensors go with their rows, other values as they are."""
        case = smooth_case()
        shift = noise(ROWS, 4, seed=5)
        got: list[int] = []
        method = self.build(case, _watched(case.model, got))
        got.clear()  # a method that learns has learned without them
        both = self._answers(method, case, **case.call, additional_forward_args=(shift,))
        assert 2 in got, "the model was never given the additional argument"
        for row in range(ROWS):
            part = Case(case.model, case.inputs[row : row + 1], case.layer)
            alone = self._answers(method, part, **case.call, additional_forward_args=(shift[row : row + 1],))
            assert_same_scores(alone[1][0], both[1][row], self.tolerance, "additional_forward_args")
            assert_close(alone[0][0], both[0][row], self.tolerance, "additional_forward_args")
        number, tensor = (
            self.attribute(method, case.inputs, **case.call, additional_forward_args=value)
            for value in (0.5, torch.full((ROWS, 4), 0.5))
        )
        assert_close(number, tensor, self.tolerance, "additional_forward_args=0.5")

    def test_baselines_have_all_of_captums_forms(self) -> None:
        """A number, a Tensor for each row and one for all mean the same; rows may have their own."""
        needs(self.method.attribute, "baselines")
        case = smooth_case()
        method = self.build(case)
        one = self._answers(method, case, **case.call, baselines=0.5)
        found = self._answers(method, case, **case.call, baselines=torch.full((1, 4), 0.5))
        self._assert_same(found, one, "a baseline for all rows")
        own = torch.tensor([0.5, -1.0, 0.5]).view(ROWS, 1).expand(ROWS, 4)
        mixed = self._answers(method, case, **case.call, baselines=own)
        other = self._answers(method, case, **case.call, baselines=-1.0)
        for row in range(ROWS):
            single = other if row == 1 else one
            assert_same_scores(mixed[1][row], single[1][row], self.tolerance, "baselines of their own")
            assert_close(mixed[0][row], single[0][row], self.tolerance, "baselines of their own")

    def test_other_baselines_have_other_answers(self) -> None:
        """An argument that is taken is used."""
        needs(self.method.attribute, "baselines")
        case = smooth_case()
        method = self.build(case)
        one, other = (
            self.attribute(method, case.inputs, **case.call, baselines=value) for value in (0.5, -1.0)
        )
        if torch.equal(one, other):
            tables = [self.interact(method, case.inputs, **case.call, baselines=b)[0] for b in (0.5, -1.0)]
            assert scores_of(tables[0]) != scores_of(tables[1]), "baselines 0.5 and -1 give the same answer"

    def test_cells_of_a_player_share_its_value(self) -> None:
        """A feature mask makes players of cells; those of none have 0."""
        needs(self.method.attribute, "feature_mask")
        case = smooth_case()
        mask = torch.tensor([[0, 1, 0, -1]])
        method = self.build(case)
        found = self.attribute(method, case.inputs, **case.call, feature_mask=mask)
        if self.shapes(case) != [tuple(case.inputs.shape)]:
            pytest.skip("its attributions are not those of the inputs' cells")
        assert torch.equal(found[:, 0], found[:, 2])
        assert bool((found[:, 3] == 0).all())
        tables = self.interact(method, case.inputs, **case.call, feature_mask=mask)
        assert {len(t.players) for t in tables} == {2}

    def test_bad_masks_are_refused(self) -> None:
        """Ids with a gap, fractions, another shape: with one of the library's errors."""
        needs(self.method.interact, "feature_mask")
        case = smooth_case()
        method = self.build(case)
        for mask in (torch.tensor([[0, 1, 3, 3]]), torch.tensor([[0.0, 1, 2, 3]]), torch.zeros(1, 9).long()):
            for verb in (self.attribute, self.interact):
                with pytest.raises(HoiError):
                    verb(method, case.inputs, **case.call, feature_mask=mask)

    def test_an_empty_batch_is_refused(self) -> None:
        """With one of the library's errors."""
        case = smooth_case()
        method = self.build(case)
        for verb in (self.attribute, self.interact):
            with pytest.raises(HoiError):
                verb(method, case.inputs[:0], **case.call)

    def test_an_output_that_is_not_finite_is_refused(self) -> None:
        """With one of the library's errors."""
        case = smooth_case()
        broken: list[bool] = []
        method = self.build(case, lambda *x: case.model(*x) * (float("nan") if broken else 1.0))
        broken.append(True)  # after a method that learns has learned
        for verb in (self.attribute, self.interact):
            with pytest.raises(HoiError):
                verb(method, case.inputs, **case.call)

    # ---------------------------------------------------------------- batches, dtypes
    def test_rows_do_not_see_each_other(self) -> None:
        """A row's answer is the same alone and in a batch."""
        for case in (smooth_case(), two_inputs_case()):
            method = self.build(case)
            together = self._answers(method, case, **case.call)
            for row in range(ROWS):
                part = Case(case.model, rows_of(case.inputs, slice(row, row + 1)), case.layer)
                alone = self._answers(method, part, **case.call)
                assert_same_scores(alone[1][0], together[1][row], self.tolerance, "a row alone")
                whole = tuple(x[row : row + 1] for x in as_tuple(together[0]))
                assert_close(as_tuple(alone[0]), whole, self.tolerance, "a row alone")

    def test_chunks_do_not_matter(self) -> None:
        """``internal_batch_size`` changes how many rows a pass has, and nothing else."""
        needs(self.method.interact, "internal_batch_size")
        case = smooth_case()
        method = self.build(case)
        whole = self._answers(method, case, **case.call)
        for size in (1, 5):
            found = self._answers(method, case, **case.call, internal_batch_size=size)
            self._assert_same(found, whole, f"internal_batch_size={size}")
        with pytest.raises(HoiError):
            self.interact(method, case.inputs, **case.call, internal_batch_size=0)

    def test_double_precision_stays(self) -> None:
        """A float64 model gives float64 attributions, close to those of float32."""
        case = smooth_case()
        single = self._answers(self.build(case), case, **case.call)
        net = copy.deepcopy(case.model).double()
        twin = Case(net, case.inputs.double(), net.inner, case.call, case.background.double())
        double = self._answers(self.build(twin), twin, **twin.call)
        assert double[0].dtype == torch.float64
        if not self.compares_dtypes:
            return
        self._assert_same(double, single, "float64", tolerance=max(10 * self.tolerance, 1e-3))

    def test_half_precision_runs(self) -> None:
        """A bfloat16 model is explained, roughly as in float32."""
        case = smooth_case()
        single = self._answers(self.build(case), case, **case.call)
        net = copy.deepcopy(case.model).bfloat16()
        twin = Case(net, case.inputs.bfloat16(), net.inner, case.call, case.background.bfloat16())
        half = self.attribute(self.build(twin), twin.inputs, **twin.call)
        assert bool(half.isfinite().all())
        if not self.compares_dtypes:
            return
        assert_close(half, single[0], max(_HALF, self.tolerance), "bfloat16")

    def test_strides_do_not_matter(self) -> None:
        """Inputs that are not contiguous give the same answer."""
        case = smooth_case()
        method = self.build(case)
        turned = Case(case.model, case.inputs.T.contiguous().T, case.layer)
        assert not turned.inputs.is_contiguous()
        whole = self._answers(method, case, **case.call)
        self._assert_same(self._answers(method, turned, **case.call), whole, "strides")

    # ---------------------------------------------------------------- Captum's wrappers
    def test_a_function_does_as_well_as_a_module(self) -> None:
        """A plain function around the model gives what the model gives."""
        case = smooth_case()
        whole = self._answers(self.build(case), case, **case.call)
        found = self._answers(self.build(case, lambda *x: case.model(*x)), case, **case.call)
        self._assert_same(found, whole, "a plain function")

    def test_noise_tunnel_takes_it(self) -> None:
        """Captum's NoiseTunnel smooths its attributions; without noise they are what they were."""
        case = smooth_case()
        method = self.build(case)
        for stdevs in (0.01, 0.0):
            found = NoiseTunnel(method).attribute(
                case.inputs, nt_type="smoothgrad", nt_samples=2, stdevs=stdevs, target=case.call["target"]
            )
            assert [tuple(x.shape) for x in as_tuple(found)] == self.shapes(case)
        assert_close(found, self.attribute(method, case.inputs, **case.call), self.tolerance, "no noise")

    def test_a_copy_explains_another_function(self) -> None:
        """Captum's wrappers copy an instance and give the copy another forward function (LLMAttribution)."""
        case = smooth_case()
        method = self.build(case)
        asked: list[int] = []
        twin = copy.copy(method)
        twin.forward_func = _watched(case.model, asked)
        for verb in (self.attribute, self.interact):
            asked.clear()
            verb(method, case.inputs, **case.call)
            assert not asked, f"{verb.__name__}() asked the forward function of a copy"
            verb(twin, case.inputs, **case.call)
            assert asked, f"{verb.__name__}() of a copy did not ask the forward function that it was given"

    def test_progress_goes_to_stderr(self) -> None:
        """``show_progress`` writes to stderr, and nothing to stdout."""
        needs(self.method.interact, "show_progress")
        case = smooth_case()
        method = self.build(case)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.long_work(method, case, True)
            told = err.getvalue()
            self.long_work(method, case, False)
        assert not out.getvalue(), "progress was written to stdout"
        assert told, "show_progress=True told nothing"
        assert err.getvalue() == told, "progress was shown although nobody asked for it"

    def test_the_delta_is_what_is_missing(self) -> None:
        """``return_convergence_delta``: a row's sum minus (all present - all masked), where there is one."""
        case = smooth_case()
        method = self.build(case)
        if not method.has_convergence_delta():
            pytest.skip("it has no convergence delta")
        found, delta = self.attribute(method, case.inputs, **case.call, return_convergence_delta=True)
        assert tuple(delta.shape) == (ROWS,)
        assert_close(found, self.attribute(method, case.inputs, **case.call), self.tolerance, "attributions")
        if self.shapes(case) == [tuple(case.inputs.shape)]:
            with torch.no_grad():
                outputs = [case.model(x)[:, case.call["target"]] for x in (case.inputs, case.inputs * 0)]
            effects = (outputs[0] - outputs[1]).double()
            missing = found.double().sum(1) - effects - delta.double()
            assert float(missing.abs().max()) <= self.tolerance * float(effects.abs().max()), (
                f"the deltas are {delta.tolist()}, off by {missing.tolist()}"
            )

    # ---------------------------------------------------------------- what the checks use
    def _answers(self, method: Any, case: Case, **call: Any) -> tuple[Any, list[Any]]:
        tables = self.interact(method, case.inputs, **call)
        return self.attribute(method, case.inputs, **call), [scores_of(table) for table in tables]

    def _assert_same(
        self, found: tuple[Any, list[Any]], expected: tuple[Any, list[Any]], what: str, tolerance: float = 0.0
    ) -> None:
        allowed = tolerance or self.tolerance
        assert_close(found[0], expected[0], allowed, what)
        for came, wanted in zip(found[1], expected[1], strict=True):
            assert_same_scores(came, wanted, allowed, what)


def _watched(model: Any, got: list[int]) -> Callable[..., Any]:
    """The model, which tells how many arguments it gets."""

    def watched(*given: Any) -> Any:
        got.append(len(given))
        return model(*given)

    return watched


def _differ(one: tuple[Any, list[Any]], other: tuple[Any, list[Any]]) -> bool:
    return not torch.equal(one[0], other[0]) or one[1] != other[1]

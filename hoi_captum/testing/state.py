"""Nothing is left behind: on the model, on the inputs, in the random state."""

from __future__ import annotations

import gc
import inspect
import random
import weakref
from typing import Any

import numpy as np
import torch

from hoi_captum.core.state import preserved_rng
from hoi_captum.testing.cases import ROWS, Case, MethodCases, smooth_case, stateful_case, text_case
from hoi_captum.testing.models import FailedOnPurpose, FailsLater, tiny_bert
from hoi_captum.testing.suite import assert_close, assert_same_scores, assert_unchanged, scores_of, snapshot


class StateChecks(MethodCases):
    """The user's model, inputs and random numbers are as they were, also after an exception."""

    def test_the_model_is_left_as_it_was(self) -> None:
        """Flags, hooks, parameters, buffers and gradients, after both verbs."""
        case = stateful_case()
        # two flags that are not the usual ones
        next(case.model.parameters()).requires_grad_(False)
        case.model.inner.train()
        method = self.build(case)
        before = snapshot(case.model)
        self.attribute(method, case.inputs, **case.call)
        assert_unchanged(before, snapshot(case.model), "in attribute()")
        self.interact(method, case.inputs, **case.call)
        assert_unchanged(before, snapshot(case.model), "in interact()")

    def test_making_and_fitting_leave_the_model_as_it_was(self) -> None:
        """So do the constructor and whatever comes before the verbs."""
        case = stateful_case()
        before = snapshot(case.model)
        self.build(case)
        assert_unchanged(before, snapshot(case.model), "before it explained")

    def test_a_failing_model_is_left_as_it_was(self) -> None:
        """Also where the model raises in its first pass, or in a later one; the error gets through."""
        case = stateful_case()
        for passes in (0, 1):
            broken = FailsLater(case.model, 10**9).eval()
            method = self.build(case, broken)
            before = snapshot(broken)
            for verb in (self.attribute, self.interact):
                broken.passes = passes
                try:
                    verb(method, case.inputs, **case.call)
                except FailedOnPurpose:
                    pass
                else:
                    assert passes > 0, f"{verb.__name__} did not ask the model, or hid its error"
                assert_unchanged(before, snapshot(broken), "when the model failed")

    def test_inputs_are_left_as_they_were(self) -> None:
        """Their numbers, ``requires_grad`` and gradients; and the numbers of the other arguments."""
        case = smooth_case()
        method = self.build(case)
        for wanted in (False, True):
            x = case.inputs.clone().requires_grad_(wanted)
            self.attribute(method, x, **case.call)
            self.interact(method, x, **case.call)
            assert torch.equal(x.detach(), case.inputs), "the inputs were changed in place"
            assert x.requires_grad is wanted, "the inputs' requires_grad was changed"
            assert x.grad is None, "gradients were left on the inputs"
        more = {"baselines": torch.full((1, 4), 0.5), "feature_mask": torch.tensor([[0, 1, 0, -1]])}
        more = {k: v for k, v in more.items() if k in inspect.signature(self.method.interact).parameters}
        more["additional_forward_args"] = torch.full((ROWS, 4), 0.5)
        given = {k: v.clone() for k, v in more.items()}
        self.interact(method, case.inputs, **case.call, **given)
        for name, value in more.items():
            assert torch.equal(given[name], value), f"{name} was changed in place"

    def test_the_random_state_is_left_as_it_was(self) -> None:
        """torch's, numpy's and Python's numbers go on as if nothing had happened."""
        case = smooth_case()
        before = _random_numbers(lambda: None)
        made: list[Any] = []
        assert _random_numbers(lambda: made.append(self.build(case))) == before, "by making or fitting it"
        for verb in (self.attribute, self.interact):
            found = _random_numbers(lambda verb=verb: verb(made[0], case.inputs, **case.call))
            assert found == before, f"by {verb.__name__}()"

    def test_settings_are_left_as_they_were(self) -> None:
        """torch's switches (threads, default dtype, attention kernels, ...), and a HuggingFace config."""
        case = text_case(tiny_bert)
        config = case.model.model.config
        before = _settings(), config.to_dict(), config._attn_implementation
        method = self.build(case)
        self.attribute(method, case.inputs[:1], **case.call)
        self.interact(method, case.inputs[:1], **case.call)
        assert (_settings(), config.to_dict(), config._attn_implementation) == before

    def test_the_same_seed_gives_the_same_answer(self) -> None:
        """Two instances with the same options agree to the last bit, whatever the random state."""
        case = smooth_case()
        answers = []
        for seed in (0, 1):
            with preserved_rng():
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                torch.manual_seed(seed)
                method = self.build(case)
                tables = self.interact(method, case.inputs, **case.call)
                answers.append((self.attribute(method, case.inputs, **case.call), tables))
        assert torch.equal(answers[0][0], answers[1][0])
        for one, other in zip(answers[0][1], answers[1][1], strict=True):
            assert scores_of(one) == scores_of(other)

    def test_the_callers_grad_mode_does_not_matter(self) -> None:
        """Under no_grad and inference_mode the answer is the same, and the mode is kept."""
        case = smooth_case()
        method = self.build(case)
        expected = self.attribute(method, case.inputs, **case.call)
        tables = [scores_of(t) for t in self.interact(method, case.inputs, **case.call)]
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                found = self.attribute(method, case.inputs, **case.call)
                again = [scores_of(t) for t in self.interact(method, case.inputs, **case.call)]
                assert not torch.is_grad_enabled(), f"{mode.__name__} was left"
            assert_close(found, expected, self.tolerance, mode.__name__)
            for one, other in zip(again, tables, strict=True):
                assert_same_scores(one, other, self.tolerance, mode.__name__)
        assert torch.is_grad_enabled(), "gradients were left switched off"

    def test_attributions_have_no_graph(self) -> None:
        """They are numbers: nothing keeps the passes that made them."""
        case = smooth_case()
        found = self.attribute(self.build(case), case.inputs.clone().requires_grad_(), **case.call)
        assert not found.requires_grad

    def test_nothing_keeps_the_model_alive(self) -> None:
        """Once the method is gone the model can go, too."""
        gone = self._explained_once()
        gc.collect()
        assert gone() is None, "the model is kept alive after the method is gone"

    def _explained_once(self) -> Any:
        case: Case = smooth_case()
        method = self.build(case)
        self.attribute(method, case.inputs, **case.call)
        self.interact(method, case.inputs, **case.call)
        return weakref.ref(case.model)


def _settings() -> dict[str, Any]:
    """torch's switches."""
    kernels: Any = torch.backends.cuda
    return {
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "flash attention": kernels.flash_sdp_enabled(),
        "math attention": kernels.math_sdp_enabled(),
        "efficient attention": kernels.mem_efficient_sdp_enabled(),
    }


def _random_numbers(call: Any) -> tuple[Any, ...]:
    """What each generator gives after a call, from fixed states; their own states come back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        call()
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])

"""The small models: evaluation mode, seeds, random states, shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hoi_captum.testing import (
    Case,
    smooth_net,
    stateful_net,
    tiny_bert,
    tiny_cnn,
    tiny_llama,
    two_inputs,
)
from hoi_captum.testing import cases as made
from hoi_captum.testing.models import HIDDEN, TOKENS, FailedOnPurpose, FailsLater, noise

BUILDERS = {
    smooth_net: ([(3, 4)], (3, 3)),
    two_inputs: ([(3, 2), (3, 3)], (3, 2)),
    stateful_net: ([(3, 4)], (3, 2)),
    tiny_cnn: ([(3, 1, 8, 8)], (3, 3)),
    tiny_bert: ([(3, TOKENS, HIDDEN)], (3, 2)),
    tiny_llama: ([(3, TOKENS, HIDDEN)], (3, 30)),
}
CASES = {
    "smooth": made.smooth_case,
    "two inputs": made.two_inputs_case,
    "stateful": made.stateful_case,
    "image": made.image_case,
    "bert": lambda: made.text_case(tiny_bert),
    "llama": lambda: made.text_case(tiny_llama),
}


@pytest.fixture(params=BUILDERS, ids=lambda build: build.__name__)
def build(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


def outputs(model: nn.Module, build: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(*(noise(*shape, seed=i) for i, shape in enumerate(BUILDERS[build][0])))
    return out


def test_models_are_in_evaluation_mode(build: Callable[..., Any]) -> None:
    assert not any(module.training for module in build().modules())


def test_outputs_have_their_shape(build: Callable[..., Any]) -> None:
    out = outputs(build(), build)
    assert tuple(out.shape) == BUILDERS[build][1]
    assert bool(out.isfinite().all())
    assert float(out.std()) > 1e-3


def test_seeds_choose_the_weights(build: Callable[..., Any]) -> None:
    first = outputs(build(), build)
    torch.manual_seed(11)
    assert torch.equal(outputs(build(0), build), first)
    assert not torch.allclose(outputs(build(1), build), first)


def test_the_random_state_is_left(build: Callable[..., Any]) -> None:
    before = torch.get_rng_state()
    build(3)
    noise(3, 4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_attention_is_chosen(build: Any) -> None:
    eager, fused = build(attention="eager"), build()
    assert eager.model.config._attn_implementation == "eager"
    assert fused.model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(outputs(eager, build), outputs(fused, build), atol=1e-5, rtol=1e-4)
    assert any(module is eager.block for module in eager.modules())


@pytest.mark.parametrize("name", CASES)
def test_cases_fit_together(name: str) -> None:
    case: Case = CASES[name]()
    inputs = case.inputs if isinstance(case.inputs, tuple) else (case.inputs,)
    background = case.background if isinstance(case.background, tuple) else (case.background,)
    assert {len(x) for x in inputs} == {made.ROWS}
    assert [(64, *x.shape[1:]) for x in inputs] == [tuple(b.shape) for b in background]
    seen: list[int] = []
    hook = case.layer.register_forward_hook(lambda *_: seen.append(1))
    out = case.model(*inputs)
    hook.remove()
    assert seen == [1]
    assert 0 <= case.call["target"] < out.shape[1]
    if (mask := case.call.get("feature_mask")) is not None:
        assert torch.broadcast_shapes(mask.shape, inputs[0].shape) == inputs[0].shape
        assert mask.unique().tolist() == list(range(int(mask.min()), int(mask.max()) + 1))


def test_a_model_fails_when_it_is_told_to() -> None:
    net, x = smooth_net(), noise(2, 4)
    model = FailsLater(net, 2)
    for _ in range(2):
        assert torch.equal(model(x), net(x))
    with pytest.raises(FailedOnPurpose):
        model(x)
    model.passes = 1
    assert torch.equal(model(x), net(x))

"""What SecondGlance leaves behind: nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from hoi_captum.errors import FidelityWarning, TrainingModeWarning
from hoi_captum.methods.second_glance import SecondGlance
from tests.core.gated_models import TinyAttention
from tests.methods.second_glance.models import Fails, drawn, relu_net, same, state, tokens


@pytest.mark.parametrize("options", [{}, {"surrogate": "softplus", "hidden": 8, "max_steps": 20}])
@pytest.mark.parametrize("gate", ["input", "layer", "attention"])
def test_everything_is_as_it_was_also_after_an_error(gate, options):
    net = TinyAttention()
    net.head.train()
    net.key.weight.requires_grad_(False)
    model = Fails(net)
    layer = net.value if gate == "layer" else None
    method = SecondGlance(model, layer, gate=gate, n_samples=64, **options)
    before = state(model)
    method.interact(tokens(), target=0)
    assert state(model) == before
    total, model.passes = model.passes, 0
    for until in {1, total - 1}:
        model.until, model.passes = until, 0
        with pytest.raises(ValueError, match="stop"):
            method.interact(tokens(), target=0)
        assert model.passes == until + 1
        assert state(model) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients(mode):
    x, factor = drawn(2, 4) + 2, torch.tensor([1.0, 2.0], dtype=torch.float64)
    method = SecondGlance(lambda v, by: relu_net()(v)[:, 0] * by)
    expected = method.interact(x, baselines=x.mean(), additional_forward_args=factor)
    with mode():
        own = x * 1  # made there
        found = method.interact(own, baselines=own.mean(), additional_forward_args=factor * 1)
    same(found, expected)


@pytest.mark.parametrize("flag", [False, True])
def test_inputs_are_left_as_they_are(flag):
    x = drawn(2, 4).requires_grad_(flag)
    before = x.detach().clone()
    attributions = SecondGlance(relu_net()).attribute(x, target=0)
    assert x.requires_grad is flag
    assert x.grad is None
    assert torch.equal(x, before)
    assert not attributions.requires_grad


def test_a_model_in_training_mode_is_warned_of():
    net = nn.Sequential(relu_net(), nn.Dropout(0.01)).train()
    with pytest.warns(TrainingModeWarning, match=r"call model.eval\(\) first"):
        SecondGlance(net).interact(drawn(1, 4) + 2, target=0)
    assert net[1].training


def test_the_model_may_write_into_what_it_is_given():
    # also in its first step, where it gets the inputs by which it is differentiated
    x, net = drawn(60, 4), relu_net()
    inplace = nn.Sequential(nn.ReLU(inplace=True), *net)
    options = {"surrogate": "ridge", "force": True}
    method, expected = SecondGlance(inplace, **options), SecondGlance(lambda v: net(v.relu()), **options)
    for one in (method, expected):
        with pytest.warns(FidelityWarning):
            one.fit(x, target=0)
    same(method.interact(x[:2], target=0), expected.interact(x[:2], target=0))
    assert torch.equal(x, drawn(60, 4))


def test_warnings_that_are_torchs_own_do_not_reach_the_user() -> None:
    """torch warns of its use of torch.jit in the first forward derivative of a process."""
    code = (
        "import torch, hoi_captum as hoi; data = torch.linspace(-1, 1, 300).view(100, 3)\n"
        "method = hoi.SecondGlance(lambda x: x[:, 0] * x[:, 1], max_steps=5, force=True).fit(data)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "FutureWarning" not in done.stderr

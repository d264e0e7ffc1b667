"""GraphSpectral.attribute: what the map says of a layer, under Captum's conventions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, NoiseTunnel
from torch import Tensor, nn

from hoi_captum import GraphSpectral
from hoi_captum.errors import InputError, ModelOutputError, TargetError, TrainingModeWarning
from tests.methods import planted
from tests.methods.graph_spectral.networks import QUICK, MaskedBert, activations, conv, mlp, noise, said

# quick maps are poor ones
pytestmark = pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")
FEW = {"alpha": 0.01, "n_nodes": 16} | QUICK


# ---------------------------------------------------------------- values and shapes
def test_a_row_is_what_its_units_say(fitted: GraphSpectral, net: nn.Sequential, data: Tensor) -> None:
    assert isinstance(fitted, LayerAttribution)
    found = fitted.attribute(data[:5], target=1)
    z = net[:2](data[:5]).detach()
    torch.testing.assert_close(found, said(fitted, z))
    torch.testing.assert_close(found, fitted.units_.decode(fitted.units_.encode(z)))
    assert float((found - z).square().mean() / z.var()) < 0.3
    assert not found.requires_grad
    assert fitted.has_convergence_delta() is False
    assert fitted.multiplies_by_inputs is False


def test_a_layout_says_everything(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(net, net[1], method="layout", n_swaps=100).fit(data)
    torch.testing.assert_close(method.attribute(data[:5]), net[:2](data[:5]).detach())
    u = method.units_
    z = net[:2](data[:5]).detach()
    expected = torch.stack([(z[:, n] - u.mean[n]) / u.scale[n] for n in u.order.tolist()], 1)
    torch.testing.assert_close(u.encode(z), expected)
    np.testing.assert_allclose(method.unit_mean_, 0, atol=1e-5)
    np.testing.assert_allclose(method.unit_std_, 1, atol=1e-5)


@pytest.mark.parametrize("pooling", ["each", "mean", "none"])
def test_channels(pooling: str) -> None:
    model, images = conv(), noise(60, 1, 6, 6)
    method = GraphSpectral(model, model[1], pooling=pooling, **FEW).fit(images)
    found = method.attribute(images[:3], target=0)
    z = model[:2](images[:3]).detach()
    assert found.shape == (3, 9, 4, 4)
    if pooling == "each":
        expected = said(method, z.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    elif pooling == "mean":
        expected = said(method, z.mean((2, 3)))[:, :, None, None].expand_as(z)
    else:
        expected = said(method, z.flatten(1)).view_as(z)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_tokens_with_and_without_a_mask(family: str, request: pytest.FixtureRequest) -> None:
    scores: Any = request.getfixturevalue(family)
    model = MaskedBert(scores).eval()
    layer = model.model.bert.encoder.layer[0] if family == "bert" else model.model.model.layers[0]
    rows = planted.embed(scores, planted.sequences(60, 3).ids)
    mask = torch.ones(rows.shape[:2], dtype=torch.long)
    mask[::2, 8:] = 0
    for extra in (None, mask):
        method = GraphSpectral(model, layer, **FEW).fit(rows, additional_forward_args=extra)
        seen: list[Any] = []
        handle = layer.register_forward_hook(lambda m, i, out, seen=seen: seen.append(out))
        with torch.no_grad():
            model(rows[:4], None if extra is None else extra[:4])
        handle.remove()
        z = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        more = None if extra is None else extra[:4]
        found = method.attribute(rows[:4], target=1, additional_forward_args=more)
        assert found.shape == rows[:4].shape
        torch.testing.assert_close(found, said(method, z))
        u = activations(method, z)
        expected = u.mean(1)
        if extra is not None:
            expected = torch.stack([u[i, : 8 if i % 2 == 0 else 12].mean(0) for i in range(4)])
        shown = method.neuron_map(rows[:4], additional_forward_args=more)
        torch.testing.assert_close(shown.flatten(1).float(), expected)
        count = 60 * 12 if extra is None else 30 * 20
        assert method.quality_.n_samples + method.quality_.n_judged == count


def test_a_tuple_that_a_layer_gives_is_given_back(data: Tensor) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.tanh(), x[:, :3].sin()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two = Two()

        def forward(self, x: Tensor) -> Tensor:
            first, second = self.two(x)
            return torch.cat([first, second], 1)

    model = Net()
    method = GraphSpectral(model, model.two, **FEW).fit(data)
    found = method.attribute(data[:4], target=2)
    assert isinstance(found, tuple)
    torch.testing.assert_close(torch.cat(found, 1), said(method, model(data[:4])))
    # and what it says is put back where it came from
    assert method.accuracy_kept(data).agreement > 0.5


def test_the_input_of_a_layer(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(net, net[3], **FEW).fit(data, attribute_to_layer_input=True)
    found = method.attribute(data[:4])
    assert found.shape == (4, 12)
    torch.testing.assert_close(found, said(method, net[:2](data[:4]).detach()))


# ---------------------------------------------------------------- arguments
def test_several_inputs_and_additional_arguments() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()

        def forward(self, a: Tensor, b: Tensor, shift: Tensor | None = None, factor: float = 1.0) -> Tensor:
            x = a + factor * b
            return self.inner(x if shift is None else x + shift)

    model = Net().eval()
    a, b, shift = noise(80, 6, seed=1), noise(80, 6, seed=2), noise(80, 6, seed=3)
    method = GraphSpectral(model, model.inner[1], **FEW).fit((a, b), additional_forward_args=(shift, 0.5))
    found = method.attribute((a[:4], b[:4]), target=[0, 1, 2, 0], additional_forward_args=(shift[:4], 0.5))
    z = model.inner[:2](a[:4] + 0.5 * b[:4] + shift[:4]).detach()
    torch.testing.assert_close(found, said(method, z))
    same = GraphSpectral(model, model.inner[1], **FEW).fit((a + 0.5 * b + shift, torch.zeros_like(b)))
    torch.testing.assert_close(same.attribute((a + 0.5 * b + shift, 0 * b))[:4], found, rtol=1e-3, atol=1e-3)
    pulled = method.pull_back((a[:2], b[:2]), 3, (shift[:2], 0.5))
    assert [p.shape for p in pulled] == [(2, 6), (2, 6)]


def test_the_target_is_checked_and_changes_nothing(fitted: GraphSpectral, data: Tensor) -> None:
    rows = data[:3]
    plain = fitted.attribute(rows)
    for target in (0, (2,), [0, 1, 2], torch.tensor([2, 1, 0]), torch.tensor(1)):
        assert torch.equal(fitted.attribute(rows, target=target), plain)
    for bad in (3, [0], "x", (0, 1)):
        with pytest.raises(TargetError):
            fitted.attribute(rows, target=bad)
        with pytest.raises(TargetError):
            fitted.interact(rows, target=bad)
        with pytest.raises(TargetError):
            fitted.neuron_map(rows, target=bad)


def test_rows_do_not_see_each_other(fitted: GraphSpectral, data: Tensor) -> None:
    whole = fitted.attribute(data[:6], target=0)
    alone = torch.cat([fitted.attribute(row, target=0) for row in data[:6].split(1)])
    torch.testing.assert_close(whole, alone)
    tables = fitted.interact(data[:6])
    for i, table in enumerate(tables):
        (own,) = fitted.interact(data[i : i + 1])
        np.testing.assert_allclose(table.scores, own.scores, rtol=1e-4, atol=1e-6)


def test_noise_tunnel_runs_over_it(fitted: GraphSpectral, data: Tensor) -> None:
    same = NoiseTunnel(fitted).attribute(data[:3], nt_samples=4, stdevs=0.0, target=1)
    torch.testing.assert_close(same, fitted.attribute(data[:3]))
    for kind in ("smoothgrad", "smoothgrad_sq", "vargrad"):
        noisy = NoiseTunnel(fitted).attribute(
            data[:3], nt_type=kind, nt_samples=4, stdevs=0.5, target=[0, 1, 2]
        )
        assert noisy.shape == (3, 12)


def test_a_replaced_forward_function_is_used(fitted: GraphSpectral, net: nn.Sequential, data: Tensor) -> None:
    other = copy.copy(fitted)
    calls: list[int] = []

    def forward(x: Tensor) -> Tensor:
        calls.append(len(x))
        return net(x)

    other.forward_func = forward
    assert torch.equal(other.attribute(data[:2]), fitted.attribute(data[:2]))
    assert calls == [2]
    other.class_maps(data[:20], torch.arange(20) % 2, n_permutations=0)
    other.pull_back(data[:2], 0)
    assert len(calls) > 2


def test_double_precision(data: Tensor) -> None:
    net = mlp()
    single = GraphSpectral(net, net[1], **FEW).fit(data)
    other = mlp().double()
    double = GraphSpectral(other, other[1], **FEW).fit(data.double())
    found = double.attribute(data[:4].double(), target=0)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), single.attribute(data[:4]), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found, said(double, other[:2](data[:4].double()).detach()))
    assert double.pull_back(data[:4].double(), 2).dtype == torch.float64


# ---------------------------------------------------------------- what is left untouched
def state(model: nn.Module) -> tuple[Any, ...]:
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [p.grad for p in model.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()],
    )


def check_same(before: tuple[Any, ...], model: nn.Module) -> None:
    after = state(model)
    assert all(torch.equal(v, after[0][k]) for k, v in before[0].items())
    assert before[1:3] == after[1:3]
    assert all(g is None for g in after[3])
    assert not any(after[4])


def test_the_model_and_random_numbers_stay_as_they_were(data: Tensor) -> None:
    net = mlp()
    net[0].weight.requires_grad_(False)
    before = state(net)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for method in ("probe", "layout"):
        options = QUICK if method == "probe" else QUICK | {"n_swaps": 50}
        m = GraphSpectral(net, net[1], method=method, terms="pairs", **options).fit(data)
        x = data[:2].clone()
        m.attribute(x, target=0)
        m.neuron_map(x, target=0, relevance="gradient_x_activation")
        m.pull_back(x, [0, 1])
        m.accuracy_kept(data[:50])
        m.class_maps(data[:50], torch.arange(50) % 3, n_permutations=9)
        assert not x.requires_grad
        assert x.grad is None
    GraphSpectral(net, net[1], n_nodes=4, terms="pairs", **QUICK).fit(data).interact(data[:2], target=0)
    assert torch.equal(random[0], torch.get_rng_state())
    assert (random[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    check_same(before, net)


def test_also_after_an_error(data: Tensor) -> None:
    net = mlp()
    method = GraphSpectral(net, net[1], n_nodes=4, terms="pairs", **QUICK).fit(data)
    before = state(net)

    def fail(module: nn.Module, args: Any, output: Any) -> None:
        raise ValueError("boom")

    handle = net[5].register_forward_hook(fail)
    calls = [
        lambda: method.attribute(data[:2]),
        lambda: method.interact(data[:2], target=0),
        lambda: method.neuron_map(data[:2], target=0, relevance="gradient_x_activation"),
        lambda: method.pull_back(data[:2], 0),
        lambda: method.accuracy_kept(data[:9]),
        lambda: method.class_maps(data[:9], torch.arange(9)),
        lambda: method.fit(data),
    ]
    for call in calls:
        with pytest.raises(Exception, match="boom"):
            call()
        assert len(net[1]._forward_hooks) + len(net[1]._forward_pre_hooks) == 0
    handle.remove()
    check_same(before, net)
    assert torch.is_grad_enabled()
    method.attribute(data[:2])


def test_a_model_in_training_mode_is_warned_of(net: nn.Sequential, data: Tensor) -> None:
    other = mlp()
    method = GraphSpectral(other, other[1], **FEW).fit(data)
    other.train()
    with pytest.warns(TrainingModeWarning):
        method.attribute(data[:2])
    assert other.training


# ---------------------------------------------------------------- what does not fit
def test_other_layers_and_numbers_are_refused(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor
) -> None:
    other = copy.copy(fitted)
    other.layer = net[3]
    with pytest.raises(InputError, match="12 neurons that fit"):
        other.attribute(data[:2])
    other.layer = nn.Linear(6, 12)
    with pytest.raises(InputError, match="did not run"):
        other.attribute(data[:2])
    with pytest.raises(InputError, match="did not run"):
        other.unit_forward()(data[:2])
    with pytest.raises(ModelOutputError, match="finite activations"):
        fitted.attribute(data[:2] * float("nan"))
    with pytest.raises(InputError):
        fitted.attribute("text")

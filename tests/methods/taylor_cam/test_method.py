"""TaylorCAM: arguments, what it leaves behind, Captum's wrappers, and what it refuses."""

from __future__ import annotations

import copy
import random
import warnings
from itertools import combinations, product

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, NoiseTunnel
from captum.metrics import infidelity
from torch import Tensor, nn
from torch.overrides import _len_torch_function_stack

from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import (
    CostWarning,
    DataWarning,
    InputError,
    ModelOutputError,
    OptionError,
    PlayerError,
    TargetError,
    TooManyPlayersError,
    TrainingModeWarning,
)
from hoi_captum.methods.taylor_cam import TaylorCAM, TaylorInteractions
from tests.core.gated_models import TinyAttention, hooks, kernels, smooth_cnn

PATCHES = torch.arange(9).view(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 6, 6)
EXACT = {"rtol": 0, "atol": 1e-10}


def images() -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def tokens(rows: int = 2) -> Tensor:
    return torch.randn(rows, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def relu_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(inplace=True), nn.Linear(16, 3)).double().eval()


def table() -> Tensor:
    return torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.pairs, other.pairs, rtol=0, atol=1e-10)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-10)
        assert np.array_equal(one.members, other.members)


# ---------------------------------------------------------------- every combination
ALLOWED = [
    *[
        ("taylor", mode, order)
        for mode in ("auto", "exact", "grad_diff", "stein", "softplus")
        for order in (2, 3)
    ],
    *[("taylor", mode, order) for mode in ("occlusion", "path") for order in (2, 3)],
    *[("cam", mode, 2) for mode in ("auto", "exact", "grad_diff", "stein", "softplus")],
    *[("cam_basic", mode, 2) for mode in ("auto", "exact", "softplus")],
]


@pytest.mark.parametrize(
    ("gate", "variant", "mode", "order"),
    [
        (gate, *rest)
        for gate, rest in product(("input", "layer", "attention", "value"), ALLOWED)
        if gate in ("input", "layer") or rest[0] == "taylor"
    ],
)
def test_every_combination_that_is_allowed(gate, variant, mode, order):
    net = TinyAttention("softmax", causal=True)
    layer = net.value if gate == "layer" else None
    method = TaylorCAM(net, layer, gate=gate, variant=variant, mode=mode, order=order, n_samples=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attributions, found = method.attribute_and_interact(tokens(), target=[0, 2])
    assert attributions.shape == ((2, 5) if gate == "layer" else (2, 5, 4))
    for row, result in enumerate(found):
        assert type(result) is TaylorInteractions
        assert len(result) > 0
        assert set(result.orders) == {order}
        assert set(result.kinds) == {variant.replace("_", "-")}
        assert np.isfinite(result.scores).all()
        np.testing.assert_array_equal(result.pairs, result.pairs.T)
        assert not result.pairs.diagonal().any()
        cells = attributions[row] if gate == "layer" else attributions[row, :, 0]
        np.testing.assert_allclose(cells, result.node_scores(), rtol=1e-12, atol=0)
        provenance = result.provenance
        assert provenance.details["gate"] == gate
        assert provenance.details["mode"] == ("exact" if mode == "auto" else mode)
        assert provenance.forward_passes > 0
        assert ("swap_error" in provenance.details) == (mode == "softplus")
        assert provenance.seed == (0 if mode == "stein" else None)


# ---------------------------------------------------------------- what auto chooses
def test_the_mode_that_is_chosen():
    relus, smooth = relu_net(), smooth_cnn()

    def mode(method: TaylorCAM, x: Tensor) -> str:
        return method.interact(x, target=0)[0].provenance.details["mode"]

    assert mode(TaylorCAM(relus), table()) == "grad_diff"
    assert mode(TaylorCAM(lambda x: relus(x)), table()) == "grad_diff"
    assert mode(TaylorCAM(relus, variant="cam"), table()) == "grad_diff"
    assert mode(TaylorCAM(smooth), images()) == "exact"
    assert mode(TaylorCAM(smooth, output="margin"), images()) == "exact"
    steps = (nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    causal = TinyAttention(causal=True)
    for gate in ("attention", "value", "input"):
        assert mode(TaylorCAM(causal, gate=gate), tokens()) == "exact"
    mixed = nn.Sequential(*steps).double()
    for f in (mixed, lambda x: mixed(x)):  # parameters of a model behind a function are not frozen
        assert mode(TaylorCAM(f, mixed[0]), table()) == "grad_diff"
        assert mode(TaylorCAM(f, mixed[2]), table()) == "exact"


def test_the_gate_that_is_chosen():
    def gate(method: TaylorCAM, x) -> str:
        return method.interact(x, target=0)[0].provenance.details["gate"]

    causal, both = TinyAttention(causal=True), TinyAttention()
    assert gate(TaylorCAM(causal), tokens()) == "attention"
    assert gate(TaylorCAM(both), tokens()) == "input"
    assert gate(TaylorCAM(causal, causal.key), tokens()) == "layer"
    embedding = nn.Embedding(7, 4).double()
    ids = torch.tensor([[1, 4, 2, 6, 0]])
    assert gate(TaylorCAM(lambda i: both(embedding(i))), ids) == "attention"
    assert gate(TaylorCAM(smooth_cnn()), images()) == "input"


# ---------------------------------------------------------------- batches and passes
@pytest.mark.parametrize("gate", ["input", "layer", "attention"])
@pytest.mark.parametrize(
    ("mode", "order"), [*product(("exact", "grad_diff", "occlusion", "softplus"), (2, 3)), ("path", 2)]
)
def test_rows_and_passes_do_not_change_results(gate, mode, order):
    net, x = TinyAttention("softmax"), tokens(3)
    seen: list[int] = []

    def f(v: Tensor) -> Tensor:
        seen.append(len(v))
        return net(v)

    method = TaylorCAM(f, net.value if gate == "layer" else None, gate=gate, mode=mode, order=order)
    whole = method.interact(x, target=[0, 1, 2])
    for row in range(3):
        same(method.interact(x[row : row + 1], target=row), whole[row : row + 1])
    seen.clear()
    same(method.interact(x, target=[0, 1, 2], internal_batch_size=2), whole)
    # looking at the layer, or for attention, takes all rows
    assert sum(size > 2 for size in seen) <= (gate != "input")


def test_masks_for_each_row():
    net, x = smooth_cnn(), images()
    masks = torch.cat([PATCHES, 8 - PATCHES.flip(-1)])
    found = TaylorCAM(net).interact(x, target=1, feature_mask=masks)
    for row in range(2):
        part = slice(row, row + 1)
        same(TaylorCAM(net).interact(x[part], target=1, feature_mask=masks[part]), found[part])


def test_baselines_of_a_layer_and_its_mask():
    net, x = smooth_cnn(), images()
    mask = torch.tensor([[0, 0, 1], [2, -1, 1], [2, 2, -1]]).view(1, 1, 3, 3)
    method = TaylorCAM(net, net[3], mode="occlusion")
    found = method.interact(x, target=0, layer_mask=mask, layer_baselines=0.5)
    with torch.no_grad():
        h = net[:4](x)

        def v(*off: int) -> Tensor:
            gone = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
            for unit in off:
                gone |= mask == unit
            return net[4:](torch.where(gone, 0.5, h))[:, 0]

        for i, j in combinations(range(3), 2):
            expected = v() - v(i) - v(j) + v(i, j)
            np.testing.assert_allclose([t.pairs[i, j] for t in found], expected, rtol=0, atol=1e-12)


def test_at_the_input_of_a_layer():
    net, x = smooth_cnn(), images()
    found = TaylorCAM(net, net[4]).interact(x, target=0, attribute_to_layer_input=True)
    same(found, TaylorCAM(net, net[3]).interact(x, target=0))


def test_units_of_the_input_at_a_layer():
    net, x = smooth_cnn(), images()
    found = TaylorCAM(net, net[3]).interact(x, target=0, feature_mask=PATCHES)
    own = torch.arange(9).view(1, 1, 3, 3)
    same(found, TaylorCAM(net, net[3]).interact(x, target=0, layer_mask=own))


def test_outputs():
    net, x = smooth_cnn(), images()
    log_prob = TaylorCAM(lambda v: net(v).log_softmax(1)).interact(x, target=1, feature_mask=PATCHES)
    same(TaylorCAM(net, output="log_prob").interact(x, target=1, feature_mask=PATCHES), log_prob)
    prob = TaylorCAM(lambda v: net(v).softmax(1)).interact(x, target=1, feature_mask=PATCHES)
    same(TaylorCAM(net, output="prob").interact(x, target=1, feature_mask=PATCHES), prob)
    with torch.no_grad():
        best, second = (net(x[:1])[0]).topk(2).indices.tolist()
    margin = TaylorCAM(lambda v: net(v)[:, best] - net(v)[:, second])
    expected = margin.interact(x[:1], feature_mask=PATCHES)
    same(TaylorCAM(net, output="margin").interact(x[:1], target=best, feature_mask=PATCHES), expected)


def test_the_error_of_softplus_is_reported():
    net, x = relu_net(), table()
    found = TaylorCAM(net, mode="softplus", beta=5).interact(x, target=0)
    with torch.no_grad():
        plain = net(x)[:, 0]
        swapped = net[2](nn.functional.softplus(net[0](x), beta=5))[:, 0]
    expected = ((swapped - plain) / plain).abs()
    assert [t.provenance.details["swap_error"] for t in found] == pytest.approx(expected.tolist())
    assert TaylorCAM(net).interact(x, target=0)[0].provenance.details.get("swap_error") is None


def test_names_of_units():
    found = TaylorCAM(smooth_cnn()).interact(torch.cat([images()] * 2, 3)[:, :, :, :6], target=0)[0]
    assert found.players[:7] == ("r1c1", "r1c2", "r1c3", "r1c4", "r1c5", "r1c6", "r2c1")
    assert found.provenance.details["grid"] == [6, 6]
    assert TaylorCAM(relu_net()).interact(table(), target=0)[0].players == ("0", "1", "2", "3")
    masked = TaylorCAM(smooth_cnn()).interact(images(), target=0, feature_mask=PATCHES)[0]
    assert masked.players == tuple(map(str, range(9)))


def test_few_units():
    for order in (2, 3):
        for k in (1, 2):
            with (
                pytest.warns(DataWarning, match="all derivatives are zero")
                if k == 1 or order == 3
                else (warnings.catch_warnings())
            ):
                found = TaylorCAM(lambda x: x.exp().prod(1), order=order).interact(torch.rand(2, k) + 1)
            assert len(found[0]) == (k == 2 and order == 2)


def test_several_inputs():
    x, y = table(), images()[:, 0, 0, :3]

    def f(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, 0] * b[:, 2]).sin() + a.sum(1)

    attributions, found = TaylorCAM(f).attribute_and_interact((x, y))
    assert [tuple(a.shape) for a in attributions] == [(2, 4), (2, 3)]
    product = x[:, 0] * y[:, 2]
    expected = product * (product.cos() - product * product.sin())
    for row in range(2):
        (only,) = found[row]
        assert only.members == (0, 6)
        assert only.score == pytest.approx(float(expected[row]))
        assert float(attributions[1][row, 2]) == pytest.approx(abs(float(expected[row])))
    single = TaylorCAM(lambda a: a.prod(1)).attribute((x,))
    assert isinstance(single, tuple)
    with pytest.raises(InputError, match="one gated tensor with channels, got 2"):
        TaylorCAM(f, variant="cam_basic").interact((tokens(), x))


# ---------------------------------------------------------------- what is left behind
def state(*models: nn.Module):
    parameters = [p for m in models for p in m.parameters()]
    return {
        "hooks": hooks(*models),
        "training": [m.training for model in models for m in model.modules()],
        "requires_grad": [p.requires_grad for p in parameters],
        "gradients": [p.grad for p in parameters],
        "buffers": [b.clone().tolist() for m in models for b in m.buffers()],
        "kernels": kernels(),
        "modes": _len_torch_function_stack(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
    }


class Fails(nn.Module):
    """A model that raises in a given pass, and draws random numbers in each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.passes, self.until = net, 0, 10**9

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        self.passes += 1
        if self.passes > self.until:
            raise ValueError("stop")
        return out


@pytest.mark.parametrize("gate", ["input", "layer", "attention", "value"])
@pytest.mark.parametrize("mode", ["exact", "grad_diff", "stein", "softplus", "occlusion", "path"])
def test_everything_is_as_it_was_also_after_an_error(gate, mode):
    net = TinyAttention()
    net.head.train()
    net.key.weight.requires_grad_(False)
    model = Fails(net)
    layer = net.value if gate == "layer" else None
    method = TaylorCAM(model, layer, gate=gate, mode=mode, n_samples=8)
    before = state(model)
    method.interact(tokens(), target=0)
    assert state(model) == before
    total, model.passes = model.passes, 0
    for until in {1, total - 1} - {0}:
        model.until, model.passes = until, 0
        with pytest.raises(ValueError, match="stop"):
            method.interact(tokens(), target=0)
        assert model.passes == until + 1
        assert state(model) == before


def test_parameters_are_frozen_inside_and_gradients_stay():
    net, x = smooth_cnn(), images()
    frozen = []
    net.register_forward_pre_hook(lambda *_: frozen.append(any(p.requires_grad for p in net.parameters())))
    net(x).sum().backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    frozen.clear()
    TaylorCAM(net, net[3]).interact(x, target=0)
    assert frozen
    assert not any(frozen)
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))


@pytest.mark.parametrize("flag", [False, True])
def test_inputs_are_left_as_they_are(flag):
    net, x = smooth_cnn(), images().requires_grad_(flag)
    before = x.detach().clone()
    attributions = TaylorCAM(net).attribute(x * 1 if flag else x, target=0, feature_mask=PATCHES)
    TaylorCAM(net).attribute(x, target=0, feature_mask=PATCHES)
    assert x.requires_grad is flag
    assert x.grad is None
    assert torch.equal(x, before)
    assert not attributions.requires_grad


@pytest.mark.parametrize("gate", ["input", "layer", "attention"])
def test_models_that_write_into_their_input(gate):
    net = TinyAttention()

    def writes(v: Tensor) -> Tensor:
        v += 1
        return net(v)

    x = tokens(1)
    before = x.clone()
    layer = net.value if gate == "layer" else None
    found = TaylorCAM(writes, layer, gate=gate).interact(x, target=0)
    assert torch.equal(x, before)
    same(found, TaylorCAM(lambda v: net(v + 1), layer, gate=gate).interact(x, target=0))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("gate", ["input", "layer", "attention"])
def test_callers_without_gradients(mode, gate):
    net, x, factor = TinyAttention(), tokens(), torch.tensor([1.0, 2.0], dtype=torch.float64)

    def f(v: Tensor, by: Tensor) -> Tensor:
        return net(v * by.view(-1, 1, 1))

    method = TaylorCAM(f, net.value if gate == "layer" else None, gate=gate, order=3)
    expected = method.interact(x, target=0, additional_forward_args=(factor,), baselines=x.mean())
    with mode():
        own, by = x * 1, factor * 1  # made there
        same(method.interact(own, target=0, additional_forward_args=(by,), baselines=own.mean()), expected)
        assert (
            method.attribute(own, target=0, additional_forward_args=(by,)).shape
            == x.shape[: 2 + (gate != "layer")]
        )


def test_a_model_in_training_mode_is_warned_of():
    net = nn.Sequential(smooth_cnn(), nn.Dropout()).train()
    before = state(net)
    with pytest.warns(TrainingModeWarning, match=r"call model.eval\(\) first"):
        TaylorCAM(net).interact(images(), target=0, feature_mask=PATCHES)
    assert state(net) == before


# ---------------------------------------------------------------- Captum's wrappers
def test_noise_tunnel():
    net, x = smooth_cnn(), images()
    method = TaylorCAM(net)
    tunnel = NoiseTunnel(method)
    options = {"target": [0, 2], "feature_mask": PATCHES, "nt_samples": 3}
    quiet = tunnel.attribute(x, nt_type="smoothgrad", stdevs=0.0, **options)
    expected = method.attribute(x, target=[0, 2], feature_mask=PATCHES)
    torch.testing.assert_close(quiet, expected, **EXACT)
    torch.testing.assert_close(
        tunnel.attribute(x, nt_type="vargrad", stdevs=0.0, **options), torch.zeros_like(x), **EXACT
    )
    torch.manual_seed(0)
    noisy = tunnel.attribute(x, nt_type="smoothgrad_sq", stdevs=0.1, **options)
    torch.manual_seed(0)
    draws = x.repeat_interleave(3, 0) + torch.normal(0.0, torch.full((6, *x.shape[1:]), 0.1)).to(x)
    each = method.attribute(draws, target=[0, 0, 0, 2, 2, 2], feature_mask=PATCHES)
    torch.testing.assert_close(noisy, each.square().view(2, 3, *x.shape[1:]).mean(1), rtol=1e-6, atol=1e-9)


def test_noise_tunnel_of_a_layer_and_its_size_in_the_image():
    net, x = smooth_cnn(), images()
    method = TaylorCAM(net, net[3])
    found = NoiseTunnel(method).attribute(x, nt_type="smoothgrad", stdevs=0.0, nt_samples=2, target=1)
    expected = method.attribute(x, target=1)
    assert expected.shape == (2, 1, 3, 3)
    torch.testing.assert_close(found, expected, **EXACT)
    large = LayerAttribution.interpolate(expected, (6, 6))
    torch.testing.assert_close(large, expected.repeat_interleave(2, 2).repeat_interleave(2, 3), **EXACT)


def test_infidelity_takes_the_attributions():
    # of f = x0 x1 both scores are x0 x1; moved by e the change is known
    x = torch.tensor([[2.0, 3.0]])
    attributions = TaylorCAM(lambda v: v[:, 0] * v[:, 1]).attribute(x)
    assert attributions.tolist() == [[6.0, 6.0]]
    step = torch.tensor([[0.1, 0.2]])
    found = infidelity(
        lambda v: v[:, 0] * v[:, 1],
        lambda v: (step.expand_as(v), v - step),
        x,
        attributions,
        n_perturb_samples=2,
    )
    change = 6 - 1.9 * 2.8
    assert float(found) == pytest.approx((0.1 * 6 + 0.2 * 6 - change) ** 2, rel=1e-4)


def test_a_copy_with_another_model():
    net, x = smooth_cnn(), images()
    method = TaylorCAM(lambda v: v.flatten(1).prod(1))
    other = copy.copy(method)
    other.forward_func = net
    same(
        other.interact(x, target=0, feature_mask=PATCHES),
        TaylorCAM(net).interact(x, target=0, feature_mask=PATCHES),
    )
    assert method.multiplies_by_inputs
    assert not method.has_convergence_delta()


def test_progress_and_cost_are_told(capsys):
    TaylorCAM(smooth_cnn(), mode="exact").interact(
        images(), target=0, feature_mask=PATCHES, show_progress=True
    )
    said = capsys.readouterr()
    assert "9 units, mode 'exact': about 72 forward passes for each of 2 rows" in said.err
    assert "exact derivatives" in said.err
    assert said.out == ""


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": 4}, "order 2 or 3, got 4; TaylorNID goes higher"),
        ({"order": 1}, "order to be an int >= 2, got 1"),
        ({"order": 3, "variant": "cam"}, "'cam' is of pairs; expected variant='taylor' with order 3"),
        ({"order": 3, "variant": "cam_basic"}, "'cam_basic' is of pairs"),
        (
            {"variant": "cam", "mode": "occlusion"},
            "auto, exact, grad_diff, stein, softplus with variant 'cam'",
        ),
        ({"variant": "cam", "mode": "path"}, "got 'path'"),
        ({"variant": "cam_basic", "mode": "grad_diff"}, "auto, exact, softplus with variant 'cam_basic'"),
        ({"gate": "attention", "variant": "cam"}, "no channels: expected variant='taylor', got 'cam'"),
        ({"gate": "value", "variant": "cam_basic"}, "no channels"),
        ({"gate": "layer"}, r"a layer with gate='layer', got none; give layer=model.get_submodule\(name\)"),
        ({"gate": "token"}, "gate to be one of auto, input, layer, attention, value; got 'token'"),
        ({"mode": "hessian"}, "mode to be one of auto, exact"),
        ({"variant": "grad"}, "variant to be one of taylor, cam, cam_basic"),
        ({"output": "odds"}, "output to be one of .* margin; got 'odds'"),
        ({"search": "best"}, "search to be one of auto, greedy, all"),
        ({"h": 0}, "h to be a number in"),
        ({"h": 2.0}, "h to be a number in"),
        ({"n_samples": 1}, "n_samples to be an int >= 2"),
        ({"stdev": 0.0}, "stdev"),
        ({"beta": -1}, "beta"),
        ({"top_k": 0}, "top_k"),
        ({"synergy": -1}, "synergy"),
        ({"max_players": 1}, "max_players"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_outside_their_range(options, says):
    with pytest.raises(OptionError, match=says):
        TaylorCAM(relu_net(), **options)


def test_a_layer_goes_with_its_gate():
    net = relu_net()
    for gate in ("input", "attention", "value"):
        with pytest.raises(OptionError, match=rf"with a layer, got '{gate}'; leave the layer out"):
            TaylorCAM(net, net[0], gate=gate)
    with pytest.raises(InputError, match=r"layer to be a module .* got str; model.get_submodule\(name\)"):
        TaylorCAM(net, "0")
    with pytest.raises(InputError, match="forward_func to be a callable, got list"):
        TaylorCAM([net])
    for given in ({"layer_mask": torch.arange(4).view(1, 4)}, {"layer_baselines": 0.5}):
        with pytest.raises(InputError, match=r"need a layer: give one to the constructor"):
            TaylorCAM(net).interact(table(), target=0, **given)


def test_layers_that_do_not_run():
    net, other = smooth_cnn(), smooth_cnn()
    for layer in (other[3], nn.Linear(2, 2)):
        with pytest.raises(InputError, match="did not run in the forward pass; give a module that the model"):
            TaylorCAM(net, layer).interact(images(), target=0)
    assert hooks(net, other) == 0


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        (None, TargetError, "leaves .* give target=<number of a class>"),
        (7, TargetError, "target 7 does not exist in an output of shape"),
        ([0, 1, 2], TargetError, "one target for each of the 2 rows, got 3"),
        ("cat", TargetError, "got str"),
    ],
)
def test_targets(target, error, says):
    net = smooth_cnn()
    for layer in (None, net[3]):
        with pytest.raises(error, match=says):
            TaylorCAM(net, layer).interact(images(), target=target)


def test_masks():
    net, x = smooth_cnn(), images()
    uneven = PATCHES.repeat(2, 1, 1, 1)
    uneven[1][uneven[1] == 8] = 7
    with pytest.raises(PlayerError, match="9 in all and 8 in row 1; explain such rows one at a time"):
        TaylorCAM(net).interact(x, target=0, feature_mask=uneven)
    with pytest.raises(PlayerError, match="too few to tell 36 units of the feature_mask apart"):
        TaylorCAM(net, net[3]).interact(x, target=0, feature_mask=torch.arange(36).view(1, 1, 6, 6))
    with pytest.raises(PlayerError, match="broadcastable"):
        TaylorCAM(net, net[3]).interact(x, target=0, layer_mask=torch.arange(9).view(1, 9))


def test_many_units_and_too_many():
    x = torch.rand(1, 70, dtype=torch.float64)
    f = lambda v: v.sum(1).exp()  # noqa: E731
    with pytest.warns(
        CostWarning, match=r"70 units, mode 'exact': about 388 forward .*; group cells into fewer"
    ):
        TaylorCAM(f).interact(x)
    with pytest.raises(TooManyPlayersError, match=r"the limit is 69 units; group .* or give max_players=70"):
        TaylorCAM(f, max_players=69).interact(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TaylorCAM(f).interact(x[:, :64])


def test_inputs_that_cannot_be_gated():
    ids = torch.tensor([[1, 2, 3]])
    embedding = nn.Embedding(5, 4)
    f = lambda i: embedding(i).prod(1).sum(1)  # noqa: E731
    for gate in ("input", "auto"):
        with pytest.raises(InputError, match=r"got torch.int64; for token ids give the embeddings as inputs"):
            TaylorCAM(f, gate=gate).interact(ids)
    assert len(TaylorCAM(f, embedding).interact(ids)[0]) == 3
    for gate in ("attention", "value"):
        with pytest.raises(InputError, match=r"does no attention over .* use gate='input' or a layer"):
            TaylorCAM(smooth_cnn(), gate=gate).interact(images(), target=0)


def test_models_without_second_derivatives():
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sigmoid().relu_().prod(1)

    with pytest.raises(InputError, match="changed in place; build the model with inplace=False"):
        TaylorCAM(Breaks(), mode="exact").interact(table())

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return ctx.saved_tensors[0].exp() * grad

    x = table()
    with pytest.raises(
        InputError, match=r"Once is marked @once_differentiable.*'grad_diff', 'stein' or 'occ"
    ):
        TaylorCAM(lambda v: Once.apply(v).prod(1)).interact(x)
    for mode in ("grad_diff", "stein", "occlusion"):
        found = TaylorCAM(lambda v: Once.apply(v).prod(1), mode=mode, n_samples=16).interact(x)
        same(found, TaylorCAM(lambda v: v.exp().prod(1), mode=mode, n_samples=16).interact(x))


def test_outputs_and_derivatives_that_are_not_finite():
    x = table()
    with pytest.raises(ModelOutputError, match="finite outputs, got nan for row"):
        TaylorCAM(lambda v: v.log().sum(1)).interact(-x.abs())
    with pytest.raises(ModelOutputError, match=r"finite derivatives.*square root.*mode='occlusion'"):
        TaylorCAM(lambda v: (v - v.detach()).square().sum(1).sqrt()).interact(x)


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda v: v.prod(1), r"scores \(rows, classes\) for output='prob', got \(1,\); use output='logit'"),
        (lambda v: (v, v), "got tuple; use output='logit'"),
    ],
)
def test_outputs_without_classes(f, says):
    with pytest.raises(ModelOutputError, match=says):
        TaylorCAM(f, output="prob").interact(table())


def test_a_function_that_detaches_is_warned_of():
    with (
        pytest.warns(DataWarning, match="may detach its input or run under no_grad"),
        pytest.warns(DataWarning, match="nothing that the gates do changes the output"),
    ):
        found = TaylorCAM(lambda v: v.detach().prod(1)).interact(table())
    assert len(found[0]) == 0


# ---------------------------------------------------------------- results
def test_a_result_is_saved_and_loaded(tmp_path):
    net, x = smooth_cnn(), images()
    for variant, order in (("taylor", 2), ("taylor", 3), ("cam", 2)):
        result = TaylorCAM(net, variant=variant, order=order).interact(x, target=0, feature_mask=PATCHES)[0]
        path = result.save(tmp_path / f"{variant}{order}")
        loaded = TaylorInteractions.load(path)
        assert loaded == result or variant == "cam"  # whose NaN are equal to nothing
        assert type(Interactions.load(path)) is Interactions
        for name in ("pairs", "main", "curvature"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(result, name))
        best = result.top(1)[0]
        assert loaded.synergy(best) == result.synergy(best)
        assert loaded.amis() == result.amis()
        assert loaded.provenance == result.provenance
        with pytest.raises(ValueError, match="read-only"):
            loaded.pairs[0, 1] = 1.0


# ---------------------------------------------------------------- found by a review
class _Reader(nn.Module):
    """A causal attention whose value is read at each text's last token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed = nn.Embedding(20, 8)
        self.project = nn.Linear(8, 24)
        self.head = nn.Linear(8, 1)
        self.double()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids)
        query, key, value = self.project(x).unsqueeze(1).chunk(3, -1)
        causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        seen = (causal & mask.bool()[:, None, :]).unsqueeze(1)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        last = attended[torch.arange(len(ids)), 0, mask.sum(1) - 1]
        return torch.tanh(self.head(last)) * 3


def test_padding_behind_a_text_changes_nothing():
    reader, ids = _Reader(), torch.tensor([[4, 7, 9, 2]])
    padded = torch.tensor([[4, 7, 9, 2, 0, 0], [5, 1, 3, 3, 8, 6]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    alone = TaylorCAM(reader, mode="exact").interact(
        ids, target=0, additional_forward_args=torch.ones(1, 4).long()
    )
    beside = TaylorCAM(reader, mode="exact").interact(padded, target=0, additional_forward_args=mask)
    assert np.abs(alone[0].pairs[:, 3]).max() > 1e-3
    np.testing.assert_allclose(beside[0].pairs[:4, :4], alone[0].pairs, rtol=1e-9, atol=1e-12)
    assert not beside[0].pairs[4:].any()


def test_models_that_recompute_activations_are_refused():
    net = smooth_cnn()
    net.gradient_checkpointing = True
    net.train()
    with (
        pytest.raises(InputError, match=r"gradient checkpointing.*model\.eval\(\)"),
        warnings.catch_warnings(action="ignore"),
    ):
        TaylorCAM(net).interact(images(), target=0)
    net.eval()
    assert len(TaylorCAM(net).interact(images(), target=0)) == 2


def test_a_norm_inside_of_torchscript_has_no_triples():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1)).double().eval()
    traced = torch.jit.trace(net, table())
    pairs = TaylorCAM(traced).interact(table(), target=0)[0].pairs
    np.testing.assert_allclose(pairs, TaylorCAM(net).interact(table(), target=0)[0].pairs, atol=1e-10)
    with pytest.raises(InputError, match=r"inside of TorchScript.*order=2"):
        TaylorCAM(traced, order=3).interact(table(), target=0)


def test_rounding_is_not_passed_off_as_interaction():
    def rounded(x: Tensor) -> Tensor:
        return x.sum(1) * 100 + x.prod(1) * 1e-9

    with pytest.warns(DataWarning, match="no larger than rounding: the output is a sum"):
        TaylorCAM(rounded).interact(torch.rand(1, 3, generator=torch.Generator().manual_seed(0)) + 1)
    # the same is no rounding in float64
    found = TaylorCAM(rounded).interact(torch.ones(1, 3, dtype=torch.float64))[0]
    np.testing.assert_allclose(found.scores, 1e-9, rtol=1e-9)


def test_derivatives_stand_though_units_cannot_be_switched_off():
    with pytest.warns(DataWarning, match="synergy is left out.*baselines.*synergy=0"):
        found = TaylorCAM(lambda x: x.log().sum(1).square()).interact(torch.full((1, 2), 2.0).double())[0]
    assert found.pairs[0, 1] == pytest.approx(2.0)  # 2 log'(x_0) log'(x_1) x_0 x_1
    assert np.isnan(found.synergy(found[0]))
    assert np.isnan(found.to_dataframe().synergy[0])


def test_cam_variants_of_a_causal_model_gate_its_inputs():
    found = TaylorCAM(TinyAttention(causal=True), variant="cam").interact(tokens(), target=0)[0]
    assert found.provenance.details["gate"] == "input"


@pytest.mark.parametrize(("order", "units"), [(2, 1), (3, 2)])
def test_too_few_units_are_counted(order, units):
    with pytest.warns(DataWarning, match=f"needs {order} units, and there is {units}"):
        TaylorCAM(lambda x: x.prod(1), order=order).interact(torch.ones(1, units))

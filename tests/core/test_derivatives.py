"""Derivatives by gates against full Hessians of torch, nested derivatives and differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from functorch.compile import aot_module, make_boxed_func
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import STRATEGIES, gradient, grow, hessian, piecewise_linear_steps
from hoi_captum.core.gates import Gates, InputGates, LayerGates
from hoi_captum.errors import DataWarning, InputError, ModelOutputError
from tests.core.gated_models import (
    TinyAttention,
    Twice,
    by_differences,
    directions,
    full_hessian,
    kernels,
    nested,
    smooth_cnn,
)

EXACT = {"rtol": 0, "atol": 1e-10}
PAIRS = [("scale", "scale"), ("scale", "shift"), ("shift", "channels"), ("channels", "scale")]


def input_gates(f, x, mask=None, baselines=None, target=None) -> InputGates:
    arguments = Arguments(f, x, baselines, target)
    masks = None if mask is None else mask if isinstance(mask, tuple) else (mask,)
    return InputGates(arguments, Players.from_feature_mask(arguments.inputs, masks))


def images() -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def quarters() -> Tensor:
    """Four patches of 3 x 3, of which the last belongs to nobody: (1, 1, 6, 6)."""
    ids = torch.tensor([[0, 1], [2, -1]])
    return ids.repeat_interleave(3, 0).repeat_interleave(3, 1).view(1, 1, 6, 6)


# ---------------------------------------------------------------- the full Hessian
ROW_MASKS = torch.cat([quarters(), quarters().flip(-1)])
OWN_BASELINE = torch.randn(1, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("wrt", PAIRS, ids="-".join)
@pytest.mark.parametrize(
    ("mask", "baseline"),
    [(quarters(), None), (ROW_MASKS, 0.25), (quarters(), OWN_BASELINE), (ROW_MASKS, images() / 3)],
    ids=["zero", "number-row-masks", "one-row", "tensor-row-masks"],
)
def test_of_inputs_it_is_the_full_hessian_contracted(wrt, mask, baseline):
    net, x, target = smooth_cnn(), images(), [2, 0]
    found = hessian(input_gates(net, x, mask, baseline, target), wrt=wrt)
    for row in range(2):
        one = x[row : row + 1]
        b = 0.0 if baseline is None else baseline
        b = b[row % len(b)].unsqueeze(0) if isinstance(b, Tensor) else b
        own = mask[row % len(mask)].unsqueeze(0)
        full = full_hessian(lambda v, row=row: net(v)[:, target[row]], one)
        left, right = (directions(name, one, b, own, 3, 1) for name in wrt)
        torch.testing.assert_close(found[row], left @ full @ right.T, **EXACT)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("wrt", PAIRS, ids="-".join)
@pytest.mark.parametrize("number", [1, 3])  # the batch norm, and the map behind it
@pytest.mark.parametrize("at_input", [False, True])
def test_of_a_layer_it_is_the_full_hessian_behind_it(wrt, number, at_input):
    net, x = smooth_cnn(), images()
    with torch.no_grad():
        h = net[: number + (not at_input)](x)
    rest = net[number + (not at_input) :]
    gates = LayerGates(Arguments(net, x, None, 1), net[number], layer_baselines=0.125, at_input=at_input)
    found = hessian(gates, wrt=wrt)
    height, width = h.shape[2:]
    mask = torch.arange(height * width).view(1, 1, height, width)
    for row in range(2):
        full = full_hessian(lambda v: rest(v)[:, 1], h[row : row + 1])
        left, right = (directions(name, h[row : row + 1], 0.125, mask, height * width, 1) for name in wrt)
        torch.testing.assert_close(found[row], left @ full @ right.T, **EXACT)
    assert found.abs().max() > 1e-4


def test_a_layer_with_a_mask_and_baselines_of_its_own():
    net, x = smooth_cnn(), images()
    with torch.no_grad():
        h = net[:4](x)
    mask = torch.tensor([[0, 0, 1], [2, -1, 1], [2, 2, -1]]).view(1, 1, 3, 3)
    base = h.mean(0, keepdim=True)
    found = hessian(LayerGates(Arguments(net, x, None, 0), net[3], mask, base))
    for row in range(2):
        full = full_hessian(lambda v: net[4:](v)[:, 0], h[row : row + 1])
        moved = directions("scale", h[row : row + 1], base, mask, 3, 1)
        torch.testing.assert_close(found[row], moved @ full @ moved.T, **EXACT)


def test_of_a_layer_that_runs_twice_the_last_run_is_gated():
    net, x = Twice(), torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        h = net.shared(torch.tanh(net.shared(x)))
        before = torch.tanh(net.shared(x))
    found = hessian(LayerGates(Arguments(net, x, None, 2), net.shared))
    at_input = hessian(LayerGates(Arguments(net, x, None, 2), net.shared, at_input=True))
    for row in range(2):
        for value, f, gated in (
            (h, net.tail, found),
            (before, lambda v: net.tail(net.shared(v)), at_input),
        ):
            full = full_hessian(lambda v, f=f: f(v)[:, 2], value[row : row + 1])
            torch.testing.assert_close(gated[row], torch.outer(value[row], value[row]) * full, **EXACT)


def test_of_a_layer_with_two_tensors_all_cells_are_units():
    net, x = Twice(), torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        left, _, right = net.pair(net.shared(torch.tanh(net.shared(x))))
    both = torch.cat((left, right), 1)
    found = hessian(LayerGates(Arguments(net, x, None, 0), net.pair))
    assert found.shape == (2, 8, 8)
    for row in range(2):
        full = full_hessian(lambda v: net.end(v[:, :4], v[:, 4:])[:, 0], both[row : row + 1])
        torch.testing.assert_close(found[row], torch.outer(both[row], both[row]) * full, **EXACT)
    assert found[:, :4, 4:].abs().max() > 1e-3


@pytest.mark.parametrize("how", ["fused", "grouped", "softmax"])
@pytest.mark.parametrize("causal", [False, True])
def test_of_attention_it_is_the_full_hessian_contracted(how, causal):
    # on a CPU the fused kernel, which is the default, has no second derivatives
    net, x = TinyAttention(how, causal=causal), torch.randn(2, 5, 4, dtype=torch.float64)
    mask = torch.tensor([0, 1, 1, 2, -1]).view(1, 5, 1)
    found = hessian(input_gates(net, x, mask, None, 1))
    for row in range(2):
        full = full_hessian(lambda v: net(v)[:, 1], x[row : row + 1])
        moved = directions("scale", x[row : row + 1], 0.0, mask, 3, 2)
        torch.testing.assert_close(found[row], moved @ full @ moved.T, **EXACT)
    assert found.abs().max() > 1e-3


def test_several_inputs_share_units_by_their_ids():
    def f(a, b):
        return (a[:, 0] * b[:, 0]).sin() + (a[:, 1] * b[:, 1]).exp()

    a, b = torch.randn(2, 2, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    # unit 0 has a cell in both tensors
    masks = (torch.tensor([[0, 1]]), torch.tensor([[2, 0]]))
    found = hessian(input_gates(f, (a, b), masks))
    for row in range(2):
        x = torch.cat((a[row], b[row])).view(1, 4)
        full = full_hessian(lambda v: f(v[:, :2], v[:, 2:]), x)
        moved = directions("scale", x, 0.0, torch.tensor([[0, 1, 2, 0]]), 3, None)
        torch.testing.assert_close(found[row], moved @ full @ moved.T, **EXACT)


@pytest.mark.parametrize("at", [0.4, torch.tensor([[0.2, 0.5, 1.5], [1.0, 0.0, -0.3]], dtype=torch.float64)])
def test_derivatives_at_other_values_of_the_scale(at):
    net, x = smooth_cnn(), images()
    gates = input_gates(net, x, quarters(), 0.25, 1)
    first, second = gradient(gates, at=at), hessian(gates, at=at)
    for row in range(2):
        values = torch.as_tensor(at, dtype=torch.float64).expand(2, 3)[row]

        def f(scale: Tensor, row=row) -> Tensor:
            cells = torch.cat((scale, torch.ones(1, dtype=torch.float64)))[quarters()]
            return net(0.25 + cells * (x[row : row + 1] - 0.25))[0, 1]

        torch.testing.assert_close(first[row], nested(f, values, 1), **EXACT)
        torch.testing.assert_close(second[row], nested(f, values, 2), **EXACT)


def test_rows_choose_examples_and_their_order():
    net, x = smooth_cnn(), torch.cat([images(), -images()[:1]])
    gates = input_gates(net, x, torch.cat([ROW_MASKS, quarters()]), 0.1, [0, 1, 2])
    rows = torch.tensor([2, 0, 2])
    torch.testing.assert_close(hessian(gates, rows=rows), hessian(gates)[rows], **EXACT)
    torch.testing.assert_close(gradient(gates, rows=rows), gradient(gates)[rows], **EXACT)
    sets = torch.tensor([[[0, 1]], [[1, 2]], [[2, 0]]])
    whole = grow(gates, sets)
    torch.testing.assert_close(grow(gates, sets[rows], rows=rows), whole[rows], **EXACT)


def test_a_batch_of_one_is_a_row_of_a_batch():
    net, x = smooth_cnn(), images()
    whole = hessian(input_gates(net, x, ROW_MASKS, images() / 3, [2, 0]))
    for row in range(2):
        part = slice(row, row + 1)
        alone = hessian(input_gates(net, x[part], ROW_MASKS[part], images()[part] / 3, [2, 0][part]))
        torch.testing.assert_close(alone[0], whole[row], **EXACT)


# ---------------------------------------------------------------- strategies and higher orders
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_agree_and_count(strategy):
    net, x = TinyAttention(), torch.randn(2, 20, 4, dtype=torch.float64)
    mask = torch.arange(20).view(1, 20, 1)
    gates = input_gates(net, x, mask, None, 1)
    done: list[int] = []
    found = hessian(gates, strategy=strategy, on_row=done.append)
    full = full_hessian(lambda v: net(v)[:, 1], x[:1])
    moved = directions("scale", x[:1], 0.0, mask, 20, 2)
    torch.testing.assert_close(found[0], moved @ full @ moved.T, **EXACT)
    torch.testing.assert_close(found, found.transpose(1, 2), **EXACT)
    assert done[-1] == 20
    assert done == sorted(set(done))
    assert gates.forward_passes == 2
    assert gates.backward_passes == 2 * (1 + 20)
    third = grow(gates, torch.tensor([[0, 1], [0, 2], [5, 3], [0, 4]]), strategy=strategy)
    expected = grow(gates, torch.tensor([[0, 1], [0, 2], [5, 3], [0, 4]]), strategy="loop")
    torch.testing.assert_close(third, expected, **EXACT)


@pytest.mark.parametrize("order", [1, 2])
def test_to_grow_is_to_differentiate_once_more(order):
    x = torch.tensor([[0.7, -1.2, 0.5, 0.9], [1.1, 0.3, -0.4, 0.2]], dtype=torch.float64)

    def f(v: Tensor) -> Tensor:
        return (v[:, 0] * v[:, 1] * v[:, 2]).sin() * v[:, 3].exp() + (v[:, 1] * v[:, 3]).tanh()

    sets = torch.tensor(list(product(range(4), repeat=order)))
    found = grow(input_gates(f, x), sets)
    assert found.dtype == torch.float64
    for row in range(2):
        full = nested(
            lambda scale, row=row: f((scale * x[row]).unsqueeze(0))[0],
            torch.ones(4, dtype=torch.float64),
            order + 1,
        )
        torch.testing.assert_close(found[row], full.reshape(-1, 4), **EXACT)
    assert found.abs().max() > 0.1


@pytest.mark.parametrize("order", [3, 4])
def test_higher_orders_than_three(order):
    x = torch.tensor([[0.7, -1.2, 0.5], [1.1, 0.3, -0.4]], dtype=torch.float64)
    slopes = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    sets = torch.tensor(list(product(range(3), repeat=order)))
    found = grow(input_gates(lambda v: (v @ slopes).exp(), x), sets)
    sides = x * slopes
    for row in range(2):
        expected = sides[row, sets].prod(1).unsqueeze(1) * sides[row] * sides[row].sum().exp()
        torch.testing.assert_close(found[row], expected, **EXACT)


def test_third_derivatives_of_a_network_are_those_by_differences():
    net, x = smooth_cnn(), images()
    gates = input_gates(net, x, quarters(), 0.0, [2, 0])
    found = grow(gates, torch.tensor([[0, 1], [1, 2], [0, 2]]))
    for row, target in enumerate([2, 0]):

        def f(scale: Tensor, row=row, target=target) -> Tensor:
            with torch.no_grad():
                return gates.run(torch.tensor([row]), scale=scale.unsqueeze(0))[0]

        triple = by_differences(f, torch.ones(3, dtype=torch.float64), (0, 1, 2), 1e-3)
        for found_triple in (found[row, 0, 2], found[row, 1, 0], found[row, 2, 1]):
            assert float(found_triple) == pytest.approx(triple, rel=1e-4)


def test_sets_of_their_own_for_each_example():
    net, x = smooth_cnn(), images()
    gates = input_gates(net, x, quarters(), 0.0, 1)
    shared = grow(gates, torch.tensor([[0, 1], [1, 2], [0, 2]]))
    own = grow(gates, torch.tensor([[[1, 2], [0, 1]], [[0, 2], [1, 0]]]))
    torch.testing.assert_close(own[0], shared[0, [1, 0]], **EXACT)
    torch.testing.assert_close(own[1], shared[1, [2, 0]], **EXACT)


# ---------------------------------------------------------------- nothing to see
def test_where_the_model_is_linear_derivatives_are_zero():
    weights = torch.randn(2, 3, dtype=torch.float64)
    gates = input_gates(lambda x: x @ weights.T, torch.ones(2, 3, dtype=torch.float64), None, None, 1)
    assert torch.equal(hessian(gates), torch.zeros(2, 3, 3, dtype=torch.float64))
    assert torch.equal(grow(gates, torch.tensor([[0, 1]])), torch.zeros(2, 1, 3, dtype=torch.float64))
    torch.testing.assert_close(gradient(gates), weights[1].expand(2, 3), **EXACT)
    quadratic = input_gates(lambda x: x[:, 0] * x[:, 1], torch.ones(2, 3, dtype=torch.float64))
    assert not grow(quadratic, torch.tensor([[0, 1], [1, 2]])).any()
    assert torch.equal(hessian(quadratic)[0], torch.eye(3)[[1, 0, 2]].double() * torch.tensor([1, 1, 0]))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_unit_that_the_model_does_not_use(strategy):
    gates = input_gates(lambda x, y: x.exp().prod(1), (torch.rand(2, 3).double(), torch.rand(2, 4).double()))
    found = hessian(gates, strategy=strategy)
    assert not found[:, 3:].any()
    assert not found[:, :, 3:].any()
    assert found[:, :3, :3].all()


def test_an_output_that_nothing_leads_to_is_warned_of():
    for f in (lambda x: x.detach().prod(1), torch.no_grad()(lambda x: x.prod(1))):
        gates = input_gates(f, torch.rand(2, 3))
        for derivative in (gradient, hessian, lambda g: grow(g, torch.tensor([[0, 1]]))):
            with pytest.warns(DataWarning, match=r"detach its input or run under no_grad"):
                assert not derivative(gates).any()


# ---------------------------------------------------------------- what cannot be differentiated
class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


# torch itself loses such a step's second derivative and goes on, with or without another way to the gates
@pytest.mark.parametrize(
    "f",
    [
        lambda x: _Once.apply(x).prod(1),
        lambda x: _Once.apply(x).sum(1),
        lambda x: _Once.apply(x).sum(1) * x.exp().sum(1),
    ],
)
def test_steps_that_have_no_second_derivative(f):
    gates = input_gates(f, torch.rand(2, 3) + 1)
    for derivative in (hessian, lambda g: grow(g, torch.tensor([[0, 1]]))):
        with pytest.raises(
            InputError, match=r"_Once is marked @once_diff.*use a mode.*'grad_diff', 'stein' or 'occlusion'"
        ):
            derivative(gates)


def test_first_derivatives_need_no_second_ones():
    x = torch.rand(2, 3) + 1
    found = gradient(input_gates(lambda x: _Once.apply(x).prod(1), x))
    expected = (2 * x.square().prod(1, keepdim=True).expand(2, 3)).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_kernels_without_second_derivatives():
    class Flash(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        def backward(ctx, grad):
            raise RuntimeError("derivative for aten::_flash_backward is not implemented")

    with pytest.raises(InputError, match=r"_flash_backward is not implemented.*attn_implementation='eager'"):
        hessian(input_gates(lambda x: Flash.apply(x).prod(1), torch.rand(2, 3)))


def test_values_changed_in_place():
    gates = input_gates(lambda x: functional.relu_(x.sigmoid()).prod(1), torch.rand(2, 3))
    for derivative in (gradient, hessian):
        with pytest.raises(InputError, match="changed in place; build the model with inplace=False"):
            derivative(gates)


def test_other_errors_of_the_model_stay_what_they_are():
    def fails(x: Tensor) -> Tensor:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        hessian(input_gates(fails, torch.rand(2, 3)))


@pytest.mark.parametrize("derivative", [gradient, hessian, lambda g: grow(g, torch.tensor([[0, 1]]))])
def test_derivatives_that_do_not_exist(derivative):
    gates = input_gates(lambda x: x.square().sum(1).sqrt(), torch.zeros(1, 3) + 2, None, torch.full((), 2.0))
    assert derivative(gates) is not None
    gates = input_gates(lambda x: (x - 2).square().sum(1).sqrt(), torch.zeros(1, 3) + 2)
    with pytest.raises(ModelOutputError, match=r"square root or a norm of 0.*mode='occlusion'"):
        derivative(gates)


# ---------------------------------------------------------------- state
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_modes_do_not_matter_and_come_back(mode):
    net, x = TinyAttention(), torch.randn(2, 5, 4, dtype=torch.float64)
    gates = input_gates(net, x, torch.arange(5).view(1, 5, 1), None, 0)
    expected, before = hessian(gates), kernels()
    with mode():
        enabled, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = hessian(gates)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (enabled, inference)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert kernels() == before


def test_kernels_are_back_after_an_error():
    before, seen = kernels(), []

    def fails(x: Tensor) -> Tensor:
        seen.append(kernels())
        raise ValueError("stop")

    with torch.no_grad():
        for derivative in (gradient, hessian, piecewise_linear_steps):
            with pytest.raises(ValueError, match="stop"):
                derivative(input_gates(fails, torch.rand(1, 3)))
            assert kernels() == before
            assert not torch.is_grad_enabled()
    assert set(seen) == {(False, False, True, False)}


# ---------------------------------------------------------------- piecewise linear steps
class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).relu_()


def _leads(step) -> Gates:
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return input_gates(lambda v: step(v).flatten(1).sum(1).tanh(), x, torch.arange(4).view(1, 1, 4, 1))


@pytest.mark.parametrize(
    "step",
    [
        nn.ReLU(),
        nn.Sequential(nn.Tanh(), nn.ReLU(inplace=True)),
        nn.LeakyReLU(),
        nn.PReLU().double(),
        nn.RReLU(),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.Threshold(0.1, 0.0),
        nn.MaxPool2d(2),
        nn.AdaptiveMaxPool2d(2),
        nn.Sequential(nn.Flatten(2), nn.MaxPool1d(2)),
        nn.Sequential(nn.Unflatten(1, (1, 2)), nn.MaxPool3d((1, 2, 2))),
        torch.relu,
        functional.relu,
        _InPlace(),
        lambda v: v.relu(),
        lambda v: torch.maximum(v, -v / 2),
        lambda v: v.amax((2, 3)),
        lambda v: v.flatten(2).max(-1).values,
        lambda v: v.max(-1).values,
        lambda v: v.clamp(min=0),
        lambda v: v.clamp_min(0.0),
        lambda v: v.clamp(0, 1),
        lambda v: v.abs(),
        nn.Hardsigmoid(),
        nn.Softshrink(),
    ],
)
def test_piecewise_linear_steps_are_seen(step):
    assert piecewise_linear_steps(_leads(step))


@pytest.mark.parametrize(
    "step",
    [
        nn.GELU(),
        nn.GELU(approximate="tanh"),
        nn.SiLU(),
        nn.Tanh(),
        nn.Softplus(),
        nn.Sigmoid(),
        nn.ELU(),
        nn.AvgPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Softmax(-1)),
        lambda v: functional.layer_norm(v, (4, 4)),
        lambda v: functional.normalize(v, dim=-1),
        lambda v: v * v.detach().relu(),
    ],
)
def test_smooth_steps_are_none(step):
    assert not piecewise_linear_steps(_leads(step))


def test_relus_before_the_gates_do_not_count():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    assert piecewise_linear_steps(LayerGates(Arguments(net, x), net[0]))
    assert piecewise_linear_steps(LayerGates(Arguments(net, x), net[1], at_input=True))
    assert not piecewise_linear_steps(LayerGates(Arguments(net, x), net[1]))
    assert not piecewise_linear_steps(LayerGates(Arguments(net, x), net[2]))
    assert piecewise_linear_steps(input_gates(net, x))


def test_attention_gates_alone_are_smooth():
    net, x = TinyAttention("softmax", causal=True), torch.randn(2, 5, 4, dtype=torch.float64)
    arguments = Arguments(net, x, None, 0)
    players = Players.from_feature_mask(arguments.inputs, (torch.arange(5).view(1, 5, 1),))
    assert not piecewise_linear_steps(AttentionGates(arguments, players))


def test_nothing_of_it_warns_without_need():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hessian(_leads(nn.Tanh()))
        hessian(_leads(nn.Identity()))


# ---------------------------------------------------------------- HuggingFace
def test_behind_a_layer_of_bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=17, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=5, initializer_range=0.5,
    )  # fmt: skip
    model = BertForSequenceClassification(config).double().eval()
    layers, ids = model.bert.encoder.layer, torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])

    def behind(h: Tensor) -> Tensor:
        return model.classifier(model.bert.pooler(layers[1](h)))[:, 1]

    with torch.no_grad():
        h = model(input_ids=ids, output_hidden_states=True).hidden_states[1]
    gates = LayerGates(Arguments(lambda ids: model(input_ids=ids).logits, ids, None, 1), layers[0])
    found = {strategy: hessian(gates, strategy=strategy) for strategy in STRATEGIES}
    for row in range(2):
        full = full_hessian(behind, h[row : row + 1])
        moved = directions("scale", h[row : row + 1], 0.0, torch.arange(5).view(1, 5, 1), 5, 2)
        for strategy in STRATEGIES:
            torch.testing.assert_close(found[strategy][row], moved @ full @ moved.T, **EXACT)
    assert found["loop"].abs().max() > 1e-3


@pytest.mark.parametrize("at_input", [False, True])
def test_vectorised_passes_agree_with_single_ones_on_convolutions(at_input):
    net, x = smooth_cnn(), images()
    gates = LayerGates(Arguments(net, x, None, 0), net[1], at_input=at_input)
    torch.testing.assert_close(hessian(gates, strategy="batched"), hessian(gates, strategy="loop"), **EXACT)
    pairs = torch.tensor([[7, 8], [7, 14], [0, 35], [7, 1]])
    expected = grow(gates, pairs, strategy="loop")
    torch.testing.assert_close(grow(gates, pairs, strategy="batched"), expected, **EXACT)
    assert expected.any()


# ---------------------------------------------------------------- norms
NORMS = {
    "layer": lambda x: functional.layer_norm(x, (6,), torch.linspace(0.5, 1.5, 6).double()),
    "layer-two-axes": lambda x: functional.layer_norm(x, (4, 6), None, torch.ones(4, 6).double()),
    "layer-named": lambda x: functional.layer_norm(input=x, normalized_shape=[6], eps=0.1),
    "layer-torch": lambda x: torch.layer_norm(x, [6]),
    "layer-module": nn.LayerNorm(6).double(),
    "group": lambda x: functional.group_norm(x, 2),
    "rms": lambda x: functional.rms_norm(x, (6,)),
    "batch": nn.BatchNorm1d(4).double().eval(),
}


@pytest.mark.parametrize("norm", NORMS)
def test_third_derivatives_of_norms(norm):
    x = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    weights = torch.linspace(-1, 1, 24, dtype=torch.float64)

    def f(v: Tensor) -> Tensor:
        return (NORMS[norm](v).flatten(1) * weights).sum(1).sin()

    # a norm undoes the scale of all that it averages over: units are parts of that
    gates = input_gates(f, x, torch.tensor([0, 1, 2, 3, -1, 0]).view(1, 1, 6))
    sets = torch.tensor([[0, 1], [0, 2], [1, 2]])
    found = grow(gates, sets)
    for row in range(2):

        def second(scale: Tensor, row=row) -> float:
            return float(hessian(gates, at=scale.unsqueeze(0), rows=torch.tensor([row]))[0, 0, 1])

        h = 1e-4
        up, down = torch.ones(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
        up[2] += h
        down[2] -= h
        expected = (second(up) - second(down)) / (2 * h)
        # the same triple from each of its pairs
        for value in (found[row, 0, 2], found[row, 1, 1], found[row, 2, 0]):
            assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert found.abs().max() > 1e-3


def test_norms_that_have_no_third_derivatives():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    gates = input_gates(
        lambda v: functional.instance_norm(v).flatten(1).sin().sum(1), x, torch.arange(4).view(1, 1, 4, 1)
    )
    assert hessian(gates).any()
    with pytest.raises(
        InputError, match=r"batch_norm does not support 3rd.*'grad_diff', 'stein' or 'occlusion'"
    ):
        grow(gates, torch.tensor([[0, 1]]))


def compiled_once(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """By an ahead-of-time compiler, which leaves no way back to the model."""
    return aot_module(net, fw_compiler=lambda graph, _: make_boxed_func(graph.forward))


@pytest.mark.parametrize("compiler", [partial(torch.compile, backend="aot_eager"), compiled_once])
def test_what_a_compiler_hides_is_seen_or_refused(compiler):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double().eval()
    compiled = compiler(net)
    x = torch.randn(2, 3, dtype=torch.float64)

    def gates(f) -> InputGates:
        arguments = Arguments(f, x)
        return InputGates(arguments, Players.from_feature_mask(arguments.inputs, None))

    torch.testing.assert_close(gradient(gates(compiled)), gradient(gates(net)))
    if compiler is not compiled_once:  # the model as it was is run
        assert torch.equal(hessian(gates(compiled)), hessian(gates(net)))
        assert not piecewise_linear_steps(gates(compiled))
        return
    assert piecewise_linear_steps(gates(compiled))  # what cannot be seen may be a ReLU
    with pytest.raises(InputError, match=r"it was compiled.*before it was compiled.*'grad_diff'"):
        hessian(gates(compiled))

"""Gates by hand: what a scale, a shift and a channel's shift do to the cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import InputGates, LayerGates, cells_of_a_grid, positions
from hoi_captum.errors import InputError, ModelOutputError, PlayerError, TargetError
from tests.core.gated_models import Twice, hooks, smooth_cnn

ALL = torch.arange(2)


def input_gates(f, x, mask=None, baselines=None, target=None) -> InputGates:
    arguments = Arguments(f, x, baselines, target)
    masks = None if mask is None else mask if isinstance(mask, tuple) else (mask,)
    return InputGates(arguments, Players.from_feature_mask(arguments.inputs, masks))


def images(seed: int = 5) -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(x, mask, baseline, scale, shift, channels):
    """Cell by cell, (m, C, H, W) with a mask (m, 1, H, W)."""
    out = x.clone()
    for n, c, i, j in torch.cartesian_prod(*[torch.arange(size) for size in x.shape]).tolist():
        unit = int(mask[n, 0, i, j])
        out[n, c, i, j] += channels[n, c]
        if unit >= 0:
            out[n, c, i, j] += (scale[n, unit] - 1) * (x[n, c, i, j] - baseline[n, c, i, j]) + shift[n, unit]
    return out


# ---------------------------------------------------------------- what gates do
def test_gates_move_the_cells_of_their_units():
    x, base = images(), images(1)
    mask = torch.randint(-1, 4, (2, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    seen = []

    def f(v: Tensor) -> Tensor:
        seen.append(v)
        return v.flatten(1).sum(1)

    rows = torch.tensor([1, 0, 1])
    g = torch.Generator().manual_seed(2)
    scale, shift = (torch.randn(3, 4, dtype=torch.float64, generator=g) for _ in range(2))
    channels = torch.randn(3, 2, dtype=torch.float64, generator=g)
    gates = input_gates(f, x, mask, base)
    gates.run(rows, scale, shift, channels)
    expected = by_hand(x[rows], mask[rows], base[rows], scale, shift, channels)
    torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-14)
    gates.run(rows, scale=scale)
    nothing = torch.zeros_like(shift)
    expected = by_hand(x[rows], mask[rows], base[rows], scale, nothing, torch.zeros(3, 2))
    torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-14)
    assert gates.forward_passes == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_at_one_and_zero_the_model_itself_comes_out(dtype):
    x = (images() * 7.3).to(dtype)
    seen = []

    def f(v: Tensor) -> Tensor:
        seen.append(v)
        return v.flatten(1).sum(1)

    gates = input_gates(f, x, None, 0.7)
    one = torch.ones(2, 72, dtype=gates.dtype)
    gates.run(ALL, one, one * 0, one[:, :1] * 0)
    assert seen[-1].dtype == dtype
    assert torch.equal(seen[-1], x)
    assert gates.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_at_zero_a_unit_is_its_baseline():
    x, base = images(), images(1)
    seen = []

    def f(v: Tensor) -> Tensor:
        seen.append(v)
        return v.flatten(1).sum(1)

    gates = input_gates(f, x, cells_of_a_grid((x,), 2)[0], base)
    scale = torch.tensor([[0.0, 1, 1, 1], [1, 1, 1, 0]], dtype=torch.float64)
    gates.run(ALL, scale)
    expected = x.clone()
    expected[0, :, :3, :3], expected[1, :, 3:, 3:] = base[0, :, :3, :3], base[1, :, 3:, 3:]
    torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-15)


def test_a_single_example_serves_many_rows():
    gates = input_gates(lambda x: x.prod(1), torch.tensor([[2.0, 3.0]]))
    found = gates.run(torch.zeros(3, dtype=torch.int64), torch.tensor([[1.0, 1.0], [0.5, 1.0], [1.0, 2.0]]))
    assert found.tolist() == [6.0, 3.0, 12.0]
    assert gates.run(torch.zeros(2, dtype=torch.int64)).tolist() == [6.0, 6.0]


def test_integers_beside_the_gated_tensor_pass_through():
    x, ids = torch.rand(2, 3), torch.tensor([[0, 2], [1, 1]])

    def f(v: Tensor, chosen: Tensor) -> Tensor:
        return v.gather(1, chosen).sum(1)

    masks = (torch.tensor([[0, 1, 2]]), torch.tensor([[-1, -1]]))
    gates = input_gates(f, (x, ids), masks)
    found = gates.run(torch.tensor([1, 0]), torch.tensor([[1.0, 3.0, 1.0], [2.0, 1.0, 1.0]]))
    torch.testing.assert_close(found, torch.stack([6 * x[1, 1], 2 * x[0, 0] + x[0, 2]]))


def test_additional_arguments_and_targets_follow_the_rows():
    x, factor = torch.ones(2, 3), torch.tensor([2.0, 5.0])
    arguments = Arguments(lambda v, a, b: v * a.view(-1, 1) + b, x, None, [0, 2], (factor, 1.0))
    gates = InputGates(arguments, Players.from_feature_mask(arguments.inputs, None))
    scale = torch.tensor([[1.0, 1.0, 3.0], [4.0, 1.0, 1.0]])
    assert gates.run(torch.tensor([1, 0]), scale).tolist() == [16.0, 9.0]


# ---------------------------------------------------------------- layers
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("at_input", [False, True])
def test_a_layer_is_gated_where_it_stands(number, at_input):
    net, x = smooth_cnn(), images()
    with torch.no_grad():
        h = net[: number + (not at_input)](x)
    count = h.shape[2] * h.shape[3]
    gates = LayerGates(Arguments(net, x, None, 2), net[number], layer_baselines=0.5, at_input=at_input)
    assert (gates.n_units, gates.n_channels) == (count, h.shape[1])
    g = torch.Generator().manual_seed(0)
    rows = torch.tensor([1, 1, 0])
    scale, shift = (torch.randn(3, count, dtype=torch.float64, generator=g) for _ in range(2))
    channels = torch.randn(3, h.shape[1], dtype=torch.float64, generator=g)
    mask = torch.arange(count).view(1, 1, *h.shape[2:]).expand(3, -1, -1, -1)
    moved = by_hand(h[rows], mask, torch.full_like(h, 0.5)[rows], scale, shift, channels)
    with torch.no_grad():
        expected = net[number + (not at_input) :](moved)[:, 2]
        found = gates.run(rows, scale, shift, channels)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert torch.equal(gates.run(ALL), net(x)[:, 2])
    assert hooks(net) == 0


def test_what_a_layer_writes_into_is_not_the_callers():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    x = torch.randn(1, 3, dtype=torch.float64)
    before = x.clone()
    gates = LayerGates(Arguments(net, x.clone(), None, 0), net[0])
    gates.run(torch.zeros(3, dtype=torch.int64), torch.rand(3, 3, dtype=torch.float64))
    torch.testing.assert_close(gates.run(torch.tensor([0])), net[1](before.relu())[:, 0])


def test_units_of_the_input_on_a_layers_map():
    net, x = smooth_cnn(), images()
    ids = torch.tensor([[0, 1], [2, -1]]).repeat_interleave(3, 0).repeat_interleave(3, 1).view(1, 1, 6, 6)
    gates = LayerGates(Arguments(net, x, None, 0), net[3], input_mask=ids)  # a map of 3 x 3
    assert gates.players.masks[0].tolist() == [[[[0, 1, 1], [2, -1, -1], [2, -1, -1]]]]
    own = LayerGates(Arguments(net, x, None, 0), net[3], torch.zeros(1, 1, 3, 3).long(), input_mask=ids)
    assert own.n_units == 1


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 1)])
def test_units_of_tokens_on_a_layer(shape):
    net, x = nn.Linear(4, 6), torch.randn(2, 5, 4)
    mask = torch.tensor([0, 0, 1, -1, 2]).view(shape)
    gates = LayerGates(Arguments(lambda v: net(v).sum((1, 2)), x), net, input_mask=mask)
    assert gates.n_units == 3
    assert gates.players.masks[0].shape == (1, 5, 1)


def test_masks_of_the_input_that_a_layer_does_not_have():
    net, x = smooth_cnn(), images()
    fine = torch.arange(36).view(1, 1, 6, 6)
    with pytest.raises(PlayerError, match=r"too few to tell 36 units .* leave it out .* or give layer_mask"):
        LayerGates(Arguments(net, x, None, 0), net[3], input_mask=fine)
    with pytest.raises(PlayerError, match=r"positions that the layer Linear has too.*or give layer_mask"):
        LayerGates(Arguments(net, x, None, 0), net[6], input_mask=fine)
    with pytest.raises(PlayerError, match="got shape"):
        LayerGates(Arguments(net, x, None, 0), net[3], input_mask=torch.arange(72).view(1, 2, 6, 6))


def test_a_model_that_writes_into_its_input_leaves_the_callers_alone():
    linear = nn.Linear(3, 2).double()

    def f(v: Tensor) -> Tensor:
        v += 1
        return linear(v)

    for size in (1, 2):
        x = torch.randn(size, 3, dtype=torch.float64)
        before = x.clone()
        gates = LayerGates(Arguments(f, x, None, 0), linear)
        with torch.no_grad():
            for _ in range(2):
                assert torch.equal(gates.run(torch.arange(size)), linear(before + 1)[:, 0])
        assert torch.equal(x, before)


# ---------------------------------------------------------------- sums and spreading
def test_sums_of_units_by_channel():
    x, base = images(), images(1)
    mask = torch.randint(-1, 3, (2, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    found = input_gates(lambda v: v.sum((1, 2, 3)), x, mask, base).sums()
    for n, unit, c in torch.cartesian_prod(*map(torch.arange, (2, 3, 2))).tolist():
        expected = sum(
            float(x[n, c, i, j] - base[n, c, i, j])
            for i in range(6)
            for j in range(6)
            if mask[n, 0, i, j] == unit
        )
        assert float(found[n, unit, c]) == pytest.approx(expected, abs=1e-12)
    assert found.shape == (2, 3, 2)


def test_sums_of_inputs_without_channels():
    x = torch.tensor([[1.0, 2.0, 4.0]])
    assert input_gates(lambda v: v.sum(1), x, torch.tensor([[0, 1, 0]])).sums().tolist() == [[[5.0], [2.0]]]
    with pytest.raises(InputError, match=r"one gated tensor with channels, got 2.*single output"):
        input_gates(lambda v, w: v.sum(1), (x, x)).sums()


def test_values_of_units_on_cells():
    net, x = smooth_cnn(), images()
    values = torch.randn(2, 9, dtype=torch.float64)
    (found,) = LayerGates(Arguments(net, x, None, 0), net[3]).spread(values)
    assert torch.equal(found, values.view(2, 1, 3, 3))
    tokens = torch.randn(2, 5, 4)
    linear = nn.Linear(4, 6)
    (found,) = LayerGates(Arguments(lambda v: linear(v).sum((1, 2)), tokens), linear).spread(values[:, :5])
    assert torch.equal(found, values[:, :5].float())
    (found,) = input_gates(net, x, cells_of_a_grid((x,), 2)[0]).spread(values[:, :4])
    assert torch.equal(found[:, 1, ::3, ::3], values[:, :4].view(2, 2, 2))
    assert found.shape == x.shape


def test_a_layer_with_two_tensors_is_spread_on_both():
    net, x = Twice(), torch.randn(2, 4, dtype=torch.float64)
    values = torch.randn(2, 8, dtype=torch.float64)
    left, right = LayerGates(Arguments(net, x, None, 0), net.pair).spread(values)
    assert torch.equal(left, values[:, :4])
    assert torch.equal(right, values[:, 4:])


def test_units_that_nobody_gave():
    image, tokens, table = torch.rand(2, 3, 14, 21), torch.rand(2, 5, 4), torch.rand(2, 3)
    (grid,) = cells_of_a_grid((image,))
    assert grid.shape == (1, 1, 14, 21)
    assert torch.equal(grid[0, 0, ::2, ::3], torch.arange(49).view(7, 7))
    assert grid.unique(return_counts=True)[1].tolist() == [6] * 49
    small, more = cells_of_a_grid((torch.rand(1, 3, 2, 3), tokens))
    assert small.flatten().tolist() == list(range(6))
    assert more.flatten().tolist() == list(range(6, 11))
    one, two, three = positions((image, tokens, table))
    assert one.shape == (1, 1, 14, 21)
    assert (int(one.max()), int(two[0, 0, 0]), int(two.max()), int(three.max())) == (293, 294, 298, 301)


# ---------------------------------------------------------------- bad input
def test_integers_have_no_derivatives():
    with pytest.raises(InputError, match=r"got torch.int64; for token ids give the embeddings .*'attention'"):
        input_gates(lambda x: x.sum(1), torch.tensor([[1, 2]]))


def test_every_row_has_all_units():
    mask = torch.tensor([[0, 1, 2], [0, 1, 1]])
    with pytest.raises(PlayerError, match="got 3 in all and 2 in row 1; explain such rows one at a time"):
        input_gates(lambda x: x.sum(1), torch.rand(2, 3), mask)
    # units may stand in another tensor
    x = torch.rand(2, 2)
    masks = (torch.tensor([[0, 1], [1, 1]]), torch.tensor([[1, 1], [0, 0]]))
    assert input_gates(lambda a, b: a.sum(1), (x, x), masks).n_units == 2


def test_layers_that_cannot_be_gated():
    net, x = smooth_cnn(), images()
    with pytest.raises(InputError, match="Linear did not run in the forward pass; give a module that the"):
        LayerGates(Arguments(net, x, None, 0), nn.Linear(3, 3))
    ids = torch.tensor([[1, 2], [0, 1]])
    table = nn.Embedding(4, 3)
    with pytest.raises(InputError, match=r"whose input are floating point .* got torch.int64 at Embedding"):
        LayerGates(Arguments(lambda v: table(v).sum((1, 2)), ids), table, at_input=True)
    linear = nn.Linear(3, 2)
    with pytest.raises(InputError, match=r"one row .* for each of 2 inputs, got 1: Linear does not keep"):
        LayerGates(Arguments(lambda v: linear(v.sum(0, keepdim=True)).expand(2, 2), torch.rand(2, 3)), linear)
    assert hooks(net, table, linear) == 0


def test_targets_that_are_missing_or_out_of_range():
    net, x = smooth_cnn(), images()
    with pytest.raises(TargetError, match=r"leaves .*3.* give target=<number of a class>, 0 to 2"):
        input_gates(net, x).run(ALL)
    with pytest.raises(TargetError, match="target 7 does not exist"):
        input_gates(net, x, None, None, 7).run(ALL)


def test_outputs_that_are_not_finite():
    gates = input_gates(lambda x: x.log().sum(1), torch.rand(2, 3))
    scale = torch.ones(2, 3)
    scale[1, 2] = -1.0
    with pytest.raises(ModelOutputError, match=r"finite outputs, got nan for row 0 .* some gates moved"):
        gates.run(torch.tensor([1, 0]), scale)

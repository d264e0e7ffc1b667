"""SecondGlance around one input: numbers, shapes and Captum's arguments."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.errors import DataWarning
from hoi_captum.methods.second_glance import SecondGlance, SecondGlanceInteractions
from hoi_captum.methods.taylor_cam import TaylorCAM
from tests.core.gated_models import TinyAttention, smooth_cnn
from tests.methods.second_glance.models import SHRUNK, drawn, quadratic, relu_net, same, tokens

PATCHES = torch.arange(9).view(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 6, 6)


def images() -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


# ---------------------------------------------------------------- numbers
def test_it_is_in_the_library_by_its_name():
    assert hoi.SecondGlance is SecondGlance
    assert hoi.get_method("second-glance") is SecondGlance


def test_products_of_features_have_a_closed_form():
    x = drawn(3, 4) + 2
    for row, table in zip(x, SecondGlance(quadratic).interact(x), strict=True):
        a, b, c, d = row.tolist()
        expected = np.zeros((4, 4))
        expected[0, 1] = expected[1, 0] = a * b
        expected[1, 3] = expected[3, 1] = -3 * b * d
        scale = SHRUNK * np.abs(expected).max()
        np.testing.assert_allclose(table.pairs, expected, rtol=0, atol=scale)
        np.testing.assert_allclose(table.curvature, [0, 0, 2 * c * c, 0], rtol=0, atol=scale)
        # gradient x input, exactly
        np.testing.assert_allclose(
            table.main, [a * b + 2 * a, a * b - 3 * b * d, 2 * c * c, -3 * b * d], rtol=0, atol=1e-12
        )
        assert type(table) is SecondGlanceInteractions
        assert [(t.members, t.kind) for t in table.top(2)] == [((1, 3), "hessian"), ((0, 1), "hessian")]
        np.testing.assert_array_equal(table.matrix(), table.pairs)


def test_triples_have_a_closed_form():
    x = drawn(2, 4) + 2
    method = SecondGlance(lambda v: v[:, :3].prod(1) + v[:, 0] * v[:, 3], order=3)
    attributions, found = method.attribute_and_interact(x)
    for row, table in enumerate(found):
        a, b, c, d = x[row].tolist()
        assert set(table.orders) == {3}
        assert table.provenance.details["n_samples"] == 256
        (best,) = table.top(1)
        assert best.members == (0, 1, 2)
        assert best.score == pytest.approx(a * b * c, rel=1e-3)
        rest = [abs(t.score) for t in table if t.members != (0, 1, 2)]
        assert max(rest) < 1e-3 * a * b * c
        assert table.pairs[0, 1] == pytest.approx(a * b * c, rel=1e-2)
        assert table.pairs[0, 3] == pytest.approx(a * d, rel=1e-2)
        np.testing.assert_allclose(attributions[row], table.node_scores(), rtol=1e-12)


@pytest.mark.parametrize("gate", ["input", "layer", "attention", "value"])
def test_near_a_row_of_a_smooth_model_it_is_the_hessian_by_gates(gate):
    net = TinyAttention("softmax")
    layer = net.value if gate == "layer" else None
    exact = TaylorCAM(net, layer, gate=gate, mode="exact").interact(tokens(), target=[0, 2])
    found = SecondGlance(net, layer, gate=gate, width=0.05).interact(tokens(), target=[0, 2])
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one.pairs, other.pairs, rtol=0, atol=1e-3 * np.abs(other.pairs).max())
        np.testing.assert_allclose(one.main, other.main, rtol=0, atol=1e-12)
        assert one.provenance.details["gate"] == gate


def test_gaussian_draws_give_the_hessian_of_the_smoothed_model():
    # relu of a Gaussian sum with its mean at the kink: the second derivative is the density there
    x, s = torch.tensor([[0.5, 0.3]], dtype=torch.float64), 0.3
    method = SecondGlance(lambda v: (v.sum(1) - 0.8).relu(), sampling="gaussian", width=s, n_samples=20000)
    (table,) = method.interact(x)
    density = 1 / (s * math.hypot(0.5, 0.3) * math.sqrt(2 * math.pi))
    error = table.stderr[0, 1]
    assert error < 0.01
    assert abs(table.pairs[0, 1] - 0.15 * density) < 4 * error
    assert table.curvature == pytest.approx([0.25 * density, 0.09 * density], rel=0.05)


def test_bernoulli_draws_see_an_and_that_close_ones_do_not():
    # the gradients are (1, 1) with both gates on and (0, 0) otherwise
    x = torch.ones(1, 2, dtype=torch.float64)

    def both(v: Tensor) -> Tensor:
        return (v.sum(1) - 1).relu()

    (far,) = SecondGlance(both, sampling="bernoulli").interact(x)
    assert far.pairs[0, 1] == pytest.approx(0.5, rel=1e-3)
    with pytest.warns(DataWarning, match="the gradients are the same at all drawn gates"):
        attributions, (near,) = SecondGlance(both, width=0.4).attribute_and_interact(x)
    assert len(near) == 0
    assert not attributions.any()
    assert near.main.tolist() == [1, 1]
    details = near.provenance.details
    assert (details["r2"], details["asymmetry"], details["zero_fraction"]) == (None, 0.0, 1.0)


@pytest.mark.parametrize(("surrogate", "within"), [("softplus", 0.05), ("own", 0.1)])
def test_networks_around_one_input(surrogate, within):
    own = nn.Sequential(nn.Linear(4, 24), nn.SiLU(), nn.Linear(24, 4))
    method = SecondGlance(
        quadratic,
        surrogate=own if surrogate == "own" else surrogate,
        symmetry="average" if surrogate == "own" else "potential",
        n_samples=200,
        hidden=16,
        max_steps=1000,
    )
    x = drawn(1, 4) + 2
    (table,) = method.interact(x)
    a, b, _, d = x[0].tolist()
    assert table.pairs[1, 3] == pytest.approx(-3 * b * d, rel=within)
    assert table.pairs[0, 1] == pytest.approx(a * b, abs=within * 3 * b * d)
    assert np.isnan(table.stderr).all()
    assert table.provenance.details["r2"] > 0.98
    if surrogate == "softplus":
        np.testing.assert_allclose(table.jacobian, table.jacobian.T, rtol=0, atol=1e-10)


# ---------------------------------------------------------------- shapes
def test_an_attribution_is_the_sum_of_sizes_in_the_shape_of_the_inputs():
    x, net = drawn(2, 4), relu_net()
    attributions, found = SecondGlance(net).attribute_and_interact(x, target=0)
    sizes = np.stack([np.abs(t.pairs).sum(1) for t in found])
    np.testing.assert_allclose(attributions, sizes, rtol=1e-12)
    alone = SecondGlance(net).attribute((x,), target=0)
    assert isinstance(alone, tuple)
    torch.testing.assert_close(alone, (attributions,))
    halves = SecondGlance(lambda a, b: net(torch.cat([a, b], 1)))
    both = halves.attribute((x[:, :1], x[:, 1:]), target=0)
    assert [tuple(a.shape) for a in both] == [(2, 1), (2, 3)]
    torch.testing.assert_close(torch.cat(both, 1), attributions, rtol=0, atol=1e-10)


def test_an_attribution_of_a_layer_is_shaped_like_its_positions():
    net, x = smooth_cnn(), images()
    cells, found = SecondGlance(net, net[3]).attribute_and_interact(x, target=0)
    assert cells.shape == (2, 1, 3, 3)
    np.testing.assert_allclose(cells.flatten(1), [np.abs(t.pairs).sum(1) for t in found], rtol=1e-6)
    assert found[0].players[:4] == ("r1c1", "r1c2", "r1c3", "r2c1")
    assert found[0].provenance.details["grid"] == [3, 3]
    attention = TinyAttention()
    cells, found = SecondGlance(attention, attention.value).attribute_and_interact(tokens(), target=0)
    assert cells.shape == (2, 5)
    np.testing.assert_allclose(cells, [np.abs(t.pairs).sum(1) for t in found], rtol=1e-12)


# ---------------------------------------------------------------- Captum's arguments
@pytest.mark.parametrize(
    ("target", "columns"),
    [
        (1, [1, 1]),
        (torch.tensor(2), [2, 2]),
        (torch.tensor([1]), [1, 1]),
        ([2, 0], [2, 0]),
        (torch.tensor([0, 2]), [0, 2]),
        ((1,), [1, 1]),
        ([(2,), (1,)], [2, 1]),
    ],
)
def test_targets_in_all_forms(target, columns):
    net, x = relu_net(), drawn(2, 4)
    found = SecondGlance(net).interact(x, target=target)
    for row, column in enumerate(columns):
        expected = SecondGlance(lambda v, c=column: net(v)[:, c]).interact(x[row : row + 1])
        same(found[row : row + 1], expected)
        assert found[row].provenance.target == str(target)


def test_a_target_of_several_indices():
    net, x = relu_net(), drawn(2, 4)
    method = SecondGlance(lambda v: net(v).unflatten(1, (1, 3)))
    same(method.interact(x, target=(0, 2)), SecondGlance(net).interact(x, target=2))
    same(method.interact(x, target=[(0, 2), (0, 1)]), SecondGlance(net).interact(x, target=[2, 1]))


def test_units_of_a_mask_and_baselines():
    # 0 and 1 are one unit; 3 is never moved
    x, mask = drawn(2, 5) + 2, torch.tensor([[0, 0, 1, -1, 2]])

    def f(v: Tensor) -> Tensor:
        return v[:, 0] * v[:, 2] + 2 * v[:, 1] * v[:, 4] * v[:, 3]

    for baselines, b in (
        (None, torch.zeros(2, 5)),
        (0.5, torch.full((2, 5), 0.5)),
        (x.flip(0), x.flip(0)),
    ):
        attributions, found = SecondGlance(f).attribute_and_interact(
            x, feature_mask=mask, baselines=baselines
        )
        moved = (x - b).numpy()
        for row, table in enumerate(found):
            assert table.players == ("0", "1", "2")
            one = moved[row, 0] * moved[row, 2]
            other = 2 * moved[row, 1] * moved[row, 4] * float(x[row, 3])
            within = SHRUNK * (abs(one) + abs(other))
            assert table.pairs[0, 1] == pytest.approx(one, abs=within)
            assert table.pairs[0, 2] == pytest.approx(other, abs=within)
            assert table.pairs[1, 2] == pytest.approx(0, abs=within)
            cells = attributions[row].tolist()
            assert cells[0] == cells[1] == pytest.approx(abs(one) + abs(other), abs=2 * within)
            assert cells[3] == 0


def test_rows_masks_and_passes_do_not_change_each_other():
    net, x = smooth_cnn(), images()
    masks = torch.cat([PATCHES, 8 - PATCHES.flip(-1)])
    for options in ({}, {"surrogate": "softplus", "hidden": 8, "max_steps": 60, "n_samples": 32}):
        method = SecondGlance(net, **options)
        found = method.interact(x, target=[1, 0], feature_mask=masks)
        for row in range(2):
            part = slice(row, row + 1)
            alone = method.interact(x[part], target=[1, 0][row], feature_mask=masks[part])
            same(found[part], alone, 1e-9)
    sizes: list[int] = []

    def seen(v: Tensor) -> Tensor:
        sizes.append(len(v))
        return net(v)

    found = SecondGlance(net).interact(x, target=0, feature_mask=PATCHES)
    same(SecondGlance(seen).interact(x, target=0, feature_mask=PATCHES, internal_batch_size=5), found)
    assert max(sizes) == 5


def test_additional_arguments_go_with_their_rows():
    x, factor = drawn(2, 4) + 2, torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = SecondGlance(lambda v, by: quadratic(v) * by).interact(x, additional_forward_args=factor)
    plain = SecondGlance(quadratic).interact(x)
    np.testing.assert_allclose(found[0].pairs, plain[0].pairs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[1].pairs, -2 * plain[1].pairs, rtol=0, atol=1e-10)


def test_noise_tunnel_without_noise():
    net, x = smooth_cnn(), images()
    method = SecondGlance(net)
    options = {"target": [0, 2], "feature_mask": PATCHES}
    expected = method.attribute(x, **options)
    quiet = NoiseTunnel(method).attribute(x, nt_samples=3, stdevs=0.0, nt_type="smoothgrad", **options)
    torch.testing.assert_close(quiet, expected, rtol=0, atol=1e-10)


def test_scores_have_the_unit_of_the_output():
    # ten times the output is ten times the score, and another scale of the inputs is none
    x = drawn(1, 4) + 2
    method = SecondGlance(quadratic)
    assert method.multiplies_by_inputs
    assert not method.players_are_neurons
    (plain,) = method.interact(x)
    (ten,) = SecondGlance(lambda v: 10 * quadratic(v)).interact(x)
    (scaled,) = SecondGlance(lambda v: quadratic(v / 7)).interact(7 * x)
    for i, j in combinations(range(4), 2):
        assert ten.pairs[i, j] == pytest.approx(10 * plain.pairs[i, j], abs=1e-9)
        assert scaled.pairs[i, j] == pytest.approx(plain.pairs[i, j], abs=1e-9)

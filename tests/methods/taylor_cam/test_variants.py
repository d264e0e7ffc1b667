"""The paper's formulas, written out, against the variants; planted pairs; what must not change a result."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hoi_captum.errors import DataWarning
from hoi_captum.methods.taylor_cam import TaylorCAM
from tests.core.gated_models import TinyAttention, full_hessian, smooth_cnn

EXACT = {"rtol": 0, "atol": 1e-10}


def images() -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def tables(method: TaylorCAM, inputs, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return method.interact(inputs, **more)


def paper(hessian: Tensor, x: Tensor, basic: bool) -> np.ndarray:
    """E of the paper for one row: x (C, n), its Hessian (C, n, C, n); position and channel loops."""
    channels, n = x.shape
    s = np.zeros((n, n))
    for i, j in itertools.product(range(n), repeat=2):
        for k in range(channels):
            if basic:
                h_jk = sum(float(hessian[k, place, m, j]) for place in range(n) for m in range(channels))
                s[i, j] += float(x[k, i]) * h_jk
            else:
                s[i, j] += float(x[k, i]) * sum(float(hessian[k, i, m, j]) for m in range(channels))
    e = s**2 + s.T**2
    np.fill_diagonal(e, 0)
    return e


# ---------------------------------------------------------------- formulas
@pytest.mark.parametrize("variant", ["cam", "cam_basic"])
def test_the_papers_formulas_at_a_layer(variant):
    net, x = smooth_cnn(), images()
    with torch.no_grad():
        h = net[:4](x)
    found = tables(TaylorCAM(net, net[3], variant=variant), x, target=[1, 2])
    for row, target in enumerate([1, 2]):
        full = full_hessian(lambda v, t=target: net[4:](v)[:, t], h[row : row + 1])
        expected = paper(full.view(4, 9, 4, 9), h[row].flatten(1), variant == "cam_basic")
        np.testing.assert_allclose(found[row].pairs, expected, rtol=0, atol=1e-10)
        assert (found[row].scores > 0).all()
        assert expected.max() > 1e-6
        assert set(found[row].kinds) == {variant.replace("_", "-")}
        assert np.isnan(found[row].curvature).all()


@pytest.mark.parametrize("variant", ["cam", "cam_basic"])
def test_the_papers_formulas_of_tokens(variant):
    net, x = TinyAttention(), torch.randn(1, 4, 4, dtype=torch.float64)
    found = tables(TaylorCAM(net, variant=variant, gate="input"), x, target=0)[0]
    full = full_hessian(lambda v: net(v)[:, 0], x)
    by_channel = full.view(4, 4, 4, 4).permute(1, 0, 3, 2)  # (T, H, T, H) -> (H, T, H, T)
    expected = paper(by_channel, x[0].T, variant == "cam_basic")
    np.testing.assert_allclose(found.pairs, expected, rtol=0, atol=1e-10)


def test_the_taylor_term_of_patches():
    net, x = smooth_cnn(), images()
    ids = torch.arange(4).view(2, 2).repeat_interleave(3, 0).repeat_interleave(3, 1).view(1, 1, 6, 6)
    found = tables(TaylorCAM(net), x, baselines=0.25, target=[2, 0], feature_mask=ids)
    for row, target in enumerate([2, 0]):
        full = full_hessian(lambda v, t=target: net(v)[:, t], x[row : row + 1])
        delta = (x[row] - 0.25).reshape(-1)
        owner = ids.expand(1, 2, 6, 6).reshape(-1)
        cells = delta.unsqueeze(1) * full * delta
        expected = np.array(
            [[float(cells[owner == i][:, owner == j].sum()) for j in range(4)] for i in range(4)]
        )
        np.testing.assert_allclose(found[row].curvature, expected.diagonal(), rtol=0, atol=1e-10)
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(found[row].pairs, expected, rtol=0, atol=1e-10)
        assert found[row].provenance.details["mode"] == "exact"
        assert found[row].provenance.details["gate"] == "input"
        assert found[row].provenance.details["asymmetry"] < 1e-10


def test_the_main_effects_are_gradient_times_input():
    net, x = smooth_cnn(), images()
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    expected = ((x - 0.5) * slope).unfold(2, 3, 3).unfold(3, 3, 3).sum((1, 4, 5)).reshape(2, 4)
    ids = torch.arange(4).view(2, 2).repeat_interleave(3, 0).repeat_interleave(3, 1).view(1, 1, 6, 6)
    found = tables(TaylorCAM(net), x, baselines=0.5, target=1, feature_mask=ids)
    np.testing.assert_allclose(np.stack([t.main for t in found]), expected.numpy(), rtol=0, atol=1e-10)


# ---------------------------------------------------------------- what is planted is found, and no more
class TwoPatches(nn.Module):
    """The mean of the patch at the top left times that of the one at the bottom right."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :2, :2].mean((1, 2, 3)) * x[:, :, 4:, 4:].mean((1, 2, 3)) + x.sum((1, 2, 3))


PATCHES = torch.arange(9).view(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 6, 6)


@pytest.mark.parametrize("mode", ["exact", "grad_diff", "stein", "occlusion", "path", "softplus"])
def test_two_patches_that_multiply_are_one_pair(mode):
    x = images()
    product = x[:, :, :2, :2].mean((1, 2, 3)) * x[:, :, 4:, 4:].mean((1, 2, 3))
    method = TaylorCAM(TwoPatches(), mode=mode, n_samples=8192)
    found = tables(method, x, feature_mask=PATCHES)
    for row in range(2):
        size = abs(float(product[row]))
        best = found[row].top(1)[0]
        assert best.members == (0, 8)
        weight = 0.25 if mode == "path" else 1.0  # the integral of -u ln u, by nine midpoints
        tolerance = {"stein": 0.2, "path": 0.02}.get(mode, 1e-9)
        assert best.score == pytest.approx(weight * float(product[row]), rel=tolerance)
        noise = 0.2 * size if mode == "stein" else 1e-12
        assert all(abs(t.score) < noise for t in found[row] if t.members != (0, 8))
        assert found[row].synergy(best) == pytest.approx(float(product[row]), rel=1e-9)


@pytest.mark.parametrize("mode", ["exact", "grad_diff", "occlusion", "path"])
def test_three_patches_that_multiply_are_one_triple(mode):
    def f(x: Tensor) -> Tensor:
        means = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((1, 4, 5)).flatten(1)
        return means[:, 0] * means[:, 4] * means[:, 8] + means[:, 1] * means[:, 2]

    x = images()
    means = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((1, 4, 5)).flatten(1)
    found = tables(TaylorCAM(f, order=3, mode=mode), x, feature_mask=PATCHES)
    for row in range(2):
        product = float(means[row, 0] * means[row, 4] * means[row, 8])
        best = found[row].top(1)[0]
        assert best.members == (0, 4, 8)
        weight, tolerance = (2 / 27 / 2, 0.02) if mode == "path" else (1.0, 1e-6)
        assert best.score == pytest.approx(weight * product, rel=tolerance)
        assert all(abs(t.score) < 1e-12 for t in found[row] if t.members != (0, 4, 8))
        assert found[row].synergy(best) == pytest.approx(product, rel=1e-9)


def test_what_only_adds_has_no_pairs():
    x = torch.rand(2, 4, dtype=torch.float64) + 0.5
    for f in (lambda v: v.sum(1), lambda v: (v.exp() + v.sin()).sum(1)):
        for variant, order in (("taylor", 2), ("cam", 2), ("taylor", 3)):
            with pytest.warns(DataWarning, match="all derivatives are zero"):
                found = TaylorCAM(f, variant=variant, order=order).interact(x)
            assert [len(t) for t in found] == [0, 0]
            assert not found[0].pairs.any()
            assert found[0].main.any()
            assert found[0].amis() == 0.0
            assert not found[0].node_scores().any()


def test_relus_without_second_derivatives_are_named_where_exact_was_asked_for():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    x = torch.ones(1, 3, dtype=torch.float64)
    with pytest.warns(DataWarning, match=r"ReLUs and their like, .* or use mode='grad_diff'"):
        TaylorCAM(net, mode="exact").interact(x)


# ---------------------------------------------------------------- invariance
@pytest.mark.parametrize("variant", ["taylor", "cam", "cam_basic"])
def test_results_follow_units_outputs_and_batches(variant):
    net, x = smooth_cnn(), images()
    options = {"baselines": 0.25, "target": 1}
    plain = tables(TaylorCAM(net, variant=variant), x, feature_mask=PATCHES, **options)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    renamed = tables(TaylorCAM(net, variant=variant), x, feature_mask=order[PATCHES], **options)
    scaled = tables(TaylorCAM(lambda v: -3 * net(v), variant=variant), x, feature_mask=PATCHES, **options)
    twice = tables(TaylorCAM(net, variant=variant), torch.cat((x, x)), feature_mask=PATCHES, **options)
    factor = -3 if variant == "taylor" else 9
    for row in range(2):
        pairs = plain[row].pairs
        assert pairs.any()
        np.testing.assert_allclose(renamed[row].pairs[np.ix_(order, order)], pairs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(scaled[row].pairs, factor * pairs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(twice[row].pairs, pairs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(twice[row + 2].pairs, pairs, rtol=0, atol=1e-12)


def test_first_derivatives_of_the_gates_are_reported():
    net, x = smooth_cnn(), images()
    method = TaylorCAM(net, net[3])
    (first, _) = tables(method, x, target=0)
    with torch.no_grad():
        h = net[:4](x)
    leaf = h.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net[4:](leaf)[:, 0].sum(), leaf)
    np.testing.assert_allclose(first.main, (h * slope).sum(1)[0].flatten(), rtol=0, atol=1e-12)

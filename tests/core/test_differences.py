"""Differences of gradients and outputs, smoothing and paths against closed forms."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import grow, hessian
from hoi_captum.core.differences import (
    gradient_differences,
    gradient_differences_of_pairs,
    occlusion,
    path_weights,
    stein,
)
from hoi_captum.core.gates import InputGates
from hoi_captum.core.passes import PassSize
from hoi_captum.errors import MemoryWarning
from tests.core.gated_models import smooth_cnn

EXACT = {"rtol": 0, "atol": 1e-10}


def input_gates(f, x, mask=None, baselines=None, target=None) -> InputGates:
    arguments = Arguments(f, x, baselines, target)
    masks = None if mask is None else (mask,)
    return InputGates(arguments, Players.from_feature_mask(arguments.inputs, masks))


X = torch.tensor([[0.7, -1.2, 0.5, 0.9], [1.1, 0.3, -0.4, 0.2]], dtype=torch.float64)


def polynomial(x: Tensor) -> Tensor:
    """Of second degree in each variable: central differences of its gradient are exact."""
    a, b, c, d = x.unbind(1)
    return a * b * c + 2 * a.square() * d - b * d + c.square() + 3 * a


def images() -> Tensor:
    return torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def grid() -> Tensor:
    ids = torch.arange(9).view(3, 3)
    return ids.repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 6, 6)


# ---------------------------------------------------------------- differences of gradients
@pytest.mark.parametrize("h", [0.01, 0.5, 1.0])
def test_of_a_polynomial_gradient_differences_are_derivatives(h):
    gates = input_gates(polynomial, X)
    torch.testing.assert_close(gradient_differences(gates, h=h), hessian(gates), **EXACT)
    mixed = gradient_differences(gates, h=h, wrt="shift")
    torch.testing.assert_close(mixed, hessian(gates, wrt=("scale", "shift")), **EXACT)
    pairs = torch.tensor(list(combinations(range(4), 2)))
    found = gradient_differences_of_pairs(gates, pairs.expand(2, -1, -1), h=h)
    torch.testing.assert_close(found, grow(gates, pairs), **EXACT)


def test_small_steps_tend_to_the_derivative():
    net = smooth_cnn()
    gates = input_gates(net, images(), grid(), 0.25, [0, 2])
    exact = hessian(gates)
    errors = [
        float((gradient_differences(gates, h=h) - exact).abs().max() / exact.abs().max())
        for h in (0.2, 0.1, 0.05)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)  # of second order
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.2)
    pairs = torch.tensor([[[0, 4], [1, 2]], [[3, 8], [6, 7]]])
    found = gradient_differences_of_pairs(gates, pairs, h=0.02)
    torch.testing.assert_close(
        found, grow(gates, pairs), rtol=0, atol=1e-3 * float(grow(gates, pairs).abs().max())
    )


def test_relus_by_hand():
    # the AND of two inputs: relu(x0 + x1 - 1) at x = (1, 1), gradient (1, 1) where the sum is above 1
    gates = input_gates(lambda x: (x.sum(1) - 1).relu(), torch.ones(1, 2, dtype=torch.float64))
    # g(1 + h) - g(1 - h) = 0: the kink is passed only when more than 1 is taken away
    assert not gradient_differences(gates, h=0.5).any()
    # at (.6, .6): 1 - h takes the sum from 1.2 to .9 (h = .5), where the gradient is 0
    gates = input_gates(lambda x: (x.sum(1) - 1).relu(), torch.full((1, 2), 0.6, dtype=torch.float64))
    found = gradient_differences(gates, h=0.5)
    torch.testing.assert_close(found, torch.full((1, 2, 2), 0.6, dtype=torch.float64), **EXACT)
    assert not hessian(gates).any()
    torch.testing.assert_close(
        occlusion(gates, torch.tensor([[0, 1]])), torch.full((1, 1), 0.2, dtype=torch.float64), **EXACT
    )


def test_third_differences_of_relus_by_hand():
    # relu(x0 + x1 + x2 - 2) at .8, h = .5: the gradient .8 is there only where no gate of the two is down
    gates = input_gates(lambda x: (x.sum(1) - 2).relu(), torch.full((1, 3), 0.8, dtype=torch.float64))
    found = gradient_differences_of_pairs(gates, torch.tensor([[[0, 1]]]), h=0.5)
    # ++: 3.2 > 2, +- and -+: 2.4 > 2, --: 1.6 < 2
    assert found[0, 0, 2] == pytest.approx((0.8 - 0.8 - 0.8 + 0.0) / (4 * 0.25))


# ---------------------------------------------------------------- Stein
def test_of_second_degree_the_smoothed_derivatives_are_those():
    # one draw is no expectation: the error is that of the sample's second moments
    x = torch.tensor([[2.0, 3.0, 1.0]], dtype=torch.float64)
    gates = input_gates(lambda v: v[:, 0] * v[:, 1] + v[:, 2], x)
    n, s = 4096, 0.3
    found = stein(gates, n_samples=n, stdev=s, seed=3)
    half = torch.randn(n // 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * s
    moments = half.T @ half / (n // 2) / s**2
    # the gradient is linear: (6 z1, 6 z0, 0) moves with the draws
    swap = torch.tensor([[0.0, 6, 0], [6, 0, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(found[0], moments @ swap, **EXACT)
    assert float(found[0, 0, 1]) == pytest.approx(6, rel=0.1)


def test_smoothed_derivatives_have_closed_forms():
    # E f(1 + z) of exp(c z) is exp(|c|^2 s^2 / 2) times that at 0; relu is the Gaussian's distribution
    x, s = torch.tensor([[0.5, 0.3]], dtype=torch.float64), 0.3
    gates = input_gates(lambda v: v.sum(1).exp(), x)
    grown = math.exp(0.8 + s**2 * (0.25 + 0.09) / 2)
    outer = torch.outer(x[0], x[0])
    torch.testing.assert_close(stein(gates, n_samples=20000, stdev=s)[0], outer * grown, rtol=0.05, atol=0.01)
    gates = input_gates(lambda v: (v.sum(1) - 0.8).relu(), x)
    spread = s * math.sqrt(0.25 + 0.09)  # of the sum; its mean is at the kink
    density = 1 / (spread * math.sqrt(2 * math.pi))
    torch.testing.assert_close(
        stein(gates, n_samples=20000, stdev=s)[0], outer * density, rtol=0.05, atol=0.01
    )


def test_third_smoothed_derivatives():
    x = torch.tensor([[2.0, -1.0, 1.5]], dtype=torch.float64)
    gates = input_gates(lambda v: v.prod(1), x)
    n, s = 20000, 0.5
    found = stein(gates, 3, n_samples=n, stdev=s)[0]
    z = torch.randn(n // 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * s
    for i, j, last in torch.cartesian_prod(*[torch.arange(3)] * 3).tolist():
        others = [m for m in range(3) if m != last]
        slope = -3 * ((1 + z[:, others]).prod(1) + (1 - z[:, others]).prod(1)) / 2
        expected = ((z[:, i] * z[:, j] - s**2 * (i == j)) * slope).mean() / s**4
        assert float(found[i, j, last]) == pytest.approx(float(expected), abs=1e-10)
        if {i, j, last} == {0, 1, 2}:
            assert float(found[i, j, last]) == pytest.approx(-3, rel=0.2)


def test_draws_are_seeded_and_the_same_for_every_example():
    net, x = smooth_cnn(), images()
    both = input_gates(net, x, grid(), None, [0, 2])
    found = stein(both, n_samples=130, seed=1)
    alone = stein(input_gates(net, x[1:], grid(), None, 2), n_samples=130, seed=1)
    torch.testing.assert_close(found[1:], alone, **EXACT)
    state = torch.get_rng_state()
    assert torch.equal(stein(both, n_samples=130, seed=1), found)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(stein(both, n_samples=130, seed=2), found)


# ---------------------------------------------------------------- occlusion
def naive_occlusion(f, x: Tensor, base: float, members: tuple[int, ...]) -> float:
    total = 0.0
    for size in range(len(members) + 1):
        for off in combinations(members, size):
            cells = x.clone()
            cells[list(off)] = base
            total += (-1) ** size * float(f(cells.unsqueeze(0)))
    return total


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_occlusion_is_inclusion_and_exclusion(order):
    sets = torch.tensor(list(combinations(range(4), order)))
    f = lambda x: (x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3]).exp() + x.prod(1)  # noqa: E731
    gates = input_gates(f, X, None, 0.5)
    found = occlusion(gates, sets)
    for row in range(2):
        for index, members in enumerate(sets.tolist()):
            expected = naive_occlusion(f, X[row], 0.5, tuple(members))
            assert float(found[row, index]) == pytest.approx(expected, abs=1e-12)


def test_occlusion_of_a_product_is_the_product():
    gates = input_gates(lambda x: x[:, :3].prod(1) + x[:, 3], X)
    found = occlusion(gates, torch.tensor([[0, 1, 2], [0, 1, 3]]))
    torch.testing.assert_close(found[:, 0], X[:, :3].prod(1), **EXACT)
    torch.testing.assert_close(found[:, 1], torch.zeros(2, dtype=torch.float64), **EXACT)


def test_occlusion_of_sets_of_their_own_evaluates_each_set_once():
    gates = input_gates(polynomial, X)
    every = torch.tensor(list(combinations(range(4), 2)))
    shared = occlusion(gates, every)
    assert gates.forward_passes == 2 * (1 + 4 + 6)
    own = occlusion(gates, torch.stack([every[[1, 2]], every[[5, 0]]]))
    torch.testing.assert_close(own[0], shared[0, [1, 2]], **EXACT)
    torch.testing.assert_close(own[1], shared[1, [5, 0]], **EXACT)


# ---------------------------------------------------------------- paths
def test_path_weights_of_products():
    # derivatives of a product of o factors along the path are u^0; of two more gates u^2
    for order, expected in ((1, 1.0), (2, 1 / 4), (3, 1 / 27)):
        u, weights = path_weights(order, 20000)
        assert float(weights.sum()) == pytest.approx(expected, rel=1e-3)
        assert float((weights * u**2).sum()) == pytest.approx(_moment(order, 2), rel=1e-3)
    u, weights = path_weights(2)
    assert u.tolist() == pytest.approx(((np.arange(9) + 0.5) / 9).tolist())
    assert weights.dtype == torch.float64


def _moment(order: int, power: int) -> float:
    """The integral of u^power (-u ln u)^(o-1) / (o-1)!: a gamma function."""
    return 1 / (power + order) ** order


def test_along_the_path_of_a_product():
    # f = x0 x1: T(u) = x0 x1 at all u, and integrated gradients taken twice give a quarter of it
    gates = input_gates(lambda x: x[:, 0] * x[:, 1], X)
    u, weights = path_weights(2, 2000)
    found = sum(
        w * hessian(gates, at=float(at)) for at, w in zip(u[::100], weights[::100] * 100, strict=True)
    )
    torch.testing.assert_close(found[:, 0, 1], X[:, 0] * X[:, 1] / 4, rtol=0.02, atol=0)


# ---------------------------------------------------------------- passes
@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_size_of_passes_does_not_matter(rows):
    gates = input_gates(polynomial, X)
    pairs = torch.tensor(list(combinations(range(4), 2)))
    works = {
        gradient_differences: (2 * 2 * 4, {}),
        stein: (2 * 130, {"n_samples": 130}),
        occlusion: (2 * 11, {"sets": pairs}),
        gradient_differences_of_pairs: (2 * 4 * 6, {"pairs": pairs.expand(2, -1, -1)}),
    }
    for work, (total, more) in works.items():
        seen: list[int] = []

        class Counted(InputGates):
            def run(self, of, *args, seen=seen, **kwargs):
                seen.append(len(of))
                return super().run(of, *args, **kwargs)

        counted = Counted(gates.arguments, gates.players)
        done: list[int] = []
        found = work(counted, **more, size=PassSize(rows), on_rows=done.append)
        torch.testing.assert_close(found, work(gates, **more), **EXACT)
        assert max(seen) <= rows
        assert sum(seen) == done[-1] == total
        assert done == sorted(done)


def test_passes_are_halved_where_memory_runs_out():
    calls: list[int] = []

    def f(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(x) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return polynomial(x)

    with pytest.warns(MemoryWarning, match="going on with 4"):
        found = gradient_differences(input_gates(f, X), size=PassSize(8))
    assert calls == [8, 4, 4, 4, 4]
    torch.testing.assert_close(found, gradient_differences(input_gates(polynomial, X)), **EXACT)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("points", [1, 1 << 14])
def test_occlusion_of_shared_sets_is_that_of_each_row_s_own(
    order: int, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many examples are taken at once; the rows that are told are those of all."""
    from itertools import combinations

    from hoi_captum.core import differences
    from hoi_captum.core.arguments import Arguments
    from hoi_captum.core.coalitions import Players
    from hoi_captum.core.gates import InputGates

    monkeypatch.setattr(differences, "_POINTS", points)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    arguments = Arguments(lambda z: (z[:, :3].prod(1) + z[:, 3] * z[:, 4]).tanh(), x)
    gates = InputGates(arguments, Players.from_feature_mask(arguments.inputs, None))
    sets = torch.tensor(list(combinations(range(5), order)))
    told: list[int] = []
    shared = differences.occlusion(gates, sets, on_rows=told.append)
    own = differences.occlusion(gates, sets.expand(4, -1, -1))
    torch.testing.assert_close(shared, own, rtol=0, atol=1e-12)
    parts = sum(len(list(combinations(range(5), k))) for k in range(order + 1))
    assert told == sorted(told)
    assert told[-1] == 4 * parts

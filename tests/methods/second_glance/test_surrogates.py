"""Surrogates of the gradients of known polynomials give back their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import functional

from hoi_captum.errors import InputError, OptionError
from hoi_captum.methods.second_glance.networks import jacobian
from hoi_captum.methods.second_glance.scaling import Scaling, symmetric
from hoi_captum.methods.second_glance.settings import LearnSettings
from hoi_captum.methods.second_glance.surrogates import (
    NetworkSurrogate,
    Surrogate,
    learn,
    new_network,
    rows_together,
)
from hoi_captum.methods.second_glance.training import Score, Split

UNITS = torch.tensor([1.0, 20.0, 0.1], dtype=torch.float64)  # scales of the three units
SQUARES = torch.outer(UNITS, UNITS)
NAN = math.nan
EXACT = {"rtol": 0, "atol": 1e-10}


def options(**given) -> LearnSettings:
    usual = {"hidden": 16, "symmetry": "average", "third": "surrogate", "max_steps": 800}
    return LearnSettings(**usual | {"learning_rate": 0.02, "validation": 0.2, "seed": 0} | given)


def rows(n: int = 300, seed: int = 0) -> Tensor:
    z = torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (2 * z - 1) * UNITS + torch.tensor([0.0, 5.0, -0.05])


def quadratic(z: Tensor) -> Tensor:
    a, b, c = (z / UNITS).unbind(-1)
    return a * b + 3 * b * c - a.square() + 4 * c


def cubic(z: Tensor) -> Tensor:
    a, b, c = (z / UNITS).unbind(-1)
    return 2 * a * b * c - a * c.square() + b


def gradients(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    x = z.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


def hessians(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """In units of the scales."""
    return torch.stack([functional.hessian(f, row) for row in z]) * SQUARES


def off_by(found: Tensor, expected: Tensor) -> float:
    """The error's size, relative to what is expected."""
    return float((found - expected).norm() / expected.norm())


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3))


@cache
def taught(kind: str, f: Callable[[Tensor], Tensor], order: int = 2, **given) -> Surrogate:
    return learn(rows(), gradients(f, rows()), module() if kind == "own" else kind, options(**given), order)


# ---------------------------------------------------------------- ridge
def by_least_squares(units: Tensor, targets: Tensor, order: int) -> np.ndarray:
    """J of order 2, J and T of order 3 as features' coefficients, (p, k); the penalty as rows of data."""
    k = units.shape[1]
    features = [np.ones(len(units)), *units.T.numpy()]
    if order == 3:
        features += [(units[:, a] * units[:, b]).numpy() for a in range(k) for b in range(a, k)]
    found = []
    for target in targets.T.numpy():
        there = ~np.isnan(target)
        design = np.stack(features, 1)[there]
        penalty = np.sqrt(1e-4 * len(design)) * np.eye(design.shape[1])[1:]
        solved = np.linalg.lstsq(
            np.concatenate([design, penalty]), np.append(target[there], np.zeros(len(penalty))), rcond=None
        )
        found.append(solved[0])
    return np.stack(found, 1)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_the_ridge_is_the_penalised_least_squares_of_the_rows_that_are_not_held_out(order, masked):
    z, g = rows(60), gradients(lambda v: cubic(v).exp(), rows(60))
    if masked:
        g[torch.rand(60, 3, generator=torch.Generator().manual_seed(1)) < 0.3] = NAN
    surrogate = learn(z, g, "ridge", options(), order)
    scaling, split = Scaling.of(z, g), Split.of(60, 0.2, 0)
    units, targets = scaling.units(z), scaling.gradients(g)
    rest = torch.cat([split.training, split.stopping])
    solved = by_least_squares(units[rest], targets[rest], order)
    np.testing.assert_allclose(surrogate.linear, solved[1:4].T, rtol=1e-7, atol=1e-9)
    said = torch.from_numpy(solved[0] + units.numpy() @ solved[1:4])
    if order == 3:
        coefficients = iter(solved[4:])
        for a in range(3):
            for b in range(a, 3):
                both = torch.from_numpy(next(coefficients))
                said += (units[:, a] * units[:, b]).unsqueeze(1) * both
                expected = both * (2 if a == b else 1)
                torch.testing.assert_close(surrogate.quadratic[:, a, b], expected, rtol=1e-7, atol=1e-9)
                torch.testing.assert_close(surrogate.quadratic[:, b, a], expected, rtol=1e-7, atol=1e-9)
    score = Score.of(said[split.held_out], targets[split.held_out], targets[rest])
    assert surrogate.score.pooled == pytest.approx(score.pooled, rel=1e-7)
    assert surrogate.score.r2.tolist() == pytest.approx(score.r2.tolist(), rel=1e-7)
    assert surrogate.steps == 0
    assert surrogate.third_score is None


def test_the_ridge_recovers_a_quadratic():
    z = rows()
    for order in (2, 3):
        surrogate = learn(z, gradients(quadratic, z), "ridge", options(), order)
        assert off_by(surrogate.hessian(z) * SQUARES, hessians(quadratic, z)) < 3e-4
        assert surrogate.score.pooled == pytest.approx(1, abs=1e-6)
        assert (surrogate.third(z) * SQUARES.unsqueeze(-1) * UNITS).abs().max() < 1e-3
    assert surrogate.third(z).shape == (300, 3, 3, 3)


def test_the_ridge_recovers_a_cubic():
    z = rows()
    surrogate = learn(z, gradients(cubic, z), "ridge", options(), 3)
    assert off_by(surrogate.jacobian(z) * SQUARES, hessians(cubic, z)) < 5e-4
    expected = torch.zeros(3, 3, 3, dtype=torch.float64)
    for members, value in (((0, 1, 2), 2.0), ((0, 2, 2), -2.0)):
        for order in permutations(members):
            expected[order] = value
    third = surrogate.third(z[:7]) * SQUARES.unsqueeze(-1) * UNITS
    assert off_by(third, expected.expand(7, -1, -1, -1)) < 5e-4
    # a linear one sees the mean Hessian, and no third derivatives
    linear = learn(z, gradients(cubic, z), "ridge", options(), 2)
    assert not linear.third(z).any()
    assert torch.equal(linear.jacobian(z), linear.jacobian(z[:1]).expand(300, -1, -1))
    assert off_by(linear.hessian(z[:1]) * SQUARES, hessians(cubic, z).mean(0, keepdim=True)) < 0.15


# ---------------------------------------------------------------- what is not there
@pytest.mark.parametrize(("kind", "tolerance"), [("ridge", 3e-4), ("softplus", 0.06)])
def test_gradients_that_are_not_there_do_no_harm(kind, tolerance):
    z = rows()
    g = gradients(quadratic, z)
    g[torch.rand(300, 3, generator=torch.Generator().manual_seed(1)) < 0.4] = NAN
    surrogate = learn(z, g, kind, options(), 2)
    assert off_by(surrogate.hessian(z) * SQUARES, hessians(quadratic, z)) < tolerance
    assert surrogate.score.r2.min() > 0.99


def test_words_that_come_and_go():
    # gates' derivatives of 2 ab - bc + c: each known only where its word is there
    z = (torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    z[:, 2] *= 1 - z[:, 0]  # a and c are never together
    g = gradients(lambda v: 2 * v[:, 0] * v[:, 1] - v[:, 1] * v[:, 2] + v[:, 2], z)
    surrogate = learn(z, torch.where(z > 0, g, NAN), "ridge", options(), 2)
    expected = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, -1.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    found = surrogate.hessian(z[:1])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert found[0, 2] == 0
    assert found.diagonal().tolist() == [0, 0, 0]


def test_a_unit_that_never_varies_is_known_by_its_own_gradient():
    z = rows()
    z[:, 2] = 0.3
    surrogate = learn(z, gradients(quadratic, z), "ridge", options(), 2)
    found = surrogate.hessian(z[:1])[0] * SQUARES
    # 3 is what gradient 2 says of unit 1, with no half taken; of unit 2 by itself nothing is known
    expected = torch.tensor([[-2.0, 1.0, 0.0], [1.0, 0.0, 3.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_third_derivatives_by_a_unit_that_never_varies_are_those_of_its_own_gradient():
    z = rows()
    z[:, 2] = 0.03
    surrogate = learn(z, gradients(cubic, z), "ridge", options(), 3)
    found = surrogate.third(z[:2]) * SQUARES.unsqueeze(-1) * UNITS
    assert found[:, 0, 1, 2].tolist() == pytest.approx([2, 2], rel=1e-3)
    assert found[:, 0, 2, 2].tolist() == [0, 0]  # no gradient shows what two steps of it do


# ---------------------------------------------------------------- networks
@pytest.mark.parametrize(
    ("kind", "symmetry", "tolerance"),
    [
        ("softplus", "average", 0.06),
        ("softplus", "potential", 0.2),
        ("paper", "average", 0.4),
        ("own", "average", 0.15),
    ],
)
def test_networks_recover_a_quadratic_to_some_percent(kind, symmetry, tolerance):
    surrogate = taught(kind, quadratic, symmetry=symmetry)
    z = rows(seed=1)
    assert surrogate.score.pooled > 0.99
    assert off_by(surrogate.hessian(z) * SQUARES, hessians(quadratic, z)) < tolerance
    jacobians = surrogate.jacobian(z)
    assert torch.equal(surrogate.hessian(z), (jacobians + jacobians.transpose(1, 2)) / 2)
    uneven = off_by(jacobians * SQUARES, jacobians.transpose(1, 2) * SQUARES)
    assert uneven < 1e-10 if symmetry == "potential" else uneven > 1e-4


@pytest.mark.parametrize(("f", "chosen"), [(quadratic, "average"), (lambda z: cubic(z).exp(), "potential")])
def test_a_potential_is_tried_where_the_average_is_not_good_enough(f, chosen):
    z = rows(20)
    found = {
        symmetry: learn(z, gradients(f, z), "softplus", options(symmetry=symmetry, max_steps=100), 2)
        for symmetry in ("auto", "average", "potential")
    }
    assert (found["average"].score.pooled > 0.8) == (chosen == "average")
    assert torch.equal(found["auto"].jacobian(z), found[chosen].jacobian(z))
    assert found["auto"].score.pooled == found[chosen].score.pooled


def test_the_papers_network_learns_gradients_scaled_to_one():
    surrogate, g = taught("paper", quadratic, symmetry="average"), gradients(quadratic, rows())
    scaled = g * rows().std(0)
    assert surrogate.scaling.size == pytest.approx(float(scaled.abs().max()))
    assert surrogate.scaling.shift.tolist() == [0, 0, 0]
    assert any(isinstance(m, nn.Tanh) for m in surrogate.network)
    said = surrogate.network(surrogate.scaling.units(rows()))
    assert off_by(said * surrogate.scaling.size, scaled) < 0.1


@pytest.mark.parametrize("third", ["surrogate", "autodiff"])
def test_networks_recover_third_derivatives_to_some_percent(third):
    surrogate = taught("softplus", cubic, 3, third=third)
    z = rows(100, seed=1)
    assert off_by(surrogate.hessian(z) * SQUARES, hessians(cubic, z)) < 0.25
    found = surrogate.third(z) * SQUARES.unsqueeze(-1) * UNITS
    assert float(found[:, 0, 1, 2].mean()) == pytest.approx(2, abs=0.4)
    assert float(found[:, 0, 2, 2].mean()) == pytest.approx(-2, abs=0.4)
    assert float(found[:, 1, 1, 2].mean()) == pytest.approx(0, abs=0.3)
    for order in permutations((1, 2, 3)):
        torch.testing.assert_close(found.permute(0, *order), found, **EXACT)
    assert (surrogate.third_score is None) == (surrogate.third_network is None) == (third == "autodiff")


def test_the_second_surrogate_gives_the_hessian_of_the_first():
    surrogate, z = taught("softplus", cubic, 3, third="surrogate"), rows()
    units, split = surrogate.scaling.units(z), Split.of(300, 0.2, 0)
    first, second = torch.triu_indices(3, 3)
    own = symmetric(jacobian(surrogate.network, units), surrogate.scaling.known)[:, first, second]
    with torch.no_grad():
        said = surrogate.third_network(units)
    assert off_by(said, own) < 0.15
    score = Score.of(said[split.held_out], own[split.held_out], own[split.training])
    assert surrogate.third_score.pooled == pytest.approx(score.pooled, rel=1e-9)
    assert score.pooled > 0.95


def test_third_derivatives_by_autodiff_are_those_of_the_network():
    surrogate, z = taught("softplus", cubic, 3, third="autodiff"), rows(3, seed=1)
    scaling = surrogate.scaling

    def own(row: Tensor) -> Tensor:
        said = surrogate.network(scaling.units(row).unsqueeze(0))[0]
        return (said * scaling.size + scaling.shift) / scaling.std

    for row, found, jacobians in zip(z, surrogate.third(z), surrogate.jacobian(z), strict=True):
        torch.testing.assert_close(jacobians, functional.jacobian(own, row), rtol=1e-9, atol=1e-9)
        each = torch.stack([functional.hessian(lambda r, j=j: own(r)[j], row) for j in range(3)])
        expected = sum(each.permute(order) for order in permutations(range(3))) / 6
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_rows_do_not_see_each_other():
    surrogate, z = taught("softplus", cubic, 3, third="surrogate"), rows(600, seed=2)
    for derivatives in (surrogate.jacobian, surrogate.hessian, surrogate.third):
        together = derivatives(z)
        for row in (0, 255, 256, 599):
            torch.testing.assert_close(together[row], derivatives(z[row : row + 1])[0], rtol=1e-9, atol=1e-9)


def test_rows_are_taken_together_as_far_as_memory_goes():
    sizes = [rows_together(torch.zeros(1, units), order) for units, order in ((3, 3), (200, 2), (200, 3))]
    assert sizes == [256, 256, 2]
    assert rows_together(torch.zeros(1, 1000), 3) == 1


# ---------------------------------------------------------------- a module of one's own
def test_a_module_of_ones_own_is_not_touched_and_gives_third_derivatives_itself():
    own = module()
    before = [p.detach().clone() for p in own.parameters()]
    z = rows(100)
    surrogate = learn(z, gradients(cubic, z), own, options(max_steps=60), 3)
    assert isinstance(surrogate, NetworkSurrogate)
    assert isinstance(surrogate.network[1], nn.Tanh)
    assert surrogate.third_network is None
    assert surrogate.third(z[:2]).abs().max() > 0
    assert own.training
    for parameter, value in zip(own.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.requires_grad
    with pytest.raises(OptionError, match=r"from \(rows, 3\) to \(rows, 3\), got \(2, 2\) for 2 rows"):
        learn(z, gradients(cubic, z), nn.Linear(3, 2), options(), 2)


# ---------------------------------------------------------------- chance, and what is refused
@pytest.mark.parametrize("kind", ["softplus", "paper", nn.Sequential(module(), nn.Dropout(0.2))])
def test_the_same_seed_teaches_the_same(kind):
    z, g, found = rows(400), gradients(cubic, rows(400)), []
    for seed in (0, 0, 1):
        torch.manual_seed(len(found))
        state = torch.get_rng_state()
        surrogate = learn(z, g, kind, options(max_steps=60, seed=seed), 3)
        assert torch.equal(torch.get_rng_state(), state)
        found.append((surrogate.third(z[:5]), surrogate.score.pooled))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not torch.allclose(found[0][0], found[2][0])


def test_hidden_layers_are_as_wide_as_asked():
    sizes = [
        max(p.shape[0] for p in new_network("softplus", units, units, options(hidden=hidden)).parameters())
        for units, hidden in ((3, 5), (3, None), (20, None))
    ]
    assert sizes == [5, 64, 80]


@pytest.mark.parametrize("kind", ["ridge", "softplus", "paper"])
def test_constant_gradients_teach_nothing(kind):
    with pytest.raises(InputError, match="expected gradients that differ between the rows"):
        learn(rows(), torch.ones(300, 3, dtype=torch.float64), kind, options(), 2)

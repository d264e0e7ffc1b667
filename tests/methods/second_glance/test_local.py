"""Around one input: draws, the regression on them, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import functional

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import InputGates
from hoi_captum.core.passes import PassSize
from hoi_captum.methods.second_glance.local import Around, draw, look_around, regress
from hoi_captum.methods.second_glance.settings import DrawSettings, LearnSettings
from tests.core.gated_models import nested

EXACT = {"rtol": 0, "atol": 1e-10}
RIDGE = 3e-4  # relative: the penalty is 1e-4 of a step's mean square


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drawing(**options) -> DrawSettings:
    return DrawSettings(**{"sampling": "uniform", "width": 0.5, "n_samples": None, "seed": 0} | options)


def third_of(k: int) -> Tensor:
    """Random third derivatives, the same in all orders."""
    tensor = drawn(k, k, k, seed=9)
    return sum(tensor.permute(order) for order in permutations(range(3))) / 6


# ---------------------------------------------------------------- draws
def test_draws_have_their_distribution():
    centre, steps = draw(drawing(width=0.3), 3, 8000)
    assert centre == 1
    assert steps.shape == (4000, 3)
    assert steps.dtype == torch.float64
    assert float(steps.abs().max()) <= 0.3
    assert steps.square().mean(0).tolist() == pytest.approx([0.03] * 3, rel=0.05)  # width^2 / 3
    centre, steps = draw(drawing(sampling="gaussian", width=2.0), 3, 8000)
    assert centre == 1
    assert steps.std(0).tolist() == pytest.approx([2] * 3, rel=0.05)
    assert float((steps.abs() < 2).double().mean()) == pytest.approx(0.683, abs=0.02)
    centre, steps = draw(drawing(sampling="bernoulli"), 3, 8000)
    assert (centre + steps).unique().tolist() == (centre - steps).unique().tolist() == [0, 1]
    assert (centre + steps).mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.03)


@pytest.mark.parametrize("sampling", ["uniform", "gaussian", "bernoulli"])
def test_draws_of_units_are_independent_and_seeded(sampling):
    _, steps = draw(drawing(sampling=sampling), 3, 8000)
    torch.testing.assert_close(torch.corrcoef(steps.T), torch.eye(3, dtype=torch.float64), rtol=0, atol=0.06)
    state = torch.get_rng_state()
    assert torch.equal(draw(drawing(sampling=sampling), 3, 8000)[1], steps)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(draw(drawing(sampling=sampling, seed=1), 3, 8000)[1], steps)


# ---------------------------------------------------------------- the regression
def polynomial(steps: Tensor, jacobian: Tensor, third: Tensor) -> Tensor:
    """Gradients g0 + J z + T z z / 2 at steps and their opposites, (1, 2h, k)."""
    z = torch.cat([steps, -steps])
    even = torch.einsum("jil,ni,nl->nj", third, z, z) / 2
    return (torch.arange(1.0, z.shape[1] + 1).double() + z @ jacobian.T + even).unsqueeze(0)


def test_second_derivatives_are_recovered_whatever_the_third_ones_are():
    steps, jacobian = drawn(40, 4), drawn(4, 4, seed=1)  # row j: gradient j; not symmetric
    main = drawn(1, 4, seed=2)
    plain = regress(steps, polynomial(steps, jacobian, torch.zeros(4, 4, 4).double()), main, 2)
    torch.testing.assert_close(plain.jacobian[0], jacobian, rtol=RIDGE, atol=RIDGE)
    assert plain.third is None
    assert plain.main is main
    assert plain.n_samples == 80
    bent = regress(steps, polynomial(steps, jacobian, 100 * third_of(4)), main, 2)
    torch.testing.assert_close(bent.jacobian, plain.jacobian, **EXACT)
    torch.testing.assert_close(bent.stderr, plain.stderr, **EXACT)
    assert float(plain.r2) == pytest.approx(1, abs=1e-6)
    assert float(bent.r2) < 0.1


def test_third_derivatives_are_recovered_whatever_the_second_ones_are():
    steps, third = drawn(80, 4), third_of(4)
    found = regress(steps, polynomial(steps, torch.zeros(4, 4).double(), third), drawn(1, 4), 3)
    torch.testing.assert_close(found.third[0], third, rtol=0, atol=3 * RIDGE)
    for order in permutations((1, 2, 3)):
        torch.testing.assert_close(found.third.permute(0, *order), found.third, **EXACT)
    assert float(found.r2) == pytest.approx(1, abs=1e-6)
    moved = regress(steps, polynomial(steps, 100 * drawn(4, 4, seed=1), third), drawn(1, 4), 3)
    torch.testing.assert_close(moved.third, found.third, **EXACT)
    torch.testing.assert_close(moved.jacobian[0], 100 * drawn(4, 4, seed=1), rtol=RIDGE, atol=100 * RIDGE)


def test_third_derivatives_are_the_mean_of_what_three_gradients_say():
    # T differs by gradient: no function has such gradients, but estimates do
    steps, third = drawn(60, 3), drawn(3, 3, 3, seed=4)
    third = (third + third.transpose(1, 2)) / 2
    found = regress(steps, polynomial(steps, torch.zeros(3, 3).double(), third), drawn(1, 3), 3)
    expected = sum(third.permute(order) for order in permutations(range(3))) / 6
    torch.testing.assert_close(found.third[0], expected, rtol=0, atol=3 * RIDGE)


def test_coalitions_tell_the_third_derivatives_of_products():
    _, steps = draw(drawing(sampling="bernoulli"), 3, 64)
    points = 0.5 + torch.cat([steps, -steps])
    a, b, c = points.unbind(1)
    gradients = torch.stack([b * c, a * c, a * b], 1).unsqueeze(0)
    found = regress(steps, gradients, torch.ones(1, 3).double(), 3)
    assert float(found.third[0, 0, 1, 2]) == pytest.approx(1, rel=2e-3)  # squares of steps are constant
    # between all and none the others are half there
    torch.testing.assert_close(
        found.jacobian[0], (torch.ones(3, 3) - torch.eye(3)).double() / 2, rtol=0, atol=2e-3
    )


def test_rows_are_regressed_by_themselves():
    steps, gradients, main = drawn(30, 3), drawn(4, 60, 3, seed=1), drawn(4, 3)
    together = regress(steps, gradients, main, 3)
    for row in range(4):
        alone = regress(steps, gradients[row : row + 1], main[row : row + 1], 3)
        for name in ("jacobian", "third", "stderr", "r2"):
            torch.testing.assert_close(getattr(together, name)[row], getattr(alone, name)[0], **EXACT)


def test_constant_gradients_have_no_second_derivatives():
    steps, gradients = drawn(30, 3), drawn(2, 60, 3, seed=1)
    gradients[0] = torch.tensor([0.1, -7.0, 1e5]) * (1 + 1e-14 * drawn(60, 3, seed=2))
    found = regress(steps, gradients, drawn(2, 3), 2)
    assert not found.jacobian[0].any()
    assert found.r2.isnan().tolist() == [True, False]
    assert found.jacobian[1].abs().min() > 0


# ---------------------------------------------------------------- how sure it is
def left_out(design: np.ndarray, targets: np.ndarray, weight: float) -> np.ndarray:
    """What a ridge regression without a row says wrong about it, for each row."""
    missed = np.zeros_like(targets)
    for row in range(len(design)):
        kept = np.arange(len(design)) != row
        gram = design[kept].T @ design[kept] + weight * np.eye(design.shape[1])
        found = np.linalg.solve(gram, design[kept].T @ targets[kept])
        missed[row] = targets[row] - design[row] @ found
    return missed


def penalty(design: np.ndarray) -> float:
    return 1e-4 * float((design**2).sum(0).mean())


@pytest.mark.parametrize("order", [2, 3])
def test_r2_is_that_of_rows_left_out_one_by_one(order):
    steps, gradients = drawn(12, 2), drawn(1, 24, 2, seed=1)
    gradients += polynomial(steps, 2 * drawn(2, 2, seed=2), third_of(2))
    plus, minus = gradients[0, :12].numpy(), gradients[0, 12:].numpy()
    odd, even = (plus - minus) / 2, (plus + minus) / 2
    even = even - even.mean(0)
    z = steps.numpy()
    missed, missed_even = left_out(z, odd, penalty(z)), even
    if order == 3:
        products = np.stack([z[:, 0] ** 2, z[:, 0] * z[:, 1], z[:, 1] ** 2], 1)
        products = products - products.mean(0)
        missed_even = left_out(products, even, penalty(products))
    expected = 1 - ((missed**2).sum() + (missed_even**2).sum()) / ((odd**2).sum() + (even**2).sum())
    found = regress(steps, gradients, drawn(1, 2), order)
    assert float(found.r2) == pytest.approx(expected, rel=1e-9)


def test_standard_errors_are_the_sandwichs():
    # the covariance of all slopes, from residuals of rows left out (HC3); of it, that of each mean of two
    k, half = 3, 20
    steps, gradients = drawn(half, k), drawn(1, 2 * half, k, seed=1)
    z = steps.numpy()
    odd = ((gradients[0, :half] - gradients[0, half:]) / 2).numpy()
    missed = left_out(z, odd, penalty(z))
    bread = np.linalg.inv(z.T @ z + penalty(z) * np.eye(k))
    meat = np.zeros((k * k, k * k))
    for x, residual in zip(z, missed, strict=True):
        score = np.kron(residual, x)  # gradient by gradient
        meat += np.outer(score, score)
    whole = np.kron(np.eye(k), bread)
    covariance = whole @ meat @ whole.T
    found = regress(steps, gradients, drawn(1, k), 2).stderr[0]
    for i in range(k):
        for j in range(k):
            mean = np.zeros((k, k))
            mean[i, j] += 0.5
            mean[j, i] += 0.5
            variance = mean.reshape(-1) @ covariance @ mean.reshape(-1)
            assert float(found[i, j]) == pytest.approx(np.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("kind", ["alike", "growing", "together"])
def test_standard_errors_are_the_spread_over_many_draws_of_noise(kind):
    half, draws = 60, 4000
    steps, jacobian = drawn(half, 3), drawn(3, 3, seed=1)
    noise = drawn(draws, 2 * half, 3, seed=2)
    if kind == "growing":  # with the step, in one gradient
        noise[..., 1] *= torch.cat([steps, steps])[:, 2].square()
    if kind == "together":  # a Hessian that differs from step to step: its entries' errors go together
        z = torch.cat([steps, -steps])
        noise = noise[..., :1] * z + 0.2 * noise
    gradients = polynomial(steps, jacobian, torch.zeros(3, 3, 3).double()) + noise
    found = regress(steps, gradients, torch.zeros(draws, 3).double(), 2)
    spread = ((found.jacobian + found.jacobian.transpose(1, 2)) / 2).std(0)
    said = found.stderr.square().mean(0).sqrt()
    torch.testing.assert_close(said, spread, rtol=0.15, atol=0)
    if kind == "together":
        apart = (found.jacobian.var(0) + found.jacobian.transpose(1, 2).var(0)).sqrt() / 2
        assert bool((spread > 1.2 * apart)[~torch.eye(3, dtype=torch.bool)].all())


# ---------------------------------------------------------------- a model
X = torch.tensor([[0.7, -1.2, 0.5, 0.9], [1.1, 0.3, -0.4, 0.2], [-0.3, 0.8, 0.6, -1.0]], dtype=torch.float64)
MASK = torch.tensor([[0, 1, 1, 2]])


def smooth(x: Tensor) -> Tensor:
    return (x[:, 0] * x[:, 1]).exp() + (x[:, 2] - x[:, 3] * x[:, 0]).sin() * x.sum(1)


def gates_of(f: Callable[[Tensor], Tensor], x: Tensor = X, mask: Tensor | None = MASK) -> InputGates:
    arguments = Arguments(f, x, 0.25)
    return InputGates(
        arguments, Players.from_feature_mask(arguments.inputs, None if mask is None else (mask,))
    )


def at_gates(row: int) -> Callable[[Tensor], Tensor]:
    """The model of one row by its gates."""
    return lambda alpha: smooth((0.25 + alpha[MASK[0]] * (X[row] - 0.25)).unsqueeze(0))[0]


def around(gates: InputGates, kind: str | nn.Module = "ridge", order: int = 2, **options) -> Around:
    told: list[int] = []
    settings = LearnSettings(8, "average", "autodiff", 150, 0.02, 0.2, 0)
    size = PassSize(50)
    found = look_around(gates, kind, drawing(**options), settings, order, size=size, on_rows=told.append)
    assert told[-1] == found.n_samples * gates.n_examples
    return found


@pytest.mark.parametrize("sampling", ["uniform", "gaussian"])
def test_close_to_the_input_they_are_the_models_derivatives(sampling):
    found = around(gates_of(smooth), order=3, sampling=sampling, width=1e-3)
    one = torch.ones(3, dtype=torch.float64)
    for row in range(3):
        f = at_gates(row)
        hessian, third = functional.hessian(f, one), nested(f, one, 3)
        size = float(hessian.abs().max())
        torch.testing.assert_close(found.jacobian[row], hessian, rtol=0, atol=RIDGE * size)
        torch.testing.assert_close(found.third[row], third, rtol=0, atol=2e-3 * float(third.abs().max()))
        torch.testing.assert_close(found.main[row], functional.jacobian(f, one), **EXACT)
    assert found.r2.min() > 1 - 1e-5
    assert float((found.stderr / found.jacobian.abs().amax((1, 2), keepdim=True)).max()) < 1e-4
    assert found.n_samples == 256


def test_further_away_it_is_the_hessian_of_the_smoothed_model():
    # relu(x0 + x1 - c) at x = 1 and Gaussian gates: the density of their sum at the kink
    gates = gates_of(lambda x: (x.sum(1) - 2.3).relu(), torch.full((1, 2), 1.25).double(), None)
    # both cells move by 1, from .25 to 1.25 at gates of 1: the sum is 2.5 there
    found = around(gates, sampling="gaussian", width=0.4, n_samples=20_000)
    spread = 0.4 * 2**0.5
    density = np.exp(-0.5 * (0.2 / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    hessian = (found.jacobian + found.jacobian.transpose(1, 2)) / 2
    assert hessian.flatten().tolist() == pytest.approx([density] * 4, abs=4 * float(found.stderr.max()))
    assert float(found.stderr.max()) < 0.03 * density


@pytest.mark.parametrize(
    ("sampling", "low", "high"), [("uniform", 0.7, 1.3), ("gaussian", -2, 4), ("bernoulli", 0, 1)]
)
def test_the_model_is_seen_at_the_draws_and_their_opposites(sampling, low, high):
    seen: list[Tensor] = []

    def f(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return x.prod(1)

    gates = gates_of(f, torch.full((1, 3), 1.25).double(), None)
    around(gates, sampling=sampling, width=0.3, n_samples=40)
    cells = torch.cat(seen) - 0.25  # the gates themselves
    points, last = cells[:40], cells[40:]
    centre = 0.5 if sampling == "bernoulli" else 1.0
    torch.testing.assert_close(points[:20] - centre, centre - points[20:], **EXACT)
    assert low <= float(points.min()) < float(points.max()) <= high
    torch.testing.assert_close(last, torch.ones(1, 3).double(), **EXACT)  # the gradient at the input itself


def test_a_network_around_the_input_is_read_at_the_input():
    found = around(gates_of(smooth), "softplus", 3, width=0.5, n_samples=400)
    for row in range(3):
        hessian = functional.hessian(at_gates(row), torch.ones(3, dtype=torch.float64))
        assert float((found.jacobian[row] - hessian).norm() / hessian.norm()) < 0.35
        torch.testing.assert_close(found.third[row], found.third[row].permute(2, 0, 1), **EXACT)
    assert found.stderr is None
    assert found.third.shape == (3, 3, 3, 3)
    assert found.r2.min() > 0.9


@pytest.mark.parametrize("kind", ["ridge", "softplus", nn.Linear(3, 3)])
def test_rows_of_a_batch_do_not_depend_on_each_other(kind):
    together = around(gates_of(smooth), kind, n_samples=64)
    for row in range(3):
        alone = around(gates_of(smooth, X[row : row + 1]), kind, n_samples=64)
        for name in ("jacobian", "main", "r2"):
            torch.testing.assert_close(
                getattr(together, name)[row], getattr(alone, name)[0], rtol=1e-8, atol=1e-8
            )


@pytest.mark.parametrize("kind", ["ridge", "softplus"])
@pytest.mark.parametrize("order", [2, 3])
def test_a_row_without_curvature_has_none_and_leaves_the_others_alone(kind, order):
    x = torch.tensor([[5.0, 5.0, 1.0], [0.5, -0.4, 1.0]], dtype=torch.float64)
    f = lambda v: torch.where(v[:, 0] > 1, v.sum(1), v[:, 0] * v[:, 1] * v[:, 2])  # noqa: E731
    found = around(gates_of(f, x, None), kind, order, n_samples=64, width=0.3)
    assert not found.jacobian[0].any()
    assert found.r2.isnan().tolist() == [True, False]
    alone = around(gates_of(f, x[1:], None), kind, order, n_samples=64, width=0.3)
    torch.testing.assert_close(found.jacobian[1], alone.jacobian[0], rtol=1e-8, atol=1e-8)
    if order == 3:
        torch.testing.assert_close(found.third[1], alone.third[0], rtol=1e-8, atol=1e-8)
        assert found.third[0].abs().max() < 1e-12

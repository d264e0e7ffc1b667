"""Both objectives and their gradients against formulas written out, and numerical differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hoi_captum.corex.objective import NonOverlapping, Overlapping
from tests.corex.oracles import (
    Array,
    conditional_mean_error,
    factors_of,
    gaussian_tc,
    non_overlapping_tc,
    overlapping_tc,
)

Formula = Callable[[Array, Array], float]
Kind = type[NonOverlapping] | type[Overlapping]
OBJECTIVES = [(NonOverlapping, non_overlapping_tc), (Overlapping, overlapping_tc)]


def problem(m: int = 3, p: int = 6, size: float = 0.3) -> tuple[Array, Array]:
    """Weights, and the correlations of dependent variables."""
    random = np.random.default_rng(1)
    x = random.standard_normal((50, p)) @ random.standard_normal((p, p))
    return size * random.standard_normal((m, p)), np.corrcoef(x, rowvar=False)


def state(kind: Kind, u: Array, s: Array) -> NonOverlapping | Overlapping:
    found = kind.evaluate(torch.from_numpy(u), torch.from_numpy(u @ s))
    assert found is not None
    return found


@pytest.mark.parametrize(("kind", "formula"), OBJECTIVES)
@pytest.mark.parametrize("m", [1, 3])
def test_objective(kind: Kind, formula: Formula, m: int) -> None:
    u, s = problem(m)
    assert state(kind, u, s).tc == pytest.approx(formula(u, s), rel=1e-12)


@pytest.mark.parametrize(("kind", "formula"), OBJECTIVES)
def test_gradient_is_that_of_differences(kind: Kind, formula: Formula) -> None:
    u, s = problem()
    ours = state(kind, u, s).gradient().numpy() @ s
    step = 1e-5
    for j in range(u.shape[0]):
        for i in range(u.shape[1]):
            d = np.zeros_like(u)
            d[j, i] = step
            slope = -(formula(u + d, s) - formula(u - d, s)) / (2 * step)
            assert ours[j, i] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_the_conditional_mean_is_that_of_a_sample() -> None:
    """The oracle's error of nu_i, with the factors' noise drawn."""
    u, s = problem(size=0.4)
    rho, _, information = factors_of(u, s)
    random = np.random.default_rng(0)
    x = random.multivariate_normal(np.zeros(len(s)), s, size=400_000)
    w = u / np.sqrt(1 - information)[:, None]
    y = (x @ w.T + random.standard_normal((len(x), len(w)))) * np.sqrt(1 - information)
    for i, error in enumerate(conditional_mean_error(u, s)):
        # of x_i ~ N(0, 1) with independent observations y_j ~ N(rho_j x_i, 1 - rho_j^2), the posterior mean
        noise = 1 - rho[:, i] ** 2
        nu = (y * rho[:, i] / noise).sum(axis=1) / (1 + (rho[:, i] ** 2 / noise).sum())
        assert np.mean((x[:, i] - nu) ** 2) == pytest.approx(error, rel=0.02)


def test_bounds() -> None:
    """No overlap <= any factors <= all there is."""
    u, s = problem(size=0.4)
    information = factors_of(u, s)[2]
    w = u / np.sqrt(1 - information)[:, None]
    assert non_overlapping_tc(u, s) < overlapping_tc(w, s) < gaussian_tc(s)


def test_one_factor_is_the_sum_of_what_it_knows_less_its_information() -> None:
    u, s = problem(1)
    rho, _, information = factors_of(u, s)
    expected = -0.5 * np.log(1 - rho**2).sum() + 0.5 * np.log(1 - information).sum()
    assert state(NonOverlapping, u, s).tc == pytest.approx(expected, rel=1e-12)


def test_infinite_information_has_no_objective() -> None:
    u, s = problem()
    root = np.sqrt((u @ s * u).sum(1, keepdims=True))
    assert NonOverlapping.evaluate(torch.from_numpy(u / root), torch.from_numpy(u @ s / root)) is None
    copy = torch.tensor([[1e9, 0.0]], dtype=torch.float64)
    assert Overlapping.evaluate(copy, copy) is None


@pytest.mark.parametrize("kind", [NonOverlapping, Overlapping])
def test_the_preconditioner_is_positive_and_symmetric(
    kind: Kind,
) -> None:
    u, s = problem()
    at = state(kind, u, s)
    covariance = torch.from_numpy(s)
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, *u.shape, generator=random, dtype=torch.float64)
    pa, pas = at.precondition(a, a @ covariance)
    pb, _ = at.precondition(b, b @ covariance)
    torch.testing.assert_close(pas, pa @ covariance)
    assert float((pas * a).sum()) > 0
    torch.testing.assert_close((pas * b).sum(), (pb @ covariance * a).sum())


def test_the_longest_step_keeps_every_factor_inside() -> None:
    u, s = problem()
    at = state(NonOverlapping, u, s)
    d = np.random.default_rng(5).standard_normal(u.shape)
    step = at.longest_step(torch.from_numpy(d), torch.from_numpy(d @ s))
    before = 1 - factors_of(u, s)[2]
    new = u + step * d
    after = 1 - np.einsum("ji,ik,jk->j", new, s, new)
    assert np.min(after / before) == pytest.approx(0.05, rel=1e-9)
    assert state(Overlapping, u, s).longest_step(torch.from_numpy(d), torch.from_numpy(d @ s)) == np.inf

"""The schedule of noise, and the optima it leads to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum.corex.annealing import Solution, schedule, solve
from hoi_captum.corex.covariance import Covariance
from hoi_captum.corex.objective import NonOverlapping, Overlapping
from tests.corex.oracles import Array, block_tc, gaussian_tc, non_overlapping_tc, overlapping_tc, planted

BLOCKS = (6, 5, 4)


def data(covariance: Array) -> Covariance:
    return Covariance(1000, torch.from_numpy(covariance), None)


def noise(m: int, p: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((m, p)))


def crossed() -> Array:
    """Two factors that share the variables in the middle."""
    loadings = np.zeros((2, 12))
    loadings[0, :8], loadings[1, 4:] = 0.6, -0.6
    covariance = loadings.T @ loadings
    np.fill_diagonal(covariance, 1.0)
    return covariance


def optimum(
    covariance: Array,
    m: int,
    eps: float = 0.0,
    seed: int = 0,
    *,
    overlap: bool = False,
    anneal: bool = True,
    tol: float = 1e-9,
    max_iter: int = 5000,
) -> Solution:
    return solve(
        data(covariance),
        noise(m, len(covariance), seed),
        schedule(eps) if anneal else (eps,),
        overlap=overlap,
        tol=tol,
        max_iter=max_iter,
        done=lambda: None,
    )


def test_schedule() -> None:
    eleven = [0.9 * 0.7**k for k in range(10)]
    assert schedule(0.03) == pytest.approx((*eleven, 0.03))
    assert schedule(0.0) == pytest.approx((*eleven, 0.0))
    assert schedule(0.5) == pytest.approx((0.9, 0.63, 0.5))
    assert schedule(0.9) == (0.9,)


@pytest.mark.parametrize("eps", [0.0, 0.03, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_of_one_factor_reach_their_total_correlation(eps: float, seed: int) -> None:
    """The bound is tight: rho is the loading, TC that of the blocks with correlations (1 - eps^2) a^2."""
    found = optimum(planted(BLOCKS, 0.7), 3, eps, seed)
    a = 0.7 * np.sqrt(1 - eps**2)
    assert found.tc == pytest.approx(sum(block_tc(size, a) for size in BLOCKS), abs=1e-6)
    sizes = sorted((np.abs(found.correlations.numpy()) > 0.1).sum(axis=1))
    assert sizes == sorted(BLOCKS)
    assert np.abs(found.correlations.numpy()).max(axis=0) == pytest.approx(a, abs=1e-3)


def test_a_factor_too_many_adds_nothing() -> None:
    few, many = optimum(planted(BLOCKS, 0.7), 3, seed=1), optimum(planted(BLOCKS, 0.7), 5, seed=1)
    assert many.tc == pytest.approx(few.tc, abs=1e-5)


def test_the_end_is_an_optimum_of_the_formula() -> None:
    covariance = crossed()
    found = optimum(covariance, 2)
    u = found.weights.numpy()
    assert found.tc == pytest.approx(non_overlapping_tc(u, covariance), rel=1e-9)
    state = NonOverlapping.evaluate(found.weights, found.correlations)
    assert state is not None
    assert float((state.gradient() @ torch.from_numpy(covariance)).abs().max()) < 1e-3
    random = np.random.default_rng(0)
    for _ in range(50):
        nearby = u + 1e-3 * random.standard_normal(u.shape)
        assert non_overlapping_tc(nearby, covariance) < found.tc


def test_annealing_avoids_poorer_optima() -> None:
    """Strong factors, sampled, and a factor to spare: a cold start merges some of them now and then."""
    warm, cold = [], []
    for seed in range(6):
        random = np.random.RandomState(seed)
        rows = random.multivariate_normal(np.zeros(100), planted((20,) * 5, 0.9), size=300)
        covariance = np.corrcoef(rows, rowvar=False)
        warm.append(optimum(covariance, 6, 0.03, seed, tol=1e-5).tc)
        cold.append(optimum(covariance, 6, 0.03, seed, tol=1e-5, anneal=False).tc)
    assert np.all(np.array(warm) > np.array(cold) - 0.05)
    assert np.any(np.array(warm) > np.array(cold) + 1)


@pytest.mark.parametrize("overlap", [False, True])
def test_history_and_stages(overlap: bool) -> None:
    done: list[None] = []
    found = solve(
        data(planted(BLOCKS, 0.7)),
        noise(3, 15),
        schedule(0.03),
        overlap=overlap,
        tol=1e-6,
        max_iter=1000,
        done=lambda: done.append(None),
    )
    assert len(done) == 11
    assert found.history[-1] == pytest.approx(found.tc, abs=1e-9)
    assert found.converged
    few = optimum(planted(BLOCKS, 0.7), 3, 0.03, overlap=overlap, max_iter=1)
    assert not few.converged
    assert len(few.history) == 11


def test_copies_of_columns_are_bounded_by_the_noise_left() -> None:
    covariance = np.kron(planted((3, 3), 0.7), np.ones((2, 2)))  # each variable twice
    eps = 0.03
    ridged = (1 - eps**2) * covariance + eps**2 * np.eye(12)
    found = optimum(covariance, 3, eps)
    assert 0 < found.tc < gaussian_tc(ridged)
    assert found.tc == pytest.approx(non_overlapping_tc(found.weights.numpy(), ridged), rel=1e-8)


def unnormalised(found: Solution) -> Array:
    """w of U = w / sqrt(E y^2)."""
    u, rho = found.weights.numpy(), found.correlations.numpy()
    return u / np.sqrt(1 - (u * rho).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_factors(seed: int) -> None:
    covariance = crossed()
    found = optimum(covariance, 2, seed=seed, overlap=True)
    w = unnormalised(found)
    assert found.tc == pytest.approx(overlapping_tc(w, covariance), rel=1e-9)
    state = Overlapping.evaluate(torch.from_numpy(w), torch.from_numpy(w @ covariance))
    assert state is not None
    assert float((state.gradient() @ torch.from_numpy(covariance)).abs().max()) < 1e-3
    # every start explains all there is, which factors that do not overlap cannot
    assert found.tc == pytest.approx(optimum(covariance, 2, seed=seed + 10, overlap=True).tc, abs=1e-5)
    assert found.tc == pytest.approx(gaussian_tc(covariance), abs=1e-6)
    assert optimum(covariance, 2).tc < found.tc - 0.04


def test_overlapping_factors_of_blocks_reach_their_total_correlation() -> None:
    found = optimum(planted(BLOCKS, 0.7), 3, overlap=True)
    assert found.tc == pytest.approx(sum(block_tc(size, 0.7) for size in BLOCKS), abs=1e-6)


def test_overlapping_is_a_fixed_point_of_the_authors_update() -> None:
    """w = A - H w with A = Z / Var(x | y), H = A Z^T without its diagonal."""
    covariance = crossed()
    w = unnormalised(optimum(covariance, 2, overlap=True, tol=1e-12))
    yx = w @ covariance
    z = np.linalg.solve(w @ yx.T + np.eye(2), yx)
    a = z / (1 - (z * yx).sum(axis=0))
    h = a @ z.T
    np.fill_diagonal(h, 0)
    np.testing.assert_allclose(a - h @ w, w, atol=1e-4)

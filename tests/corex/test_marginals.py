"""Distributions by state against loops and resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum.corex.marginals import Observations, discrete_marginals, gaussian_marginals
from tests.corex import bio_oracles as slow

N, P, M = 40, 5, 3


def beliefs(random: np.random.RandomState, states: int, n: int = N) -> np.ndarray:
    """p(y_j = k | x), (M, n, K)."""
    return random.dirichlet(np.ones(states), (M, n))


def stacked(beliefs: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(beliefs).permute(2, 0, 1).contiguous()


def with_gaps(X: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    X = X.copy()
    X[random.random_sample(X.shape) < 0.2] = np.nan
    return X


def observations(X: np.ndarray) -> Observations:
    return Observations.of(torch.from_numpy(X.T.copy()))


def expected_odds(theta: list, X: np.ndarray, states: int) -> np.ndarray:
    odds = np.zeros((states - 1, M, X.shape[1], len(X)))
    for k in range(1, states):
        for j in range(M):
            for i in range(X.shape[1]):
                for row in slow.observed(X, i):
                    odds[k - 1, j, i, row] = theta[j][k][i](X[row, i]) - theta[j][0][i](X[row, i])
    return odds


@pytest.mark.parametrize("states", [2, 4])
@pytest.mark.parametrize("gaps", [False, True])
def test_normal_marginals_are_those_of_the_loops(states, gaps):
    random = np.random.RandomState(0)
    X = random.randn(N, P) * [1.0, 0.1, 3.0, 1.0, 1.0]
    X = with_gaps(X, random) if gaps else X
    P_ = beliefs(random, states)
    data = observations(X)
    found = gaussian_marginals(data, stacked(P_), min_variance=0.25, smooth=False)
    for j in range(M):
        for k in range(states):
            for i in range(P):
                rows = slow.observed(X, i)
                mean, variance = slow.normal_estimate(X[rows, i], P_[j, rows, k], 0.25)
                assert found.means[k, j, i] == pytest.approx(mean, abs=1e-12)
                assert found.variances[k, j, i] == pytest.approx(variance, rel=1e-10)
    assert bool((found.variances[:, :, 1] == 0.25).all())  # its variance is .01
    odds = found.log_odds(data, slice(1, 4))
    expected = expected_odds(slow.normal_theta(X, P_), X, states)[:, :, 1:4]
    np.testing.assert_allclose(odds.numpy(), expected, rtol=1e-9, atol=1e-10)


def test_a_state_of_next_to_no_rows_keeps_to_the_limits():
    X = np.random.RandomState(0).randn(N, P)
    P_ = np.zeros((M, N, 2))
    P_[..., 0] = 1.0
    P_[:, 0] = [1 - 1e-4, 1e-4]
    found = gaussian_marginals(observations(X), stacked(P_), min_variance=0.25, smooth=False)
    mean = 1e-4 * X[0] / 0.1  # the sum of weights is at least .1, less one at least .01
    np.testing.assert_allclose(found.means[1, 0].numpy(), mean, rtol=1e-9)
    np.testing.assert_allclose(
        found.variances[1, 0].numpy(), np.maximum(1e-4 * (X[0] - mean) ** 2 / 0.01, 0.25), rtol=1e-9
    )


@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_discrete_marginals_are_those_of_the_loops(states, gaps):
    random = np.random.RandomState(1)
    X = random.randint(0, 4, (N, P)).astype(float)
    X = with_gaps(X, random) if gaps else X
    P_ = beliefs(random, states)
    data = observations(X)
    found = discrete_marginals(data, stacked(P_), n_values=4, smooth=False)
    for i in range(P):
        rows = slow.observed(X, i)
        chances = slow.discrete_estimate(X[rows, i], P_[1, rows, 0], 4)
        np.testing.assert_allclose(found.log_probabilities[0, 1, i].exp().numpy(), chances, rtol=1e-12)
    odds = found.log_odds(data, slice(0, P))
    expected = expected_odds(slow.discrete_theta(X, P_, 4), X, states)
    np.testing.assert_allclose(odds.numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("gaps", [False, True])
def test_smoothing_is_the_limit_of_a_bootstrap(gaps):
    """lambda = d^2 / (d^2 + se^2), d and se against estimates from rows drawn without regard to y."""
    random = np.random.RandomState(2)
    n, draws = 150, 4000
    X = random.standard_gamma(4.0, (n, 2))
    X = with_gaps(X, random) if gaps else X
    P_ = beliefs(random, 2, n)
    X[:, 1] += 1.5 * P_[0, :, 1]  # of which something is to be told
    plain = gaussian_marginals(observations(X), stacked(P_), min_variance=1e-6, smooth=False)
    smooth = gaussian_marginals(observations(X), stacked(P_), min_variance=1e-6, smooth=True)
    for i in range(2):
        rows = slow.observed(X, i)
        x = X[rows, i]
        for k in range(2):
            weight = P_[0, rows, k]
            null = np.array(
                [
                    slow.normal_estimate(x[random.randint(0, len(x), len(x))], weight, 0.0)
                    for _ in range(draws)
                ]
            )
            own = np.array([float(plain.means[k, 0, i]), float(plain.variances[k, 0, i])])
            d, se = own - null.mean(0), null.std(0)
            share = d**2 / (d**2 + se**2)
            expected = share * own + (1 - share) * np.array([x.mean(), x.var()])
            assert float(smooth.means[k, 0, i]) == pytest.approx(expected[0], abs=0.02)
            assert float(smooth.variances[k, 0, i]) == pytest.approx(expected[1], rel=0.02)
    assert bool((plain.means - smooth.means).abs().max() > 0.05)


def test_discrete_smoothing_is_the_limit_of_a_bootstrap():
    random = np.random.RandomState(3)
    n, draws = 100, 4000
    P_ = beliefs(random, 2, n)
    x = (random.random_sample(n) < 0.2 + 0.2 * P_[0, :, 1]).astype(float) + random.randint(0, 2, n)
    found = discrete_marginals(observations(x[:, None]), stacked(P_), n_values=3, smooth=True)
    overall = np.array([(x == v).mean() for v in range(3)])
    for k in range(2):
        weight = P_[0, :, k]
        own = np.array(slow.discrete_estimate(x, weight, 3))
        null = np.array([slow.discrete_estimate(x[random.randint(0, n, n)], weight, 3) for _ in range(draws)])
        d, se = own - null.mean(0), null.std(0)
        share = d**2 / (d**2 + se**2)
        expected = share * own + (1 - share) * overall
        np.testing.assert_allclose(
            found.log_probabilities[k, 0, 0].exp().numpy(), expected / expected.sum(), atol=0.01
        )


def test_smoothing_leaves_a_constant_alone():
    X = np.ones((N, 1))
    P_ = beliefs(np.random.RandomState(0), 2)
    normal = gaussian_marginals(observations(0 * X), stacked(P_), min_variance=0.25, smooth=True)
    assert bool((normal.means == 0).all())
    assert bool((normal.variances == 0.25).all())
    discrete = discrete_marginals(observations(X), stacked(P_), n_values=2, smooth=True)
    assert discrete.log_probabilities[..., 1].exp().min() == pytest.approx(1.0, abs=1e-3)


def test_what_is_missing_is_seen():
    X = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, np.nan]])
    data = observations(X)
    assert data.counts.tolist() == [2, 1]
    assert data.values.tolist() == [[1, 2, 0], [0, 5, 0]]
    assert data.total(torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)).tolist() == [11, 10]
    some = data.rows(torch.tensor([1, 2]))
    assert some.counts.tolist() == [1, 1]
    assert observations(np.ones((3, 2))).observed is None


def test_blocks_cover_every_variable_once():
    data = observations(np.zeros((1000, 77)))
    for tables in (1, 7, 10_000):
        seen = [i for block in data.blocks(tables) for i in range(77)[block]]
        assert seen == list(range(77))
    assert len(list(data.blocks(10_000))) == 77

"""Posterior, total correlation and mutual information against loops and closed forms."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from hoi_captum.corex import posterior as module
from hoi_captum.corex.marginals import (
    DiscreteMarginals,
    GaussianMarginals,
    Observations,
    discrete_marginals,
    gaussian_marginals,
)
from hoi_captum.corex.posterior import Posterior, factor_mi, infer, log_prior, plug_in_mi, significant_mi
from tests.corex import bio_oracles as slow

NORMAL = partial(gaussian_marginals, min_variance=0.25, smooth=False)


def stacked(P: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(P).permute(2, 0, 1).contiguous()


def draw(states: int, gaps: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    n, p, m = 40, 7, 3
    X = random.randn(n, p)
    if gaps:
        X[random.random_sample(X.shape) < 0.3] = np.nan
    P = random.dirichlet(np.full(states, 0.5), (m, n))
    return X, P, random.random_sample((m, p))


@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_normal_factors_are_those_of_the_loops(states, gaps, monkeypatch):
    monkeypatch.setattr("hoi_captum.corex.marginals._BLOCK", 300)  # several blocks
    X, P, alpha = draw(states, gaps)
    data = Observations.of(torch.from_numpy(X.T.copy()))
    prior = log_prior(stacked(P))
    np.testing.assert_allclose(prior.T.numpy(), slow.prior(P), rtol=1e-12)
    theta = slow.normal_theta(X, P)
    marginals = NORMAL(data, stacked(P))
    found = infer(data, marginals, prior, torch.from_numpy(alpha))
    expected, log_z = slow.infer(theta, slow.prior(P), alpha, X)
    np.testing.assert_allclose(found.probabilities.numpy(), expected.transpose(2, 0, 1), rtol=1e-9)
    np.testing.assert_allclose(found.log_z.numpy(), log_z, atol=1e-10)
    np.testing.assert_allclose(found.probabilities.sum(0).numpy(), 1.0, rtol=1e-12)
    mi = plug_in_mi(data, marginals, prior, stacked(P))
    np.testing.assert_allclose(
        mi.numpy(), slow.mutual_information(theta, slow.prior(P), X, P), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("states", [2, 3])
def test_discrete_factors_are_those_of_the_loops(states):
    _, P, alpha = draw(states, False)
    random = np.random.RandomState(5)
    X = random.randint(0, 3, (40, 7)).astype(float)
    X[random.random_sample(X.shape) < 0.3] = np.nan
    data = Observations.of(torch.from_numpy(X.T.copy()))
    prior = log_prior(stacked(P))
    theta = slow.discrete_theta(X, P, 3)
    marginals = discrete_marginals(data, stacked(P), n_values=3, smooth=False)
    found = infer(data, marginals, prior, torch.from_numpy(alpha))
    expected, log_z = slow.infer(theta, slow.prior(P), alpha, X)
    np.testing.assert_allclose(found.probabilities.numpy(), expected.transpose(2, 0, 1), rtol=1e-9)
    np.testing.assert_allclose(found.log_z.numpy(), log_z, atol=1e-10)
    mi = plug_in_mi(data, marginals, prior, stacked(P))
    np.testing.assert_allclose(
        mi.numpy(), slow.mutual_information(theta, slow.prior(P), X, P), rtol=1e-9, atol=1e-12
    )


def test_a_missing_value_is_as_if_its_variable_were_not_there():
    X, P, alpha = draw(2, False)
    full = Observations.of(torch.from_numpy(X.T.copy()))
    marginals, prior = NORMAL(full, stacked(P)), log_prior(stacked(P))
    X[5, 2] = X[5, 4] = np.nan
    found = infer(Observations.of(torch.from_numpy(X.T.copy())), marginals, prior, torch.from_numpy(alpha))
    keep = [0, 1, 3, 5, 6]
    fewer = GaussianMarginals(marginals.means[..., keep], marginals.variances[..., keep])
    row = Observations(full.values[keep][:, [5]])
    expected = infer(row, fewer, prior, torch.from_numpy(alpha[:, keep]))
    torch.testing.assert_close(found.probabilities[..., 5], expected.probabilities[..., 0])
    torch.testing.assert_close(found.log_z[:, 5], expected.log_z[:, 0])


def test_far_values_leave_probabilities_finite():
    marginals = GaussianMarginals(torch.tensor([[[0.0]], [[1.0]]]).double(), torch.ones(2, 1, 1).double())
    prior = torch.tensor([[0.5], [0.5]], dtype=torch.float64).log()
    data = Observations(torch.tensor([[1e6, -1e6]], dtype=torch.float64))
    found = infer(data, marginals, prior, torch.ones(1, 1, dtype=torch.float64))
    assert found.probabilities[:, 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    # x tells the state: log z = log p(x|y) / p(x) + log p(y) = 0 for one variable, whatever x is
    torch.testing.assert_close(found.log_z, torch.zeros_like(found.log_z), atol=1e-6, rtol=0)


def test_total_correlation_of_copies_of_a_bit():
    """Three variables that are the state itself: TC = 3 H - H = 2 log 2, and I(Y; X_i) = log 2."""
    bits = torch.tensor([0.0, 1.0] * 50, dtype=torch.float64)
    P = torch.stack((1 - bits, bits))[:, None]
    sure = torch.tensor([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]], dtype=torch.float64).log()
    marginals = DiscreteMarginals(sure[:, None, None].expand(2, 1, 3, 2))
    data, prior = Observations(bits.expand(3, -1)), log_prior(P)
    found = infer(data, marginals, prior, torch.ones(1, 3, dtype=torch.float64))
    assert float(found.log_z.mean()) == pytest.approx(2 * math.log(2), abs=1e-9)
    torch.testing.assert_close(found.probabilities, P, atol=1e-9, rtol=0)
    mi = plug_in_mi(data, marginals, prior, P)
    torch.testing.assert_close(mi, torch.full_like(mi, math.log(2)), atol=1e-9, rtol=0)
    assert float(factor_mi(P, prior)) == pytest.approx(math.log(2), abs=1e-9)
    assert float(factor_mi(torch.full_like(P, 0.5), prior)) == pytest.approx(0.0, abs=1e-9)


class TestSignificance:
    random = np.random.RandomState(0)
    bits = random.randint(0, 2, 200).astype(float)
    X = np.column_stack([bits * 2 + random.randn(200), random.randn(200, 30)])
    data = Observations.of(torch.from_numpy(X.T.copy()))
    P = stacked(np.stack((1 - bits, bits), -1)[None])
    found = Posterior(P, torch.zeros(1, 200))

    def test_is_that_of_the_permutations(self):
        """Drawn again one by one: less the mean, 0 unless above the second largest of 20."""
        order = np.random.RandomState(3)
        prior = log_prior(self.P)
        own = plug_in_mi(self.data, NORMAL(self.data, self.P), prior, self.P)[0].numpy()
        drawn = []
        for _ in range(20):
            P = self.P[..., order.permutation(200)].permute(1, 2, 0).numpy()
            theta = slow.normal_theta(self.X, P)
            drawn.append(slow.mutual_information(theta, slow.prior(P), self.X, P)[0])
        second = np.sort(drawn, axis=0)[-2]
        expected = np.where(own > second, own - np.mean(drawn, axis=0), 0.0)
        mi = significant_mi(self.data, NORMAL, self.found, 20, np.random.RandomState(3))[0].numpy()
        np.testing.assert_allclose(mi, expected, rtol=1e-9, atol=1e-12)

    def test_what_is_of_chance_is_mostly_zero(self):
        mi = significant_mi(self.data, NORMAL, self.found, 20, np.random.RandomState(0))[0]
        assert mi[0] > 0.25
        assert int((mi[1:] > 0).sum()) <= 6  # about 1 in 11 of 30 goes beyond the second largest of 20

    def test_can_be_left_out(self):
        mi = significant_mi(self.data, NORMAL, self.found, 0, np.random.RandomState(0))
        plain = plug_in_mi(self.data, NORMAL(self.data, self.P), log_prior(self.P), self.P)
        assert torch.equal(mi, plain)
        assert int((plain > 0).sum()) == 31

    def test_the_rank_of_the_threshold(self):
        assert [math.floor(module._LEVEL * n) for n in (1, 19, 20, 40)] == [0, 0, 1, 2]

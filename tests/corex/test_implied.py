"""Implied correlations and likelihoods, against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hoi_captum.corex.implied import ImpliedCorrelations
from tests.corex.oracles import conditional_mean_error, factors_of, planted

RANDOM = np.random.default_rng(0)
MIXING = RANDOM.standard_normal((9, 9))
COVARIANCE = np.corrcoef(MIXING)
WEIGHTS = 0.4 * RANDOM.standard_normal((3, 9))


def implied(overlap: bool, covariance: np.ndarray = COVARIANCE) -> ImpliedCorrelations:
    moments = WEIGHTS @ covariance @ WEIGHTS.T
    size = np.sqrt(1 + np.diag(moments))[:, None]
    u = WEIGHTS / size  # of y = w x + N(0, 1)
    return ImpliedCorrelations.of(u, u @ covariance, np.diag(covariance), overlap=overlap)


def test_factors_that_overlap_imply_what_they_regress_to() -> None:
    yy = WEIGHTS @ COVARIANCE @ WEIGHTS.T + np.eye(3)
    expected = COVARIANCE @ WEIGHTS.T @ np.linalg.solve(yy, WEIGHTS @ COVARIANCE)
    np.testing.assert_allclose(implied(True).unexplained, 1 - np.diag(expected), rtol=1e-9)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(implied(True).matrix(), expected, atol=1e-12)


def test_others_imply_the_means_of_each_variable() -> None:
    model = implied(False)
    moments = WEIGHTS @ COVARIANCE @ WEIGHTS.T
    u = WEIGHTS / np.sqrt(1 + np.diag(moments))[:, None]
    rho, yy, _ = factors_of(u, COVARIANCE)
    # E (x - nu)^2 = 1 - 2 c rho + c corr(y) c, where nu = c y: the loadings are c
    c = model.loadings
    error = 1 - 2 * (c * rho).sum(0) + np.einsum("ji,jk,ki->i", c, yy, c)
    np.testing.assert_allclose(error, conditional_mean_error(u, COVARIANCE), rtol=1e-9)
    expected = c.T @ c
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(model.matrix(), expected, atol=1e-12)
    assert np.all(model.unexplained > 0)


@pytest.mark.parametrize("overlap", [False, True])
def test_correlations_do_not_depend_on_the_variances(overlap: bool) -> None:
    scale = np.linspace(0.2, 0.9, 9)
    moments = np.sqrt(1 + np.diag(WEIGHTS @ COVARIANCE @ WEIGHTS.T))[:, None]
    u, rho = WEIGHTS / moments, WEIGHTS / moments @ COVARIANCE
    scaled = ImpliedCorrelations.of(u / scale, rho * scale, scale**2, overlap=overlap)
    np.testing.assert_allclose(scaled.matrix(), implied(overlap).matrix(), atol=1e-12)


def test_one_factor_of_a_block_implies_the_block() -> None:
    rho = np.full((1, 5), 0.8)
    model = ImpliedCorrelations.of(rho / 5, rho, np.ones(5), overlap=False)
    np.testing.assert_allclose(model.matrix(), planted((5,), 0.8), atol=1e-12)


def test_copies_of_factors_imply_what_one_does() -> None:
    u, rho = np.full((1, 4), 0.25), np.full((1, 4), 1.0)
    one, two = (
        ImpliedCorrelations.of(*(np.tile(a, (k, 1)) for a in (u, rho)), np.ones(4), overlap=True)
        for k in (1, 2)
    )
    np.testing.assert_allclose(one.matrix(), two.matrix(), atol=1e-9)
    assert np.all(two.unexplained > 0)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_gain_is_that_of_the_densities(overlap: bool, noise: float) -> None:
    model = implied(overlap)
    rows = np.random.default_rng(1).standard_normal((40, 9))
    pieces = (torch.from_numpy(piece) for piece in np.split(rows, [10, 25]))
    found = model.likelihood_gain(pieces, torch.full((9,), noise, dtype=torch.float64))
    # rows and independent noise, by the moments that both have
    exact = np.concatenate([rows + np.sqrt(9 * noise) * s * e for s in (1, -1) for e in np.eye(9)])
    densities = [multivariate_normal.logpdf(exact, np.zeros(9), k) for k in (model.matrix(), np.eye(9))]
    assert found == pytest.approx((densities[0] - densities[1]).mean(), rel=1e-9)

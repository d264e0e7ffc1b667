"""The formulas of linear CorEx, written out without any short cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def gaussian_tc(covariance: Array) -> float:
    """Total correlation of a Gaussian, nats: -1/2 log det of its correlations."""
    scale = np.sqrt(np.diag(covariance))
    return float(-0.5 * np.linalg.slogdet(covariance / np.outer(scale, scale))[1])


def factors_of(weights: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """Covariance of (x, y / std y) for y = w x + N(0, 1), given U = w / std y: rho, corr(y), u."""
    u = np.einsum("ji,ik,jk->j", weights, covariance, weights)
    w = weights / np.sqrt(1 - u)[:, None]
    yy = w @ covariance @ w.T + np.eye(len(w))
    std = np.sqrt(np.diag(yy))
    return (w @ covariance) / std[:, None], yy / np.outer(std, std), u


def conditional_mean_error(weights: Array, covariance: Array) -> Array:
    """E (x_i - nu_i)^2 where nu_i is E[x_i | y] as if the factors were independent given x_i.

    Given x_i the y_j / std y_j are N(rho_ji x_i, 1 - rho_ji^2), independent; with the prior N(0, 1) of x_i
    that makes nu_i = sum_j c_ji y_j / std y_j; its error is a quadratic form in the true moments.
    """
    rho, yy, _ = factors_of(weights, covariance)
    errors = []
    for i in range(rho.shape[1]):
        precision = 1 + sum(r**2 / (1 - r**2) for r in rho[:, i])
        c = np.array([r / (1 - r**2) / precision for r in rho[:, i]])
        errors.append(1 - 2 * c @ rho[:, i] + c @ yy @ c)
    return np.array(errors)


def non_overlapping_tc(weights: Array, covariance: Array) -> float:
    """-1/2 sum_i log E (x_i - nu_i)^2 - sum_j I(Y_j; X)."""
    u = factors_of(weights, covariance)[2]
    return float(-0.5 * np.log(conditional_mean_error(weights, covariance)).sum() + 0.5 * np.log(1 - u).sum())


def overlapping_tc(w: Array, covariance: Array) -> float:
    """TC(X) - TC(X | Y) - TC(Y) of a Gaussian by determinants, for y = w x + N(0, 1)."""
    yy = w @ covariance @ w.T + np.eye(len(w))
    given = covariance - covariance @ w.T @ np.linalg.solve(yy, w @ covariance)
    return gaussian_tc(covariance) - gaussian_tc(given) - gaussian_tc(yy)


def planted(blocks: tuple[int, ...], loading: float) -> Array:
    """Correlations of variables in blocks, each x_i = loading f + noise with a factor f for each block."""
    covariance = np.zeros((sum(blocks), sum(blocks)))
    start = 0
    for size in blocks:
        covariance[start : start + size, start : start + size] = loading**2
        start += size
    np.fill_diagonal(covariance, 1.0)
    return covariance


def block_tc(size: int, loading: float) -> float:
    """-1/2 log((1 - c)^(k-1) (1 + (k-1) c)) with c = loading^2: the TC of one block of ``planted``."""
    c = loading**2
    return float(-0.5 * ((size - 1) * np.log1p(-c) + np.log1p((size - 1) * c)))


def exact_sample(covariance: Array, n: int, seed: int = 0) -> Array:
    """n rows whose mean is 0 and whose covariance (divided by n) is exactly the one given."""
    raw = np.random.default_rng(seed).standard_normal((n, len(covariance)))
    raw -= raw.mean(0)
    white = np.linalg.cholesky(np.linalg.inv(raw.T @ raw / n))
    return raw @ white @ np.linalg.cholesky(covariance).T

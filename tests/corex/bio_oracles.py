"""Bio CorEx by loops over rows, variables, factors and states, straight from the formulas.

Data are (n, p) with NaN where missing; p(y_j = k | x_l) is P[j, l, k]. Distributions are functions
theta[j][k][i] of a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Density = Callable[[float], float]  # log p(x_i | y_j = k)


def observed(X: np.ndarray, i: int) -> list[int]:
    return [row for row in range(len(X)) if not math.isnan(X[row, i])]


def normal(mean: float, variance: float) -> Density:
    return lambda x: -0.5 * math.log(2 * math.pi * variance) - (x - mean) ** 2 / (2 * variance)


def normal_estimate(x: np.ndarray, weight: np.ndarray, floor: float) -> tuple[float, float]:
    """Mean and variance of one variable in one state."""
    n = max(sum(weight), 0.1)
    mean = sum(w * v for w, v in zip(weight, x, strict=True)) / n
    squares = sum(w * (v - mean) ** 2 for w, v in zip(weight, x, strict=True))
    return mean, max(squares / max(n - 1, 0.01), floor)


def normal_theta(X: np.ndarray, P: np.ndarray, floor: float = 0.25) -> list[list[list[Density]]]:
    def density(j: int, k: int, i: int) -> Density:
        rows = observed(X, i)
        return normal(*normal_estimate(X[rows, i], P[j, rows, k], floor))

    m, _, states = P.shape
    return [[[density(j, k, i) for i in range(X.shape[1])] for k in range(states)] for j in range(m)]


def discrete_estimate(x: np.ndarray, weight: np.ndarray, n_values: int) -> list[float]:
    counts = [sum(w for w, v in zip(weight, x, strict=True) if v == value) for value in range(n_values)]
    return [(c + 0.001) / sum(c + 0.001 for c in counts) for c in counts]


def discrete_theta(X: np.ndarray, P: np.ndarray, n_values: int) -> list[list[list[Density]]]:
    def density(j: int, k: int, i: int) -> Density:
        rows = observed(X, i)
        chances = discrete_estimate(X[rows, i], P[j, rows, k], n_values)
        return lambda x: math.log(chances[int(x)])

    m, _, states = P.shape
    return [[[density(j, k, i) for i in range(X.shape[1])] for k in range(states)] for j in range(m)]


def prior(P: np.ndarray) -> np.ndarray:
    """log p(y_j = k), (m, K)."""
    counts = np.array([[0.001 + sum(P[j, :, k]) for k in range(P.shape[2])] for j in range(len(P))])
    return np.log(counts / counts.sum(1, keepdims=True))


def log_ratio(theta: list[list[Density]], log_prior: np.ndarray, i: int, k: int, x: float) -> float:
    """log p(x_i|y_j=k) / p(x_i) of one factor; 0 for a missing value."""
    if math.isnan(x):
        return 0.0
    total = sum(math.exp(log_prior[h] + theta[h][i](x)) for h in range(len(theta)))
    return theta[k][i](x) - math.log(total)


def structure(theta: list, X: np.ndarray, P: np.ndarray) -> np.ndarray:
    """alpha (m, p), before factors without any total correlation are raised."""
    m, n, states = P.shape
    alpha = np.zeros((m, X.shape[1]))
    for i in range(X.shape[1]):
        told: list[set[int]] = []
        for j in range(m):
            rows = set()
            for row in observed(X, i):
                likelihood = [theta[j][k][i](X[row, i]) for k in range(states)]
                if int(np.argmax(likelihood)) == int(np.argmax(P[j, row])):
                    rows.add(row)
            told.append(rows)
        earlier: set[int] = set()
        for j in sorted(range(m), key=lambda j: -len(told[j])):
            alpha[j, i] = len(told[j] - earlier) / min(max(len(told[j]), 1), n)
            earlier |= told[j]
    return alpha


def raised(alpha: np.ndarray, tcs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """alpha of factors that explain less than .01 nats to a power; noise (m', p) in [0, 1]."""
    alpha, at = alpha.copy(), 0
    for j in range(len(alpha)):
        if abs(tcs[j]) < 0.01:
            largest = min(max(alpha[j].max(), 0.01), 0.99)
            alpha[j] = alpha[j] ** (math.log(0.99) / math.log(largest)) + 0.001 * noise[at]
            at += 1
    return alpha


def infer(theta: list, log_prior: np.ndarray, alpha: np.ndarray, X: np.ndarray) -> tuple[np.ndarray, ...]:
    """p(y_j = k | x_l) (m, n, K) and log z_j(x_l) (m, n)."""
    m, states = log_prior.shape
    P, log_z = np.zeros((m, len(X), states)), np.zeros((m, len(X)))
    for j in range(m):
        for row in range(len(X)):
            joint = [
                log_prior[j, k]
                + sum(
                    alpha[j, i] * log_ratio(theta[j], log_prior[j], i, k, X[row, i])
                    for i in range(X.shape[1])
                )
                for k in range(states)
            ]
            log_z[j, row] = math.log(sum(math.exp(v) for v in joint))
            P[j, row] = [math.exp(v - log_z[j, row]) for v in joint]
    return P, log_z


def mutual_information(theta: list, log_prior: np.ndarray, X: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Plug-in I(Y_j; X_i), (m, p)."""
    m, _, states = P.shape
    mi = np.zeros((m, X.shape[1]))
    for j in range(m):
        for i in range(X.shape[1]):
            rows = observed(X, i)
            mi[j, i] = sum(
                P[j, row, k] * log_ratio(theta[j], log_prior[j], i, k, X[row, i])
                for row in rows
                for k in range(states)
            ) / len(rows)
    return mi


def has_settled(history: list[float], tol: float) -> bool:
    return len(history) > 10 and abs(np.mean(history[-5:]) - np.mean(history[-10:-5])) < tol


def fit(
    X: np.ndarray,
    estimate: Callable[[np.ndarray, np.ndarray], list],
    n_factors: int,
    n_states: int,
    random: np.random.RandomState,
    max_iter: int,
    tol: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """One start: p(y|x), log z, alpha and the history of the total correlation."""
    P = random.dirichlet(np.ones(n_states), (n_factors, len(X)))
    tcs = np.zeros(n_factors)
    history: list[float] = []
    while len(history) < max_iter and not has_settled(history, tol):
        log_prior, theta = prior(P), estimate(X, P)
        alpha = np.ones((1, X.shape[1]))
        if n_factors > 1:
            alpha = structure(theta, X, P)
            idle = int((np.abs(tcs) < 0.01).sum())
            noise = random.random_sample((idle, X.shape[1])) if idle else np.zeros((0, X.shape[1]))
            alpha = raised(alpha, tcs, noise)
        P, log_z = infer(theta, log_prior, alpha, X)
        tcs = log_z.mean(1)
        history.append(float(tcs.sum()))
    return P, log_z, alpha, history

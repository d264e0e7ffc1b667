"""Regions of a layer's activations, and the CorEx of each: what LayerLocalCorEx learns."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.layer_method import LayerMethod, LayerRows, scoring
from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.core.pooling import Pooling
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.core.state import preserved_state, warn_of_training_mode
from hoi_captum.corex import LinearCorEx, LocalCorEx
from hoi_captum.corex.base import as_array
from hoi_captum.errors import DataWarning, InputError, ModelOutputError, OptionError
from hoi_captum.methods.local_corex.class_scores import Classes
from hoi_captum.methods.local_corex.saving import read_fitted, write_fitted

PARTITIONS = ("layer", "inputs")
ROWS_PER_CLUSTER = 200  # a cluster of the default partition; the paper asks for 50 to 100 at the least
MOST_CLUSTERS = 20


class LayerRegions(LayerMethod):
    """A layer method that has a CorEx for each region of the data; arguments as of ``LayerLocalCorEx``."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        *,
        n_factors: int = 30,
        n_clusters: int | None = None,
        pooling: str | Pooling = "mean",
        neuron_dim: int | None = None,
        include_logits: bool | Sequence[int] = False,
        class_names: Sequence[str] | Callable[[int], str] | None = None,
        partition: str = "layer",
        estimator: Any = None,
        embedder: Any = "phate",
        clusterer: Any = None,
        factor: int | None = None,
        threshold: float | None = None,
        min_rows: int = 50,
        n_jobs: int | None = None,
        random_state: int = 42,
    ) -> None:
        super().__init__(forward_func, layer, device_ids, pooling=pooling, neuron_dim=neuron_dim)
        self.n_factors = check_count("n_factors", n_factors)
        self.n_clusters = None if n_clusters is None else check_count("n_clusters", n_clusters)
        self.classes = Classes.of(include_logits, class_names)
        self.partition = check_choice("partition", partition, PARTITIONS)
        self.estimator = estimator
        self.embedder = embedder
        self.clusterer = clusterer
        self.factor = None if factor is None else check_count("factor", factor, low=0)
        self.threshold = None if threshold is None else check_number("threshold", threshold, low=0.0)
        self.min_rows = check_count("min_rows", min_rows, low=2)
        self.n_jobs = n_jobs
        self.random_state = check_count("random_state", random_state, low=0)

    # ---------------------------------------------------------------- learning
    def fit(
        self,
        data: Any,
        *,
        additional_forward_args: Any = None,
        cluster_labels: Any = None,
        attribute_to_layer_input: bool = False,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Self:
        """Learn the regions and their factors from what the layer gives for the data.

        Args:
            data: a Tensor, a tuple of Tensors (several inputs), a Dataset, or an iterable of batches such as
                a DataLoader, which is read once; see :func:`hoi_captum.core.batches.batches`.
            additional_forward_args (Any, optional): as in Captum; an attention mask among them is heeded.
            cluster_labels (Sequence[int], optional): (rows,) regions that are known already, -1 for rows of
                none. Default: None (found)
            attribute_to_layer_input (bool): explain what enters the layer. Default: False
            internal_batch_size (int, optional): rows of a forward pass, of data given whole. Default:
                None (64)
            show_progress (bool): bars on stderr. Default: False

        Returns:
            self

        Raises:
            InputError: a layer that does not run, or whose width differs between batches; too few rows, NaN
                or infinite activations, no neuron that varies (see the estimators).
        """
        started, forward = time.perf_counter(), self._forward()
        warn_of_training_mode(self.forward_func)
        neurons, logits, inputs = [], [], []
        with preserved_state(self.forward_func):
            for rows in self._stream(
                forward,
                data,
                additional_forward_args=additional_forward_args,
                batch_size=internal_batch_size,
                at_input=attribute_to_layer_input,
                show_progress=show_progress,
            ):
                neurons.append(as_array(rows.neurons))
                if self.classes.include:
                    logits.append(self.classes.log_probabilities(rows.output))
                if self.partition == "inputs":
                    inputs.append(_flat(rows.arguments.inputs))
            shapes = rows.shapes
        activations = np.concatenate(neurons)
        matrix = np.concatenate([activations, _stacked(logits)], axis=1) if logits else activations
        columns = self.classes.columns(logits[0].shape[1]) if logits else ()
        local = self._estimator(len(matrix), show_progress)
        # log-probabilities are for CorEx alone: regions are those of the layer, or of the inputs
        space = _together(inputs) if inputs else activations
        local.fit(matrix, partition_data=space, cluster_labels=cluster_labels)
        # nothing before this line changed what an earlier fit had learned
        self.local_, self._at_input = local, attribute_to_layer_input
        self.class_columns_, self.class_names_ = columns, self.classes.named(columns)
        self.neuron_names_, self.layer_name_ = self.pooling.names(shapes), self._layer_name()
        members = [local.cluster_labels_ == k for k in range(local.n_clusters_)]
        nowhere = np.full(activations.shape[1], np.nan)  # numbers of regions may be left out
        self.means_ = np.stack(
            [activations[m].mean(0, dtype=np.float64) if m.any() else nowhere for m in members]
        )
        self.fit_rows_, self.fit_seconds_ = len(matrix), time.perf_counter() - started
        return self

    # ---------------------------------------------------------------- what factors are about
    def class_association(
        self, cluster: int, factor: int | None = None, *, signed: bool = False
    ) -> NDArray[np.float64]:
        """What factors know of the classes: I(Y_j; log p(class)), nats.

        Args:
            cluster: a region.
            factor: one of its factors. Default: None (all)
            signed: with the sign of the correlation: below 0 where the class is less likely as the factor
                rises (and as :meth:`perturb` moves the layer up). Default: False

        Returns:
            (classes,), or (factors, classes) for all factors; classes as in ``class_columns_``.

        Raises:
            NotFittedError: before :meth:`fit`.
            OptionError: made without ``include_logits``, or signs of an estimator that has none.
            InputError: no such region or factor.
        """
        model = self._model(cluster, factor)
        if check_flag("signed", signed) and not hasattr(model, "correlations_"):
            raise OptionError(
                f"expected signed=False with {type(model).__name__}, which knows no correlations"
            )
        if not self.class_columns_:
            raise OptionError("the classes are not known: make the method with include_logits=True")
        known: NDArray[np.float64] = model.mi_[:, len(self.neuron_names_) :]
        if signed:
            known = known * np.sign(model.correlations_[:, len(self.neuron_names_) :])
        return known if factor is None else known[factor]

    def top_neurons(self, cluster: int, factor: int, n_neurons: int) -> tuple[int, ...]:
        """The neurons that know most of a factor, strongest first.

        Raises:
            NotFittedError, InputError: as :meth:`class_association`; more neurons than there are.
        """
        mi = self._model(cluster, factor).mi_[factor, : len(self.neuron_names_)]
        if check_count("n_neurons", n_neurons) > len(mi):
            raise InputError(f"expected n_neurons of at most {len(mi)}, got {n_neurons}")
        return tuple(np.argsort(-mi, kind="stable")[:n_neurons].tolist())

    @property
    def player_names(self) -> tuple[str, ...]:
        """Names of the neurons, and of the log-probabilities where they were included."""
        return self.neuron_names_ + self.class_names_

    def _forward(self) -> Callable[..., Any]:
        # read late: Captum's wrappers copy an instance and replace its forward_func
        return scoring(self.forward_func) if self.classes.include else self.forward_func

    def _estimator(self, rows: int, show_progress: bool) -> LocalCorEx:
        """What is to be fitted to so many rows."""
        estimator = self.estimator
        if estimator is None:
            estimator = LinearCorEx(self.n_factors, gaussianize="outliers", random_state=self.random_state)
        return LocalCorEx(
            estimator,
            n_clusters=self.n_clusters or min(MOST_CLUSTERS, max(1, rows // ROWS_PER_CLUSTER)),
            embedder=self.embedder,
            clusterer=self.clusterer,
            min_rows=self.min_rows,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
            verbose=show_progress,
        )

    def _write(self, path: str | os.PathLike[str]) -> Path:
        return write_fitted(self, path)

    @classmethod
    def _read_file(cls, path: str | os.PathLike[str], *args: Any) -> Self:
        return read_fitted(cls, path, *args)

    def _explained(
        self, inputs: Any, target: Any, additional: Any, *, plain: bool = False
    ) -> tuple[LayerRows, list[int]]:
        """The layer for the inputs, and the region of each row; plain: with the forward function itself."""
        self._check_fitted()
        warn_of_training_mode(self.forward_func)
        with preserved_state(self.forward_func):
            forward = self.forward_func if plain else self._forward()
            rows = self._read(forward, inputs, target, additional, at_input=self._at_input)
            if target is not None:
                rows.arguments.select(rows.output, torch.arange(len(rows)))
        if rows.neurons.shape[1] != len(self.neuron_names_):
            raise InputError(
                f"expected the {len(self.neuron_names_)} neurons that fit() saw, got {rows.neurons.shape[1]}"
            )
        clusters = self._clusters(rows)
        if unknown := sorted({k for k in clusters if not self._known(k)}):
            warnings.warn(
                f"rows in the regions {unknown} (-1: in none) are explained by no factor: fit() found fewer "
                f"than min_rows={self.min_rows} rows there; give it more data, or ask for fewer clusters",
                DataWarning,
                stacklevel=4,
            )
        return rows, clusters

    def _known(self, cluster: int) -> bool:
        return cluster >= 0 and self.local_.models_[cluster] is not None

    def _clusters(self, rows: LayerRows) -> list[int]:
        inputs = self.partition == "inputs"
        space = _flat(rows.arguments.inputs) if inputs else as_array(rows.neurons)
        found: list[int] = self.local_.predict(space).tolist()
        return found

    def _matrix(self, rows: LayerRows) -> NDArray[np.floating[Any]]:
        """What CorEx gets of some rows: neurons, and log-probabilities where they are included."""
        neurons: NDArray[np.floating[Any]] = as_array(rows.neurons)
        if not self.classes.include:
            return neurons
        return np.concatenate([neurons, self.classes.log_probabilities(rows.output)], axis=1)

    def _chosen(self, rows: LayerRows, clusters: Sequence[int]) -> list[int]:
        """The factor that each row shows."""
        if self.factor is not None:
            for k in filter(self._known, set(clusters)):
                self._model(k, self.factor)
            return [self.factor] * len(clusters)
        classes = rows.arguments.target_classes
        wanted = classes if isinstance(classes, list) else [classes] * len(clusters)
        count = rows.output.shape[-1] if classes is not None else 0
        # -1 is the last class, as everywhere in Captum
        positive = [c if c is None or c >= 0 else c + count for c in wanted]
        return [self._about(k, c) for k, c in zip(clusters, positive, strict=True)]

    def _about(self, cluster: int, label: int | None) -> int:
        """The factor of a region that knows most of a class, or its strongest."""
        if label not in self.class_columns_ or not self._known(cluster):
            return 0
        return int(self.class_association(cluster)[:, self.class_columns_.index(label)].argmax())

    def _model(self, cluster: int, factor: int | None = None) -> Any:
        self._check_fitted()
        there = {k: model for k, model in enumerate(self.local_.models_) if model is not None}
        if check_count("cluster", cluster, low=0) not in there:
            raise InputError(
                f"expected cluster to be one of {sorted(there)}, got {cluster}; regions of fewer than "
                f"min_rows={self.min_rows} rows have no factors"
            )
        count = len(there[cluster].tcs_)
        if factor is not None and check_count("factor", factor, low=0) >= count:
            raise InputError(f"expected factor in 0..{count - 1}, got {factor}")
        return there[cluster]

    def _about_region(self, cluster: int) -> str:
        if not self._known(cluster):
            return f"cluster:{cluster} of {self.layer_name_} has no factors"
        rows, tc = int(self.local_.cluster_sizes_[cluster]), float(self.local_.tc_[cluster])
        return (
            f"cluster:{cluster} of {self.layer_name_} ({rows:,} of {self.fit_rows_:,} rows), total "
            f"correlation {tc:.3g} nats"
        )

    def _options(self) -> dict[str, Any]:
        named = ("n_factors", "n_clusters", "partition", "factor", "threshold", "min_rows")
        chosen = {name: getattr(self, name) for name in named} | {"include_logits": self.classes.include}
        pooled = {"pooling": self.pooling.kind, "neuron_dim": self.pooling.neuron_dim}
        pooled |= {"attention_mask": self.pooling.mask}
        given = {name: getattr(self, name) for name in ("estimator", "embedder", "clusterer")}
        return chosen | pooled | {k: v if v is None else str(v) for k, v in given.items()}

    def _provenance(self, cluster: int, target: Any, seconds: float) -> Provenance:
        return Provenance(
            method=self.name,
            options=self._options(),
            target=str(target),
            model=(describe_model(self.forward_func),),
            seed=self.random_state,
            forward_passes=1,
            seconds=seconds,
            details={
                "about": self._about_region(cluster),
                "layer": self.layer_name_,
                "cluster": cluster,
                "cluster_rows": int(self.local_.cluster_sizes_[cluster]) if cluster >= 0 else 0,
                "total_correlation": float(self.local_.tc_[cluster]) if self._known(cluster) else None,
                "fit_rows": self.fit_rows_,
                "fit_seconds": self.fit_seconds_,
            },
        )


def _stacked(logs: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Log-probabilities of all rows.

    Raises:
        ModelOutputError: batches with other numbers of classes.
    """
    widths = sorted({piece.shape[1] for piece in logs})
    if len(widths) > 1:
        raise ModelOutputError(f"expected as many classes in every batch, got {widths}")
    return np.concatenate(logs)


def _together(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """All rows of the inputs.

    Raises:
        InputError: rows of different widths.
    """
    widths = {piece.shape[1] for piece in pieces}
    if len(widths) > 1:
        raise InputError(
            f"expected inputs of one size to find regions in, got rows of {sorted(widths)} numbers; use "
            "partition='layer'"
        )
    return np.concatenate(pieces)


def _flat(inputs: tuple[Tensor, ...]) -> NDArray[np.float32]:
    """All numbers of each row's inputs."""
    flat: NDArray[np.float32] = torch.cat(
        [x.detach().flatten(1).cpu().float() for x in inputs], dim=1
    ).numpy()
    return flat

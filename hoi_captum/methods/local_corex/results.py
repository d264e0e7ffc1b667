"""What perturbing a layer along a factor, and ablating a factor's neurons, give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.errors import InputError


@dataclass(frozen=True, eq=False)
class Perturbation:
    """The rest of the network, run from layers that were moved along a factor.

    Attributes:
        strengths: (S,), in the order given; 0 is the unchanged layer.
        outputs: (S, B, ...) what the forward function gives.
        decoded: (S, B, ...) what the decoder gives; None without one.
        direction: (neurons,) what a strength of 1 adds to the neurons.
        cluster: whose factor it is.
        factor: its number.
    """

    strengths: NDArray[np.float64]
    outputs: Tensor
    decoded: Tensor | None
    direction: NDArray[np.float64]
    cluster: int
    factor: int

    def __repr__(self) -> str:
        outputs = tuple(self.outputs.shape)
        return f"Perturbation(cluster={self.cluster}, factor={self.factor}, outputs of shape {outputs})"

    @property
    def change(self) -> Tensor:
        """Outputs minus those of the unchanged layer, (S, B, ...).

        Raises:
            InputError: strength 0 was left out.
        """
        base = np.flatnonzero(self.strengths == 0)
        if not len(base):
            raise InputError(f"expected strength 0 among {self.strengths.tolist()}, to compare with")
        return self.outputs - self.outputs[int(base[0])]


@dataclass(frozen=True, eq=False)
class Ablation:
    """A model's accuracy by cluster, with and without the top neurons of a factor.

    Attributes:
        clusters: (K,) numbers of the clusters that have rows in the data, ascending.
        sizes: (K,) their rows.
        accuracy_before, accuracy_after: (K,) shares of rows whose largest output is at the label; where the
            data have no labels, at the class that the whole model predicts.
        probabilities_before, probabilities_after: (K, C) mean class probabilities.
        classes: (K, C) rows of each class (by the label, or the prediction), for weighing the clusters.
        neurons: what was ablated, strongest first.
        cluster, factor: whose neurons.
        value: what they were set to.
    """

    clusters: NDArray[np.int64]
    sizes: NDArray[np.int64]
    accuracy_before: NDArray[np.float64]
    accuracy_after: NDArray[np.float64]
    probabilities_before: NDArray[np.float64]
    probabilities_after: NDArray[np.float64]
    classes: NDArray[np.int64]
    neurons: tuple[int, ...]
    cluster: int
    factor: int
    value: float

    def __repr__(self) -> str:
        changes = zip(self.clusters.tolist(), self.accuracy_change.tolist(), strict=True)
        listed = ", ".join(f"{k}: {change:+.1f}" for k, change in changes)
        named = f"cluster={self.cluster}, factor={self.factor}, {len(self.neurons)} neurons"
        return f"Ablation({named}; accuracy in points by cluster: {listed})"

    @property
    def accuracy_change(self) -> NDArray[np.float64]:
        """Percentage points by which the accuracy rose (below 0: fell), (K,)."""
        return 100 * (self.accuracy_after - self.accuracy_before)

    @property
    def probability_change(self) -> NDArray[np.float64]:
        """After minus before, (K, C)."""
        return self.probabilities_after - self.probabilities_before

    def class_share(self, label: int) -> NDArray[np.float64]:
        """The share of a class among the rows of each cluster, (K,)."""
        share: NDArray[np.float64] = self.classes[:, label] / self.sizes
        return share

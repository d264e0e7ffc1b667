"""Silencing neurons, and counting which regions suffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.gates import copies_of
from hoi_captum.core.layer_method import LayerRows
from hoi_captum.core.layers import tapped
from hoi_captum.errors import InputError, ModelOutputError
from hoi_captum.methods.local_corex.class_scores import log_probabilities
from hoi_captum.methods.local_corex.results import Ablation


def run_masked(
    rows: LayerRows, layer: nn.Module, masks: Sequence[Tensor], value: float, *, at_input: bool
) -> Any:
    """The network's output with some of a layer's cells set to a value, in the run that was read.

    Args:
        rows: the forward function and its inputs, and what the layer gave.
        layer: any module that it runs.
        masks: like the layer's tensors, above 0 where the value goes.
        value: what is put there.
        at_input: set what enters the layer.
    """
    arguments, every = rows.arguments, torch.arange(len(rows))

    def silence(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(t.masked_fill((m > 0).to(t.device), value) for t, m in zip(tensors, masks, strict=True))

    with torch.no_grad(), tapped(layer, silence, at_input=at_input, call=rows.calls):
        return arguments.output(copies_of(arguments.inputs, every), every)


class RegionCounts:
    """Right answers and class probabilities by region, added up batch by batch."""

    def __init__(self) -> None:
        self._regions: list[NDArray[np.int64]] = []
        self._classes: list[NDArray[np.int64]] = []
        self._right: list[NDArray[np.float64]] = []  # (rows, 2): before, after
        self._probabilities: list[NDArray[np.float64]] = []  # (rows, 2, classes)

    def add(self, regions: Sequence[int], before: Any, after: Any, labels: Tensor | None) -> None:
        """Rows of a batch.

        Args:
            regions: of each row.
            before, after: logits (rows, classes).
            labels: (rows,); None counts agreement with ``before``.

        Raises:
            ModelOutputError: outputs that are no logits.
            InputError: labels that the output does not have.
        """
        logs = torch.stack([log_probabilities(before), log_probabilities(after)], dim=1)
        if self._probabilities and logs.shape[2] != self._probabilities[-1].shape[2]:
            raise ModelOutputError(
                f"expected {self._probabilities[-1].shape[2]} classes in every batch, got {logs.shape[2]}"
            )
        truth = logs[:, 0].argmax(1) if labels is None else labels
        if int(truth.min()) < 0 or int(truth.max()) >= logs.shape[2]:
            raise InputError(
                f"expected labels in 0..{logs.shape[2] - 1}, got {int(truth.min())} to {int(truth.max())}"
            )
        self._regions.append(np.asarray(regions, dtype=np.int64))
        self._classes.append(truth.numpy())
        self._right.append((logs.argmax(2) == truth.unsqueeze(1)).double().numpy())
        self._probabilities.append(logs.exp().numpy())

    def result(self, neurons: tuple[int, ...], cluster: int, factor: int, value: float) -> Ablation:
        """The sums by region."""
        regions, right = np.concatenate(self._regions), np.concatenate(self._right)
        truth, probabilities = np.concatenate(self._classes), np.concatenate(self._probabilities)
        found = np.unique(regions)
        members = [regions == k for k in found]
        accuracy = np.stack([right[m].mean(0) for m in members])
        mean = np.stack([probabilities[m].mean(0) for m in members])
        return Ablation(
            clusters=found,
            sizes=np.array([m.sum() for m in members]),
            accuracy_before=accuracy[:, 0],
            accuracy_after=accuracy[:, 1],
            probabilities_before=mean[:, 0],
            probabilities_after=mean[:, 1],
            classes=np.stack([np.bincount(truth[m], minlength=probabilities.shape[2]) for m in members]),
            neurons=neurons,
            cluster=cluster,
            factor=factor,
            value=value,
        )

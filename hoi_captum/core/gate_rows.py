"""Some examples of gates, as gates of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from hoi_captum.core.gates import Gates


class RowsOfGates(Gates):
    """Some of the examples of other gates.

    Args:
        gates: the gates of all examples.
        rows: (B',) the examples.

    Attributes:
        backward_passes: of these rows; forward passes are counted by the gates of all.
    """

    def __init__(self, gates: Gates, rows: Tensor) -> None:
        self._gates, self._rows = gates, rows
        self.arguments, self.players, self.dtype = gates.arguments, gates.players, gates.dtype
        self.vectorised = gates.vectorised
        self.backward_passes = 0

    @property
    def n_examples(self) -> int:
        return len(self._rows)

    @property
    def n_channels(self) -> int:
        return self._gates.n_channels

    @property
    def device(self) -> torch.device:
        return self._gates.device

    def run(
        self,
        rows: Tensor,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        channels: Tensor | None = None,
    ) -> Tensor:
        return self._gates.run(self._rows[rows], scale, shift, channels)

    def sums(self) -> Tensor:
        return self._gates.sums()[self._rows]

    _run = run

r"""Players and coalitions: who can be absent, and the bit order of every table.

A coalition is a row of a boolean (m, n) matrix. Tables over all coalitions are indexed by bit mask
with player 0 as the most significant bit, so binary counting gives their rows in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hoi_captum.errors import PlayerError

BACKGROUND = -1  # the id in a feature mask of cells that are never absent


def all_coalitions(n: int) -> Tensor:
    """All 2^n coalitions of n players, (2^n, n) bool, in table order."""
    return coalitions_of(torch.arange(1 << n), n)


def coalitions_of(indices: Tensor, n: int) -> Tensor:
    """The coalitions (m, n) that stand at the given rows of a table, (m,) int64."""
    shifts = torch.arange(n - 1, -1, -1, device=indices.device)
    return (indices.unsqueeze(-1) >> shifts & 1).bool()


def coalition_indices(coalitions: Tensor) -> Tensor:
    """The rows of a table, (m,) int64, at which the coalitions (m, n) stand."""
    n = coalitions.shape[-1]
    weights = 1 << torch.arange(n - 1, -1, -1, device=coalitions.device)
    return (coalitions.long() * weights).sum(-1)


@dataclass(frozen=True)
class Players:
    """Which cells of the inputs belong to which player.

    Attributes:
        masks: one integer tensor for each input tensor, (1 or B, ...), broadcastable to it:
            player ids 0..n-1, or -1 for cells that are never absent.
        count: n, the number of players.
    """

    masks: tuple[Tensor, ...]
    count: int

    @classmethod
    def from_feature_mask(
        cls, inputs: tuple[Tensor, ...], feature_mask: Tensor | tuple[Tensor, ...] | None
    ) -> Players:
        """Check a Captum ``feature_mask`` against the inputs; None makes every cell a player.

        Equal ids in different tensors are one player, as in Captum.

        Raises:
            PlayerError: ids that are not 0..n-1 (or -1), a wrong dtype or shape, or no player at all.
        """
        if feature_mask is None:
            return cls._one_per_cell(inputs)
        feature_mask = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
        if len(feature_mask) != len(inputs):
            raise PlayerError(
                f"expected one feature_mask for each of the {len(inputs)} input tensors, "
                f"got {len(feature_mask)}"
            )
        for x, mask in zip(inputs, feature_mask, strict=True):
            _check_mask(x, mask)
        # int64: torch takes smaller integers for something else than indices, or not at all
        masks = tuple(m.to(x.device, torch.int64) for x, m in zip(inputs, feature_mask, strict=True))
        # tensors of inference mode could not be indexed by where derivatives are taken
        masks = tuple(m.clone() if m.is_inference() else m for m in masks)
        return cls(masks, _count(masks))

    @classmethod
    def _one_per_cell(cls, inputs: tuple[Tensor, ...]) -> Players:
        masks, start = [], 0
        for x in inputs:
            cells = x[0].numel()
            masks.append(torch.arange(start, start + cells, device=x.device).view(1, *x.shape[1:]))
            start += cells
        if start == 0:
            raise PlayerError("the inputs have no cells, so there are no players; give inputs that have some")
        return cls(tuple(masks), start)

    def presence(self, coalitions: Tensor, tensor: int, rows: Tensor | None = None) -> Tensor:
        """Which cells are present: bool, (m, ...) broadcastable to the m masked copies.

        Args:
            coalitions: (m, n) bool.
            tensor: number of the input tensor.
            rows: (m,) the example of each copy; None where the mask is shared by all examples.
        """
        return self.on_cells(coalitions, tensor, rows, background=1)

    def on_cells(
        self, values: Tensor, tensor: int, rows: Tensor | None = None, *, background: float = 0
    ) -> Tensor:
        """The value of each cell's player, (m, ...) broadcastable to m copies of an input; differentiable.

        Args:
            values: (m, n), one for each player.
            tensor, rows: as in :meth:`presence`.
            background: the value of cells that belong to nobody.
        """
        mask = self.masks[tensor]
        # an extra column: id -1 addresses it
        padded = torch.cat((values, values.new_full((len(values), 1), background)), dim=1)
        if mask.shape[0] == 1:
            return padded[:, mask[0]]
        if rows is None:
            raise PlayerError("masks that differ between examples need the example of each copy")
        m = len(values)
        return padded.gather(1, (mask[rows].reshape(m, -1)) % (self.count + 1)).view(m, *mask.shape[1:])

    def spread(self, values: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Give every cell of the inputs the value of its player (background: 0).

        Args:
            values: (B, n).
            inputs: the input tensors, for shape, dtype and device.

        Returns:
            one tensor for each input, of its shape; float64 where the input is, else float32.
        """
        padded = torch.cat((values, values.new_zeros(len(values), 1)), dim=1)
        cells = []
        for x, mask in zip(inputs, self.masks, strict=True):
            # half precision holds neither the digits nor the range of a sum of outputs
            dtype = torch.promote_types(x.dtype, torch.float32)
            ids = mask.expand(x.shape).reshape(len(x), -1).to(padded.device) % (self.count + 1)
            cells.append(padded.gather(1, ids).view(x.shape).to(device=x.device, dtype=dtype))
        return tuple(cells)


def _check_mask(x: Tensor, mask: Tensor) -> None:
    if not isinstance(mask, Tensor) or mask.is_floating_point() or mask.dtype == torch.bool:
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise PlayerError(f"expected an integer tensor as feature_mask, got {came}")
    fits = mask.dim() == x.dim() and all(m in (1, s) for m, s in zip(mask.shape, x.shape, strict=True))
    if not fits:
        raise PlayerError(
            f"expected a feature_mask broadcastable to the input's shape {tuple(x.shape)}, "
            f"got {tuple(mask.shape)}; its first dimension is 1 or the batch"
        )


def _count(masks: Sequence[Tensor]) -> int:
    ids = torch.cat([m.reshape(-1).cpu().unique() for m in masks]).unique()
    if ids.numel() and int(ids[0]) < BACKGROUND:
        raise PlayerError(
            f"expected feature_mask ids 0..n-1, or -1 for cells that are never absent; got {int(ids[0])}"
        )
    players = ids[ids >= 0]
    if players.numel() == 0:
        raise PlayerError("the feature_mask names no player: all cells are -1; give at least one an id >= 0")
    n = int(players[-1]) + 1
    if players.numel() != n:
        present = set(players.tolist())
        missing = [i for i in range(n) if i not in present][:5]
        raise PlayerError(
            f"expected feature_mask ids 0..n-1 without gaps; the largest is {n - 1} but {missing} "
            "are missing; number the players anew"
        )
    return n

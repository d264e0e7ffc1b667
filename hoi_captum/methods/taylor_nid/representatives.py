"""Rows of the data that stand for all of it: the nearest to its means, medians, extremes and modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.batches import Batch, batches
from hoi_captum.core.coalitions import Players
from hoi_captum.errors import InputError
from hoi_captum.methods.taylor_nid.aggregation import AGGREGATES

_BLOCK = 1024  # rows compared at once

RANDOM = "random"
REPRESENTATIVES = (*AGGREGATES, RANDOM)


@dataclass(frozen=True, eq=False)
class Data:
    """Rows of inputs, and what came with each of them.

    Attributes:
        inputs: (N, ...) each, detached.
        additional: additional forward arguments; Tensors with N entries are cut with the rows. None where
            nothing came with the data.
        own: for each of the additional arguments whether every row has its own.
    """

    inputs: tuple[Tensor, ...]
    additional: tuple[Any, ...] | None = None
    own: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs[0])

    @classmethod
    def of(cls, data: Any, additional_forward_args: Any = None) -> Data:
        """All of the data, whatever it comes as (see :func:`~hoi_captum.core.batches.batches`).

        Raises:
            InputError: no rows, rows of different shapes, numbers that are not finite, no floating point
                input, or additional arguments that differ where they cannot be told apart by rows.
        """
        found = list(batches(data, additional_forward_args=additional_forward_args))
        if not found:
            raise InputError("expected at least one row of data, got none")
        inputs = _joined(found)
        for x in inputs:
            if not bool(x.isfinite().all()):
                raise InputError("expected finite data, got NaN or infinity; leave such rows out")
        additional, own = _joined_additional(found)
        return cls(inputs, additional, own)

    def take(self, rows: Tensor) -> Data:
        """Some of the rows, (r,), in that order."""
        inputs = tuple(x.index_select(0, rows.to(x.device)) for x in self.inputs)
        if self.additional is None:
            return Data(inputs)
        pairs = zip(self.additional, self.own, strict=True)
        additional = tuple(a.index_select(0, rows.to(a.device)) if mine else a for a, mine in pairs)
        return Data(inputs, additional, self.own)

    def cells(self) -> Tensor:
        """All floating point cells of each row, (N, c) float64 on the CPU.

        Raises:
            InputError: there are none.
        """
        floating = [x for x in self.inputs if x.is_floating_point()]
        if not floating:
            raise InputError(
                f"expected floating point inputs, got {self.inputs[0].dtype}: there are no derivatives by "
                "integers, and no rows of token ids are near to each other; give embeddings instead, or "
                ".float() numbers. With gates on attention token ids will do if representatives='random'"
            )
        return torch.cat([x.reshape(len(x), -1).cpu().double() for x in floating], dim=1)


def nearest_rows(data: Data, names: Sequence[str], seed: int) -> Tensor:
    r"""The row that stands for the data by each name, (r,) int64.

    That of least Euclidean distance to the vector of all cells' means, medians, ..., in the unit of the
    inputs; ``random`` is any row. (Lerman et al., ICCV 2021, section 3; the authors' choice of samples.)

    Args:
        data: N rows.
        names: of :data:`REPRESENTATIVES`.
        seed: of the random row.

    Raises:
        InputError: no floating point inputs, by which rows are near to each other; the random one needs none.
    """
    cells = data.cells() if set(names) != {RANDOM} else torch.empty(0)
    chosen = [_random_row(len(data), seed) if n == RANDOM else _nearest(cells, n) for n in names]
    return torch.tensor(chosen)


def nearest_rows_by_set(
    data: Data, players: Players, sets: NDArray[np.int64], names: Sequence[str], seed: int
) -> Tensor:
    """As :func:`nearest_rows` for each set of players, by the cells of its players alone: (s, r) int64.

    Args:
        data, names, seed: as in :func:`nearest_rows`; the random row is the same for all sets.
        players: whose masks are shared by all rows.
        sets: (s, o) ids of the members.
    """
    cells = data.cells()
    owners = torch.cat(
        [
            mask.expand(1, *x.shape[1:]).reshape(-1).cpu()
            for x, mask in zip(data.inputs, players.masks, strict=True)
            if x.is_floating_point()
        ]
    )
    owned = owners >= 0
    columns = []
    for name in names:
        if name == RANDOM:
            columns.append(torch.full((len(sets),), _random_row(len(data), seed)))
            continue
        apart = (cells - torch.from_numpy(AGGREGATES[name](cells.numpy(), 0))).square()
        by_player = apart.new_zeros(len(data), players.count).index_add_(1, owners[owned], apart[:, owned])
        rows = [
            by_player[:, torch.from_numpy(s)].sum(-1).argmin(0) for s in np.array_split(sets, _pieces(sets))
        ]
        columns.append(torch.cat(rows))
    return torch.stack(columns, dim=1)


def _pieces(sets: NDArray[np.int64]) -> int:
    return max(1, len(sets) // _BLOCK)


def _nearest(cells: Tensor, name: str) -> int:
    centre = torch.from_numpy(AGGREGATES[name](cells.numpy(), 0))
    return int(torch.cat([(block - centre).square().sum(1) for block in cells.split(_BLOCK)]).argmin())


def _random_row(rows: int, seed: int) -> int:
    return int(torch.randint(rows, (), generator=torch.Generator().manual_seed(seed)))


def _joined(found: Sequence[Batch]) -> tuple[Tensor, ...]:
    first = found[0].inputs
    for batch in found:
        shapes = [tuple(x.shape[1:]) for x in batch.inputs]
        if shapes != [tuple(x.shape[1:]) for x in first]:
            raise InputError(
                f"expected rows of one shape, got {[tuple(x.shape[1:]) for x in first]} and {shapes}: "
                "players mean the same in all rows only where the rows are alike; cut or pad them"
            )
    return tuple(torch.cat([b.inputs[t].detach() for b in found]) for t in range(len(first)))


def _joined_additional(found: Sequence[Batch]) -> tuple[tuple[Any, ...] | None, tuple[bool, ...]]:
    counts = {len(b.additional) for b in found}
    if counts == {0}:
        return None, ()
    if len(counts) > 1:
        raise InputError(f"expected as many additional arguments with every batch, got {sorted(counts)}")
    joined, own = [], []
    for place in range(counts.pop()):
        values = [b.additional[place] for b in found]
        mine = all(
            isinstance(v, Tensor) and v.dim() > 0 and len(v) == len(b)
            for v, b in zip(values, found, strict=True)
        )
        own.append(mine)
        joined.append(_cat(values, place) if mine else _shared(values, place))
    return tuple(joined), tuple(own)


def _cat(values: list[Tensor], place: int) -> Tensor:
    try:
        return torch.cat(values)
    except RuntimeError as error:
        raise InputError(
            f"additional argument {place} has rows of different shapes ({error}); pad them to one"
        ) from error


def _shared(values: list[Any], place: int) -> Any:
    first = values[0]
    for other in values[1:]:
        if other is first:
            continue
        tensors = isinstance(other, Tensor) and isinstance(first, Tensor)
        if not (torch.equal(other, first) if tensors else type(other) is type(first) and other == first):
            raise InputError(
                f"additional argument {place} differs between batches and has no entry for each row; give it "
                "as a Tensor with one entry for each row"
            )
    return first

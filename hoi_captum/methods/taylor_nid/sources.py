"""Cross derivatives at the rows that stand for the data: the same for all sets, or each set's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import Variable, grow, hessian
from hoi_captum.core.gates import Gates
from hoi_captum.methods.taylor_nid.learned import Learned
from hoi_captum.methods.taylor_nid.questions import Question
from hoi_captum.methods.taylor_nid.representatives import Data, nearest_rows_by_set
from hoi_captum.methods.taylor_nid.settings import Settings

_TOGETHER = 128  # rows in one pass where each set has its own

GatesAt = Callable[[Tensor], Gates]
Tell = Callable[[int], object]


class Source(Protocol):
    """As :class:`~hoi_captum.methods.taylor_nid.growth.Differentiates`, counting its passes.

    Attributes:
        forward_passes, backward_passes: model rows so far.
    """

    @property
    def forward_passes(self) -> int: ...

    @property
    def backward_passes(self) -> int: ...

    def pairs(self) -> NDArray[np.float64]: ...

    def further(self, sets: NDArray[np.int64]) -> NDArray[np.float64]: ...


class SharedRows:
    """Derivatives of all sets at the same rows.

    Args:
        gates_at: gates of the data's rows, (r,).
        rows: (r,) of the data; a row that stands there twice is evaluated once.
        variable: by what to differentiate, ``shift`` or ``scale``.
        tell: called with the number of sets that were differentiated once more.
    """

    def __init__(self, gates_at: GatesAt, rows: Tensor, variable: Variable, tell: Tell) -> None:
        distinct, self._place = rows.unique(return_inverse=True)
        self._gates, self._variable, self._tell = gates_at(distinct), variable, tell

    @property
    def forward_passes(self) -> int:
        return self._gates.forward_passes

    @property
    def backward_passes(self) -> int:
        return self._gates.backward_passes

    def pairs(self) -> NDArray[np.float64]:
        found = hessian(self._gates, wrt=(self._variable, self._variable), on_row=_steps(self._tell))
        both = (found + found.transpose(1, 2)) / 2  # equal but for rounding
        i, j = torch.triu_indices(self._gates.n_units, self._gates.n_units, 1)
        return np.asarray(both[:, i, j][self._place].T.numpy())

    def further(self, sets: NDArray[np.int64]) -> NDArray[np.float64]:
        found = grow(self._gates, torch.from_numpy(sets), wrt=self._variable, on_set=_steps(self._tell))
        return np.asarray(found[self._place].permute(1, 2, 0).numpy())


class OwnRows:
    """Derivatives of each set at the rows that are nearest by the cells of the set's players alone.

    Args:
        data: all of the data.
        players: whose masks are shared by all rows.
        names, seed: of the representatives.
        gates_at, variable, tell: as of :class:`SharedRows`.
    """

    def __init__(
        self,
        data: Data,
        players: Players,
        names: Sequence[str],
        seed: int,
        gates_at: GatesAt,
        variable: Variable,
        tell: Tell,
    ) -> None:
        self._data, self._players, self._names, self._seed = data, players, names, seed
        self._gates_at, self._variable, self._tell = gates_at, variable, tell
        self.forward_passes = self.backward_passes = 0

    def pairs(self) -> NDArray[np.float64]:
        i, j = np.triu_indices(self._players.count, 1)
        pairs = np.column_stack((i, j)).astype(np.int64)
        found = self._at(pairs, pairs[:, :1])
        self._tell(self._players.count)
        return np.asarray(np.take_along_axis(found, j[:, None, None], axis=1)[:, 0])

    def further(self, sets: NDArray[np.int64]) -> NDArray[np.float64]:
        found = self._at(sets, sets)
        self._tell(len(sets))
        return found

    def _at(self, near: NDArray[np.int64], sets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Derivatives of ``sets`` with each player at the rows nearest by ``near``: (s, k, r)."""
        rows = nearest_rows_by_set(self._data, self._players, near, self._names, self._seed)
        count, width = rows.shape
        examples = torch.from_numpy(sets).repeat_interleave(width, dim=0).unsqueeze(1)
        parts = []
        for at, own in zip(rows.reshape(-1).split(_TOGETHER), examples.split(_TOGETHER), strict=True):
            gates = self._gates_at(at)
            parts.append(grow(gates, own, wrt=self._variable)[:, 0])
            self.forward_passes += gates.forward_passes
            self.backward_passes += gates.backward_passes
        return np.asarray(torch.cat(parts).view(count, width, -1).transpose(1, 2).numpy())


def _steps(tell: Tell) -> Callable[[int], None]:
    """Running totals as the steps between them."""
    done = 0

    def told(total: int) -> None:
        nonlocal done
        tell(total - done)
        done = total

    return told


def source_of(
    question: Question, learned: Learned, settings: Settings, forward_func: Callable[..., Any], tell: Tell
) -> Source:
    """Where the derivatives of a question come from."""

    def gates_at(rows: Tensor) -> Gates:
        return question.gates(forward_func, learned.data.take(rows), settings.gate)

    if learned.place is not None:
        return SharedRows(gates_at, learned.place, settings.variable, tell)
    names, seed = settings.representatives, settings.seed
    return OwnRows(learned.data, question.players, names, seed, gates_at, settings.variable, tell)

"""A table of pairs or triples with the whole matrix of pairs beside its terms."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import PlayerError


class PairInteractions(Interactions):
    """Terms of cross derivatives, with all pairs as a matrix in ``arrays``.

    Attributes:
        arrays: ``pairs`` (k, k), ``main`` (k,), ``curvature`` (k,), and what else the method gives.
    """

    @property
    def pairs(self) -> NDArray[np.float64]:
        """All pairs' scores, whatever the terms are: (k, k), symmetric, zero on the diagonal."""
        return self.arrays["pairs"]

    @property
    def main(self) -> NDArray[np.float64]:
        """First derivatives by the units, (k,); by gates what gradient x (input - baseline) gives."""
        return self.arrays["main"]

    @property
    def curvature(self) -> NDArray[np.float64]:
        """Second derivatives of each unit by itself, (k,): the diagonal that ``pairs`` leaves out.

        NaN where the method does not give them (TaylorCAM by occlusion, and its cam variants).
        """
        return self.arrays["curvature"]

    def node_scores(self) -> NDArray[np.float64]:
        """How much each unit interacts at all, (k,): the sum of its terms' absolute scores."""
        owner = np.repeat(np.abs(self.scores), self.orders)
        return np.bincount(self.members, owner, minlength=len(self.players)).astype(np.float64)

    def partners(self, unit: int | str) -> NDArray[np.float64]:
        """What interacts with one unit: its row of ``pairs``, (k,).

        Args:
            unit: number or name.

        Raises:
            PlayerError: no such unit.
        """
        row: NDArray[np.float64] = self.pairs[self.unit(unit)]
        return row

    def unit(self, unit: int | str) -> int:
        """The number of a unit, given by it or by its name.

        Raises:
            PlayerError: no such unit.
        """
        k = len(self.players)
        index = self.players.index(unit) if isinstance(unit, str) and unit in self.players else unit
        if not isinstance(index, Integral) or not 0 <= index < k:
            known = ", ".join(self.players[:8])
            raise PlayerError(f"expected a unit in 0..{k - 1} or one of {known}; got {unit!r}")
        return int(index)

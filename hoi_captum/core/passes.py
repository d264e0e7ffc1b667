"""How many model rows go into one pass."""

from __future__ import annotations

import gc
import warnings

import torch
from torch import Tensor

from hoi_captum.errors import MemoryWarning

_CELLS_PER_PASS = 1 << 20  # numbers in one masked batch: about 4 MB of float32 inputs
_ROWS_PER_PASS = (16, 1024)
_USUAL_ROWS = 64  # where models of all sizes are within a third of their best throughput
_GAIN = 0.03  # of a row's time; what gains less may be noise
_TRIALS = 2  # passes of each size, of which the faster counts


class PassSize:
    """The number of rows in a pass: fixed, or sought by timing the first passes of the work itself.

    The search doubles the rows from 64 on for as long as that makes a row cheaper, or halves them.
    Other sizes change values in their last digits, through the order in which a matrix product adds;
    where that matters the size has to be fixed.

    Args:
        most: rows in one pass at most.
        sought: whether to seek. Default: False (always ``most``)

    Attributes:
        rows: rows of the next pass.

    Examples::

        >>> from hoi_captum.authoring import PassSize
        >>> PassSize(10).rows, PassSize.for_inputs((torch.ones(3, 20),), sought=False).rows
        (10, 64)
    """

    def __init__(self, most: int, *, sought: bool = False) -> None:
        self._most, self._seeking = most, sought
        self.rows = min(_USUAL_ROWS, _power_of_two(most)) if sought else most
        self._best = self.rows
        self._seconds: dict[int, list[float]] = {}  # for each row, of the passes of each size

    @classmethod
    def for_inputs(cls, inputs: tuple[Tensor, ...], *, sought: bool) -> PassSize:
        """The size for such inputs where nobody gives one; not sought it follows from theirs alone."""
        cells = sum(x[0].numel() for x in inputs)
        least, most = _ROWS_PER_PASS
        most = min(most, max(least, _CELLS_PER_PASS // max(cells, 1)))
        return cls(most, sought=True) if sought else cls(min(most, _USUAL_ROWS))

    def took(self, rows: int, seconds: float) -> None:
        """Learn what a pass cost; smaller ones than asked for (the last of the work) teach nothing."""
        if not self._seeking or rows != self.rows:
            return
        trials = self._seconds.setdefault(rows, [])
        trials.append(seconds / rows)
        if len(trials) < _TRIALS:
            return
        cost = {size: min(times) for size, times in self._seconds.items()}
        if rows == self._best or cost[rows] < cost[self._best] * (1 - _GAIN):
            self._best = rows
        neighbours = (2 * self._best, self._best // 2)
        untried = [size for size in neighbours if 1 <= size <= self._most and size not in cost]
        self._seeking = bool(untried)
        self.rows = untried[0] if untried else self._best

    def halve(self, failed: int) -> None:
        """Go on with half of the rows that memory was too small for, and say so."""
        self.rows = self._most = (failed + 1) // 2
        self._seeking = False
        warnings.warn(
            f"memory ran out with {failed} rows in one pass; going on with {self.rows}. "
            f"Give internal_batch_size={self.rows} to start there",
            MemoryWarning,
            stacklevel=5,
        )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _power_of_two(number: int) -> int:
    return 1 << number.bit_length() - 1

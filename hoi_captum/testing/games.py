r"""Games whose interactions are known in closed form, as forward functions.

A multilinear polynomial :math:`f(x) = \sum_S c_S \prod_{i \in S} x_i` is a game of its inputs' cells with the
baseline 0: :math:`v(T) = f(x_T)`. All that interaction methods look for in it can be written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from hoi_captum.errors import InputError

Members = tuple[int, ...]


@dataclass(frozen=True)
class MultilinearGame:
    r"""A forward function (B, n) -> (B,) with known interactions, for the baseline 0.

    Args:
        n: number of players, the cells of a row.
        coefficients: :math:`c_S` by the sorted members of S; () is the constant.

    Raises:
        InputError: members that are not sorted, or no players of the game.

    Examples::

        >>> from hoi_captum.testing import MultilinearGame
        >>> game = MultilinearGame(3, {(0, 1): 2.0, (2,): -1.0})
        >>> game(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([1.])
        >>> game.dividends(torch.tensor([1.0, 2.0, 3.0]))
        {(0, 1): 4.0, (2,): -3.0}
    """

    n: int
    coefficients: Mapping[Members, float]

    def __post_init__(self) -> None:
        for members in self.coefficients:
            if list(members) != sorted(set(members)) or not all(0 <= i < self.n for i in members):
                raise InputError(f"expected sorted players of 0..{self.n - 1}, got {members}")

    def __call__(self, x: Tensor) -> Tensor:
        total = x.new_zeros(len(x))
        for members, coefficient in self.coefficients.items():
            total = total + coefficient * x[:, list(members)].prod(1)
        return total

    def dividends(self, x: Tensor) -> dict[Members, float]:
        """Harsanyi dividends (the Moebius transform of v) that are not zero, of one row (n,)."""
        row = x.double()
        found = {s: c * float(row[list(s)].prod()) for s, c in self.coefficients.items()}
        return {s: value for s, value in found.items() if s and value}

    def base(self) -> float:
        """v of the empty coalition."""
        return float(self.coefficients.get((), 0.0))

    def shapley_values(self, x: Tensor) -> Tensor:
        """(n,) float64: each dividend shared evenly among its players."""
        shares = torch.zeros(self.n, dtype=torch.float64)
        for members, value in self.dividends(x).items():
            shares[list(members)] += value / len(members)
        return shares

    def cross_derivatives(self, x: Tensor) -> Tensor:
        r"""By the players' gates, (n, n): :math:`x_i x_j \, \partial^2 f / \partial x_i \partial x_j`."""
        found = torch.zeros(self.n, self.n, dtype=torch.float64)
        for members, value in self.dividends(x).items():
            for i, j in combinations(members, 2):
                found[i, j] += value
                found[j, i] += value
        return found

    def plus(self, other: MultilinearGame, factor: float = 1.0) -> MultilinearGame:
        """The game f + factor g."""
        total = dict(self.coefficients)
        for members, coefficient in other.coefficients.items():
            total[members] = total.get(members, 0.0) + factor * coefficient
        return MultilinearGame(max(self.n, other.n), total)

    def renamed(self, order: Sequence[int]) -> MultilinearGame:
        """The game in which player i is called ``order[i]``."""
        moved = {tuple(sorted(order[i] for i in s)): c for s, c in self.coefficients.items()}
        return MultilinearGame(self.n, moved)


def planted_pair() -> MultilinearGame:
    """Five players: 0 and 3 act together, 1 and 2 alone, 4 is a dummy.

    Returns:
        MultilinearGame: five players.

    Examples::

        >>> from hoi_captum.testing import planted_pair
        >>> planted_pair().dividends(torch.ones(5))
        {(0, 3): 2.0, (1,): 1.0, (2,): -0.5}
    """
    return MultilinearGame(5, {(0, 3): 2.0, (1,): 1.0, (2,): -0.5})


def planted_triple() -> MultilinearGame:
    """Five players: 0, 1 and 3 act together, 2 and 4 alone.

    Returns:
        MultilinearGame: five players.

    Examples::

        >>> from hoi_captum.testing import planted_triple
        >>> planted_triple().dividends(torch.ones(5))
        {(0, 1, 3): 2.0, (2,): 1.0, (4,): 0.25}
    """
    return MultilinearGame(5, {(0, 1, 3): 2.0, (2,): 1.0, (4,): 0.25})


def two_alike() -> MultilinearGame:
    """Five players, of whom 1 and 2 can be exchanged.

    Returns:
        MultilinearGame: five players.

    Examples::

        >>> from hoi_captum.testing import two_alike
        >>> two_alike().shapley_values(torch.ones(5))
        tensor([ 1.0000,  0.5000,  0.5000,  0.1250, -0.3750], dtype=torch.float64)
    """
    return MultilinearGame(5, {(0, 1): 1.0, (0, 2): 1.0, (3,): 0.5, (3, 4): -0.75})

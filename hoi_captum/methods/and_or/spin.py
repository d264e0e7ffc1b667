r"""Exact inverses of matrices that do not change when players are renumbered.

A 2^n x 2^n matrix P that commutes with all permutations of the players is block diagonal in the
basis that adds one player after another as spins one half are added (Schur-Weyl duality). Building
that basis separately on the first and the second half of the players keeps it small: two dense
orthogonal matrices of about :math:`2^{n/2}` rows. For each pair of total spins :math:`(J_a, J_b)` of
the halves all copies share one block of at most :math:`(n/2 + 1)^2` rows, so an inverse costs a few
hundred products with P once, and :math:`O(2^{3n/2})` multiplications for each vector after that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sector:
    """The rows of a spin basis with one label J: ``copies`` multiplets of J + 1 rows."""

    label: int
    copies: int
    start: int

    @property
    def width(self) -> int:
        return self.label + 1

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.copies * self.width)


@cache
def spin_basis(bits: int) -> tuple[Tensor, tuple[Sector, ...]]:
    """Orthogonal Q (2^k, 2^k) whose rows are grouped by label J = k, k-2, ..., and its sectors.

    A multiplet of label J is a list of J + 1 vectors; adding a bit couples it to one of label
    J + 1 and one of label J - 1 (Clebsch-Gordan coefficients of spin one half).
    """
    multiplets = [torch.ones(1, 1, dtype=torch.float64)]
    for _ in range(bits):
        multiplets = [new for old in multiplets for new in _add_bit(old)]
    multiplets.sort(key=len)
    sectors, start = [], 0
    for label in sorted({len(m) - 1 for m in multiplets}):
        copies = sum(len(m) == label + 1 for m in multiplets)
        sectors.append(Sector(label, copies, start))
        start += copies * (label + 1)
    return torch.cat(multiplets), tuple(sectors)


def _add_bit(multiplet: Tensor) -> list[Tensor]:
    label = len(multiplet) - 1
    absent = torch.kron(multiplet, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    present = torch.kron(multiplet, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    up = torch.zeros(label + 2, absent.shape[1], dtype=torch.float64)
    for i in range(label + 2):
        if i <= label:
            up[i] += sqrt((label + 1 - i) / (label + 1)) * absent[i]
        if i >= 1:
            up[i] += sqrt(i / (label + 1)) * present[i - 1]
    if label == 0:
        return [up]
    down = torch.stack(
        [
            sqrt((label - i) / (label + 1)) * present[i] - sqrt((i + 1) / (label + 1)) * absent[i + 1]
            for i in range(label)
        ]
    )
    return [up, down]


class InvariantInverse:
    """The inverse of a symmetric positive definite matrix that commutes with player permutations.

    Args:
        apply: the product with the matrix, (r, 2^n) -> (r, 2^n).
        n: number of players.
    """

    def __init__(self, apply: Callable[[Tensor], Tensor], n: int) -> None:
        first = n // 2
        self._sizes = (1 << first, 1 << (n - first))
        self._left, left_sectors = spin_basis(first)
        self._right, right_sectors = spin_basis(n - first)
        self._blocks = [(a, b, self._inverse_block(apply, a, b)) for a in left_sectors for b in right_sectors]

    def _inverse_block(self, apply: Callable[[Tensor], Tensor], a: Sector, b: Sector) -> Tensor:
        # the first copy stands for all of them
        left = self._left[a.start : a.start + a.width]
        right = self._right[b.start : b.start + b.width]
        vectors = torch.einsum("ix,jy->ijxy", left, right).reshape(a.width * b.width, -1)
        block = vectors @ apply(vectors).T
        inverse: Tensor = torch.linalg.inv((block + block.T) / 2)
        return inverse

    def __call__(self, r: Tensor) -> Tensor:
        """The solution x of P x = r, (..., 2^n)."""
        x = r.reshape(-1, *self._sizes)
        spins = self._left @ x @ self._right.T
        solved = torch.empty_like(spins)
        for a, b, inverse in self._blocks:
            slab = spins[:, a.rows, b.rows]
            count = len(slab)
            flat = slab.reshape(count, a.copies, a.width, b.copies, b.width).permute(0, 1, 3, 2, 4)
            flat = flat.reshape(-1, a.width * b.width) @ inverse
            flat = flat.view(count, a.copies, b.copies, a.width, b.width).permute(0, 1, 3, 2, 4)
            solved[:, a.rows, b.rows] = flat.reshape(slab.shape)
        solution: Tensor = self._left.T @ solved @ self._right
        return solution.reshape(r.shape)

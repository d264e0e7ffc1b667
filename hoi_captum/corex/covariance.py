"""Products with the covariance of standardised data, with a ridge that anneals the objective."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Covariance:
    """S = Z^T Z / n of standardised rows Z, or Z itself where that is the smaller.

    Attributes:
        n_rows: n.
        matrix: S (p, p) float64, or None.
        rows: Z (n, p) float64, or None.
    """

    n_rows: int
    matrix: Tensor | None
    rows: Tensor | None

    def product(self, weights: Tensor, eps: float) -> Tensor:
        """weights (m, p) times S_eps = (1 - eps^2) S + eps^2 I: data mixed with noise of share eps^2."""
        if self.matrix is not None:
            plain = weights @ self.matrix
        else:
            assert self.rows is not None
            plain = (weights @ self.rows.T) @ self.rows / self.n_rows
        return plain.mul_(1 - eps**2).add_(weights, alpha=eps**2)

    def single(self) -> Covariance:
        """The same in single precision."""
        return Covariance(
            self.n_rows,
            None if self.matrix is None else self.matrix.float(),
            None if self.rows is None else self.rows.float(),
        )

    def diagonal(self) -> Tensor:
        """Second moments of the columns, (p,)."""
        if self.matrix is not None:
            return self.matrix.diagonal()
        assert self.rows is not None
        return self.rows.square().sum(0) / self.n_rows


def covariance(pieces: Iterable[Tensor], n_rows: int, n_columns: int) -> Covariance:
    """Take up standardised rows, piece by piece.

    2 p^2 operations for each factor and product with S, 4 n p with the rows: the rows are kept if n < p / 2.
    """
    if 2 * n_rows < n_columns:
        return Covariance(n_rows, None, torch.cat(list(pieces)))
    matrix = None
    for piece in pieces:
        if matrix is None:
            matrix = piece.new_zeros(n_columns, n_columns)
        matrix.addmm_(piece.T, piece)
    assert matrix is not None
    return Covariance(n_rows, matrix.div_(n_rows), None)

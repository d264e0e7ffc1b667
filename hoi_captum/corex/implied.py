"""What a fitted linear model says of the data: correlations, and the likelihood of rows.

Given its factors variables are independent, so that their correlations are those of a factor analysis,
K = F^T F with 1 on the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
_LEAST = 1e-12  # part of a variance that no factor explains


@dataclass(frozen=True, eq=False)
class ImpliedCorrelations:
    """Correlations K of p variables.

    Attributes:
        loadings: F, (m, p) float64; each column has a norm below 1.
    """

    loadings: Array

    @classmethod
    def of(cls, weights: Array, correlations: Array, variances: Array, *, overlap: bool) -> Self:
        """Of a fit.

        Args:
            weights: U, (m, p).
            correlations: E[y x] of factors of mean square 1 and variables, (m, p).
            variances: mean squares of the variables, noise included, (p,); positive.
            overlap: whether the factors share variables: F^T F = rho^T E[y y]^-1 rho then, else by the
                means of each variable as if the factors were independent given it.
        """
        rho = correlations / np.sqrt(variances)
        if overlap:
            moments = weights @ correlations.T
            np.fill_diagonal(moments, 1.0)
            values, axes = np.linalg.eigh(moments)
            there = values > _LEAST * values[-1]  # factors may be copies of each other
            return cls((axes[:, there] / np.sqrt(values[there])).T @ rho)
        ratio = rho / np.maximum(1 - rho**2, _LEAST)
        return cls(ratio / (1 + (rho * ratio).sum(axis=0)))

    @property
    def unexplained(self) -> Array:
        """Part of each variance that the factors leave, (p,)."""
        left: Array = np.maximum(1 - np.square(self.loadings).sum(axis=0), _LEAST)
        return left

    def matrix(self) -> Array:
        """K, (p, p)."""
        shared: Array = self.loadings.T @ self.loadings
        np.fill_diagonal(shared, 1.0)
        return shared

    def likelihood_gain(self, pieces: Iterable[Tensor], noise: Tensor) -> float:
        r"""Mean of log N(x; 0, K) - log N(x; 0, I) over rows with noise, in nats.

        With :math:`K = F^T F + \Psi` and the rows' second moments H that is
        :math:`-\frac12 (\log |K| + tr((K^{-1} - I) H))`: linear in H, so that the mean does not depend on how
        many rows there are.

        Args:
            pieces: rows (n, p) float64 of variables whose mean square, with the noise, was 1 in the fit.
            noise: mean square of the independent noise of each variable, (p,), on the pieces' device.
        """
        psi = torch.from_numpy(self.unexplained).to(noise)
        loadings = torch.from_numpy(self.loadings).to(noise)
        scaled = loadings / psi
        inner = torch.eye(len(loadings)).to(noise) + scaled @ loadings.T
        squares, projected = torch.zeros_like(noise), torch.zeros_like(inner)
        n = 0
        for piece in pieces:
            n += len(piece)
            squares += piece.square().sum(0)
            values = piece @ scaled.T
            projected += values.T @ values
        squares = squares / n + noise
        projected = projected / n + (scaled * noise) @ scaled.T
        log_det = psi.log().sum() + torch.linalg.slogdet(inner).logabsdet
        trace = ((1 / psi - 1) * squares).sum() - torch.linalg.solve(inner, projected).trace()
        return float(-0.5 * (log_det + trace))

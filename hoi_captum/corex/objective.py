"""The total correlation that linear factors explain, its gradient and a preconditioner.

Standardised variables x with covariance S; factors y_j = w_j x + N(0, 1). With u_j = 1 - 1 / E[y_j^2] the
information of a factor is I(Y_j; X) = -1/2 log(1 - u_j). Gradients are taken in the inner product
<A, B> = tr(A S B^T): the usual gradient is G S.

References: G. Ver Steeg, H. Harutyunyan, D. Moyer, A. Galstyan: Fast structure learning with modular
regularization, NeurIPS 2019 (eq. 1 and section 3); G. Ver Steeg, A. Galstyan: Low complexity Gaussian latent
factor models and a blessing of dimensionality, 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

LARGEST_U = 1 - 1e-9  # beyond it a factor is a copy of what it explains, and rounding takes over
STAY = 0.05  # a step leaves at least this share of the distance of u_j to 1


class State(Protocol):
    """An objective at some weights (m, p), given their product with S."""

    @property
    def weights(self) -> Tensor:
        """(m, p)."""

    @property
    def product(self) -> Tensor:
        """weights S."""

    @property
    def tc(self) -> float:
        """The objective, nats."""

    @classmethod
    def evaluate(cls, weights: Tensor, product: Tensor) -> Self | None:
        """The objective at weights; None where there is none."""

    def gradient(self) -> Tensor:
        """G of -TC."""

    def precondition(self, g: Tensor, gs: Tensor) -> tuple[Tensor, Tensor]:
        """P g and (P g) S for a positive definite P that resembles the inverse of the curvature."""

    def longest_step(self, d: Tensor, ds: Tensor) -> float:
        """How far one may go in direction d."""


@dataclass(frozen=True, eq=False)
class NonOverlapping:
    """The objective whose optimum has TC(Y | X_i) = 0: each variable belongs to one factor.

    ``weights`` are U_j = w_j / sqrt(E y_j^2), so that ``product`` is rho, the correlations of factors
    and variables, and u_j = U_j rho_j.
    """

    weights: Tensor
    product: Tensor
    tc: float
    u: Tensor
    inverse: Tensor  # 1 / (1 - rho^2)
    ratio: Tensor  # rho / (1 - rho^2)
    mixed: Tensor  # corr(Y) ratio
    s: Tensor
    q: Tensor

    @classmethod
    def evaluate(cls, weights: Tensor, product: Tensor) -> Self | None:
        """TC = sum_i log(1 + s_i) - 1/2 sum_i log(1 + q_i) + 1/2 sum_j log(1 - u_j); None if a u_j >= 1."""
        correlations = weights @ product.T
        u = correlations.diagonal().clone()
        largest = float(u.max())
        if not largest < LARGEST_U:
            return None
        correlations.fill_diagonal_(1.0)
        inverse = (1 - product.square()).reciprocal_()
        ratio = product * inverse
        mixed = correlations @ ratio
        s = (product * ratio).sum(0)
        q = (ratio * mixed).sum(0) - s.square()
        tc = float((s.double().log1p() - 0.5 * q.double().log1p()).sum() + 0.5 * (-u.double()).log1p().sum())
        if not math.isfinite(tc):
            return None
        return cls(weights, product, tc, u, inverse, ratio, mixed, s, q)

    def gradient(self) -> Tensor:
        """G of -TC, (m, p)."""
        a, b = (1 + self.s).reciprocal_(), (1 + self.q).reciprocal_()
        coupling = (self.ratio * b) @ self.ratio.T
        coupling.diagonal().copy_((1 - self.u).reciprocal_())
        g = (2 * self.inverse - 1).mul_(self.mixed * b).sub_(self.ratio * (2 * (a + self.s * b)))
        return torch.addmm(g.mul_(self.inverse), coupling, self.weights)

    def precondition(self, g: Tensor, gs: Tensor) -> tuple[Tensor, Tensor]:
        """Row by row r (g - 2 U <U, g> / (2 - r)) with r = 1 - u: the inverse curvature of one factor."""
        r = (1 - self.u).unsqueeze(1)
        along = 2 * (self.product * g).sum(1, keepdim=True) / (2 - r)
        return r * (g - along * self.weights), r * (gs - along * self.product)

    def longest_step(self, d: Tensor, ds: Tensor) -> float:
        """Each u_j keeps a share of its distance to 1."""
        linear, square = (self.product * d).sum(1), (d * ds).sum(1).clamp(min=torch.finfo(d.dtype).tiny)
        room = (1 - STAY) * (1 - self.u)
        return float(((linear.square() + square * room).sqrt() - linear).div(square).min())


@dataclass(frozen=True, eq=False)
class Overlapping:
    """sum_i I(X_i; Y) - sum_j I(Y_j; X) = TC(X) - TC(X | Y) - TC(Y): factors may share variables.

    ``weights`` are w; ``product`` is E[y x], (m, p).
    """

    weights: Tensor
    product: Tensor
    tc: float
    squares: Tensor  # E y_j^2
    regression: Tensor  # E[y y]^-1 E[y x]
    residual: Tensor  # Var(x_i | y)

    @classmethod
    def evaluate(cls, weights: Tensor, product: Tensor) -> Self | None:
        """TC; None where the residual of a variable is not positive."""
        moments = weights @ product.T
        moments = (moments + moments.T).mul_(0.5)
        moments.diagonal().add_(1.0)
        factor, failed = torch.linalg.cholesky_ex(moments)
        if int(failed):
            return None
        regression = torch.cholesky_solve(product, factor)
        residual = 1 - (regression * product).sum(0)
        if not float(residual.min()) > 0:
            return None
        squares = moments.diagonal()
        tc = float(-0.5 * residual.log().sum() - 0.5 * squares.log().sum())
        return cls(weights, product, tc, squares, regression, residual) if math.isfinite(tc) else None

    def gradient(self) -> Tensor:
        """G of -TC: W / E[y^2] - A + A Z^T W with Z = E[y y]^-1 E[y x], A = Z / Var(x | y)."""
        shares = self.regression / self.residual
        coupling = shares @ self.regression.T
        coupling.diagonal().add_(self.squares.reciprocal())
        return torch.addmm(shares, coupling, self.weights, beta=-1)

    def precondition(self, g: Tensor, gs: Tensor) -> tuple[Tensor, Tensor]:
        """Row by row sqrt(E y^2) g: large weights may move farther."""
        scale = self.squares.sqrt().unsqueeze(1)
        return scale * g, scale * gs

    def longest_step(self, d: Tensor, ds: Tensor) -> float:
        """Every w has a TC."""
        return math.inf

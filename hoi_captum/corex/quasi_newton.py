"""L-BFGS in the inner product of the covariance: one product with it for each iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from hoi_captum.corex.objective import State

S = TypeVar("S", bound=State)

MEMORY = 10  # pairs of differences
ARMIJO = 1e-4
REFRESH = 50  # iterations after which the product is computed anew
SHORTEST = 1e-10
PATIENCE = 2  # iterations in turn that gain less than tol: a single one may be a short step only


@dataclass(frozen=True)
class Ascent(Generic[S]):
    """Where L-BFGS came to.

    Attributes:
        state: the last one.
        history: TC after each iteration.
        converged: False if the iterations ran out.
    """

    state: S
    history: tuple[float, ...]
    converged: bool


class _Memory:
    """Differences of weights (s) and gradients (y) and their products with S, oldest first."""

    def __init__(self, like: Tensor, size: int) -> None:
        self.buffers = torch.zeros(4, size, like.numel(), dtype=like.dtype, device=like.device)
        self.inner = torch.zeros(size, size, dtype=torch.float64)  # <s_i, y_k>
        self.order: list[int] = []

    def clear(self) -> None:
        self.order.clear()

    def add(self, s: Tensor, ss: Tensor, y: Tensor, ys: Tensor) -> None:
        """Take up a pair of positive curvature."""
        curvature = float((ss * y).sum())
        if not curvature > 1e-14 * float((ys * y).sum().abs().sqrt() * (ss * s).sum().abs().sqrt()):
            return
        size = self.buffers.shape[1]
        slot = len(self.order) if len(self.order) < size else self.order.pop(0)
        self.order.append(slot)
        for kind, value in enumerate((s, ss, y, ys)):
            self.buffers[kind, slot] = value.reshape(-1)
        self.inner[:, slot] = (self.buffers[1] @ y.reshape(-1)).cpu()

    def direction(
        self, g: Tensor, gs: Tensor, precondition: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """-H g and its product with S, where H is the L-BFGS matrix begun by the preconditioner."""
        if not self.order:
            d, ds = precondition(g, gs)
            return d.neg_(), ds.neg_()
        used = len(self.order)
        s, ss, y, ys = self.buffers[:, :used]
        inner = self.inner.numpy()
        left = (ss @ g.reshape(-1)).cpu().numpy()  # <s_i, q>
        a = left * 0
        for i in reversed(self.order):
            a[i] = left[i] / inner[i, i]
            left -= a[i] * inner[:used, i]
        coefficients = torch.from_numpy(a).to(g.device)
        q = g - (coefficients @ y).view_as(g)
        qs = gs - (coefficients @ ys).view_as(g)
        d, ds = precondition(q, qs)
        right = (ys @ d.reshape(-1)).cpu().numpy()  # <y_i, d>
        c = a * 0
        for i in self.order:
            c[i] = a[i] - right[i] / inner[i, i]
            right += c[i] * inner[i, :used]
        coefficients = torch.from_numpy(c).to(g.device)
        d += (coefficients @ s).view_as(g)
        ds += (coefficients @ ss).view_as(g)
        return d.neg_(), ds.neg_()


def _search(state: S, d: Tensor, ds: Tensor, slope: float) -> S | None:
    """The first of ever shorter steps that keeps a share of the gain promised; None if none does."""
    step = min(1.0, state.longest_step(d, ds))
    while step > SHORTEST:
        trial = state.evaluate(state.weights + step * d, state.product + step * ds)
        if trial is None:
            step *= 0.5
            continue
        gain = trial.tc - state.tc
        if gain >= -ARMIJO * step * slope:
            return trial
        best = 0.5 * slope * step**2 / (gain + slope * step)  # of the parabola through what is known
        step = min(max(best, 0.1 * step), 0.5 * step)
    return None


def maximise(state: S, multiply: Callable[[Tensor], Tensor], *, tol: float, max_iter: int) -> Ascent[S]:
    """Maximise a TC by L-BFGS with backtracking.

    The product of a direction with S follows from that of the gradient, so that neither the direction nor
    the search takes another.

    Args:
        state: where to begin.
        multiply: weights (m, p) -> weights S.
        tol: nats; the end is where ``PATIENCE`` iterations in turn gain less.
        max_iter: most iterations.
    """
    history: list[float] = []
    memory = _Memory(state.weights, MEMORY)
    previous: tuple[S, Tensor, Tensor] | None = None
    still = 0
    for iteration in range(1, max_iter + 1):
        g = state.gradient()
        gs = multiply(g)
        if previous is not None:
            old, old_g, old_gs = previous
            memory.add(state.weights - old.weights, state.product - old.product, g - old_g, gs - old_gs)
        found = None
        while found is None:
            d, ds = memory.direction(g, gs, state.precondition)
            slope = float((gs * d).sum())
            found = _search(state, d, ds, slope) if slope < 0 else None
            if found is None:
                if not memory.order:
                    return Ascent(state, tuple(history), True)
                memory.clear()
        trial = found
        if iteration % REFRESH == 0:
            trial = trial.evaluate(trial.weights, multiply(trial.weights)) or trial
        gain = trial.tc - state.tc
        previous, state = (state, g, gs), trial
        history.append(state.tc)
        still = still + 1 if abs(gain) < tol else 0
        if still == PATIENCE:
            return Ascent(state, tuple(history), True)
    return Ascent(state, tuple(history), False)

r"""Relaxed primal-dual splitting (ADMM / PDHG) with an exact projection and a certified gap.

Minimises g(c) subject to K c = r + e, e in E. Each iteration takes a proximal step in c, a projection
of e and a dual step with the exact inverse of :math:`K G K^T + \theta I`; the step size is balanced
between gap and violation while it runs. A dual point scaled into the unit ball of the polar norm gives
a lower bound on the optimum, so the result carries its own certificate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hoi_captum.core.mobius import coalition_orders
from hoi_captum.methods.and_or.constraints import Constraint, Metric
from hoi_captum.methods.and_or.objective import Objective

_RELAXATION = 1.8
_CHECK_EVERY = 20
_VIOLATION_PER_GAP = 10.0  # tolerance of the violation, in tolerances of the gap
_FIRST_STEP = 0.002
_BALANCE_INTERVAL = 60.0
# dense noise above the error bound: the optimum is dense and wants equal steps for all orders
_NOISE_CHECK_AT, _NOISE_SHARE = 200, 0.05
_NOISE_METRIC = Metric(theta=2.0, decay=1.0)


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Attributes:
        coefficients: c, (m, 2, 2^n).
        objective: g(c).
        lower_bound: certified lower bound on the optimum.
        violation: largest excess over the constraints, in parts of the error bound.
        iterations: number of iterations.
        converged: whether gap and violation are within the tolerances.
    """

    coefficients: Tensor
    objective: float
    lower_bound: float
    violation: float
    iterations: int
    converged: bool

    @property
    def gap(self) -> float:
        """(g - lower bound) / g; may be slightly negative within the violation allowed."""
        return (self.objective - self.lower_bound) / max(self.objective, 1e-300)


@dataclass
class _State:
    c: Tensor
    e: Tensor
    y: Tensor
    image: Tensor  # K c

    def moved_towards(self, other: _State, factor: float) -> _State:
        return _State(
            *(torch.lerp(getattr(self, k), getattr(other, k), factor) for k in ("c", "e", "y", "image"))
        )


@dataclass
class _Balance:
    """Chooses the primal step: larger helps the gap, smaller the violation."""

    step: float
    interval: float = _BALANCE_INTERVAL
    changed_at: int = 0
    ratios: list[float] = field(default_factory=list)

    def update(self, iteration: int, gap: float, violation: float) -> bool:
        """Note the two faults, each in parts of its tolerance; True if the step was changed."""
        self.ratios = [*self.ratios[-3:], math.log(max(gap, 1e-12) / max(violation, 1e-12))]
        if len(self.ratios) < 3 or iteration - self.changed_at < self.interval:
            return False
        ratio = math.exp(sum(self.ratios) / len(self.ratios))
        if 0.5 <= ratio <= 2.0:
            return False
        self.step *= min(max(math.sqrt(ratio), 0.5), 2.0)
        self.interval *= 1.15
        self.changed_at, self.ratios = iteration, []
        return True


def minimise(
    objective: Objective,
    constraint: Constraint,
    *,
    tolerance: float,
    max_iterations: int,
    start: Tensor | None = None,
    on_check: Callable[[int], object] | None = None,
) -> Solution:
    """Minimise g subject to the constraint. Deterministic.

    Args:
        objective, constraint: the problem, scaled so that max |v| is about 1.
        tolerance: largest relative gap; the violation allowed is ten times that, in parts of the error bound.
        max_iterations: where to give up (``converged`` is then False).
        start: coefficients to start from, (m, 2, 2^n). Default: zeros
        on_check: called with the iteration number at each check (progress).
    """
    n = constraint.n
    metric = Metric(theta=2 ** (n / 2), decay=0.75)
    solve, steps = constraint.solver(metric), metric.steps(n)
    right = constraint.right_side()
    y = constraint.zero_dual()
    c = y.new_zeros(len(constraint.values), 2, constraint.values.shape[-1]) if start is None else start
    state = _State(c, torch.zeros_like(y), y, constraint.apply(c))
    balance = _Balance(_FIRST_STEP)
    best_bound = 0.0  # g is not negative
    result = Solution(c, objective(c), best_bound, math.inf, 0, False)
    for iteration in range(1, max_iterations + 1):
        new = _iterate(objective, constraint, solve, steps, metric.theta, balance.step, right, state)
        state = state.moved_towards(new, _RELAXATION)
        if iteration % _CHECK_EVERY and iteration < max_iterations:
            continue
        if on_check is not None:
            on_check(iteration)
        bound, excess = _lower_bound(objective, constraint, new.y)
        best_bound = max(best_bound, bound)
        value, violation = objective(new.c), constraint.violation(new.image)
        result = Solution(new.c, value, best_bound, violation, iteration, False)
        allowed = tolerance * _VIOLATION_PER_GAP
        if abs(result.gap) <= tolerance and violation <= allowed:
            return replace(result, converged=True)
        if iteration == _NOISE_CHECK_AT and metric != _NOISE_METRIC and _noise_share(new.c, n) > _NOISE_SHARE:
            metric = _NOISE_METRIC
            solve, steps = constraint.solver(metric), metric.steps(n)
            state = new
        gap_now = max((value - bound) / max(value, 1e-300), excess)
        if balance.update(iteration, gap_now / tolerance, violation / allowed):
            state = new  # the over-relaxed point belongs to the old step
    return result


def _iterate(
    objective: Objective,
    constraint: Constraint,
    solve: Callable[[Tensor], Tensor],
    steps: Tensor,
    theta: float,
    step: float,
    right: Tensor,
    old: _State,
) -> _State:
    primal = step * steps
    c = objective.prox(old.c + primal * constraint.adjoint(old.y), primal)
    # K^T y is zero where there is no atom, so c stays zero there
    e = constraint.project(old.e - step * theta * old.y)
    image = constraint.apply(c)
    y = old.y + solve(right + 2 * e - old.e - 2 * image + old.image) / step
    return _State(c, e, y, image)


def _lower_bound(objective: Objective, constraint: Constraint, y: Tensor) -> tuple[float, float]:
    """A lower bound on the optimum, and by how much y had to be scaled down for it."""
    y = constraint.feasible_dual(y)
    z = constraint.adjoint(y)
    scale = max(1.0, objective.polar(z))
    return constraint.dual_value(y) / scale, scale - 1


def _noise_share(c: Tensor, n: int) -> float:
    size = c.abs().sum((0, 1))
    return float(size[coalition_orders(n) > n / 2].sum() / size.sum().clamp(min=1e-300))

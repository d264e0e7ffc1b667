"""The optimum of linear CorEx, found while noise is taken from the data step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hoi_captum.corex.covariance import Covariance
from hoi_captum.corex.objective import NonOverlapping, Overlapping
from hoi_captum.corex.quasi_newton import maximise

FIRST = 0.9  # noise of the stages: 0.9, 0.63, ... 0.036, then the last
RATIO = 0.7
SMALLEST = 0.03
EARLY = 100.0  # how much coarser the earlier stages' tolerance is
BEGIN_U = 0.01  # of every factor
LARGEST_START = 1 - 1e-8  # of u at a later stage
LARGEST_SINGLE = 1 - 1e-6  # in single precision
SINGLE = 1e-6  # part of TC below which single precision sees no gain


@dataclass(frozen=True, eq=False)
class Solution:
    """An optimum.

    Attributes:
        weights: U (m, p), normalised: w_j / sqrt(E y_j^2).
        correlations: rho = U S_eps, (m, p).
        tc: the objective, nats.
        history: the objective after each iteration of all stages.
        converged: whether the last stage ended by its tolerance.
    """

    weights: Tensor
    correlations: Tensor
    tc: float
    history: tuple[float, ...]
    converged: bool


def schedule(eps_end: float) -> tuple[float, ...]:
    """Shares eps of noise, descending to the last.

    More and smaller steps, from more noise, than the authors' 0.6^1, ... 0.6^6, 0: of 90 sampled data sets
    with planted factors one ends at a poor optimum, of theirs nine, of those without annealing ten.
    """
    stages = []
    eps = FIRST
    while eps > eps_end and eps > SMALLEST:
        stages.append(eps)
        eps *= RATIO
    return (*stages, eps_end)


def solve(
    data: Covariance,
    noise: Tensor,
    stages: tuple[float, ...],
    *,
    overlap: bool,
    tol: float,
    max_iter: int,
    done: Callable[[], object],
) -> Solution:
    """Maximise an objective, beginning with data that are mostly noise.

    Args:
        data: of p variables.
        noise: (m, p) standard normal numbers, where to begin.
        stages: shares of noise.
        overlap: which of the two objectives.
        tol: nats, of the last stage; earlier ones end at 100 times that and, without overlap, work in single
            precision: on MNIST (1000 rows, 30 factors, 5 seeds) 2.4 times as fast as at 10 times that in
            double precision, with a TC lower by 0.05 %.
        max_iter: of each stage.
        done: called after each stage.
    """
    return (_overlapping if overlap else _non_overlapping)(data, noise, stages, tol, max_iter, done)


def _non_overlapping(
    data: Covariance,
    noise: Tensor,
    stages: tuple[float, ...],
    tol: float,
    max_iter: int,
    done: Callable[[], object],
) -> Solution:
    rough = data.single()
    weights = noise
    before = torch.full_like(weights[:, :1], BEGIN_U)
    history: list[float] = []
    for k, eps in enumerate(stages):
        last = k == len(stages) - 1
        multiply = partial((data if last else rough).product, eps=eps)
        precision, largest = (torch.float64, LARGEST_START) if last else (torch.float32, LARGEST_SINGLE)
        weights = weights.to(precision)
        product = multiply(weights)
        # the factors' information stays as it was
        u = (weights * product).sum(1, keepdim=True).clamp(min=torch.finfo(precision).tiny)
        scale = (before.clamp(max=largest) / u).sqrt().to(precision)
        start = NonOverlapping.evaluate(scale * weights, scale * product)
        if start is None:  # too near to copies for single precision; in double rho_i^2 <= u S_ii < 1
            assert not last
            done()
            continue
        goal = tol if last else max(EARLY * tol, SINGLE * abs(start.tc))
        ascent = maximise(start, multiply, tol=goal, max_iter=max_iter)
        weights, before = ascent.state.weights, ascent.state.u.double().unsqueeze(1)
        history += ascent.history
        done()
    final = ascent.state.evaluate(weights, multiply(weights)) or ascent.state
    return Solution(final.weights, final.product, final.tc, tuple(history), ascent.converged)


def _overlapping(
    data: Covariance,
    noise: Tensor,
    stages: tuple[float, ...],
    tol: float,
    max_iter: int,
    done: Callable[[], object],
) -> Solution:
    weights = noise / noise.shape[1] ** 0.5
    history: list[float] = []
    for k, eps in enumerate(stages):
        multiply = partial(data.product, eps=eps)
        start = Overlapping.evaluate(weights, multiply(weights))
        assert start is not None  # less noise leaves less of each variable unexplained, but never nothing
        goal = tol if k == len(stages) - 1 else EARLY * tol
        ascent = maximise(start, multiply, tol=goal, max_iter=max_iter)
        weights = ascent.state.weights
        history += ascent.history
        done()
    final = ascent.state.evaluate(weights, multiply(weights)) or ascent.state
    scale = final.squares.rsqrt().unsqueeze(1)
    return Solution(final.weights * scale, final.product * scale, final.tc, tuple(history), ascent.converged)

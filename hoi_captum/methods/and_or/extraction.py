"""From value tables to AND and OR effects: the solvers behind one function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hoi_captum.core.mobius import moebius_transform, player_count
from hoi_captum.methods.and_or.admm import Solution, minimise
from hoi_captum.methods.and_or.constraints import BoundedTube, Constraint, Tube
from hoi_captum.methods.and_or.objective import Objective
from hoi_captum.methods.and_or.operators import (
    and_values,
    merge_low_orders,
    or_values,
    split_singles,
    values_of,
)
from hoi_captum.methods.and_or.sgd import descend

SOLVERS = ("admm", "sgd", "harsanyi")
_SMALLEST_EFFECT = 1e-12  # of max |v|: below this v(N) - v(empty) is rounding
_BOUND_SLACK = 1e-2  # of the error bound: how far gamma may leave tau before it is solved with the bound


@dataclass(frozen=True)
class Settings:
    """The program to solve; see :class:`GeneralizableAndOr` for the meaning of each option."""

    alpha: float = 0.1
    error_bound: float = 0.02
    specific_bound: float = 0.5
    order_weight: float = 0.02
    tie_break: float = 0.03
    solver: str = "admm"
    tolerance: float = 1e-3
    max_iterations: int | None = None

    def iterations(self, n: int) -> int:
        """Where the solver gives up for n players."""
        if self.max_iterations is not None:
            return self.max_iterations
        if self.solver == "sgd":
            return 20_000
        return 6_000 if n <= 14 else 8_000


@dataclass(frozen=True)
class Extraction:
    """Effects of the models and what they leave.

    Attributes:
        coefficients: AND and OR effects, (m, 2, 2^n).
        error: v minus what the effects give, (m, 2^n), zero at both ends.
        shared_gamma, specific_gamma: (2^n,) and (m, 2^n).
        details: what the solver says of itself (JSON values).
    """

    coefficients: Tensor
    error: Tensor
    shared_gamma: Tensor
    specific_gamma: Tensor
    details: dict[str, Any]


def extract(
    values: Tensor, settings: Settings, on_check: Callable[[int], object] | None = None
) -> Extraction:
    """AND and OR effects of one or several models.

    Args:
        values: v, (m, 2^n) float64, v(empty) = 0.
        settings: the program.
        on_check: called with the iteration number now and then (progress).
    """
    n = player_count(values)
    effect = values[:, -1].abs()
    tau = torch.full_like(effect, math.inf)
    if math.isfinite(settings.specific_bound):
        tau = settings.specific_bound * effect
    details: dict[str, Any] = {
        "v(N) - v(empty)": values[:, -1].tolist(),
        "roughness": roughness(values).tolist(),
        "converged": True,
    }
    if settings.solver == "harsanyi" or not values.any():
        c = torch.stack((moebius_transform(values), torch.zeros_like(values)), dim=1)
    elif settings.solver == "sgd":
        objective = _objective(values, settings)
        c = descend(
            values,
            settings.error_bound * effect,
            tau,
            objective=objective,
            iterations=settings.iterations(n),
            on_check=on_check,
        )
        details |= {
            "objective": objective(c),
            "iterations": settings.iterations(n),
            "converged": False,  # a fixed number of steps proves nothing
        }
    else:
        c, certificate = _solve(values, settings, effect, tau, on_check)
        details |= certificate
    # what is left of v(N) goes into AND of all players, which no other coalition sees
    c[:, 0, -1] += values[:, -1] - values_of(c, n)[:, -1]
    error = values - values_of(c, n)
    error[:, [0, -1]] = 0.0  # rounding
    gamma = _gamma(c)
    shared = _shared_gamma(gamma, tau.unsqueeze(-1))
    return Extraction(merge_low_orders(c, n), error, shared, gamma - shared, details)


def roughness(values: Tensor) -> Tensor:
    """Sum of the absolute Harsanyi dividends over |v(N) - v(empty)|, (m,); 1 is one clean effect.

    inf where the model does not react to the players as a whole but does to some of them.
    """
    total = moebius_transform(values)[:, 1:].abs().sum(-1)
    effect = (values[:, -1] - values[:, 0]).abs()
    floor = _SMALLEST_EFFECT * values.abs().amax(-1)
    return torch.where(total == 0, 0.0, torch.where(effect > floor, total / effect, math.inf))


def _objective(values: Tensor, settings: Settings) -> Objective:
    return Objective.for_values(
        values, alpha=settings.alpha, order_weight=settings.order_weight, tie_break=settings.tie_break
    )


def _solve(
    values: Tensor, settings: Settings, effect: Tensor, tau: Tensor, on_check: Callable[[int], object] | None
) -> tuple[Tensor, dict[str, Any]]:
    # scaled to max |v| = 1, where the solver's first step size is meant
    size = values.abs().max()
    scaled, error_bound, tau = values / size, settings.error_bound * effect / size, tau / size
    objective = _objective(scaled, settings)

    def solve(constraint: Constraint) -> Solution:
        return minimise(
            objective,
            constraint,
            tolerance=settings.tolerance,
            max_iterations=settings.iterations(constraint.n),
            on_check=on_check,
        )

    solution = solve(Tube(scaled, error_bound))
    c = split_singles(solution.coefficients, player_count(scaled))
    bounded = _leaves_bound(_gamma(c), tau.unsqueeze(-1), error_bound)
    if bounded:
        solution = solve(BoundedTube(scaled, error_bound, tau))
        c = solution.coefficients
    certificate = {
        "objective": solution.objective * float(size),
        "gap": solution.gap,
        "violation": solution.violation,
        "iterations": solution.iterations,
        "converged": solution.converged,
        "specific bound active": bounded,
    }
    return c * size, certificate


def _gamma(c: Tensor) -> Tensor:
    """Half the difference of what the AND and the OR effects add to each coalition, (m, 2^n)."""
    n = player_count(c)
    return (and_values(c[:, 0], n) - or_values(c[:, 1], n)) / 2


def _leaves_bound(gamma: Tensor, radius: Tensor, error_bound: Tensor) -> bool:
    """Whether no shared gamma is within the radius of the gammas of all models."""
    apart = (gamma - radius).amax(0) - (gamma + radius).amin(0)
    return bool(apart.max() > _BOUND_SLACK * error_bound.max())


def _shared_gamma(gamma: Tensor, radius: Tensor) -> Tensor:
    """The models' mean, or the centre nearest to it from which every gamma is within its radius."""
    return torch.maximum(torch.minimum(gamma.mean(0), (gamma + radius).amin(0)), (gamma - radius).amax(0))

"""The paper's optimiser, for comparison: projected sub-gradient descent with momentum.

Chen et al. (ICLR 2024) descend in the shared and specific gamma and in the error, from zeros, for
20,000 steps in float32; gamma and error are clamped before each step. Learning rates are the
published ones: 1e-6 falling to a tenth for one model (eq. 4), 1e-7 for several (eq. 6).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hoi_captum.core.mobius import superset_moebius_transform
from hoi_captum.methods.and_or.objective import Objective
from hoi_captum.methods.and_or.operators import effects_from_parts

_LEARNING_RATE = {"one": 1e-6, "several": 1e-7}
_MOMENTUM = 0.9
_REPORT_EVERY = 100


def descend(
    values: Tensor,
    error_bound: Tensor,
    specific_bound: Tensor,
    *,
    objective: Objective,
    iterations: int,
    on_check: Callable[[int], object] | None = None,
) -> Tensor:
    r"""AND-OR coefficients (m, 2, 2^n) by the paper's descent.

    :math:`u_i = (v_i + \epsilon_i)/2 + \bar\gamma + \gamma_i` and
    :math:`w_i = (v_i + \epsilon_i)/2 - \bar\gamma - \gamma_i`; AND effects are those of u, OR effects
    those of w. The error is held at zero for the empty and the full coalition.

    Args:
        values: v, (m, 2^n).
        error_bound, specific_bound: bounds on error and specific gamma, (m,); the latter may be inf.
        objective: the weights and alpha; the paper's has equal weights.
        iterations: number of steps.
        on_check: called with the iteration number now and then (progress).
    """
    models, size = values.shape
    v = values.float()
    bound = error_bound.float().unsqueeze(-1).repeat(1, size)
    bound[:, [0, -1]] = 0.0
    tau = specific_bound.float().unsqueeze(-1)
    weights = objective.weights.float()
    error, specific, shared = torch.zeros_like(v), torch.zeros_like(v), torch.zeros(size)
    parameters = (error, specific, shared)
    momenta = tuple(torch.zeros_like(p) for p in parameters)
    rate = _LEARNING_RATE["one" if models == 1 else "several"]
    decay = 0.1 ** (1 / iterations) if models == 1 else 1.0
    for iteration in range(iterations):
        error.clamp_(-bound, bound)
        if models > 1:
            specific.clamp_(-tau, tau)
        effects = _effects(v, *parameters)
        slope = _subgradient(effects, objective.alpha, weights)
        in_and = superset_moebius_transform(slope[:, 0])
        # the row of the empty set is w(empty) itself, not part of the transform
        in_or = slope[:, 1].clone()
        in_or[:, 0] = 0.0
        in_or = -superset_moebius_transform(in_or).flip(-1)
        in_or[:, 0] += slope[:, 1, 0]
        gamma_slope = in_and - in_or
        gradients = ((in_and + in_or) / 2, gamma_slope, gamma_slope.sum(0))
        for parameter, momentum, gradient in zip(parameters, momenta, gradients, strict=True):
            if models == 1 and parameter is shared:
                continue  # one model has one gamma (eq. 4): both together would take the step twice
            momentum.mul_(_MOMENTUM).add_(gradient)
            parameter.sub_(momentum, alpha=rate)
        rate *= decay
        if on_check is not None and iteration % _REPORT_EVERY == 0:
            on_check(iteration)
    error.clamp_(-bound, bound)
    if models > 1:
        specific.clamp_(-tau, tau)
    # the sums are made again in float64, so that the effects match v + error to its precision
    effects = _effects(values, *(p.double() for p in parameters))
    effects[:, :, 0] = 0.0  # u(empty) + w(empty) = v(empty) = 0
    return effects


def _effects(v: Tensor, error: Tensor, specific: Tensor, shared: Tensor) -> Tensor:
    half, gamma = (v + error) / 2, shared + specific
    return effects_from_parts(half + gamma, half - gamma)


def _subgradient(effects: Tensor, alpha: float, weights: Tensor) -> Tensor:
    sign = effects.sign()
    slope = alpha * sign
    if alpha < 1:
        largest = effects.abs().argmax(0, keepdim=True)
        slope = slope.scatter_add(0, largest, (1 - alpha) * sign.gather(0, largest))
    return slope * weights

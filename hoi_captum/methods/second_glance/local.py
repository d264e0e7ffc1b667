r"""Around one input: gradients at drawn gates, and a surrogate of them for that input alone.

Gates are drawn in opposite pairs, :math:`c + \delta` and :math:`c - \delta`: the odd part of the gradients,
half of the difference of each pair, tells the second derivatives without an error of third order, and the
even part tells the third ones without one of second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hoi_captum.core.derivatives import gradient
from hoi_captum.core.differences import gradients_at
from hoi_captum.core.gates import Gates
from hoi_captum.core.passes import PassSize
from hoi_captum.methods.second_glance.settings import DrawSettings, LearnSettings
from hoi_captum.methods.second_glance.surrogates import learn

_RIDGE = 1e-4  # of the mean square of a step
_SAME = 1e-9  # of a gradient's size; what varies less is rounding

Told = Callable[[int], object]


@dataclass(frozen=True, eq=False)
class Around:
    """What the gradients around each input say.

    Attributes:
        jacobian: (B, k, k), of gradient j (row) by gate i (column).
        third: (B, k, k, k), the same in all orders of units; None for order 2.
        stderr: (B, k, k) standard errors of the symmetrised Jacobian; None of a network.
        main: (B, k) gradients at the input itself.
        r2: (B,) of gradients that were left out; NaN where they do not vary.
        n_samples: gradients of each row.
    """

    jacobian: Tensor
    third: Tensor | None
    stderr: Tensor | None
    main: Tensor
    r2: Tensor
    n_samples: int


def draw(settings: DrawSettings, units: int, samples: int) -> tuple[float, Tensor]:
    """The centre c, and half of the steps from it, (samples / 2, k) float64.

    ``uniform`` and ``gaussian`` have their centre at 1, the input itself; ``bernoulli`` draws coalitions,
    whose centre is between all and none.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (samples // 2, units)
    if settings.sampling == "gaussian":
        return 1.0, settings.width * torch.randn(shape, generator=generator, dtype=torch.float64)
    if settings.sampling == "bernoulli":
        return 0.5, torch.randint(2, shape, generator=generator).double() - 0.5
    return 1.0, settings.width * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)


def look_around(
    gates: Gates,
    kind: str | nn.Module,
    draws: DrawSettings,
    settings: LearnSettings,
    order: int,
    *,
    size: PassSize,
    on_rows: Told,
) -> Around:
    """Draw gates, take gradients, and learn them for each input.

    Args:
        gates: of the inputs; all of them get the same draws, so that a row's answer is its own.
        kind: ``ridge``, or a network as of :func:`~hoi_captum.methods.second_glance.surrogates.learn`.
        draws, settings, order: options of the method.
        size: rows of a pass.
        on_rows: told how many gradients have been taken.

    Raises:
        ModelOutputError: outputs or gradients that are not finite.
        OptionError: a module that does not fit.
    """
    k = gates.n_units
    samples = draws.samples(k, order, network=kind != "ridge")
    centre, steps = draw(draws, k, samples)
    points = centre + torch.cat([steps, -steps])
    found = gradients_at(gates, points, size=size, on_rows=on_rows)  # (B, n, k)
    main = torch.cat([gradient(gates, rows=r) for r in torch.arange(gates.n_examples).split(size.rows)])
    if kind == "ridge":
        return regress(steps, found, main, order)
    here = torch.ones(1, k, dtype=torch.float64)
    jacobians, thirds, scores = [], [], []
    for own in found:
        if not _vary(own):
            jacobians.append(torch.zeros(1, k, k, dtype=torch.float64))
            thirds.append(torch.zeros(1, k, k, k, dtype=torch.float64))
            scores.append(torch.nan)
            continue
        surrogate = learn(points, own, kind, settings, order)
        jacobians.append(surrogate.jacobian(here))
        scores.append(surrogate.score.pooled)
        if order > 2:
            thirds.append(surrogate.third(here))
    return Around(
        jacobian=torch.cat(jacobians),
        third=torch.cat(thirds) if order > 2 else None,
        stderr=None,
        main=main,
        r2=torch.tensor(scores, dtype=torch.float64),
        n_samples=samples,
    )


def regress(steps: Tensor, gradients: Tensor, main: Tensor, order: int) -> Around:
    r"""The ridge regression of gradients on steps: constant second (and, of order 3, third) derivatives.

    With Gaussian steps it is Stein's estimate of the smoothed model's Hessian, by least squares (SmoothHess).
    Standard errors allow for residuals of any size at any step (HC3); R^2 is that of gradients left out one
    by one.

    Args:
        steps: (h, k).
        gradients: (B, 2 h, k), at the steps and at their opposites.
        main: (B, k), handed on.
        order: 2 or 3.
    """
    half = len(steps)
    plus, minus = gradients[:, :half], gradients[:, half:]
    odd, even = (plus - minus) / 2, (plus + minus) / 2
    even = even - even.mean(1, keepdim=True)
    slopes, residuals, hat = _least_squares(steps, odd)
    third, missed_even = None, even
    if order > 2:
        third, missed_even = _curvatures(steps, even)
    total = (odd.square() + even.square()).sum((1, 2))
    missed = (residuals.square() + missed_even.square()).sum((1, 2))
    varies = torch.tensor([_vary(own) for own in gradients])
    slopes = torch.where(varies.view(-1, 1, 1), slopes, 0.0)
    third = None if third is None else torch.where(varies.view(-1, 1, 1, 1), third, 0.0)
    return Around(
        jacobian=slopes.transpose(1, 2),
        third=third,
        stderr=_standard_errors(hat, residuals),
        main=main,
        r2=torch.where(varies, 1 - missed / total.clamp(min=torch.finfo(total.dtype).tiny), torch.nan),
        n_samples=2 * half,
    )


def _vary(gradients: Tensor) -> bool:
    """Whether gradients (n, k) differ by more than rounding."""
    spread = (gradients - gradients.mean(0)).abs().max()
    return bool(spread > _SAME * gradients.abs().max())


def _least_squares(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (B, p, k), residuals of rows left out (B, h, k), and the matrix of the former (p, h)."""
    weight = _RIDGE * features.square().sum(0).mean()
    gram = features.T @ features + weight * torch.eye(features.shape[1], dtype=features.dtype)
    hat = torch.linalg.solve(gram, features.T)  # (p, h)
    found = hat @ targets
    leverage = (features * hat.T).sum(1).clamp(max=1 - 1e-6)
    residuals = (targets - features @ found) / (1 - leverage).view(1, -1, 1)
    return found, residuals, hat


def _curvatures(steps: Tensor, even: Tensor) -> tuple[Tensor, Tensor]:
    """Third derivatives (B, k, k, k), the same in all orders of units, and what they miss (B, h, k)."""
    k = steps.shape[1]
    a, b = torch.triu_indices(k, k)
    products = steps[:, a] * steps[:, b]
    found, residuals, _ = _least_squares(products - products.mean(0), even)
    # g_l = g_l0 + 1/2 sum_ab T_abl z_a z_b, and both orders of a and b are one feature
    found = found * torch.where(a == b, 2.0, 1.0).view(1, -1, 1).double()
    third = even.new_zeros(len(even), k, k, k)
    third[:, a, b] = third[:, b, a] = found
    turned = third + third.permute(0, 3, 1, 2) + third.permute(0, 2, 3, 1)
    return turned / 3, residuals


def _standard_errors(hat: Tensor, residuals: Tensor) -> Tensor:
    """Of (J_ij + J_ji) / 2, (B, k, k): both come from the same draws, and their errors may go together."""
    squares = hat.square() @ residuals.square()  # (B, i, j): variance of the slope of gradient j by gate i
    own = hat * residuals.transpose(1, 2)  # (B, i, h): gate i's weight times the miss of gradient i
    together = own @ own.transpose(1, 2)
    variance = (squares + squares.transpose(1, 2)) / 4 + together / 2
    return variance.clamp(min=0).sqrt()

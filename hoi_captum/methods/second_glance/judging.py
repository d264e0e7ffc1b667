"""What a surrogate is worth, what it says over the data, and what is said where that is too little."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.errors import DataWarning, FidelityError, FidelityWarning
from hoi_captum.methods.second_glance.scaling import LEAST_ROWS, asymmetry, unknown_pairs
from hoi_captum.methods.second_glance.surrogates import Surrogate, rows_together

_ZERO = 1e-6  # of a Hessian in standard units; what is smaller counts as zero
_GOOD, _LEAST_R2 = 0.8, 0.5  # of a fit; below these it is warned of, and refused
_WAYS_OUT = (
    "Give more rows, symmetry='potential' where it was not tried, fewer or other units (feature_mask, units=)"
)


@dataclass(frozen=True, eq=False)
class Quality:
    """How far a surrogate can be trusted.

    Attributes:
        r2: (k,) of each unit's gradient on held-out rows; NaN where it does not vary.
        pooled_r2: of all together.
        asymmetry: mean over the rows of the data of ``|J - J^T| / |J|``, units in standard deviations. The
            true Hessian has none: what the surrogate has is error, and about as much of it is in what is
            left. 0 of a potential, whose error it does not show.
        zero_fraction: of the entries off the diagonal that the data show, those below 1e-6 in standard units.
        third_r2: of what was taught its Jacobian (order 3); NaN where nothing was.
        rows: of the data, held-out ones included.
        held_out: rows that only judge.
        steps: of the training, at which its best state was found.
    """

    r2: NDArray[np.float64]
    pooled_r2: float
    asymmetry: float
    zero_fraction: float
    third_r2: float
    rows: int
    held_out: int
    steps: int


@dataclass(frozen=True, eq=False)
class OverData:
    """What a surrogate says over the rows it was taught from.

    Attributes:
        size, mean: (k, k) mean absolute and mean Hessian, rows counted in which both units are; NaN of pairs
            that the data do not show.
        amplifies, dampens: (k, k), the shares of rows in which i (row) amplifies, and dampens, the influence
            of j (column). In the others it does nothing: numbers below 1e-6 in standard units count as 0.
        gradient: (k,) mean derivatives of the model.
        third: (k, k, k) mean absolute third derivatives, of rows with all three; None for order 2.
    """

    size: NDArray[np.float64]
    mean: NDArray[np.float64]
    amplifies: NDArray[np.float64]
    dampens: NDArray[np.float64]
    gradient: NDArray[np.float64]
    third: NDArray[np.float64] | None


def judged(surrogate: Surrogate, z: Tensor, g: Tensor, order: int) -> tuple[Quality, OverData]:
    """What a surrogate is worth, and what it says over the data."""
    k = z.shape[1]
    scaling = surrogate.scaling
    sums = torch.zeros(5, k, k, dtype=torch.float64)  # sizes, values, amplified, dampened, rows with both
    uneven = zeros = entries = 0.0
    third = torch.zeros(k, k, k, dtype=torch.float64) if order > 2 else None
    rows_of_three = torch.zeros(k, k, k, dtype=torch.float64) if order > 2 else torch.empty(0)
    unknown = unknown_pairs(scaling.known)
    shown = ~torch.eye(k, dtype=torch.bool) & ~unknown
    standard = scaling.std.unsqueeze(1) * scaling.std / scaling.size
    together = rows_together(z, order)
    for part, own in zip(z.split(together), g.split(together), strict=True):
        jacobian = surrogate.jacobian(part)
        hessian = surrogate.hessian(part)
        there = ~own.isnan()
        both = (there.unsqueeze(1) & there.unsqueeze(2)).double()
        small = (hessian * standard).abs() < _ZERO
        flat = (own.nan_to_num() * scaling.std / scaling.size).abs() < _ZERO
        # i amplifies j where H_ij has the sign of g_j
        signed = (hessian * own.nan_to_num().unsqueeze(1)).masked_fill(small | flat.unsqueeze(1), 0.0)
        found = (hessian.abs(), hessian, (signed > 0).double(), (signed < 0).double(), torch.ones(1))
        sums += torch.stack([(what * both).sum(0) for what in found])
        uneven += float(asymmetry(jacobian * standard, scaling.known).sum())
        zeros += float((small & shown).double().sum())
        entries += len(part) * float(shown.sum())
        if third is not None:
            all_three = both.unsqueeze(3) * there.double().view(len(part), 1, 1, k)
            third += (surrogate.third(part).abs() * all_three).sum(0)
            rows_of_three += all_three.sum(0)
    seen = sums[4].clamp(min=1)
    size, mean, amplifies, dampens = (total.masked_fill(unknown, torch.nan) for total in sums[:4] / seen)
    score, third_score = surrogate.score, surrogate.third_score
    quality = Quality(
        r2=score.r2.numpy(),
        pooled_r2=score.pooled,
        asymmetry=uneven / len(z),
        zero_fraction=zeros / max(entries, 1.0),
        third_r2=math.nan if third_score is None else third_score.pooled,
        rows=len(z),
        held_out=surrogate.score.rows,
        steps=surrogate.steps,
    )
    over = OverData(
        size=size.numpy(),
        mean=mean.numpy(),
        amplifies=amplifies.numpy(),
        dampens=dampens.numpy(),
        gradient=g.nanmean(0).nan_to_num().numpy(),
        third=None if third is None else (third / rows_of_three.clamp(min=1)).numpy(),
    )
    return quality, over


def warn_of_unknown(unknown: Tensor, names: Sequence[str]) -> None:
    """Say which pairs the data are silent about."""
    pairs = unknown.triu().nonzero().tolist()
    if not pairs:
        return
    some = ", ".join(f"{names[i]} · {names[j]}" for i, j in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    warnings.warn(
        f"the data do not show {len(pairs):,} of {math.comb(len(names), 2):,} pairs ({some}): in fewer than "
        f"{LEAST_ROWS} rows one unit is there while the other comes, goes or varies; their scores are NaN. "
        "Give more rows that have both",
        DataWarning,
        stacklevel=4,
    )


def check_fidelity(qualities: Mapping[Any, Quality], *, force: bool) -> None:
    """Refuse surrogates that explain too little, and warn of those that do not explain much.

    Raises:
        FidelityError: a pooled R^2 on held-out rows below 0.5, without ``force``.
    """
    for key, quality in qualities.items():
        of = "" if key is None else f" of target {key}"
        whose, r2 = f"gradients{of}", quality.pooled_r2
        if quality.third_r2 < r2:  # NaN is not
            whose, r2 = f"second derivatives{of}, from which triples are taken,", quality.third_r2
        if r2 >= _GOOD:
            continue
        explains = (
            f"the surrogate explains R² = {r2:.2f} of the {whose} (on {quality.held_out:,} held-out rows"
        )
        if not r2 >= _LEAST_R2 and not force:  # NaN is no better
            raise FidelityError(
                f"{explains}; at least {_LEAST_R2} is needed): its derivatives would be its own, not the "
                f"model's. {_WAYS_OUT}, or explain single inputs without fit(); force=True takes it as it is"
            )
        warnings.warn(
            f"{explains}; {_GOOD} is good): read its largest interactions only. {_WAYS_OUT}",
            FidelityWarning,
            stacklevel=3,
        )

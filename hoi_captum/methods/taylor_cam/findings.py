r"""From gated units to pairs and triples: the variants' formulas, and what is measured beside them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.cost import GRADIENT
from hoi_captum.core.derivatives import gradient
from hoi_captum.core.differences import occlusion
from hoi_captum.core.gates import Gates
from hoi_captum.errors import DataWarning, ModelOutputError
from hoi_captum.methods.taylor_cam.operators import Operator
from hoi_captum.methods.taylor_cam.triples import find_triples

_ROUNDINGS = 4  # of the largest number that went in


@dataclass(frozen=True, eq=False)
class Findings:
    """What one call found, for all rows of the batch.

    Attributes:
        pairs: (B, k, k) symmetric, zero on the diagonal: T, or E of the cam variants.
        curvature: (B, k), the diagonal; NaN where there is none.
        main: (B, k), first derivatives by the gates.
        members, scores: for each row the terms' units (t, order) and scores (t,), zeros left out.
        together: for each row units (s, order) and what they do when switched off, (s,).
        asymmetry: (B,) of the derivatives, in parts of their size; NaN where the formula has none.
        noise: (B,) below which scores are as large as rounding makes them.
    """

    pairs: Tensor
    curvature: Tensor
    main: Tensor
    members: tuple[NDArray[np.int64], ...]
    scores: tuple[NDArray[np.float64], ...]
    together: tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]
    asymmetry: Tensor
    noise: Tensor

    def node_scores(self) -> Tensor:
        """Each unit's sum of absolute scores, (B, k)."""
        k = self.main.shape[1]
        sums = [
            np.bincount(m.reshape(-1), np.abs(s).repeat(m.shape[1]), minlength=k)
            for m, s in zip(self.members, self.scores, strict=True)
        ]
        return torch.tensor(np.stack(sums), dtype=torch.float64)

    def arrays(self, row: int) -> Mapping[str, Any]:
        """What the table of a row carries beside its terms."""
        units, values = self.together[row]
        return {
            "pairs": self.pairs[row].numpy(),
            "main": self.main[row].numpy(),
            "curvature": self.curvature[row].numpy(),
            "synergy_members": units,
            "synergy": values,
        }


def find(
    gates: Gates,
    taken: Operator,
    *,
    variant: str,
    order: int,
    search: str,
    top_k: int | None,
    synergy: int,
) -> Findings:
    """Everything that a call gives.

    Args:
        gates: the gated units.
        taken: how derivatives are taken.
        variant, order, search, top_k, synergy: options of the method.
    """
    pairs, curvature, asymmetry = (
        _taylor(gates, taken) if variant == "taylor" else _cam(gates, taken, variant)
    )
    if order == 2:
        upper = np.stack(np.triu_indices(gates.n_units, 1), axis=1)
        found = [(upper, pairs[b].numpy()[upper[:, 0], upper[:, 1]]) for b in range(len(pairs))]
    else:
        found = find_triples(lambda chosen: taken.third(gates, chosen), pairs, search, top_k)
    found = [(members[scores != 0], scores[scores != 0]) for members, scores in found]
    main = torch.cat([gradient(gates, rows=rows) for rows in taken.chunks(gates)])
    return Findings(
        pairs=pairs,
        curvature=curvature,
        main=main,
        members=tuple(members for members, _ in found),
        scores=tuple(scores for _, scores in found),
        together=_together(gates, taken, found, synergy, order),
        asymmetry=asymmetry,
        noise=_noise(gates, taken, main, squared=variant != "taylor"),
    )


def cost_beside(k: int, order: int, synergy: int) -> int:
    """Forward passes of :func:`find` beside those of its operator, for one example, at most."""
    sets = min(synergy, comb(k, order))
    switched_off = sum(min(comb(k, size), comb(order, size) * sets) for size in range(order + 1))
    return GRADIENT + 1 + switched_off * (sets > 0)


def warn_of_zeros(findings: Findings, *, order: int, smooth: bool) -> None:
    """Say why nothing was found, where nothing was, or nothing but rounding.

    Args:
        findings: of a call.
        order: of the terms.
        smooth: whether the derivatives were second ones, which see no ReLUs.
    """
    noise = findings.noise.tolist()
    if any(np.abs(s).max(initial=0.0) > n for s, n in zip(findings.scores, noise, strict=True)):
        return
    units = findings.main.shape[1]
    if units < order:
        reason = f"a {'pair' if order == 2 else 'triple'} needs {order} units, and there is {units}"
        way_out = "divide the input into more (feature_mask, players=... of explain)"
    elif not bool(findings.main.any()):
        reason = "nothing that the gates do changes the output"
        way_out = "check that the inputs differ from the baselines, and that the output uses the gated units"
    else:
        reason = "the output is a sum over the gated units, so that nothing behind them interacts"
        way_out = "gate an earlier layer or the inputs"
        if smooth:
            reason += ", or what interacts are ReLUs and their like, which have no second derivatives"
            way_out += ", or use mode='grad_diff'"
    zero = "no larger than rounding" if any(map(len, findings.scores)) else "zero"
    warnings.warn(f"all derivatives are {zero}: {reason}; {way_out}", DataWarning, stacklevel=6)


def _noise(gates: Gates, taken: Operator, main: Tensor, *, squared: bool) -> Tensor:
    with torch.no_grad():
        values = torch.cat([gates.run(rows).double().cpu() for rows in taken.chunks(gates)])
    largest = torch.maximum(values.abs(), main.abs().amax(1))
    noise = _ROUNDINGS * torch.finfo(gates.dtype).eps * largest
    return noise.square() if squared else noise


def _taylor(gates: Gates, taken: Operator) -> tuple[Tensor, Tensor, Tensor]:
    second = taken.second(gates)
    mirrored = second.transpose(1, 2)
    size = second.flatten(1).norm(dim=1)
    asymmetry = (second - mirrored).flatten(1).norm(dim=1) / size.where(size > 0, torch.ones_like(size))
    symmetric = (second + mirrored) / 2
    curvature = symmetric.diagonal(dim1=1, dim2=2).clone()
    return _off_diagonal(symmetric), curvature, asymmetry


def _cam(gates: Gates, taken: Operator, variant: str) -> tuple[Tensor, Tensor, Tensor]:
    r"""E of the paper: :math:`S_{ij}^2 + S_{ji}^2`, with S as the gates' mixed derivatives.

    Multiplying position i's features is a derivative by its scale; summing over the features of j is one by
    its shift. Pooling the coefficients over all positions is a derivative by the channels' shifts.
    """
    if variant == "cam":
        one_sided = taken.second(gates, ("scale", "shift"))
    else:
        sums = gates.sums().double().cpu()
        pooled = taken.second(gates, ("shift", "channels"))  # (B, k, C)
        one_sided = sums @ pooled.transpose(1, 2)
    squares = one_sided.square()
    nothing = torch.full(squares.shape[:2], torch.nan, dtype=squares.dtype)
    return _off_diagonal(squares + squares.transpose(1, 2)), nothing, nothing[:, 0]


def _off_diagonal(matrices: Tensor) -> Tensor:
    kept = ~torch.eye(matrices.shape[-1], dtype=torch.bool)
    return torch.where(kept, matrices, 0.0)


def _together(
    gates: Gates,
    taken: Operator,
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]],
    most: int,
    order: int,
) -> tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]:
    """What the strongest terms of each row do beyond their parts when they are switched off."""
    strongest = [members[np.argsort(-np.abs(scores), kind="stable")[:most]] for members, scores in found]
    longest = max(map(len, strongest))
    if not longest:
        return tuple((np.zeros((0, order), dtype=np.int64), np.zeros(0)) for _ in found)
    # rows with fewer terms look at some set again, which is dropped
    padded = np.zeros((len(found), longest, order), dtype=np.int64)
    padded[:] = np.arange(order)
    for row, members in enumerate(strongest):
        padded[row, : len(members)] = members
    try:
        values = occlusion(gates, torch.from_numpy(padded), size=taken.size).numpy()
    except ModelOutputError as error:  # the derivatives stand, whatever the model does without its units
        warnings.warn(
            f"synergy is left out, since the model gives no number with units switched off ({error}); give "
            "baselines that it accepts, or synergy=0",
            DataWarning,
            stacklevel=6,
        )
        values = np.full(padded.shape[:2], np.nan)
    return tuple((members, values[row, : len(members)]) for row, members in enumerate(strongest))

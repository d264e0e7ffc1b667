"""Standardised columns: the four ways to make the marginals of data more Gaussian, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from hoi_captum.errors import InputError

KINDS = ("standard", "outliers", "empirical", "none")
KNOTS = 1001  # of an empirical distribution function; all rows if there are no more
TAIL = 4.0  # standard deviations beyond which "outliers" squeezes
ROUNDING = 4  # units in the last place by which the values of a constant may differ
LARGEST_SCALE = 1.0005  # of columns standardised elsewhere, maybe in float32
CHUNK = 1 << 22  # numbers that are taken to float64 at a time: 32 MB


def chunks(rows: NDArray[np.floating], device: torch.device) -> Iterator[Tensor]:
    """The rows in pieces, float64 on a device, so that a large float32 matrix is never copied as a whole."""
    size = max(1, CHUNK // rows.shape[1])
    for start in range(0, len(rows), size):
        piece = np.ascontiguousarray(rows[start : start + size], dtype=np.float64)
        if not piece.flags.writeable:  # torch warns of memory that it must not write to
            piece = piece.copy()
        yield torch.from_numpy(piece).to(device)


@dataclass(frozen=True, eq=False)
class Marginals:
    """How each column is standardised, learned from data.

    Attributes:
        kind: "standard": z = (x - mean) / scale; "outliers": z beyond 4 is squeezed by tanh, to 5 at most;
            "empirical": normal quantiles of the ranks; "none": z = x.
        mean: (p,) of the values observed ("none": 0); of a constant its value.
        scale: (p,) standard deviations of the values observed ("none": 1); of a constant 1.
        constant: (p,) bool: one distinct value (up to rounding), or none; z = 0.
        knots: (min(n, 1001), p) quantiles of each column ("empirical" only), ascending, NaN behind.
    """

    kind: str
    mean: Tensor
    scale: Tensor
    constant: Tensor
    knots: NDArray[np.float64] | None = None

    def apply(self, piece: Tensor) -> Tensor:
        """Standardised rows (n, p) float64 of rows (n, p); a missing value (NaN) becomes the mean, 0."""
        if self.kind == "empirical":
            z = torch.from_numpy(self._normal_quantiles(piece.cpu().numpy())).to(piece.device)
        else:
            z = (piece - self.mean).div_(self.scale)
        if self.kind == "outliers":
            inner = z.clamp(-TAIL, TAIL)
            z = z.sub_(inner).tanh_().add_(inner)
        z[:, self.constant] = 0.0
        return z.nan_to_num_(nan=0.0)

    def invert(self, z: Tensor) -> Tensor:
        """Rows in the units of the data of standardised rows (n, p); constants come back as they were."""
        if self.kind == "empirical":
            x = torch.from_numpy(self._quantiles(z.cpu().numpy())).to(z.device)
            return torch.where(self.constant, self.mean, x)
        if self.kind == "outliers":
            inner = z.clamp(-TAIL, TAIL)
            z = inner + (z - inner).clamp(-1 + 1e-10, 1 - 1e-10).atanh()
        return self.mean + self.scale * torch.where(self.constant, 0.0, z)

    def _normal_quantiles(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of the mid-ranks, (rank - 1/2) / n, of values among the knots; ties share a rank."""
        assert self.knots is not None
        z = np.full_like(x, np.nan)
        for i in np.flatnonzero(~self.constant.cpu().numpy()):
            knots, levels = _column(self.knots[:, i])
            # of equal knots, interpolation takes the last; seen from above, the first
            above = np.interp(x[:, i], knots, levels)
            below = -np.interp(-x[:, i], -knots[::-1], -levels[::-1])
            z[:, i] = ndtri((above + below) / 2)
        z[np.isnan(x)] = np.nan
        return z

    def _quantiles(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of :meth:`_normal_quantiles` within the range of the data."""
        assert self.knots is not None
        x = np.zeros_like(z)
        for i in np.flatnonzero(~self.constant.cpu().numpy()):
            knots, levels = _column(self.knots[:, i])
            x[:, i] = np.interp(z[:, i], ndtri(levels), knots)
        return x


def _column(knots: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The knots that are there, and their levels (rank - 1/2) / n."""
    knots = knots[~np.isnan(knots)]
    return knots, (np.arange(len(knots)) + 0.5) / len(knots)


def _knots(column: NDArray[np.floating]) -> NDArray[np.float64]:
    """A column's values in order (at most 1001, evenly spaced in rank), NaN behind."""
    there = np.sort(column[~np.isnan(column)].astype(np.float64))
    size = min(len(column), KNOTS)
    if len(there) > size:
        ranks = (np.arange(size) + 0.5) / size * len(there) - 0.5
        there = np.interp(ranks, np.arange(len(there)), there)
    return np.concatenate([there, np.full(size - len(there), np.nan)])


def fit_marginals(rows: NDArray[np.floating], kind: str, device: torch.device) -> Marginals:
    """Learn how to standardise the columns of data.

    Args:
        rows: (n, p), NaN where a value is missing.
        kind: one of ``KINDS``.
        device: where the work is done.

    Raises:
        InputError: columns that are not standardised although ``kind`` is "none".
    """
    p = rows.shape[1]
    counts, total = (torch.zeros(p, dtype=torch.float64, device=device) for _ in range(2))
    low, high = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
    for piece in chunks(rows, device):
        counts += (~piece.isnan()).sum(0)
        total += piece.nansum(0)
        low = torch.minimum(low, piece.nan_to_num(nan=torch.inf).amin(0))
        high = torch.maximum(high, piece.nan_to_num(nan=-torch.inf).amax(0))
    # equal numbers may differ by rounding, and their sum need not be a multiple of them
    rounding = ROUNDING * float(np.finfo(rows.dtype).eps) * torch.maximum(low.abs(), high.abs())
    constant = ~(high - low > rounding)
    centre = torch.zeros_like(total) if kind == "none" else total / counts.clamp(min=1)
    mean = torch.where(constant, low, centre).nan_to_num_(posinf=0.0)
    width = torch.where(constant, 1.0, (high - low) / 2)  # squares of very small numbers would vanish
    squares = torch.zeros_like(total)
    for piece in chunks(rows, device):
        squares += ((piece - mean) / width).square_().nansum(0)
    scale = torch.where(constant, 1.0, width * (squares / counts.clamp(min=1)).sqrt())
    if kind == "none":
        if float(scale.max()) > LARGEST_SCALE:
            raise InputError(
                "gaussianize='none' expects columns of mean square 1 at most, got "
                f"{float(scale.max()) ** 2:g}; standardise them or pass gaussianize='standard'"
            )
        scale.clamp_(min=1.0)
    knots = np.stack([_knots(column) for column in rows.T], axis=1) if kind == "empirical" else None
    return Marginals(kind, mean, scale, constant, knots)

r"""Cross derivatives of models that have none: by differences of gradients or of outputs, and by smoothing.

A ReLU network is piecewise linear: its second derivatives are zero, though its parts act together. These
operators look further than one point. All use first derivatives at most, so any attention kernel will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from hoi_captum.core.arguments import is_out_of_memory
from hoi_captum.core.derivatives import Variable, gradient
from hoi_captum.core.gates import Gates
from hoi_captum.core.passes import PassSize

Told = Callable[[int], object] | None

_POINTS = 1 << 14  # gates of so many model rows are held at once


def gradient_differences(
    gates: Gates,
    *,
    h: float = 0.5,
    wrt: Variable = "scale",
    size: PassSize | None = None,
    on_rows: Told = None,
) -> Tensor:
    r"""Second derivatives as :math:`(\nabla f(1 + h e_i) - \nabla f(1 - h e_i)) / 2h`: (B, k, k') float64.

    Not symmetrised: entry i, j moves the scale of i and differentiates by ``wrt`` of j.

    Args:
        gates: the gated model; 2 k gradients are taken for each example.
        h: how far a gate is moved.
        wrt: what the gradient is taken by.
        size: rows of a pass. Default: by the size of the inputs
        on_rows: told how many rows are done.
    """
    k = gates.n_units
    units = torch.eye(k, dtype=torch.float64)
    steps = torch.cat([units, -units]) * h
    found = gradients_at(gates, 1 + steps, wrt, size, on_rows)  # (B, 2k, k')
    difference: Tensor = found[:, :k] - found[:, k:]
    return difference / (2 * h)


def gradient_differences_of_pairs(
    gates: Gates, pairs: Tensor, *, h: float = 0.5, size: PassSize | None = None, on_rows: Told = None
) -> Tensor:
    r"""Third derivatives by mixed second differences of gradients, (B, s, k) float64.

    :math:`(g(++) - g(+-) - g(-+) + g(--)) / 4h^2` with the scales of both units of a pair moved by h.

    Args:
        pairs: (B, s, 2) units, i != j.
        gates, h, size, on_rows: as in :func:`gradient_differences`; 4 s gradients for each example.
    """
    units = torch.eye(gates.n_units, dtype=torch.float64)
    first, second = units[pairs[..., 0]], units[pairs[..., 1]]  # (B, s, k)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    steps = h * (signs[:, 0].view(-1, 1, 1, 1) * first + signs[:, 1].view(-1, 1, 1, 1) * second)
    points = 1 + steps.movedim(0, 1).flatten(1, 2)  # (B, 4 s, k)
    found = gradients_at(gates, points, "scale", size, on_rows).unflatten(1, (4, -1))
    weights = signs.prod(1).view(1, -1, 1, 1).double()
    total: Tensor = (weights * found).sum(1)
    return total / (4 * h * h)


def stein(
    gates: Gates,
    order: int = 2,
    *,
    n_samples: int = 512,
    stdev: float = 0.3,
    wrt: Variable = "scale",
    seed: int = 0,
    size: PassSize | None = None,
    on_rows: Told = None,
) -> Tensor:
    r"""Derivatives of the model smoothed by Gaussian gates, by Stein's identity; float64.

    With z ~ N(0, s^2): :math:`E[z_i \, \partial_j f(1 + z)] / s^2` is the Hessian of the smoothed model,
    (B, k, k'), and :math:`E[(z_i z_j - s^2 \delta_{ij}) \, \partial_l f(1 + z)] / s^4` its third derivatives,
    (B, k, k, k). Draws come in pairs z, -z (antithetic), which leaves no error of even (odd) order. Every
    example gets the same draws, so its result does not depend on the batch.

    Args:
        gates: the gated model; ``n_samples`` gradients are taken for each example.
        order: 2 or 3.
        n_samples: draws, both of a pair counted.
        stdev: s.
        wrt, size, on_rows: as in :func:`gradient_differences`.
        seed: of the draws.
    """
    half, k = max(n_samples // 2, 1), gates.n_units
    draws = torch.randn(half, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * stdev
    done = 0
    total = torch.zeros(0)
    for z in draws.split(64):  # a third-order sum is (B, k, k, k) for each draw
        points = 1 + torch.cat([z, -z])
        told = None if on_rows is None else _shifted(on_rows, done)
        found = gradients_at(gates, points, wrt, size, told)
        plus, minus = found[:, : len(z)], found[:, len(z) :]
        if order == 2:
            part = torch.einsum("ni,bnj->bij", z, (plus - minus) / 2) / stdev**2
        else:
            squares = torch.einsum("ni,nj->nij", z, z) - stdev**2 * torch.eye(k, dtype=z.dtype)
            part = torch.einsum("nij,bnl->bijl", squares, (plus + minus) / 2) / stdev**4
        total = part if done == 0 else total + part
        done += 2 * len(z) * gates.n_examples
    return total / half


def occlusion(gates: Gates, sets: Tensor, *, size: PassSize | None = None, on_rows: Told = None) -> Tensor:
    r"""Differences of outputs with the members of each set switched off in all ways, (B, s) float64.

    For a pair :math:`f - f_i - f_j + f_{ij}`, in general :math:`\sum_{S \subseteq T} (-1)^{|S|} f(1 - 1_S)`:
    above zero, the set does more together than its parts do alone (synergy), below zero less (redundancy).

    Args:
        sets: (B, s, o) or (s, o) units.
        gates, size, on_rows: as in :func:`gradient_differences`; no gradient is taken.
    """
    shared = sets.dim() == 2  # by all examples, so that the parts are sought once
    parts = _Parts.of(sets.unsqueeze(0) if shared else sets, gates.n_units)
    count = sets.shape[-2]
    if not count:
        return torch.zeros(gates.n_examples, 0, dtype=torch.float64)

    def at(points: Tensor, of: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return gates.run(of, scale=points.to(device=gates.device)).double().cpu()

    points = (~parts.off).to(gates.dtype)
    if not shared:
        values = _in_passes(gates, at, points, parts.owner, size, on_rows)
        table = values[parts.place].view(gates.n_examples, count, -1)
        return (table * parts.signs).sum(-1)
    found, done = [], 0
    # as many examples at once as do not make the points many
    for rows in torch.arange(gates.n_examples).split(max(1, _POINTS // len(points))):
        told = None if on_rows is None else _shifted(on_rows, done)
        of, here = rows.repeat_interleave(len(points)), points.repeat(len(rows), 1)
        values = _in_passes(gates, at, here, of, size, told).view(len(rows), len(points))
        found.append((values[:, parts.place].view(len(rows), count, -1) * parts.signs).sum(-1))
        done += len(of)
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class _Parts:
    """The parts of sets that are switched off, each once.

    Attributes:
        off: (p, k) bool.
        owner: (p,) the group of sets that a part belongs to.
        place: (groups x sets x 2^o,) which part each subset of each set is.
        signs: (2^o,) of the subsets.
    """

    off: Tensor
    owner: Tensor
    place: Tensor
    signs: Tensor

    @classmethod
    def of(cls, sets: Tensor, n_units: int) -> _Parts:
        """Of sets (groups, s, o)."""
        groups, count, order = sets.shape
        off, signs = [], []
        for members in range(order + 1):
            for chosen in combinations(range(order), members):
                removed = torch.zeros(groups, count, n_units, dtype=torch.bool)
                if chosen:
                    removed.scatter_(2, sets[..., list(chosen)], True)
                off.append(removed)
                signs.append((-1.0) ** members)
        wanted = torch.stack(off, 2).flatten(0, 2)
        owner = torch.arange(groups).repeat_interleave(count * 2**order)
        # bits: as numbers the parts of the pairs of a few hundred units would take gigabytes
        bits = np.packbits(wanted.numpy(), axis=1)
        keys = np.concatenate([owner.numpy().astype(">u4").view(np.uint8).reshape(-1, 4), bits], axis=1)
        _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        index = torch.from_numpy(first)
        return cls(
            wanted[index],
            owner[index],
            torch.from_numpy(place.reshape(-1)),
            torch.tensor(signs, dtype=torch.float64),
        )


def path_weights(order: int, points: int = 9) -> tuple[Tensor, Tensor]:
    r"""Places u and weights of the midpoint rule for derivatives along the path from all off to all on.

    The integral :math:`\int_0^1 w(u) T(u) du` of the derivatives with all scales at u, with
    :math:`w(u) = u^{o-1} (-\ln u)^{o-1} / (o-1)!`, is what integrated gradients give when they are taken o
    times (Janizek et al., JMLR 2021, for o = 2).

    Returns:
        u and weights, (points,) each.
    """
    u = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    return u, (u * -u.log()) ** (order - 1) / math.factorial(order - 1) / points


def gradients_at(
    gates: Gates,
    points: Tensor,
    wrt: Variable = "scale",
    size: PassSize | None = None,
    on_rows: Told = None,
) -> Tensor:
    """Gradients at points (p, k), the same for all examples, or (B, p, k): (B, p, k') float64.

    Args:
        gates: the gated model.
        points: values of the scale.
        wrt, size, on_rows: as in :func:`gradient_differences`.
    """
    points = (points if points.dim() == 3 else points.unsqueeze(0)).expand(gates.n_examples, -1, -1)
    count = points.shape[1]
    rows = torch.arange(gates.n_examples).repeat_interleave(count)

    def at(values: Tensor, of: Tensor) -> Tensor:
        return gradient(gates, wrt=wrt, at=values, rows=of)

    found = _in_passes(gates, at, points.flatten(0, 1).to(gates.dtype), rows, size, on_rows)
    gradients: Tensor = found.unflatten(0, (gates.n_examples, count))
    return gradients


def _in_passes(
    gates: Gates,
    evaluate: Callable[[Tensor, Tensor], Tensor],
    points: Tensor,
    rows: Tensor,
    size: PassSize | None,
    on_rows: Told,
) -> Tensor:
    """What ``evaluate(points, rows)`` gives, a part at a time; smaller parts where memory runs out."""
    size = PassSize.for_inputs(gates.arguments.inputs, sought=False) if size is None else size
    parts: list[Tensor] = []
    start = 0
    while start < len(points):
        stop = min(start + size.rows, len(points))
        try:
            parts.append(evaluate(points[start:stop], rows[start:stop]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or stop - start == 1:
                raise
            size.halve(stop - start)
            continue
        start = stop
        if on_rows is not None:
            on_rows(start)
    return torch.cat(parts)


def _shifted(told: Callable[[int], object], done: int) -> Callable[[int], object]:
    return lambda rows: told(done + rows)

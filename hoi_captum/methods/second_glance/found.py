"""What one call found, and the tables that it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.methods.second_glance.result import SecondGlanceInteractions

KIND = "hessian"


@dataclass(frozen=True, eq=False)
class Found:
    """Second (and third) derivatives at each row of a batch.

    Attributes:
        names: of the units.
        jacobian: (B, k, k), as the surrogate gives it.
        hessian: (B, k, k), symmetric; diagonal included.
        third: (B, k, k, k); None for order 2.
        main: (B, k) the model's own derivatives by the units.
        present: (B, k) the units that a row has; the others have no terms there.
        stderr: (B, k, k), or None.
        unknown: (B, k, k) bool, pairs of which the data of a fit show nothing; None where all are known.
        spread: values (B, k) given to cells.
        details: of each row, for the provenance.
        target: as text.
        passes: forward and backward, of each row.
        seconds: of the whole call.
    """

    names: Sequence[str]
    jacobian: Tensor
    hessian: Tensor
    third: Tensor | None
    main: Tensor
    present: Tensor
    stderr: Tensor | None
    unknown: Tensor | None
    spread: Callable[[Tensor], tuple[Tensor, ...]]
    details: Sequence[Mapping[str, Any]]
    target: str
    passes: tuple[int, int]
    seconds: float

    @property
    def pairs(self) -> Tensor:
        """The Hessian, zero on its diagonal and where a unit is not there; NaN where it is not known."""
        there = self.present.unsqueeze(1) & self.present.unsqueeze(2)
        kept = there & ~torch.eye(self.hessian.shape[1], dtype=torch.bool)
        known = self.hessian if self.unknown is None else self.hessian.masked_fill(self.unknown, torch.nan)
        return torch.where(kept, known, 0.0)

    def node_scores(self) -> Tensor:
        """Each unit's sum of absolute scores, (B, k)."""
        if self.third is None:
            return self.pairs.nan_to_num().abs().sum(-1)
        out = torch.zeros(self.main.shape, dtype=torch.float64)
        for row, third in enumerate(self.third):
            members, scores = triples_of(third, self.present[row])
            out[row].index_add_(0, members.reshape(-1), scores.abs().repeat_interleave(3))
        return out

    def tables(
        self, *, method: str, options: Mapping[str, Any], model: tuple[str, ...], seed: int
    ) -> list[SecondGlanceInteractions]:
        """A table for each row."""
        pairs = self.pairs
        found = []
        for row in range(len(pairs)):
            if self.third is None:
                members, scores = pairs_of(pairs[row])
            else:
                members, scores = triples_of(self.third[row], self.present[row])
            arrays = {
                "jacobian": self.jacobian[row].numpy(),
                "pairs": pairs[row].numpy(),
                "main": self.main[row].numpy(),
                "curvature": self.hessian[row].diagonal().numpy(),
            }
            if self.stderr is not None:
                arrays["stderr"] = self.stderr[row].numpy()
            provenance = Provenance(
                method=method,
                options=options,
                target=self.target,
                model=model,
                seed=seed,
                forward_passes=self.passes[0],
                backward_passes=self.passes[1],
                seconds=self.seconds,
                details=self.details[row],
            )
            found.append(table_of(self.names, members, scores, arrays, provenance))
        return found


def pairs_of(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Units (t, 2) and scores (t,) of the pairs that are known and not zero."""
    first, second = torch.triu_indices(len(matrix), len(matrix), 1)
    scores = matrix[first, second]
    members = torch.stack([first, second], 1)
    kept = (scores != 0) & scores.isfinite()
    return members[kept], scores[kept]


def triples_of(third: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Units (t, 3) and scores (t,) of the triples that are there and not zero."""
    members = torch.combinations(torch.arange(len(third)), 3).reshape(-1, 3)
    members = members[present[members].all(1)]
    scores = third[members[:, 0], members[:, 1], members[:, 2]]
    return members[scores != 0], scores[scores != 0]


def table_of(
    names: Sequence[str],
    members: Tensor,
    scores: Tensor,
    arrays: Mapping[str, NDArray[Any]],
    provenance: Provenance,
) -> SecondGlanceInteractions:
    """A table of terms and the arrays beside them."""
    terms = [
        Term(tuple(units), KIND, None, score)
        for units, score in zip(members.tolist(), np.asarray(scores).tolist(), strict=True)
    ]
    return SecondGlanceInteractions.from_terms(names, terms, provenance=provenance, arrays=dict(arrays))

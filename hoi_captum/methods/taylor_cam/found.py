"""What one call found, and the tables that it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hoi_captum.core.gates import Gates
from hoi_captum.core.gating import unit_names
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.methods.taylor_cam.findings import Findings
from hoi_captum.methods.taylor_cam.result import TaylorInteractions

_GATED = {
    "input": "the inputs",
    "layer": "the layer",
    "attention": "attention",
    "value": "the first layer's values",
}


@dataclass(frozen=True, eq=False)
class Found:
    """One call's findings, and where they come from.

    Attributes:
        findings, gates: for all rows of the batch.
        gate: what was gated.
        modes: how each row's derivatives were taken.
        swap_error: of each row's output, where the model was changed for it.
        grid: rows and columns of units that are cells of a map, or None.
        target: as text.
        seconds: of the whole call.
        seed: of the random numbers drawn; None where none were.
    """

    findings: Findings
    gates: Gates
    gate: str
    modes: tuple[str, ...]
    swap_error: list[float] | None
    grid: tuple[int, int] | None
    target: str
    seconds: float
    seed: int | None

    def tables(
        self, kind: str, *, method: str, options: Mapping[str, Any], model: tuple[str, ...]
    ) -> list[TaylorInteractions]:
        """A table for each row."""
        both = zip(self.findings.members, self.findings.scores, strict=True)
        return [
            TaylorInteractions.from_terms(
                unit_names(self.gates.n_units, self.grid),
                [
                    Term(tuple(units), kind, None, score)
                    for units, score in zip(members.tolist(), scores.tolist(), strict=True)
                ],
                provenance=Provenance(
                    method=method,
                    options=options,
                    target=self.target,
                    model=model,
                    seed=self.seed,
                    forward_passes=self.gates.forward_passes // self.gates.n_examples,
                    backward_passes=self.gates.backward_passes // self.gates.n_examples,
                    seconds=self.seconds,
                    details=self._details(row),
                ),
                arrays=self.findings.arrays(row),
            )
            for row, (members, scores) in enumerate(both)
        ]

    def _details(self, row: int) -> dict[str, Any]:
        details: dict[str, Any] = {
            "mode": self.modes[row],
            "gate": self.gate,
            "how": f"{self.modes[row]} by gates on {_GATED[self.gate]}",
        }
        asymmetry = float(self.findings.asymmetry[row])
        if not math.isnan(asymmetry):  # the cam variants have none
            details["asymmetry"] = asymmetry
        if self.swap_error is not None:
            details["swap_error"] = self.swap_error[row]
        if self.grid is not None:
            details["grid"] = list(self.grid)
        return details

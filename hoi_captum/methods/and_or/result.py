"""The typed result of GeneralizableAndOr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_number


class Transferability(NamedTuple):
    """Share of each model's salient sets that are salient in all models, (m,) each; NaN without any."""

    s_and: NDArray[np.float64]
    s_or: NDArray[np.float64]


class AndOrInteractions(Interactions):
    """AND and OR terms of one or several models, and what else the extraction found.

    With v_i the value of model i, for every coalition T
    ``v_i(T) = base + sum of AND(S), S subset of T + sum of OR(S), S meets T + error_i(T)``.
    The error is zero for the empty and the full coalition, so the effects sum to v(N) - v(empty).
    """

    @property
    def values(self) -> NDArray[np.float64]:
        """v, the models' outputs for all coalitions, (m, 2^n), in the unit of the output."""
        return self.arrays["values"]

    @property
    def error(self) -> NDArray[np.float64]:
        """What AND and OR effects leave of v, (m, 2^n)."""
        return self.arrays["error"]

    @property
    def shared_gamma(self) -> NDArray[np.float64]:
        """The part of the AND / OR split that all models share, (2^n,)."""
        return self.arrays["shared_gamma"]

    @property
    def specific_gamma(self) -> NDArray[np.float64]:
        """What each model's split adds to the shared one, (m, 2^n); zero for identical models."""
        return self.arrays["specific_gamma"]

    @property
    def converged(self) -> bool:
        """Whether gap and violation are within the tolerances (always, for the plain Harsanyi table)."""
        return bool(self.provenance.details["converged"])

    @property
    def sets(self) -> NDArray[np.int64]:
        """The bit mask of each term's players, (k,): its row in the tables above."""
        bits = 1 << (len(self.players) - 1 - self.members.astype(np.int64))
        sums = np.concatenate(([0], np.cumsum(bits)))
        return np.diff(sums[self.offsets])

    @property
    def model_scopes(self) -> tuple[str, ...]:
        """The scope of each model, in the order of the models, also of those without a term left."""
        if isinstance(self.base, Mapping):
            return tuple(self.base)
        return ("",)

    def salient(self, fraction: float = 0.05) -> Self:
        """Terms above ``fraction`` of their model's largest absolute effect (AND and OR together)."""
        check_number("fraction", fraction, low=0.0, high=1.0)
        keep = np.zeros(len(self), dtype=bool)
        for scope in self.model_scopes:
            mine = self.scopes == scope
            size = np.abs(self.scores) * mine
            keep |= mine & (size > fraction * size.max(initial=0.0))
        return self.take(np.nonzero(keep)[0])

    def shared(self, fraction: float = 0.05) -> Self:
        """Salient terms whose set and kind are salient in every model, for every model."""
        salient = self.salient(fraction)
        return salient.take(np.nonzero(salient._in_all_models())[0])

    def transferability(self, fraction: float = 0.05) -> Transferability:
        """Share of salient sets that all models have in common (Chen et al., ICLR 2024, Definition 1)."""
        salient = self.salient(fraction)
        common = salient._in_all_models()
        shares: dict[str, list[float]] = {"and": [], "or": []}
        for scope in self.model_scopes:
            for kind, share in shares.items():
                mine = (salient.scopes == scope) & (salient.kinds == kind)
                share.append(float(common[mine].mean()) if mine.any() else float("nan"))
        return Transferability(np.array(shares["and"]), np.array(shares["or"]))

    def _in_all_models(self) -> NDArray[np.bool_]:
        keys: NDArray[Any] = np.stack((self.sets, (self.kinds == "or").astype(np.int64)), axis=1)
        _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        return np.asarray(counts[inverse.reshape(-1)] == len(self.values))

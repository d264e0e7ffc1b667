"""The typed result of GeneralizableAndOr."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.measures.identity import scopes_of
from hoi_captum.measures.salience import salient, shared, strongest
from hoi_captum.measures.transfer import common_shares


class Transferability(NamedTuple):
    """Share of each model's salient sets that are salient in all models, (m,) each; NaN without any."""

    s_and: NDArray[np.float64]
    s_or: NDArray[np.float64]


class AndOrInteractions(Interactions):
    """AND and OR terms of one or several models, and what else the extraction found.

    With v_i the value of model i, for every coalition T
    ``v_i(T) = base + sum of AND(S), S subset of T + sum of OR(S), S meets T + error_i(T)``.
    The error is zero for the empty and the full coalition, so the effects sum to v(N) - v(empty).

    Examples::

        >>> f, g = (lambda x: x[:, 0] * x[:, 1]), (lambda x: x[:, 0] * x[:, 1] + x[:, 0])
        >>> table = hoi.GeneralizableAndOr([f, g]).interact(torch.tensor([[2.0, 3.0]]))[0]
        >>> table.values
        array([[0., 0., 0., 6.],
               [0., 0., 2., 8.]])
        >>> [term.members for term in table.shared().where(scope="model:1")], table.converged
        ([(0, 1)], True)
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
        return scopes_of(self)

    def salient(self, fraction: float = 0.05, *, relative_to: str = "largest") -> Self:
        """Terms above ``fraction`` of a reference of their model (AND and OR together).

        Args:
            fraction: of the reference, 0 to 1. Default: 0.05
            relative_to: ``largest``, the model's largest absolute effect, or ``effect``, its
                ``|v(N) - v(empty)|``; see :func:`hoi_captum.measures.salient`. Default: largest
        """
        return salient(self, fraction, relative_to=relative_to)[0]

    def shared(self, fraction: float = 0.05, *, signs: bool = False) -> Self:
        """Salient terms whose set and kind (with ``signs`` also sign) are salient in every model.

        The models are those of ``model_scopes``: of a table narrowed to one model all salient terms.
        """
        return shared(self, fraction, signs=signs)

    def transferability(
        self, fraction: float = 0.05, *, k: int | None = None, signs: bool = False
    ) -> Transferability:
        """Share of salient sets that all models have in common (Chen et al., ICLR 2024, Definition 1).

        Args:
            fraction: salient is what exceeds this part of the model's largest effect. Default: 0.05
            k: salient are the k strongest of each model and kind (Fig. 3); None takes the threshold.
            signs: count a set as common only if its effects have one sign. Default: False
        """
        kept = self.salient(fraction) if k is None else strongest(self, k)
        scopes = self.model_scopes
        shares = common_shares(kept, scopes, ("and", "or"), len(scopes), signs=signs)
        return Transferability(*shares)

"""The typed result of SecondGlance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.pair_table import PairInteractions
from hoi_captum.core.term import Term
from hoi_captum.errors import PlayerError
from hoi_captum.methods.second_glance.reading import PairReading

if TYPE_CHECKING:
    import pandas as pd


class SecondGlanceInteractions(PairInteractions):
    r"""Pairs or triples of units, and derivatives :math:`\partial^2 f / \partial z_i \partial z_j` of theirs.

    At one row scores are signed; over data (:meth:`SecondGlance.over_data`) they are mean sizes, and ``mean``
    has the signed mean.

    Examples::

        >>> method = hoi.SecondGlance(lambda x: x[:, 0] * x[:, 1])
        >>> table = method.interact(torch.tensor([[2.0, 3.0]]))[0]
        >>> table.pairs.round(1), table.stderr.shape
        (array([[0., 6.],
               [6., 0.]]), (2, 2))
        >>> str(table.explain_pair("0", "1")).split(";")[0]
        "more of '0' amplifies the influence of '1'"
    """

    @property
    def jacobian(self) -> NDArray[np.float64]:
        """Of gradient j (row) by unit i (column), (k, k), as the surrogate gives it: not symmetrised."""
        return self.arrays["jacobian"]

    @property
    def stderr(self) -> NDArray[np.float64]:
        """Standard errors of ``pairs``, (k, k): of the draws around one input; NaN of a fit."""
        missing = np.full(self.pairs.shape, np.nan)
        return self.arrays.get("stderr", missing)

    def standard_error(self, term: Term) -> float:
        """Of a pair's score; NaN of triples, and of what was learned by a fit."""
        return float(self.stderr[term.members]) if term.order == 2 else math.nan

    def to_dataframe(self) -> pd.DataFrame:
        """As of every table, with a column ``stderr`` (NaN where there is none)."""
        return super().to_dataframe().assign(stderr=[self.standard_error(term) for term in self])

    @property
    def mean(self) -> NDArray[np.float64]:
        """The signed cross derivatives, (k, k), of which a table over data has the mean sizes as scores."""
        return self.arrays.get("mean", self.pairs)

    def explain_pair(self, first: int | str, second: int | str) -> PairReading:
        """In words, what each of two units does to the influence of the other.

        Args:
            first, second: numbers or names.

        Returns:
            PairReading: ``str()`` of it is a sentence.

        Raises:
            PlayerError: no such unit, or the same one twice.
        """
        i, j = self.unit(first), self.unit(second)
        if i == j:
            raise PlayerError(f"expected two different units, got {self.players[i]!r} twice")
        shares = None
        if "dampens" in self.arrays:
            amplifies, dampens = self.arrays["amplifies"], self.arrays["dampens"]
            shares = (
                (float(amplifies[i, j]), float(dampens[i, j])),
                (float(amplifies[j, i]), float(dampens[j, i])),
            )
        names = self.players[i], self.players[j]
        gradients = float(self.main[i]), float(self.main[j])
        return PairReading.of(names, gradients, float(self.mean[i, j]), shares)

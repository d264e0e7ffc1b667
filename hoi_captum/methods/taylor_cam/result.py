"""The typed result of TaylorCAM."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hoi_captum.core.options import check_count
from hoi_captum.core.pair_table import PairInteractions
from hoi_captum.core.term import Term

if TYPE_CHECKING:
    import pandas as pd


class TaylorInteractions(PairInteractions):
    """Pairs or triples of units and their cross derivatives, and the whole matrix of pairs.

    Scores are second-order (third-order) Taylor terms in the unit of the output, signed; for the variants
    ``cam`` and ``cam_basic`` the paper's E, never below 0.

    Examples::

        >>> method = hoi.TaylorCAM(lambda x: x[:, 0] * x[:, 1] + x[:, 2] ** 2, synergy=1)
        >>> table = method.interact(torch.tensor([[2.0, 3.0, 1.0]]))[0]
        >>> table.pairs[0], table.curvature, table.synergy(table.top(1)[0])
        (array([0., 6., 0.]), array([0., 0., 2.]), 6.0)
    """

    def amis(self, n: int = 100, *, normalized: bool = False) -> float:
        """The mean of the n largest absolute scores, all of them where there are fewer.

        The paper averages it over images to compare models. It grows with the output (for cam with its
        square, in units of the layer), so that models with larger outputs have larger ones.

        Args:
            n: how many. Default: 100
            normalized: divide by the sum of all absolute scores, which takes the unit away.
        """
        sizes = np.sort(np.abs(self.scores))[::-1]
        strongest = sizes[: check_count("n", n)]
        if not len(strongest):
            return 0.0
        total = float(sizes.sum()) if normalized else 1.0
        return float(strongest.mean() / total) if total else 0.0

    def synergy(self, term: Term) -> float:
        """What the term's units do together beyond their parts, by switching them off; NaN if not measured.

        ``f - f_i - f_j + f_ij`` for a pair: above 0 they need each other (synergy), below 0 one does for
        both (redundancy). Of a triple only the size tells: an OR of three has the sign of an AND. The sign
        of a score is not that: a local cross derivative is negative for a saturated AND. Measured for the
        strongest terms (``synergy`` of the method).
        """
        members = self.arrays.get("synergy_members")
        if members is None or members.shape[1] != term.order:
            return math.nan
        index = np.nonzero((members == np.array(term.members)).all(1))[0]
        return float(self.arrays["synergy"][index[0]]) if len(index) else math.nan

    def to_dataframe(self) -> pd.DataFrame:
        """As of every table, with a column ``synergy`` (NaN where it was not measured)."""
        return super().to_dataframe().assign(synergy=[self.synergy(term) for term in self])

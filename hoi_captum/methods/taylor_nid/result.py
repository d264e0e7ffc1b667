"""The typed result of TaylorNID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import OptionError
from hoi_captum.measures.detection import pruned
from hoi_captum.methods.taylor_nid.aggregation import AGGREGATES, aggregated
from hoi_captum.methods.taylor_nid.growth import Found

KIND = "taylor"
_NOBODY = -1  # fills up the rows of sets smaller than the largest


class TaylorNIDInteractions(Interactions):
    r"""Sets of players ranked by how large a model's cross derivative by all of them is.

    The score of a set is :math:`|\partial^o f / \partial x_{i_1} \dots \partial x_{i_o}|` aggregated over the
    rows that stand for the data; the derivatives behind it are kept, so that other aggregations cost nothing.
    Sets that the search did not reach are left out: their score counts as 0.

    Attributes:
        arrays: ``sets`` (m, order), the members of every set found, smaller ones filled up with -1, and
            ``derivatives`` (m, r), signed, at each representative; both of the whole result, whatever
            ``where`` or ``top`` leave of its terms.

    Examples::

        >>> x = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        >>> table = hoi.TaylorNID(lambda x: x[:, 0] ** 2 * x[:, 1], order=2).fit(x).interact(x[:1])[0]
        >>> table.top(1)[0].members, table.representatives, table.derivatives.shape
        ((0, 1), ('mean', 'median', 'min', 'max', 'mode', 'random'), (3, 6))
    """

    @classmethod
    def from_found(
        cls, players: Sequence[str], found: Sequence[Found], aggregate: str, provenance: Provenance
    ) -> Self:
        """A table of the sets of all orders.

        Args:
            players: names.
            found: for each order from 2 on.
            aggregate: a name in :data:`AGGREGATES`.
            provenance: its option ``representatives`` names the columns of the derivatives.
        """
        sets = [f.sets for f in found]
        orders = np.repeat([s.shape[1] for s in sets], [len(s) for s in sets])
        derivatives = np.concatenate([f.derivatives for f in found])
        widest = max(s.shape[1] for s in sets)
        filled = [np.pad(s, ((0, 0), (0, widest - s.shape[1])), constant_values=_NOBODY) for s in sets]
        return cls(
            players=tuple(players),
            scores=aggregated(derivatives, aggregate),
            members=np.concatenate([s.reshape(-1) for s in sets]).astype(np.int32),
            offsets=np.concatenate(([0], np.cumsum(orders))).astype(np.int64),
            kinds=np.full(len(orders), KIND),
            scopes=np.full(len(orders), ""),
            base=0.0,
            provenance=provenance,
            arrays={"sets": np.concatenate(filled).astype(np.int32), "derivatives": derivatives},
        )

    @property
    def representatives(self) -> tuple[str, ...]:
        """The names of the rows, in the order of the derivatives' columns."""
        return tuple(self.provenance.options["representatives"])

    @property
    def derivatives(self) -> NDArray[np.float64]:
        """The signed derivative of each term at each representative, (len, r)."""
        return self.arrays["derivatives"][self._rows()]

    def aggregated(
        self, representatives: str | Sequence[str] | None = None, aggregate: str | None = None
    ) -> Self:
        """The same sets with scores of other rows, or aggregated otherwise; costs no model pass.

        Sets of order 3 and more stay those that the search reached with the scores of its own; with
        ``search="all"`` these are all there are.

        Args:
            representatives: one or some of :attr:`representatives`. Default: None (all of them)
            aggregate: ``mean``, ``median``, ``min``, ``max`` or ``mode``. Default: None (that of the table)

        Raises:
            OptionError: no such names.
        """
        known = self.representatives
        names = known if representatives is None else representatives
        chosen = [names] if isinstance(names, str) else list(names)
        if not chosen:
            raise OptionError(f"expected one of the representatives {', '.join(known)} or more, got none")
        for name in chosen:
            check_choice("representatives", name, known)
        how = self.provenance.options["aggregate"] if aggregate is None else aggregate
        check_choice("aggregate", how, AGGREGATES)
        columns = [known.index(name) for name in chosen]
        options = {**self.provenance.options, "aggregate": how}
        details = {**self.provenance.details, "aggregated": chosen}
        scores = aggregated(self.derivatives[:, columns], how)
        return replace(self, scores=scores).with_provenance(options=options, details=details)

    def pruned(self, n: int = 100) -> Self:
        """The strongest sets without those that a stronger one contains; see
        :func:`hoi_captum.measures.pruned`.

        Args:
            n: how many are kept at most. Default: 100
        """
        return pruned(self, n)

    def _rows(self) -> NDArray[np.intp]:
        """The row of each term in the arrays."""
        all_sets = self.arrays["sets"]
        mine = np.full((len(self), all_sets.shape[1]), _NOBODY, dtype=all_sets.dtype)
        place = np.arange(len(self.members)) - np.repeat(self.offsets[:-1], self.orders)
        mine[np.repeat(np.arange(len(self)), self.orders), place] = self.members
        _, number = np.unique(np.concatenate((all_sets, mine)), axis=0, return_inverse=True)
        number = number.reshape(-1)
        row_of = np.empty(len(all_sets), dtype=np.intp)
        row_of[number[: len(all_sets)]] = np.arange(len(all_sets))
        return row_of[number[len(all_sets) :]]

"""How sparse interactions are: their strengths from the largest to the smallest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError
from hoi_captum.measures.identity import as_tables, scopes_of


@dataclass(frozen=True, eq=False)
class StrengthCurve:
    """Absolute effects, the largest first.

    Attributes:
        values: (K,) in parts of the largest, so from 1 to 0.
        largest: the largest absolute effect, in the unit of v.

    Examples::

        >>> curve = hoi.measures.strength_curve(hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, 7.0])))
        >>> curve.largest, curve.count_above(0.3)
        (4.0, 2)
    """

    values: NDArray[np.float64]
    largest: float

    def count_above(self, fraction: float) -> int:
        """Number of effects that exceed this part of the largest."""
        return int((self.values > fraction).sum())


def strength_curve(
    tables: Interactions | Sequence[Interactions],
    *,
    scope: str | None = None,
    pad_to: int | None = None,
    repeat: int = 1,
) -> StrengthCurve:
    r"""The strengths :math:`|I(S)|` of all samples, sorted and normalised (Chen et al., ICLR 2024, Fig. 2).

    Normalised by the largest: the paper's scaling from the smallest to the largest, whose smallest is the 0
    of the sets that have no effect.

    Args:
        tables: one for each sample.
        scope: of this scope alone; None takes all scopes together. Default: None
        pad_to: number of entries of each sample and scope: tables leave out zero effects, which this adds
            (``2 * 2**n`` for AND and OR). Default: None (only the terms that are there)
        repeat: how often each entry counts: 2 lays a plain Harsanyi table (2^n entries) beside an AND-OR one,
            as in Fig. 2. Default: 1

    Returns:
        StrengthCurve

    Raises:
        InputError: no such scope, more terms than ``pad_to``, or an effect that is not finite.
        OptionError: ``repeat`` below 1.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, 7.0]))
        >>> hoi.measures.strength_curve(table, pad_to=4).values
        array([1.  , 0.5 , 0.25, 0.  ])
    """
    found = as_tables(tables)
    check_count("repeat", repeat)
    scopes = scopes_of(found[0])
    if scope is not None and scope not in scopes:
        raise InputError(f"expected scope to be one of {list(scopes)}, got {scope!r}")
    parts = []
    for table in found:
        for name in scopes if scope is None else [scope]:
            strengths = np.abs(table.scores[table.scopes == name])
            if pad_to is not None:
                if len(strengths) > pad_to:
                    raise InputError(f"expected pad_to of at least {len(strengths)} terms, got {pad_to}")
                strengths = np.concatenate((strengths, np.zeros(pad_to - len(strengths))))
            parts.append(strengths)
    values = np.repeat(np.sort(np.concatenate(parts))[::-1], repeat)
    if not np.isfinite(values).all():
        raise InputError("expected finite effects, got one that is not")
    largest = float(values.max(initial=0.0))
    return StrengthCurve(values / largest if largest else values, largest)

"""What a call will cost, said before it is spent."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

from hoi_captum.errors import CostWarning, TooManyPlayersError

#: forward passes that a gradient costs, roughly
GRADIENT = 3
#: forward passes that a reverse pass through a gradient's graph costs, roughly
REVERSE = 5
FEWER_UNITS = "group cells into fewer units (feature_mask, players=... of explain) or gate a later layer"
_MANY = 64  # units, above which the cost is warned of


@dataclass(frozen=True)
class Cost:
    """What a call will ask of the model.

    Attributes:
        about: what is done, in words.
        passes: forward passes for each row of the inputs, of all models together, a gradient counted as three
            of them; an int where it is exact, None where the method cannot tell before it has begun.
        rows: of the inputs.
        learning: forward passes for learning from data, before any row is explained. Default: 0
        besides: what takes time beside passes, in words. Default: none

    Examples::

        >>> cost = hoi.GeneralizableAndOr(lambda x: x.prod(1)).cost(torch.ones(2, 10))
        >>> print(cost)
        10 players, 2^10 coalitions: 1,024 forward passes for each of 2 rows
        >>> cost.total
        2048
    """

    about: str
    passes: float | None
    rows: int = 1
    learning: float = 0
    besides: str = ""

    @property
    def total(self) -> float | None:
        """Forward passes in all; None where they are not known."""
        return None if self.passes is None else self.learning + self.passes * self.rows

    def __str__(self) -> str:
        if self.passes is None:
            said = f"{self.about}: forward passes not known beforehand"
        else:
            roughly = "" if isinstance(self.passes, int) else "about "
            rows = "row" if self.rows == 1 else f"of {self.rows:,} rows"
            said = f"{self.about}: {roughly}{passes(self.passes)} for each {rows}"
        return f"{said}, {self.learning:,.0f} to learn from the data" if self.learning else said


def passes(number: float) -> str:
    """So many forward passes, in words."""
    return f"{number:,.0f} forward pass{'' if number == 1 else 'es'}"


def announce(cost: Cost, units: int, most: int, *, show: bool, ways_out: str) -> None:
    """Say what derivatives of so many units cost, and refuse what will not end.

    Args:
        cost: of the call.
        units: k.
        most: the limit.
        show: also say it on stderr.
        ways_out: how to have fewer units.

    Raises:
        TooManyPlayersError: more units than the limit.
    """
    check_units(cost, units, most, ways_out=ways_out)
    if units > _MANY:
        warnings.warn(f"{cost}; {ways_out}", CostWarning, stacklevel=6)
    if show:
        print(cost, file=sys.stderr)


def check_units(cost: Cost, units: int, most: int, *, ways_out: str) -> None:
    """Refuse more units than the limit.

    Raises:
        TooManyPlayersError: with the cost, and the ways out.
    """
    if units > most:
        raise TooManyPlayersError(
            f"{cost}, and the limit is {most} units; {ways_out}, or give max_players={units} if the time is "
            "yours to spend"
        )

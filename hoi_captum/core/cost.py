"""What a call will cost, said before it is spent."""

from __future__ import annotations

import sys
import warnings

from hoi_captum.errors import CostWarning, TooManyPlayersError

MANY = 64  # units, above which the cost is warned of


def announce(mode: str, units: int, cost: float, most: int, *, show: bool) -> None:
    """Say what derivatives of so many units cost, and refuse what will not end.

    Args:
        mode: how derivatives are taken.
        units: k.
        cost: in forward passes, for each row.
        most: the limit.
        show: also say it on stderr.

    Raises:
        TooManyPlayersError: more units than the limit.
    """
    about = f"{units} units, mode {mode!r}: about {cost:,.0f} forward passes for each row"
    ways_out = "group cells into fewer units (feature_mask, players=... of explain) or gate a later layer"
    if units > most:
        raise TooManyPlayersError(
            f"{about}, and the limit is {most} units; {ways_out}, or give max_players={units} if the time is "
            "yours to spend"
        )
    if units > MANY:
        warnings.warn(f"{about}; {ways_out}", CostWarning, stacklevel=6)
    if show:
        print(about, file=sys.stderr)

"""The options of TaylorNID, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

from hoi_captum.core.cost import GRADIENT, REVERSE
from hoi_captum.core.derivatives import Variable
from hoi_captum.core.options import check_choice, check_count, check_flag
from hoi_captum.errors import OptionError, TooManyPlayersError
from hoi_captum.methods.taylor_nid.aggregation import AGGREGATES
from hoi_captum.methods.taylor_nid.growth import SEARCHES, differentiated
from hoi_captum.methods.taylor_nid.representatives import RANDOM, REPRESENTATIVES

GATES = ("input", "attention", "value")
_MOST_SETS = 100_000  # that are differentiated once more, with search="all"


@dataclass(frozen=True)
class Settings:
    """What the constructor was given; see :class:`~hoi_captum.methods.taylor_nid.method.TaylorNID`.

    Raises:
        OptionError: an option outside its range.
    """

    order: int
    representatives: tuple[str, ...]
    aggregate: str
    search: str
    top_k: int | None
    multiply_by_inputs: bool
    gate: str
    pairwise: bool
    max_players: int
    seed: int

    def __post_init__(self) -> None:
        check_count("order", self.order, low=2)
        check_choice("aggregate", self.aggregate, AGGREGATES)
        check_choice("search", self.search, SEARCHES)
        if self.top_k is not None:
            check_count("top_k", self.top_k)
        check_flag("multiply_by_inputs", self.multiply_by_inputs)
        check_choice("gate", self.gate, GATES)
        if self.gate != "input" and not self.multiply_by_inputs:
            raise OptionError(
                f"gate={self.gate!r} scales what is attended to and has no other unit: expected "
                "multiply_by_inputs=True with it, got False"
            )
        check_flag("pairwise", self.pairwise)
        check_count("max_players", self.max_players, low=2)
        check_count("seed", self.seed, low=0)

    @property
    def variable(self) -> Variable:
        """By what to differentiate."""
        return "scale" if self.multiply_by_inputs else "shift"

    @property
    def drawn_seed(self) -> int | None:
        """The seed, where chance has a part."""
        return self.seed if RANDOM in self.representatives else None

    def unit(self) -> dict[str, str]:
        """What the provenance says of the unit: derivatives by the features are not in that of the output."""
        return {} if self.multiply_by_inputs else {"unit": ""}

    def grown(self, players: int) -> int:
        """How many sets of an order are differentiated once more."""
        return self.top_k or players

    def work(self, players: int) -> int:
        """Sets that are differentiated once more, at most; single players among them."""
        return differentiated(players, self.order, self.search, self.grown(players))

    def passes(self, players: int) -> float:
        """Forward passes that a table takes, roughly."""
        gradients = comb(players, 2) if self.pairwise else 1  # each pair has rows, and so a graph, of its own
        return float(
            len(self.representatives) * (GRADIENT * gradients + REVERSE * max(self.work(players), gradients))
        )

    def options(self) -> dict[str, Any]:
        """For the provenance, which has a place of its own for the seed."""
        given = {name: value for name, value in asdict(self).items() if name != "seed"}
        return given | {"representatives": list(self.representatives)}

    def check_players(self, players: int) -> None:
        """Refuse what would take too long, before any pass is spent.

        Raises:
            TooManyPlayersError: more players than the limit, or too many sets of them.
            OptionError: fewer players than the order has.
        """
        if players > self.max_players:
            raise TooManyPlayersError(
                f"{players} players have {comb(players, 2):,} pairs and need {players} backward passes at "
                f"each representative row; the limit is {self.max_players} players. Group the cells into "
                f"fewer players (feature_mask), or give max_players={players} if the time is yours to spend"
            )
        if players < self.order:
            raise OptionError(
                f"expected order to be at most the number of players, {players}, got {self.order}"
            )
        sets = self.work(players)
        if self.search == "all" and sets > _MOST_SETS:
            raise TooManyPlayersError(
                f"search='all' would differentiate {sets:,} sets of {players} players up to order "
                f"{self.order}, and the limit is {_MOST_SETS:,}; use search='greedy', or group the cells "
                "into fewer players"
            )


def checked_names(representatives: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the representatives, one or more.

    Raises:
        OptionError: unknown names, a name twice, or none.
    """
    names = (representatives,) if isinstance(representatives, str) else representatives
    if not isinstance(names, list | tuple) or not names or len(set(map(str, names))) != len(names):
        raise OptionError(
            f"expected representatives as different names out of {', '.join(REPRESENTATIVES)}, got {names!r}"
        )
    return tuple(check_choice("representatives", name, REPRESENTATIVES) for name in names)

"""What the page tells of each player: its share of the effects, or how much it interacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.views.labels import joined
from hoi_captum.views.pairs import involvement
from hoi_captum.views.panels import Panel
from hoi_captum.views.wording import caution_of, over_data, sign_labels, unit_of, wording_of


@dataclass(frozen=True)
class Shares:
    """A number for each player in each scope, and the words around them.

    Attributes:
        title, hint: above the players.
        column: heading of the numbers in a table.
        values: for each scope (n,).
        signed: whether a plus in front of a number tells anything.
        key: what the colours mean: the class of a colour, and words.
    """

    title: str
    hint: str
    column: str
    values: tuple[NDArray[np.float64], ...]
    signed: bool
    key: tuple[tuple[str, str], ...]


def shares_of(interactions: Interactions, parts: Sequence[Panel]) -> Shares:
    """What is told of each player, by the kind of the terms."""
    words, unit = wording_of(interactions), unit_of(interactions)
    numbers = "" if unit == "score" else f" Numbers in {unit}."
    numbers += " Scores are of all of the data, not of this input." if over_data(interactions) else ""
    key = tuple(("pos" if sign > 0 else "neg", label) for sign, label in sign_labels(interactions))
    if not words.additive and interactions.weights is None:
        sets = "pairs" if set(interactions.orders.tolist()) <= {1, 2} else "sets"
        sizes = f"absolute {words.quantities}" if words.signed else words.quantities
        return Shares(
            "How much each player interacts",
            f"The sum of the {sizes} of all {sets} with the player.{numbers}",
            "Interacts",
            tuple(involvement(p.interactions) for p in parts),
            False,
            (("pos", sizes),),
        )
    weighted = interactions.weights is not None
    how = "among its players by their memberships" if weighted else "evenly among its players"
    shapley = set(np.unique(interactions.kinds).tolist()) <= {"and", "or"}
    reason = " (for AND and OR terms this is the Shapley value of their sum)" if shapley else ""
    return Shares(
        "Each player’s share",
        f"Every interaction is split {how}{reason}.{numbers}",
        "Share",
        tuple(p.interactions.per_player() for p in parts),
        words.signed,
        key,
    )


def orders_hint(interactions: Interactions) -> str:
    """What the bars of the chart of orders are."""
    words, unit = wording_of(interactions), unit_of(interactions)
    signs = [sign for sign, _ in sign_labels(interactions)]
    what = (
        f"Sums of the positive {words.quantities} (up) and of the negative {words.quantities} (down)"
        if -1.0 in signs
        else f"Sums of the {words.quantities}"
    )
    return f"{what}, by number of players{'' if unit == 'score' else f', in {unit}'}."


def terms_hint(interactions: Interactions) -> str:
    """What a score of the list of terms is, where it has a name of its own."""
    words, unit = wording_of(interactions), unit_of(interactions)
    if words.quantity == "score":
        return ""
    said = f"Scores are {words.quantities}{'' if unit == 'score' else f', in {unit}'}"
    return joined(said, caution_of(interactions)) + "."

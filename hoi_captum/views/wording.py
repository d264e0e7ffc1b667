"""What the scores of each kind of term are, in words: the one place where drawings and page look it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from hoi_captum.core.interactions import Interactions
from hoi_captum.views.palette import NEGATIVE, POSITIVE


@dataclass(frozen=True)
class Wording:
    """The words for one kind of term. The defaults say nothing that a plugin's kind could make untrue.

    Attributes:
        quantity: what a score is. Default: "score"
        plural: of the quantity. Default: empty (with an s)
        signs: what a positive and what a negative score does; empty: they are a positive and a negative
            quantity. Default: empty
        heading: above a drawing, with ``{}`` for the explained output. Default: "interactions: {}"
        unit: of the scores, with ``{}`` for that of the explained output; empty: theirs is another one.
            Default: "{}"
        signed: whether scores can be negative. Default: True
        additive: whether terms are parts of the explained value, so that a player has a share of them, and
            the empty coalition a value; else a player is told by how much it interacts. Default: True
        dense: whether (nearly) every set of an order has a score, so that a drawing is of the strongest
            and has to say so. Default: False
        caution: what a reader may take the signs for, and they are not. Default: none
    """

    quantity: str = "score"
    plural: str = ""
    signs: tuple[str, str] | tuple[()] = ()
    heading: str = "interactions: {}"
    unit: str = "{}"
    signed: bool = True
    additive: bool = True
    dense: bool = False
    caution: str = ""

    @property
    def quantities(self) -> str:
        """The quantity in the plural."""
        return self.plural or f"{self.quantity}s"


NEUTRAL_WORDS = Wording()
OCCLUSION_DIFFERENCE = "occlusion difference"
_EFFECT = Wording(signs=("raises the value", "lowers the value"), heading="for and against: {}")
_DERIVATIVE = Wording(
    quantity="cross derivative",
    heading="cross derivatives: {}",
    additive=False,
    dense=True,
    caution="signs are those of derivatives, not of synergy or redundancy",
)
# of a derivative, over data
_SIZE = Wording(
    quantity="mean absolute cross derivative",
    heading="cross derivatives: {}",
    signed=False,
    additive=False,
    dense=True,
)
_DIFFERENCE = Wording(
    quantity=OCCLUSION_DIFFERENCE,
    heading="occlusion differences: {}",
    additive=False,
    dense=True,
    caution="signs of larger sets than pairs are not synergy or redundancy",
)
# that of three who can stand in for each other is positive, as that of three who need each other
_DIFFERENCE_OF_PAIRS = replace(_DIFFERENCE, signs=("synergy", "redundancy"), caution="")
# the square of output per unit of what is gated, whatever that is
_CAM = Wording(
    quantity="squared interaction strength",
    heading="interaction strengths: {}",
    unit="",
    signed=False,
    additive=False,
    dense=True,
)
_NID = Wording(
    quantity="interaction strength",
    heading="interaction strengths: {}",
    signed=False,
    additive=False,
    dense=True,
)
_FACTOR = Wording(quantity="total correlation", heading="factors: {}", signed=False, additive=False)

_ACTIVE = Wording(
    quantity="activation",
    signs=("more active than usual", "less active than usual"),
    heading="groups of units: {}",
    additive=False,
)
# a product of two activations, in variances
_TOGETHER = Wording(
    quantity="co-activation",
    signs=("both more active, or both less", "one more active, one less"),
    heading="co-activations: {}",
    unit="",
    additive=False,
)

WORDINGS = {
    "and": _EFFECT,
    "or": _EFFECT,
    "k-sii": _EFFECT,
    "attribution": _EFFECT,
    "taylor": _DERIVATIVE,
    "taylor:occlusion": _DIFFERENCE,
    "taylor:occlusion:2": _DIFFERENCE_OF_PAIRS,
    "hessian": _DERIVATIVE,
    "hessian:size": _SIZE,
    "cam": _CAM,
    "cam-basic": _CAM,
    "nid": _NID,
    "corex": _FACTOR,
    "group": _ACTIVE,
    "edge": _TOGETHER,
}


def wording_of(interactions: Interactions) -> Wording:
    """The words for all terms of a table: those of its kinds if they agree, else the neutral ones.

    A plugin's method tells its own (``provenance.details["wording"]``, fields of :class:`Wording`).
    A method may take one kind in several ways (``provenance.details["mode"]``): "kind:mode" goes before the
    kind, and "kind:mode:order" before both, of tables whose terms are all of that order.
    """
    told = interactions.provenance.details.get("wording")
    if isinstance(told, Mapping):
        return _told(told)
    mode = interactions.provenance.details.get("mode")
    orders = set(interactions.orders.tolist())
    order = orders.pop() if len(orders) == 1 else None
    found = {_words(str(kind), mode, order) for kind in np.unique(interactions.kinds)}
    return found.pop() if len(found) == 1 else NEUTRAL_WORDS


def _told(words: Mapping[str, Any]) -> Wording:
    """The words that a method tells; what no field holds, or another type of value, is passed over."""
    defaults = {f.name: getattr(NEUTRAL_WORDS, f.name) for f in fields(Wording)}
    signs = words.get("signs")
    known = {
        k: v for k, v in words.items() if k in defaults and k != "signs" and type(v) is type(defaults[k])
    }
    # a pair comes back from a file as a list
    if isinstance(signs, list | tuple) and len(signs) == 2 and all(isinstance(s, str) for s in signs):
        known["signs"] = (signs[0], signs[1])
    return Wording(**known)


def _words(kind: str, mode: Any, order: int | None) -> Wording:
    names = (f"{kind}:{mode}:{order}", f"{kind}:{mode}", kind)
    return next((WORDINGS[name] for name in names if name in WORDINGS), NEUTRAL_WORDS)


def unit_of(interactions: Interactions) -> str:
    """The unit of the scores where the method tells it (``provenance.details["unit"]``), else "score"."""
    unit = interactions.provenance.details.get("unit")
    said = wording_of(interactions).unit.replace("{}", unit) if isinstance(unit, str) and unit else ""
    return said or "score"


def score_label(interactions: Interactions) -> str:
    """What an axis of scores is called: the unit, after the quantity where that has a name of its own."""
    words, unit = wording_of(interactions), unit_of(interactions)
    if words.quantity == NEUTRAL_WORDS.quantity:
        return unit
    return words.quantity if unit == "score" else f"{words.quantity}, in {unit}"


def sum_label(interactions: Interactions) -> str:
    """What an axis of sums of scores is called."""
    words, unit = wording_of(interactions), unit_of(interactions)
    if words.quantity == NEUTRAL_WORDS.quantity:
        return f"sum, {unit}"
    return f"sum of {words.quantities}" + ("" if unit == "score" else f", {unit}")


def heading_of(interactions: Interactions) -> str | None:
    """A title for drawings of the table; None where nothing is known to be explained."""
    source = interactions.provenance
    if "about" in source.details:
        return str(source.details["about"])
    if not source.target:
        return None
    # no format(): a file's words are not to be evaluated
    heading = wording_of(interactions).heading.replace("{}", source.target)
    whose = over_data(interactions)
    return f"{heading}, {whose}" if whose else heading


def over_data(interactions: Interactions) -> str:
    """Whose scores they are where a method gathers them over data (``provenance.details["data_rows"]``), and
    not at the explained row; else "".
    """
    rows = interactions.provenance.details.get("data_rows")
    return "over the data" if isinstance(rows, int) and rows else ""


def both_sides(interactions: Interactions) -> bool:
    """Whether a plus tells anything: scores below zero occur, or one above zero says what it does."""
    words = wording_of(interactions)
    return words.signed and (words.additive or bool(words.signs) or _occurs(interactions, -1.0))


def sign_labels(interactions: Interactions) -> list[tuple[float, str]]:
    """What the signs that occur mean, the positive one first: (1 or -1, words); of no scores, both signs.

    Where no sign has to be told from another the quantity is named alone.
    """
    words = wording_of(interactions)
    signs = [sign for sign in (1.0, -1.0) if _occurs(interactions, sign)]
    signs = signs or ([1.0, -1.0] if words.signed else [1.0])
    if words.signs:
        return [(sign, words.signs[sign < 0]) for sign in signs]
    if signs == [1.0]:
        return [(1.0, words.quantity)]
    return [(sign, f"{'positive' if sign > 0 else 'negative'} {words.quantity}") for sign in signs]


def caution_of(interactions: Interactions) -> str:
    """What the signs of the scores are not, where there are both and that has to be said; else ""."""
    return wording_of(interactions).caution if _occurs(interactions, -1.0) else ""


def _occurs(interactions: Interactions, sign: float) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((sign * interactions.scores > 0).any())


def sign_handles(interactions: Interactions) -> list[Any]:
    """Legend entries for the signs that occur."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=POSITIVE if sign > 0 else NEGATIVE, lw=3, label=label)
        for sign, label in sign_labels(interactions)
    ]


def sign_patches(interactions: Interactions) -> list[Any]:
    """Legend entries for bars in the colours of the signs that occur."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=POSITIVE if sign > 0 else NEGATIVE, label=label)
        for sign, label in sign_labels(interactions)
    ]

"""Archipelago: which players act together, and how much each of these sets does.

Source: Tsang, Rambhatla, Liu, "How does this interaction affect me? Interpretable attribution for feature
interactions", NeurIPS 2020.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hoi_captum.authoring import (
    Answer,
    CoalitionMethod,
    RowGame,
    Term,
    check_choice,
    check_count,
    check_number,
)
from hoi_captum.authoring import hookimpl as hookimpl
from hoi_captum.errors import CostWarning, OptionError

__all__ = ["Archipelago"]

HOI_CAPTUM_API_VERSION = 1

_CONTEXTS = ("both", "input", "baseline")
_MANY = 20_000  # coalitions for each row, above which the cost is warned of: 140 players in both contexts
_BLOCK = 8192  # coalitions asked for at once, so that n^2 / 2 of n players are never held together


class Archipelago(CoalitionMethod):
    r"""Sets of players that act together (ArchDetect), and what each of them does alone (ArchAttribute).

    With :math:`v(T)` the output when only coalition T is present, and N all players, the second difference of
    a pair is taken around the input and around the baseline,

    .. math::
        d_{ij} = v(N) - v(N \setminus i) - v(N \setminus j) + v(N \setminus ij), \quad
        d'_{ij} = v(ij) - v(i) - v(j) + v(\emptyset),

    and its strength is :math:`w d_{ij}^2 + w' d_{ij}'^2` (ArchDetect: the average of both contexts; players
    are switched, so that the steps by which differences are divided are 1). The ``top_k`` strongest pairs are
    merged where they share a player. Each merged set I scores :math:`\phi(I) = v(I) - v(\emptyset)`
    (ArchAttribute), which holds all that its players do, also each for itself; so does every player that
    is in no set.

    The sets are disjoint. Where players of different sets act together after all, or a set was missed, scores
    do not add up to :math:`v(N) - v(\emptyset)`; the rest is in ``provenance.details["residual"]``.

    Arrays of each table: ``strengths`` (n, n), and the signed differences ``differences_input`` and
    ``differences_baseline`` (n, n) of the contexts used, in the unit of the output (strengths: its square).

    Args:
        forward_func (Callable): any forward function or module.
        top_k (int, optional): pairs that are merged, 0 for none. Default: 5
        contexts (str, optional): ``"both"``, ``"input"`` or ``"baseline"``: where differences are taken. One
            context costs half. Default: ``"both"``
        weights (tuple[float, float], optional): of the input's and the baseline's squared difference, used
            with both contexts. Default: (0.5, 0.5)
        tolerance (float, optional): differences up to this part of the largest \|v\| that was met count as
            zero, and pairs that have no other are not merged: they are what rounding leaves. Default: 1e-5
        absolute_tolerance (float, optional): the same in the unit of the output; the larger of both holds.
            Default: 0

    Raises:
        OptionError: an option that cannot be used.
        InputError: ``forward_func`` is no callable.

    Examples::

        >>> method = Archipelago(lambda x: x[:, 0] * x[:, 1] + x[:, 2])
        >>> method.interact(torch.ones(1, 3))[0]
        Interactions(2 terms, 3 players; top: 0 · 1 (archipelago) +1, 2 (archipelago) +1)
    """

    name: ClassVar[str] = "archipelago"
    kinds: ClassVar[tuple[str, ...]] = ("archipelago",)
    orders: ClassVar[tuple[int, int | None]] = (1, None)
    summary: ClassVar[str] = "disjoint sets of players that act together, and what each set does alone"
    complete: ClassVar[bool] = False
    wording: ClassVar[dict[str, Any]] = {
        "quantity": "lone effect",
        "signs": ("raises the value", "lowers the value"),
        "heading": "sets that act together: {}",
    }

    def __init__(
        self,
        forward_func: Callable[..., Any],
        *,
        top_k: int = 5,
        contexts: str = "both",
        weights: tuple[float, float] = (0.5, 0.5),
        tolerance: float = 1e-5,
        absolute_tolerance: float = 0.0,
    ) -> None:
        super().__init__(forward_func)
        self.top_k = check_count("top_k", top_k, low=0)
        self.contexts = check_choice("contexts", contexts, _CONTEXTS)
        self.weights = _check_weights(weights)
        self.tolerance = check_number("tolerance", tolerance, low=0.0, high=1.0)
        self.absolute_tolerance = check_number("absolute_tolerance", absolute_tolerance, low=0.0)

    # ---------------------------------------------------------------- cost
    def _passes(self, n_players: int) -> float:
        # the empty and the full coalition, singles and pairs of each context; phi of sets of three and more,
        # of which there are at most top_k / 2, comes on top. Few players have coalitions in common
        small, contexts = min(n_players, 2), 2 if self.contexts == "both" else 1
        single = sum(_pairs(n_players, k) for k in range(small + 1))
        needed = contexts * single + (0 if self.contexts == "baseline" else self.top_k // 2)
        if self.contexts == "input":
            needed += 1 + n_players
        if self.contexts == "baseline":
            needed += 1 + self.top_k // 2
        return float(min(needed, 1 << n_players) if n_players < 16 else needed)

    def _check(self, n_players: int) -> None:
        passes = self._passes(n_players)
        if passes > _MANY:
            warnings.warn(
                f"{n_players} players: about {passes:,.0f} model rows for each row of the inputs; group "
                'cells into fewer players (feature_mask, players=... of explain), or take contexts="input"',
                CostWarning,
                stacklevel=6,
            )

    # ---------------------------------------------------------------- the method
    def _explain(self, game: RowGame) -> Answer:
        n = game.n_players
        empty, full = game.all_masked(), game.all_present()
        found = {c: _Differences(game, c) for c in ("input", "baseline") if self.contexts in (c, "both")}
        # relative to the largest value of all, and not to the smallest, which may be zero
        largest = max(abs(empty), abs(full), *(d.largest for d in found.values()))
        threshold = max(self.tolerance * largest, self.absolute_tolerance)
        weights = dict(zip(("input", "baseline"), self.weights, strict=True)) if len(found) == 2 else {}
        strengths = np.zeros((n, n))
        for context, differences in found.items():
            signed = np.where(np.abs(differences.matrix) > threshold, differences.matrix, 0.0)
            strengths += weights.get(context, 1.0) * signed**2

        pairs = _strongest(strengths, self.top_k)
        sets = _merged(pairs, n)
        single = set(range(n)).difference(*sets)
        members = [*sets, *((i,) for i in sorted(single))]
        shown = torch.zeros(len(members), n, dtype=torch.bool)
        for row, of in zip(shown, members, strict=True):
            row[list(of)] = True
        scores = (game.values(shown) - empty).tolist()
        terms = [Term(of, "archipelago", None, score) for of, score in zip(members, scores, strict=True)]
        effect = full - empty
        return Answer(
            terms=terms,
            shares=Answer.shared_evenly(terms, n),
            effect=effect,
            base=empty,
            details={
                "residual": effect - float(np.sum(scores)),
                "effect": effect,
                "pairs": _pairs(n, 2),
                "pairs_above_tolerance": int(np.count_nonzero(np.triu(strengths, 1))),
                "pairs_merged": [list(pair) for pair in pairs],
                "threshold": threshold,
            },
            arrays={"strengths": strengths} | {f"differences_{c}": d.matrix for c, d in found.items()},
        )


class _Differences:
    """Signed second differences of all pairs in one context, (n, n) with zeros on the diagonal.

    Args:
        game: of the row.
        context: ``"input"``: players are taken from all of them; ``"baseline"``: they are added to none.

    Attributes:
        matrix: d, symmetric.
        largest: the largest absolute value that was met.
    """

    def __init__(self, game: RowGame, context: str) -> None:
        n = game.n_players
        around = context == "input"  # whether players who are not switched are present
        none = game.all_present() if around else game.all_masked()
        one = game.values(torch.eye(n, dtype=torch.bool) ^ around).numpy()
        self.matrix = np.zeros((n, n))
        self.largest = float(np.abs(one).max(initial=abs(none)))
        first, second = np.triu_indices(n, 1)
        for start in range(0, len(first), _BLOCK):
            i, j = first[start : start + _BLOCK], second[start : start + _BLOCK]
            switched = torch.zeros(len(i), n, dtype=torch.bool)
            switched[np.arange(len(i)), i] = True
            switched[np.arange(len(i)), j] = True
            both = game.values(switched ^ around).numpy()
            self.largest = max(self.largest, float(np.abs(both).max()))
            self.matrix[i, j] = self.matrix[j, i] = none - one[i] - one[j] + both


def _strongest(strengths: NDArray[np.float64], k: int) -> list[tuple[int, int]]:
    """The k strongest pairs that have a strength, strongest first; ties in the order of the players."""
    first, second = np.triu_indices(len(strengths), 1)
    values = strengths[first, second]
    order = np.argsort(-values, kind="stable")[:k]
    return [(int(first[o]), int(second[o])) for o in order if values[o] > 0]


def _merged(pairs: Sequence[tuple[int, int]], n: int) -> list[tuple[int, ...]]:
    """The sets of players that the pairs join, sorted; players of no pair are left out."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halves the way for the next who asks
            i = parent[i]
        return i

    for i, j in pairs:
        parent[root(i)] = root(j)
    sets: dict[int, list[int]] = {}
    for player in sorted({i for pair in pairs for i in pair}):
        sets.setdefault(root(player), []).append(player)
    return sorted(tuple(members) for members in sets.values())


def _pairs(n: int, k: int) -> int:
    """Sets of k of n players, k up to 2."""
    return (1, n, n * (n - 1) // 2)[k]


def _check_weights(weights: object) -> tuple[float, float]:
    if not isinstance(weights, tuple | list) or len(weights) != 2:
        raise OptionError(
            f"expected weights to be two numbers, of the input and the baseline, got {weights!r}"
        )
    of_input, of_baseline = (check_number("weights", w, low=0.0) for w in weights)
    if not of_input + of_baseline > 0:
        raise OptionError(f"expected weights that are not both zero, got {weights!r}")
    return of_input, of_baseline


@hookimpl
def hoi_captum_register_methods(register: Callable[[str, type], None]) -> None:
    register("archipelago", Archipelago)

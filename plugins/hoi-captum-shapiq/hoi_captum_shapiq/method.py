"""The estimators of shapiq as a method of hoi-captum."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from math import comb
from typing import Any, ClassVar

import numpy as np

from hoi_captum.authoring import Answer, CoalitionMethod, RowGame, Term, check_choice, check_count
from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.errors import FidelityWarning, HoiError, OptionError, TooManyPlayersError
from hoi_captum_shapiq.exact import INDICES, exact_interactions
from hoi_captum_shapiq.tables import DETAILS, kind_of, terms_of
from hoi_captum_shapiq.versions import check_gate, shapiq_version

__all__ = ["ShapiqInteractions"]

_ALWAYS_EXACT = 14  # players up to which "auto" evaluates all coalitions
_MOST_EXACT = 20  # players of which all coalitions are ever evaluated
_EFFICIENT = ("k-SII", "STII", "FSII")  # add up to v(N) - v(empty)
_SHAPLEY = (*_EFFICIENT, "SII")  # of order 1 they are the Shapley values

# estimators by shapiq's class names, and the indices of which they give all orders rightly: SHAPIQ and
# SVARMIQ have only the highest order of FSII and FBII. Left out: PermutationSamplingSII, where pairs never
# met are zero
_APPROXIMATORS: dict[str, tuple[str, ...]] = {
    "KernelSHAP": _SHAPLEY,
    "KernelSHAPIQ": ("k-SII", "SII"),
    "InconsistentKernelSHAPIQ": ("k-SII", "SII"),
    "RegressionFSII": ("FSII",),
    "RegressionFBII": ("FBII",),
    "SHAPIQ": ("k-SII", "SII", "STII", "BII"),
    "SVARMIQ": ("k-SII", "SII", "STII", "BII"),
    "PermutationSamplingSTII": ("STII",),
    "SPEX": ("k-SII", "SII", "STII", "FSII", "FBII"),
    "ProxySPEX": ("k-SII", "SII", "STII", "FSII", "FBII"),
}
_DENSE = {
    "k-SII": "KernelSHAPIQ",
    "SII": "KernelSHAPIQ",
    "STII": "SHAPIQ",
    "FSII": "RegressionFSII",
    "FBII": "RegressionFBII",
    "BII": "SHAPIQ",
}
_REGRESSIONS = ("KernelSHAP", "KernelSHAPIQ", "InconsistentKernelSHAPIQ", "RegressionFSII", "RegressionFBII")
_NEEDS = {"SPEX": (("galois", "sparse_transform"), "sparse"), "ProxySPEX": (("lightgbm",), "proxy")}


class ShapiqInteractions(CoalitionMethod):
    r"""Shapley and Banzhaf interactions of any number of players, from a budget of coalitions.

    They are estimated by shapiq. Those of few players are computed of all coalitions, exactly
    (:func:`exact_interactions`).

    Indices (k is ``max_order``): ``"k-SII"`` (Bordt and von Luxburg 2023), ``"STII"`` (Sundararajan et al.
    2020) and ``"FSII"`` (Tsai et al. 2023) add up to :math:`v(N) - v(\emptyset)`; ``"SII"`` and ``"BII"``
    (Grabisch and Roubens 1999) are mean mixed differences of their players, and ``"FBII"`` (Tsai et al. 2023)
    is the nearest function of order k. ``attribute`` gives each player its part of the terms that it is in,
    divided evenly, which for k-SII is its Shapley value; of SII and BII the terms of single players, its
    Shapley and its Banzhaf value.

    ``approximator="auto"`` takes

    ==================================  ===============================================================
    players                             estimator
    ==================================  ===============================================================
    up to 14                            exact: all coalitions (16,384 at most), whatever the budget
    15 to 20, 2^n within the budget     exact
    to 20; more while interactions      KernelSHAPIQ (k-SII, SII), RegressionFSII, RegressionFBII,
    are less than half of the budget    PermutationSamplingSTII where the budget has one round
                                        of it, else SHAPIQ (STII, BII)
    more                                ProxySPEX where lightgbm is installed, else SPEX: sparse
                                        interactions; SHAPIQ (BII)
    ==================================  ===============================================================

    Args:
        forward_func (Callable): any forward function or module.
        approximator (str, optional): ``"auto"``, ``"exact"`` or the name of a class of shapiq: KernelSHAP
            (order 1), KernelSHAPIQ, InconsistentKernelSHAPIQ (off where larger sets act), RegressionFSII,
            RegressionFBII, SHAPIQ, SVARMIQ (slow), PermutationSamplingSTII, SPEX, ProxySPEX. Default:
            ``"auto"``
        index (str, optional): k-SII, SII, STII, FSII, FBII or BII. Default: ``"k-SII"``
        max_order (int, optional): most players of an interaction. Default: 2
        budget (int, optional): coalitions that an estimator may ask for, in each row; v(N) and v(empty) come
            on top where it does not use them. Default: 2048
        seed (int, optional): of the estimators; every row starts from it. Default: 0

    Raises:
        OptionError: options that cannot be used or do not go together; k-SII by ProxySPEX before shapiq 1.8
            and by SPEX, which are wrong; an estimator whose package is not installed.
        InputError: ``forward_func`` is no callable.

    Example::

        >>> method = ShapiqInteractions(lambda x: x[:, 0] * x[:, 1] + x[:, 2])
        >>> method.interact(torch.ones(1, 3))[0].top(2)
        Interactions(2 terms, 3 players; top: 2 (k-sii) +1, 0 · 1 (k-sii) +1)
    """

    name: ClassVar[str] = "shapiq"
    kinds: ClassVar[tuple[str, ...]] = tuple(kind_of(index) for index in INDICES)
    orders: ClassVar[tuple[int, int | None]] = (1, None)
    summary: ClassVar[str] = "Shapley and Banzhaf interactions, exact or estimated by shapiq from a budget"

    def __init__(
        self,
        forward_func: Callable[..., Any],
        *,
        approximator: str = "auto",
        index: str = "k-SII",
        max_order: int = 2,
        budget: int = 2048,
        seed: int = 0,
    ) -> None:
        super().__init__(forward_func)
        self.approximator = check_choice("approximator", approximator, ("auto", "exact", *_APPROXIMATORS))
        self.index = check_choice("index", index, INDICES)
        self.max_order = check_count("max_order", max_order)
        self.budget = check_count("budget", budget, low=4)
        self.seed: int = check_count("seed", seed, low=0)
        if self.seed >= 1 << 32:
            raise OptionError(f"expected seed to be below 2^32, got {seed}")
        if approximator in _APPROXIMATORS:
            self._check_approximator(approximator)

    @property
    def complete(self) -> bool:  # type: ignore[override]  # a matter of the index
        """Whether the shares add up to v(N) - v(empty), up to what an estimator misses."""
        return self.index in _SHAPLEY

    @property
    def wording(self) -> dict[str, Any]:  # type: ignore[override]  # a matter of the index
        """What the scores of the index are, for the drawings."""
        if self.index in ("SII", "BII"):
            return {
                "quantity": f"{self.index} value",
                "heading": f"{self.index}: {{}}",
                "additive": False,
                "dense": True,
            }
        signs = ("raises the value", "lowers the value")
        return {
            "quantity": f"{self.index} value",
            "signs": signs,
            "heading": "for and against: {}",
            "dense": True,
        }

    def has_convergence_delta(self) -> bool:
        return self.complete

    # ---------------------------------------------------------------- which estimator
    def chosen(self, n_players: int) -> str:
        """The estimator for so many players.

        Raises:
            OptionError: none of shapiq's that are installed gives this index rightly.
        """
        if self.approximator != "auto":
            return self.approximator
        if n_players <= _ALWAYS_EXACT or (n_players <= _MOST_EXACT and 1 << n_players <= self.budget):
            return "exact"
        if self.max_order == 1 and self.index in _SHAPLEY:
            return "KernelSHAP"
        few = self._unknowns(n_players) < self.budget / 2
        if few or n_players <= _MOST_EXACT or self.index not in _APPROXIMATORS["SPEX"]:
            if self.index == "STII" and self._one_round(n_players) <= self.budget:
                return "PermutationSamplingSTII"
            return _DENSE[self.index]
        name = "ProxySPEX" if find_spec("lightgbm") else "SPEX"
        self._check_approximator(name)
        return name

    def _check_approximator(self, name: str) -> None:
        if self.index not in _APPROXIMATORS[name]:
            able = [other for other, indices in _APPROXIMATORS.items() if self.index in indices]
            raise OptionError(
                f"{name} does not give {self.index} of all orders; take one of {', '.join(able)}"
            )
        if name == "KernelSHAP" and self.max_order != 1:
            raise OptionError(
                f"KernelSHAP gives order 1 alone, got max_order={self.max_order}; take KernelSHAPIQ"
            )
        check_gate(name, self.index)
        packages, extra = _NEEDS.get(name, ((), ""))
        if missing := [package for package in packages if not find_spec(package)]:
            raise OptionError(
                f"{name} needs {' and '.join(missing)}; pip install 'hoi-captum-shapiq[{extra}]', "
                "or take another approximator"
            )

    def _unknowns(self, n_players: int) -> int:
        return sum(comb(n_players, k) for k in range(1, min(self.max_order, n_players) + 1))

    def _one_round(self, n_players: int) -> int:
        """Coalitions of one round of PermutationSamplingSTII: each set's difference, and all smaller sets."""
        order = self.max_order
        smaller = sum(comb(n_players, k) for k in range(order))
        return (comb(n_players, order) << order) + smaller + 1

    def _passes(self, n_players: int) -> int:
        everything = 1 << n_players
        return everything if self.chosen(n_players) == "exact" else min(self.budget + 2, everything)

    def _check(self, n_players: int) -> None:
        name = self.chosen(n_players)
        if name == "exact" and n_players > _MOST_EXACT:
            raise TooManyPlayersError(
                f"{n_players} players have 2^{n_players} coalitions, and the limit of 'exact' is "
                f"{_MOST_EXACT} players; take approximator='auto', or group cells into fewer players"
            )
        unknowns = self._unknowns(n_players)
        if name in _REGRESSIONS and unknowns > self.budget:
            warnings.warn(
                f"{name} fits {unknowns:,} interactions to {self.budget:,} coalitions, too few to tell "
                f"them; give budget={2 * unknowns} or more, or a lower max_order",
                FidelityWarning,
                stacklevel=6,
            )

    # ---------------------------------------------------------------- one row
    def _explain(self, game: RowGame) -> Answer:
        name, order = self.chosen(game.n_players), min(self.max_order, game.n_players)
        if name == "exact":
            terms, told = self._exact(game, order)
        else:
            terms, told = self._estimate(game, name, order)
        empty, full = game.all_masked(), game.all_present()
        told |= {"index": self.index, "min_order": 0, "max_order": order, "version": shapiq_version()}
        total = float(np.sum([term.score for term in terms]))
        details: dict[str, Any] = {"approximator": name, "effect": full - empty, DETAILS: told}
        if self.index in _EFFICIENT:
            details["residual"] = full - empty - total
        alone = [term for term in terms if term.order == 1]
        return Answer(
            terms=terms,
            shares=Answer.shared_evenly(alone if self.index in ("SII", "BII") else terms, game.n_players),
            effect=full - empty,
            base=empty,
            details=details,
        )

    def _exact(self, game: RowGame, order: int) -> tuple[list[Term], dict[str, Any]]:
        coalitions = all_coalitions(game.n_players)
        values = game.values(coalitions)
        scores = exact_interactions(values, self.index, order)
        size = coalitions.sum(1)
        rows = ((size > 0) & (size <= order)).nonzero().squeeze(-1).tolist()
        kind = kind_of(self.index)
        members = [tuple(coalitions[row].nonzero().squeeze(-1).tolist()) for row in rows]
        terms = [Term(of, kind, None, float(scores[row])) for of, row in zip(members, rows, strict=True)]
        terms.sort(key=lambda term: (term.order, term.members))
        return terms, {"estimated": False, "estimation_budget": len(coalitions)}

    def _estimate(self, game: RowGame, name: str, order: int) -> tuple[list[Term], dict[str, Any]]:
        import shapiq

        from hoi_captum_shapiq.game import TableGame

        cls = getattr(shapiq, name)
        wanted = {"n": game.n_players, "max_order": order, "index": self.index, "random_state": self.seed}
        takes = inspect.signature(cls.__init__).parameters  # some are of one index, or of one order
        budget = min(self.budget, 1 << game.n_players)
        with _own_random_numbers(self.seed), warnings.catch_warnings():
            # what follows such a warning are zeros
            warnings.filterwarnings("error", message="The budget .* is too small", category=UserWarning)
            try:
                estimator = cls(**{k: v for k, v in wanted.items() if k in takes})
                found = estimator.approximate(budget=budget, game=TableGame(game))
            except HoiError:
                raise
            except (ValueError, UserWarning) as error:
                raise OptionError(
                    f"shapiq's {name} refuses {game.n_players} players with a budget of {budget}: {error}"
                ) from error
        used = found.estimation_budget
        told = {"estimated": bool(found.estimated), "estimation_budget": None if used is None else int(used)}
        return terms_of(found, kind_of(self.index)), told


@contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Global random states from the seed, for the sparse estimators, which draw from them; then as before."""
    numbers, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(python)

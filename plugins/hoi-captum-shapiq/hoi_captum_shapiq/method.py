"""The estimators of shapiq as a method of hoi-captum."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hoi_captum.authoring import Answer, CoalitionMethod, RowGame, Term, check_choice, check_count
from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.errors import FidelityWarning, HoiError, OptionError, TooManyPlayersError
from hoi_captum_shapiq.exact import INDICES, empty_value, exact_interactions
from hoi_captum_shapiq.tables import DETAILS, OWN_EMPTY, kind_of, terms_of
from hoi_captum_shapiq.versions import check_gate, shapiq_version

if TYPE_CHECKING:
    from shapiq import InteractionValues

    from hoi_captum.core.row_method import Call

__all__ = ["ShapiqInteractions"]

_ALWAYS_EXACT = 14  # players up to which "auto" evaluates all coalitions
_MOST_EXACT = 20  # players of which all coalitions are ever evaluated
_EFFICIENT = ("k-SII", "STII", "FSII")  # add up to v(N) - v(empty)
_SHAPLEY = (*_EFFICIENT, "SII")  # of order 1 they are the Shapley values
_NOISE = 0.25  # of the size of the scores of the highest order, by their standard errors, that is said
_ENOUGH = 4  # coalitions for each interaction, where a regression's errors become smaller than its scores

# estimators by shapiq's class names, and the indices of which they give all orders rightly: SHAPIQ and
# SVARMIQ have only the highest order of FSII and FBII. Left out: PermutationSamplingSII, where pairs never
# met are zero
_APPROXIMATORS: dict[str, tuple[str, ...]] = {
    "KernelSHAP": _SHAPLEY,
    "KernelSHAPIQ": ("k-SII", "SII"),
    "InconsistentKernelSHAPIQ": ("k-SII", "SII"),
    "RegressionFSII": ("FSII",),
    "RegressionFBII": ("FBII", "BII"),
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
    "BII": "RegressionFBII",
}
_REGRESSIONS = ("KernelSHAP", "KernelSHAPIQ", "InconsistentKernelSHAPIQ", "RegressionFSII", "RegressionFBII")
_SAMPLED = ("SHAPIQ", "SVARMIQ")  # means of random coalitions, whose errors two halves of a budget tell
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
    to 20; more while interactions      KernelSHAPIQ (k-SII, SII), RegressionFSII, RegressionFBII (FBII,
    are less than half of the budget    BII), PermutationSamplingSTII (STII)
    more                                ProxySPEX where lightgbm is installed, else SPEX where its packages
                                        are: sparse interactions (not BII; k-SII by ProxySPEX of shapiq
                                        1.8). Without them as above, SHAPIQ for STII where there are more
                                        interactions than coalitions, with a ``FidelityWarning``
    ==================================  ===============================================================

    BII of all orders follow from FBII exactly, since both depend on the same Fourier coefficients:
    :math:`BII(S) = \sum_{T \supseteq S} 2^{-(|T| - |S|)} FBII(T)`. STII is sampled in rounds, each of which
    has a difference of every set of the highest order, until the budget is spent; SHAPIQ and SVARMIQ are the
    means of two halves of it. ``details["relative_stderr"]`` is then the root mean square of the standard
    errors of the highest order over that of its scores, and a ``FidelityWarning`` is given above a quarter.
    Regressions have no such figure; they are warned of where there are less than two coalitions for each
    interaction.

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

    Examples::

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

    # ---------------------------------------------------------------- which estimator
    def chosen(self, n_players: int) -> str:
        """The estimator for so many players."""
        if self.approximator != "auto":
            return self.approximator
        if n_players <= _ALWAYS_EXACT or (n_players <= _MOST_EXACT and 1 << n_players <= self.budget):
            return "exact"
        if self.max_order == 1 and self.index in _SHAPLEY:
            return "KernelSHAP"
        unknowns = self._unknowns(n_players)
        if 2 * unknowns >= self.budget and n_players > _MOST_EXACT:
            for sparse in ("ProxySPEX", "SPEX"):
                if self._is_there(sparse):
                    return sparse
        if self.index == "STII" and unknowns < self.budget:
            return "PermutationSamplingSTII"
        return _DENSE[self.index]

    def _is_there(self, name: str) -> bool:
        """Whether an estimator is installed and gives the index rightly."""
        try:
            self._check_approximator(name)
        except OptionError:
            return False
        return True

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
        unknowns, budget = self._unknowns(n_players), min(self.budget, 1 << n_players)
        if name in _REGRESSIONS and 2 * unknowns > budget:
            wanted = min(_ENOUGH * unknowns, 1 << n_players)
            install = (
                "; pip install 'hoi-captum-shapiq[sparse]' looks for few, strong ones"
                if self.approximator == "auto"
                and self.index in _APPROXIMATORS["SPEX"]
                and self.index != "k-SII"
                else ""
            )
            warnings.warn(
                f"{name} fits {unknowns:,} interactions of {n_players} players to {budget:,} coalitions, too "
                f"few to tell them from noise; give budget={wanted} or more, group cells into fewer players, "
                f"or take a lower max_order than {self.max_order}{install}",
                FidelityWarning,
                stacklevel=7,
            )

    def _answers(self, call: Call) -> list[Answer]:
        answers = super()._answers(call)
        if any(_one_round(answer) for answer in answers):
            warnings.warn(
                f"the budget has but one round of PermutationSamplingSTII, whose errors are not known; give "
                f"budget={_ENOUGH * self.budget} or more, or group cells into fewer players",
                FidelityWarning,
                stacklevel=5,
            )
        noise = [float(answer.details.get("relative_stderr", 0.0)) for answer in answers]
        worst = int(np.argmax(noise))
        if noise[worst] > _NOISE:
            details = answers[worst].details
            name, better = details["approximator"], _DENSE[self.index]
            # errors fall with the square root of the budget
            wanted = int(self.budget * min((noise[worst] / 0.1) ** 2, 1e6))
            other = f", or approximator={better!r}" if better not in (*_SAMPLED, name) else ""
            warnings.warn(
                f"row {worst}: the standard errors of {name}'s {self.index} of order {self.max_order} are "
                f"{noise[worst]:.0%} of its scores; give budget={wanted} or more{other}, or group cells into "
                "fewer players",
                FidelityWarning,
                stacklevel=5,
            )
        return answers

    # ---------------------------------------------------------------- one row
    def _explain(self, game: RowGame) -> Answer:
        name, order = self.chosen(game.n_players), min(self.max_order, game.n_players)
        noise: float | None = None
        if name == "exact":
            terms, told = self._exact(game, order)
        else:
            terms, told, noise = self._estimate(game, name, order)
        empty, full = game.all_masked(), game.all_present()
        # the empty set's entry is v(empty) of some indices; of the others it has to be known
        lowest = int(self.index in OWN_EMPTY and "empty_value" not in told)
        told |= {"index": self.index, "min_order": lowest, "max_order": order, "terms": len(terms)}
        told["version"] = shapiq_version()
        total = float(np.sum([term.score for term in terms]))
        details: dict[str, Any] = {"approximator": name, "effect": full - empty, DETAILS: told}
        if noise is not None:
            details["relative_stderr"] = noise
        if self.index in _EFFICIENT:
            details["residual"] = full - empty - total
        alone = [term for term in terms if term.order == 1]
        return Answer(
            terms=terms,
            shares=Answer.shared_evenly(alone if self.index in ("SII", "BII") else terms, game.n_players),
            effect=full - empty,
            base=empty,
            drawn=name != "exact",
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
        told: dict[str, Any] = {"estimated": False, "estimation_budget": len(coalitions)}
        if self.index in OWN_EMPTY:
            told["empty_value"] = empty_value(values, self.index, order)
        return terms, told

    def _estimate(
        self, game: RowGame, name: str, order: int
    ) -> tuple[list[Term], dict[str, Any], float | None]:
        """The terms, what shapiq tells of them, and the relative standard error, where it is known."""
        import shapiq

        from hoi_captum_shapiq.game import TableGame

        cls, table = getattr(shapiq, name), TableGame(game)
        # a regression gives FBII, of which BII are made
        index = "FBII" if name == "RegressionFBII" else self.index
        wanted = {"n": game.n_players, "max_order": order, "index": index}
        takes = inspect.signature(cls.__init__).parameters  # some are of one index, or of one order
        budget = min(self.budget, 1 << game.n_players)

        def make(seed: int) -> Any:
            return cls(**{k: v for k, v in (wanted | {"random_state": seed}).items() if k in takes})

        with _own_random_numbers(self.seed), warnings.catch_warnings():
            # what follows such a warning are zeros
            warnings.filterwarnings("error", message="The budget .* is too small", category=UserWarning)
            try:
                if name == "PermutationSamplingSTII":
                    runs = _rounds(make(self.seed), game, table, order, budget)
                elif name in _SAMPLED and budget < 1 << game.n_players:
                    seeds = np.random.SeedSequence(self.seed).generate_state(2).tolist()
                    runs = [make(seed).approximate(budget=budget // 2, game=table) for seed in seeds]
                else:
                    runs = [make(self.seed).approximate(budget=budget, game=table)]
            except HoiError:
                raise
            except (ValueError, UserWarning) as error:
                raise OptionError(
                    f"shapiq's {name} refuses {game.n_players} players with a budget of {budget}: {error}"
                ) from error
        terms, noise = _mean(runs, kind_of(self.index), order)
        if index != self.index:
            terms = _bii_of_fbii(terms, kind_of(self.index))
        used = game.forward_passes if len(runs) > 1 else runs[0].estimation_budget
        told = {
            "estimated": any(bool(run.estimated) for run in runs),
            "estimation_budget": None if used is None else int(used),
        }
        return terms, told, noise


def _one_round(answer: Answer) -> bool:
    details = answer.details
    return details["approximator"] == "PermutationSamplingSTII" and "relative_stderr" not in details


def _rounds(estimator: Any, game: RowGame, table: Any, order: int, budget: int) -> list[InteractionValues]:
    """Rounds of PermutationSamplingSTII for as long as the budget lasts, each with new permutations.

    shapiq counts a coalition each time that it is asked for, and would stop at a fifth of the budget: of the
    coalitions of a round, 2^k for each set of k players, most are the same.

    Raises:
        OptionError: less than one round.
    """
    n = game.n_players
    smaller = sum(comb(n, k) for k in range(order))
    others = comb(n, order)  # at most, of a round, beside the smaller sets
    if order > 1 and budget < smaller + others:
        raise OptionError(
            f"one round of PermutationSamplingSTII for {n} players requires {smaller + others} coalitions, "
            f"got budget={budget}; give more, or approximator='SHAPIQ'"
        )
    asked = (others << order) + smaller + 1  # as shapiq counts one round
    runs = [estimator.approximate(budget=asked, game=table)]
    # of few players nearly all coalitions are known soon, and rounds cost nothing
    while game.forward_passes + others <= budget and len(runs) < 2 * budget // others:
        runs.append(estimator.approximate(budget=asked, game=table))
    return runs


def _mean(runs: Sequence[InteractionValues], kind: str, order: int) -> tuple[list[Term], float | None]:
    """The mean of independent estimates, and the relative standard error of its highest order."""
    tables = [terms_of(run, kind) for run in runs]
    if len(tables) == 1:
        return tables[0], None
    # sparse ones may lack terms, but not these: all of them have every set
    scores = np.array([[term.score for term in terms] for terms in tables])
    means = scores.mean(0)
    terms = [Term(t.members, kind, None, float(m)) for t, m in zip(tables[0], means, strict=True)]
    top = [place for place, term in enumerate(terms) if term.order == order]
    variance = scores[:, top].var(0, ddof=1) / len(tables)
    size = float(np.sqrt((means[top] ** 2).mean()))
    return terms, float(np.sqrt(variance.mean())) / size if size > 0 else 0.0


def _bii_of_fbii(terms: Sequence[Term], kind: str) -> list[Term]:
    """Banzhaf indices of all orders from the faithful ones.

    FBII are the coefficients of the nearest function of order k under the uniform distribution. It has f's
    Fourier coefficients up to order k, and the BII of a set is a multiple of one of them.
    """
    sums: dict[tuple[int, ...], float] = {}
    for term in terms:
        for size in range(1, term.order + 1):
            for members in combinations(term.members, size):
                sums[members] = sums.get(members, 0.0) + term.score / (1 << (term.order - size))
    return [Term(term.members, kind, None, sums[term.members]) for term in terms]


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

"""GeneralizableAndOr: sparse AND and OR interactions shared by several models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

from torch import Tensor

from hoi_captum.core.cost import Cost
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.method import GameMethod, ValueTables
from hoi_captum.core.mobius import player_count
from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.state import single_thread
from hoi_captum.errors import ConvergenceWarning, HoiWarning, OptionError, RoughnessWarning
from hoi_captum.methods.and_or.extraction import SOLVERS, TIE_BREAKS, Extraction, Settings, extract
from hoi_captum.methods.and_or.result import AndOrInteractions

_ROUGH = 10.0
_QUICK, _LONG = 11, 14  # players, up to which solving takes a second, or a few (benchmarks/results/and_or.md)
_PROGRAM = ("alpha", "error_bound", "specific_bound", "order_weight", "tie_break")
_UNUSED: dict[str, tuple[str, ...]] = {
    "admm": (),
    "sgd": ("tolerance", "polish"),
    "harsanyi": (*_PROGRAM, "tolerance", "polish", "max_iterations"),
}


def _check_tie_break(value: float | str) -> float | str:
    if isinstance(value, str):
        return check_choice("tie_break (if no number)", value, TIE_BREAKS)
    return check_number("tie_break", value, low=0.0)


class GeneralizableAndOr(GameMethod):
    r"""AND and OR interactions that explain a model sparsely and generalise across models.

    The output for every coalition of players is written as

    .. math:: v(T) = v(\emptyset) + \sum_{S \subseteq T} I_{and}(S) + \sum_{S \cap T \ne \emptyset} I_{or}(S)
       + \epsilon(T)

    An AND effect works when all of S are present, an OR effect when any of S is. Of all such
    explanations the sparsest is taken; given several models (of the same players) the one whose
    terms they share, with a shared and a small specific :math:`\gamma` deciding between AND and OR.

    Source: Chen, Lou, Huang, Zhang, "Defining and extracting generalizable interaction primitives
    from DNNs", ICLR 2024, eqs. 2 to 6. The error is held at zero for the empty and the full
    coalition, so that the effects sum exactly to v(N) - v(empty).

    Args:
        forward_func (Callable or list of Callables): the model, or models, to explain; each gives
            (rows, ...), and ``target`` picks one number of each row: v, best in log-odds.
        alpha (float): weight of every model's own effects against the largest among models (eq. 6),
            0 = only the largest counts, 1 = models apart. Default: 0.1
        error_bound (float): largest error in any coalition, in parts of \|v(N) - v(empty)\|. Any effect may
            differ by as much, and weaker ones may vanish; 0 reproduces v exactly. Default: 0.02
        specific_bound (float): tau, largest specific gamma, in parts of \|v(N) - v(empty)\|; inf
            switches it off. Default: 0.5
        order_weight (float): extra price of each player beyond the first. Default: 0.02
        tie_break (float or str): decides between explanations that are otherwise equal. A number is the
            extra price, at most, of sets whose plain effects are small; ``quadratic`` spreads effects over
            ties, independent of the solver's path; ``generic`` picks one vertex, which depends on the
            numbering of the players where there are ties. Default: 0.03
        solver (str): ``admm`` (certified optimum), ``sgd`` (the paper's descent, 20,000 steps; its own
            program needs the options below) or ``harsanyi`` (plain AND table, no OR). Default: admm
        tolerance (float, optional): relative optimality gap at which ``admm`` stops; the error bound is
            kept to ten times that. Default: 1e-3 (1e-4 with the ``quadratic`` tie break)
        polish (bool): go on from ``admm`` to the exact optimum, a vertex with few terms, by linear programs.
            Takes seconds for most tables of up to 12 players and one model; gives up, with a warning, after
            two minutes for a row, or where the bound on the specific gammas is active. Of effects that are
            tied a vertex keeps some and drops the others, also of equal players. Default: False
        max_players (int): largest n; 2^n passes are needed for each row and model. Default: 12
        max_iterations (int, optional): of the solver. Default: 6,000 (8,000 from 15 players), more for a
            smaller tolerance; sgd 20,000

    With ``order_weight=0, tie_break=0, specific_bound=math.inf`` it is the program of the paper.

    Raises:
        OptionError: an option outside its range.
        InputError: forward_func is not callable.

    Examples::

        >>> model = lambda x: 2.0 * x[:, 0] * x[:, 1] + x[:, 2]  # "not bad": two words act together
        >>> result = hoi.GeneralizableAndOr(model, error_bound=0).interact(torch.ones(1, 3))[0]
        >>> [(t.members, t.kind, round(t.score, 2)) for t in result.top(2)]
        [((0, 1), 'and', 2.0), ((2,), 'and', 1.0)]
    """

    name: ClassVar[str] = "generalizable-and-or"
    kinds: ClassVar[tuple[str, ...]] = ("and", "or")
    orders: ClassVar[tuple[int, int | None]] = (1, None)
    summary: ClassVar[str] = "sparse AND and OR concepts, shared by several models"
    several_models: ClassVar[bool] = True
    result: ClassVar[type[Interactions]] = AndOrInteractions

    def __init__(
        self,
        forward_func: Callable[..., Any] | Sequence[Callable[..., Any]],
        *,
        alpha: float = 0.1,
        error_bound: float = 0.02,
        specific_bound: float = 0.5,
        order_weight: float = 0.02,
        tie_break: float | str = 0.03,
        solver: str = "admm",
        tolerance: float | None = None,
        polish: bool = False,
        max_players: int = 12,
        max_iterations: int | None = None,
    ) -> None:
        super().__init__(forward_func)
        self.settings = Settings(
            alpha=check_number("alpha", alpha, low=0.0, high=1.0),
            error_bound=check_number("error_bound", error_bound, low=0.0, finite=False),
            specific_bound=check_number("specific_bound", specific_bound, low=0.0, finite=False),
            order_weight=check_number("order_weight", order_weight, low=0.0),
            tie_break=_check_tie_break(tie_break),
            solver=check_choice("solver", solver, SOLVERS),
            tolerance=None
            if tolerance is None
            else check_number("tolerance", tolerance, low=1e-12, high=1.0),
            polish=check_flag("polish", polish),
            max_iterations=None if max_iterations is None else check_count("max_iterations", max_iterations),
        )
        if polish and (solver != "admm" or tie_break == "quadratic"):
            raise OptionError(
                "polish solves the linear program of admm: expected solver='admm' and tie_break other than "
                f"'quadratic', got {solver!r} and {tie_break!r}"
            )
        if solver == "sgd" and isinstance(tie_break, str):
            raise OptionError(f"expected tie_break to be a number with solver='sgd', got {tie_break!r}")
        self.max_players = check_count("max_players", max_players)

    def options(self) -> dict[str, Any]:
        """The constructor's options, as far as the solver uses them, for the provenance."""
        given = asdict(self.settings) | {"max_players": self.max_players}
        return {name: value for name, value in given.items() if name not in _UNUSED[self.settings.solver]}

    def _check(self, games: list[MaskedGame]) -> None:
        games[0].check_table_size(self.max_players)

    def _cost(self, games: list[MaskedGame]) -> Cost:
        n = games[0].n_players
        solving = "a minute or two" if n > _LONG else "some seconds" if n > _QUICK else ""
        return replace(super()._cost(games), besides=f"{solving} of solving for each row" if solving else "")

    def _interactions(self, tables: ValueTables, show_progress: bool) -> Sequence[AndOrInteractions]:
        results = []
        values = tables.values - tables.values[..., :1]
        for row, found in enumerate(self._extract(values, show_progress)):
            table = tables.values[row]
            messages = self._warnings(found.details)
            for category, message in messages:
                where = f"row {row}: " if len(values) > 1 else ""
                warnings.warn(where + message, category, stacklevel=4)
            details = found.details | {"warnings": [message for _, message in messages]}
            provenance = tables.provenance(self.name, self.options(), details)
            results.append(self._result(table, found, provenance))
        return results

    def _extract(self, values: Tensor, show_progress: bool) -> list[Extraction]:
        limit = self.settings.iterations(player_count(values))
        with single_thread(), progress_bar("solving", limit, "iteration", show_progress) as bar:
            return extract(
                values, self.settings, on_check=lambda iteration: bar.update(max(iteration - bar.n, 0))
            )

    def _result(self, table: Tensor, found: Extraction, provenance: Provenance) -> AndOrInteractions:
        several = isinstance(self.forward_func, list)
        scopes = [f"model:{i}" if several else "" for i in range(len(table))]
        base = dict(zip(scopes, table[:, 0].tolist(), strict=True))
        return AndOrInteractions.from_table(
            [str(i) for i in range(player_count(table))],
            [
                (kind, scope, found.coefficients[i, k])
                for i, scope in enumerate(scopes)
                for k, kind in enumerate(self.kinds)
            ],
            base=base if several else base[""],
            provenance=provenance,
            arrays={
                "values": table.numpy(),
                "error": found.error.numpy(),
                "shared_gamma": found.shared_gamma.numpy(),
                "specific_gamma": found.specific_gamma.numpy(),
            },
        )

    def _warnings(self, details: dict[str, Any]) -> list[tuple[type[HoiWarning], str]]:
        found: list[tuple[type[HoiWarning], str]] = []
        if self.settings.solver == "admm" and not details["converged"]:
            message = (
                f"the solver stopped after {details['iterations']} iterations with a gap of "
                f"{details['gap']:.1e} and {details['violation']:.1e} of the error bound violated; raise "
                "max_iterations, or tolerance if that is good enough; polish=True may reach the optimum"
            )
            found.append((ConvergenceWarning, message))
        if "polish" in details:
            found.append((ConvergenceWarning, f"not polished to the exact optimum: {details['polish']}"))
        worst = max(details["roughness"])
        total = ", ".join(f"{v:.3g}" for v in details["v(N) - v(empty)"])
        if worst > _ROUGH:
            message = (
                f"roughness {worst:.3g}: the plain interactions are together {worst:.3g} times as large as "
                f"the total effect v(N) - v(empty) = {total}; either large effects cancel, or masking itself "
                "disturbs the model: try another baseline, a contrast of two targets, or fewer and larger "
                "players"
            )
            found.append((RoughnessWarning, message))
        return found

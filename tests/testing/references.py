"""Small right methods, which pass the suites of their families; ``broken`` spoils them one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from hoi_captum import authoring
from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.mobius import moebius_transform, shapley_values

LAYER_OPTIONS = {"n_factors": 2, "n_clusters": 1, "min_rows": 20, "random_state": 3}


class Dividends(authoring.CoalitionMethod):
    """All Harsanyi dividends, from all coalitions; the shares are Shapley values."""

    name = "dividends"
    kinds = ("and",)
    orders = (1, None)
    summary = "all Harsanyi dividends"

    def _explain(self, game: authoring.RowGame) -> authoring.Answer:
        coalitions = all_coalitions(game.n_players)
        values = game.values(coalitions)
        terms = [
            authoring.Term(tuple(present.nonzero()[:, 0].tolist()), "and", None, score)
            for present, score in zip(coalitions, moebius_transform(values).tolist(), strict=True)
            if bool(present.any())
        ]
        base, all_present = float(values[0]), float(values[-1])
        return authoring.Answer(terms, shapley_values(values), effect=all_present - base, base=base)


class Seeded(Dividends):
    """Dividends with random numbers in their last digits, and a seed."""

    def __init__(self, forward_func: Callable[..., Any], *, seed: int = 0) -> None:
        super().__init__(forward_func)
        self.seed = authoring.check_count("seed", seed, low=0)

    def _explain(self, game: authoring.RowGame) -> authoring.Answer:
        answer = super()._explain(game)
        drawn = torch.rand(len(answer.terms), generator=torch.Generator().manual_seed(self.seed)).tolist()
        terms = [replace(t, score=t.score * (1 + 1e-9 * d)) for t, d in zip(answer.terms, drawn, strict=True)]
        return replace(answer, terms=terms)


class CrossDerivatives(authoring.DerivativeMethod):
    """Second derivatives by each pair of players; the shares are input times gradient."""

    name = "cross-derivatives"
    kinds = ("hessian",)
    orders = (2, 2)
    summary = "second derivatives by pairs of players"
    complete = False

    def _explain(
        self, gates: authoring.InputGates, size: authoring.PassSize, show_progress: bool
    ) -> list[authoring.Answer]:
        answers = []
        with authoring.progress_bar(self.name, gates.n_examples, "row", show_progress) as bar:
            for rows in torch.arange(gates.n_examples).split(size.rows):
                shares, matrices = self._derivatives(gates, rows)
                answers += [self._answer(*of) for of in zip(shares, matrices, strict=True)]
                bar.update(len(rows))
        return [replace(a, forward_passes=2, backward_passes=1 + gates.n_units) for a in answers]

    def _derivatives(
        self, gates: authoring.InputGates, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        second = authoring.hessian(gates, rows=rows, strategy="loop")
        return authoring.gradient(gates, rows=rows), second

    def _answer(self, shares: torch.Tensor, matrix: torch.Tensor) -> authoring.Answer:
        n = len(shares)
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
        return authoring.Answer(
            [authoring.Term((i, j), "hessian", None, float(matrix[i, j])) for i, j in pairs], shares
        )


class SharedDividends(authoring.GameMethod):
    """The dividends of several models, each in a scope of its own."""

    name = "shared-dividends"
    kinds = ("and",)
    orders = (1, None)
    summary = "the dividends of several models"
    several_models = True

    def _check(self, games: list[Any]) -> None:
        games[0].check_table_size(12)

    def _interactions(
        self, tables: authoring.ValueTables, show_progress: bool
    ) -> Sequence[authoring.Interactions]:
        several = isinstance(self.forward_func, list)
        found = []
        for values in tables.values:
            scopes = [f"model:{i}" if several else "" for i in range(len(values))]
            blocks = [("and", s, d) for s, d in zip(scopes, self._dividends(values), strict=True)]
            base = dict(zip(scopes, values[:, 0].tolist(), strict=True))
            table = authoring.Interactions.from_table(
                [str(i) for i in range(tables.games[0].n_players)],
                blocks,
                base=base if several else base[""],
                provenance=tables.provenance(self.name, {}, {}),
            )
            found.append(table)
        return found

    def _dividends(self, values: torch.Tensor) -> torch.Tensor:
        """(models, 2^n) of (models, 2^n) values."""
        return moebius_transform(values)

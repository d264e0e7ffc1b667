"""The base class of methods that ask for the values of the coalitions they choose."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from captum.attr import PerturbationAttribution
from torch import Tensor

from hoi_captum.core.games import MaskedGame
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.row_method import Answer, Call, RowMethod
from hoi_captum.errors import PlayerError


class RowGame:
    """The game of one row: v(T) for the coalitions that are asked for, each computed once.

    Args:
        game: the games of all rows.
        row: which of them.
        on_rows: told how many model rows were computed. Default: nobody

    Attributes:
        n_players: n, how many there are.
        forward_passes: model rows computed so far.

    Examples::

        >>> from hoi_captum.authoring import RowGame
        >>> game = RowGame(hoi.MaskedGame(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]])), row=0)
        >>> game.all_present(), game.all_present(), game.forward_passes
        (6.0, 6.0, 1)
    """

    def __init__(self, game: MaskedGame, row: int, on_rows: Callable[[int], object] = lambda _: None) -> None:
        self._game, self._row, self._on_rows = game, row, on_rows
        self._known: dict[bytes, float] = {}
        self.n_players = game.n_players

    @property
    def forward_passes(self) -> int:
        """Model rows computed so far."""
        return len(self._known)

    def values(self, coalitions: Tensor) -> Tensor:
        """v of the given coalitions.

        Args:
            coalitions (Tensor): (m, n) bool, True where a player is present.

        Returns:
            *Tensor*, (m,) float64 on the CPU.

        Raises:
            PlayerError: no (m, n) bool tensor.
            ModelOutputError, TargetError: as :meth:`MaskedGame.values`.
        """
        if coalitions.dim() != 2 or coalitions.shape[1] != self.n_players or coalitions.dtype != torch.bool:
            raise PlayerError(
                f"expected coalitions as a (m, {self.n_players}) bool tensor, got {coalitions.dtype} "
                f"of shape {tuple(coalitions.shape)}"
            )
        keys = [bits.tobytes() for bits in np.packbits(coalitions.cpu().numpy(), axis=1)]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        if new:
            found = self._game.values(coalitions[list(new.values())], row=self._row)[0]
            self._known.update(zip(new, found.tolist(), strict=True))
            self._on_rows(len(new))
        return torch.tensor([self._known[key] for key in keys], dtype=torch.float64)

    def value(self, coalition: Tensor) -> float:
        """v of one coalition, (n,) bool."""
        return float(self.values(coalition.unsqueeze(0)))

    def all_present(self) -> float:
        """v(N)."""
        return self.value(torch.ones(self.n_players, dtype=torch.bool))

    def all_masked(self) -> float:
        """v of the empty coalition."""
        return self.value(torch.zeros(self.n_players, dtype=torch.bool))


class CoalitionMethod(RowMethod, PerturbationAttribution):
    """Base of methods that need a model's values for some coalitions, and choose which.

    A subclass says in :meth:`_explain` what it makes of one row's game; that is all it has to say. Methods
    that need the values of all coalitions, or explain several models together, stand on
    :class:`~hoi_captum.core.method.GameMethod`.

    Examples::

        >>> from hoi_captum.authoring import Answer, CoalitionMethod, Term
        >>> class Whole(CoalitionMethod):
        ...     name, kinds, orders, summary = "whole", ("and",), (1, None), "one effect of all players"
        ...     def _explain(self, game):
        ...         effect = game.all_present() - game.all_masked()
        ...         terms = [Term(tuple(range(game.n_players)), "and", None, effect)]
        ...         return Answer(terms, Answer.shared_evenly(terms, game.n_players), effect)
        >>> Whole(lambda x: x[:, 0] * x[:, 1]).attribute(torch.tensor([[2.0, 3.0]]))
        tensor([[3., 3.]])
    """

    @abstractmethod
    def _explain(self, game: RowGame) -> Answer:
        """The answer for one row.

        Args:
            game: v of this row. Coalitions asked for twice cost nothing.
        """

    def _answers(self, call: Call) -> list[Answer]:
        # sizes found by timing would be others in each run, and the values' last bits with them
        game = MaskedGame(
            self.forward_func, *call.given, internal_batch_size=call.internal_batch_size, probe=False
        )
        self._check(game.n_players)
        passes = self._passes(game.n_players)
        total = None if passes is None else round(passes) * game.n_examples
        with progress_bar(f"{self.name}: masked passes", total, "row", call.show_progress) as bar:
            answers = []
            for row in range(game.n_examples):
                own = RowGame(game, row, bar.update)
                answers.append(replace(self._explain(own), forward_passes=own.forward_passes))
        return answers

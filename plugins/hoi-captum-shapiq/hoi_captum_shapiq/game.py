"""A masked model as a game of shapiq."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapiq
import torch
from numpy.typing import NDArray

from hoi_captum.authoring import RowGame
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import InputError

__all__ = ["TableGame"]


class TableGame(shapiq.Game):  # type: ignore[misc]  # shapiq is not seen by mypy
    """v(T) of a masked model for everything in shapiq that takes a game.

    Values are computed in batches of our own, each coalition once, without gradients. There is no bar of
    shapiq's: with ``verbose=True`` it would ask for one coalition at a time, so that is passed over.

    Args:
        game (RowGame or MaskedGame): the masked model.
        row (int, optional): the example of a MaskedGame that is explained. Default: 0
        names (Sequence[str], optional): of the players, for coalitions given as tuples of names. Default:
            None
        normalize (bool, optional): whether v(empty) is subtracted, as shapiq's estimators expect.
            Default: True

    Attributes:
        forward_passes: model rows computed so far.

    Raises:
        InputError: no such game, no such row, or another number of names.

    Examples::

        >>> game = TableGame(MaskedGame(f, inputs, baselines, feature_mask=mask))
        >>> shapiq.SVARMIQ(n=game.n_players, max_order=2, random_state=0).approximate(1000, game)
    """

    def __init__(
        self,
        game: RowGame | MaskedGame,
        *,
        row: int = 0,
        names: Sequence[str] | None = None,
        normalize: bool = True,
    ) -> None:
        if isinstance(game, MaskedGame):
            if not 0 <= row < game.n_examples:
                raise InputError(f"expected row in 0..{game.n_examples - 1}, got {row!r}")
            game = RowGame(game, row)
        if not isinstance(game, RowGame):
            raise InputError(f"expected a RowGame or a MaskedGame, got {type(game).__name__}")
        if names is not None and len(names) != game.n_players:
            raise InputError(f"expected {game.n_players} names, one for each player, got {len(names)}")
        self._row_game = game
        super().__init__(
            game.n_players,
            normalize=normalize,
            normalization_value=game.all_masked() if normalize else None,
            verbose=False,
            player_names=None if names is None else list(names),
        )

    @property
    def forward_passes(self) -> int:
        return self._row_game.forward_passes

    @property
    def verbose(self) -> bool:
        """False, whatever it is set to: shapiq's bar takes one pass for each coalition."""
        return False

    @verbose.setter
    def verbose(self, value: bool) -> None:
        pass

    def __call__(self, coalitions: Any, *, verbose: bool = False) -> NDArray[np.float64]:
        """v of coalitions, less v(empty) where that is subtracted.

        Args:
            coalitions: (m, n) or (n,) bool, or a list of tuples of players or of their names.
            verbose: passed over.

        Returns:
            (m,) float64; of one coalition (1,).
        """
        if isinstance(coalitions, np.ndarray):
            coalitions = np.atleast_2d(coalitions)
        return np.asarray(super().__call__(coalitions, verbose=False), dtype=np.float64)

    def value_function(self, coalitions: Any) -> NDArray[np.float64]:
        """v of coalitions, (m, n) or (n,), as the model gives it: (m,) float64."""
        present = np.array(np.atleast_2d(coalitions), dtype=bool)  # a copy: torch wants a writable array
        return self._row_game.values(torch.from_numpy(present)).numpy()

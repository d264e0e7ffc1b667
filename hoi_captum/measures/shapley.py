"""k-SII, the interaction index to compare tables with."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hoi_captum.core.games import MaskedGame
from hoi_captum.core.indices import k_shapley_interactions
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.state import preserved_rng
from hoi_captum.errors import InputError, TooManyPlayersError
from hoi_captum.measures.identity import scopes_of
from hoi_captum.measures.values import finite_values, kept_values

KIND = "k-sii"
_MOST_PLAYERS = 20  # of a game, all of whose coalitions are evaluated
_ROUNDING = 4 * float(np.finfo(np.float64).eps)


def k_sii(game: Any, order: int = 2, *, scope: str | None = None) -> Interactions:
    r"""k-SII, exact: Shapley interactions up to an order that add up to :math:`v(N) - v(\emptyset)`.

    See :func:`~hoi_captum.core.indices.k_shapley_interactions` (Bordt and von Luxburg, AISTATS 2023). Order 1
    gives the Shapley values, order n the Harsanyi dividends. A term is active where all of its players are
    present, so that :func:`faithfulness` judges k-SII as it judges every other table.

    Args:
        game: where v comes from: a :class:`~hoi_captum.core.games.MaskedGame` of one example and at most 20
            players, of which all coalitions are evaluated; v of all coalitions, (2^n,), in table order; or
            Interactions that keep their values, as those of GeneralizableAndOr do.
        order: k, the most players of a term, 1 to n. Default: 2
        scope: of which part of a table. Default: None (all of its scopes)

    Returns:
        Interactions: terms of kind ``k-sii``, of orders 1 to ``order``, in the unit of v; effects within the
        rounding of float64 values (:math:`4 \epsilon \, 2^{n/2} \max |v|`) are left out. ``base`` is v(empty)
        and the values are kept (``arrays["values"]``), so that :func:`faithfulness` needs no game. Players,
        scopes, model and target are those of the table; of a game the players are called 0, 1, ...

    Raises:
        InputError: none of these, a table that keeps no values, or no such scope.
        TooManyPlayersError: a game of more than 20 players.
        OptionError: an order outside 1..n.
        ModelOutputError: values that are not finite.

    Examples::

        >>> game = hoi.MaskedGame(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.tensor([[2.0, 3.0, 1.0]]))
        >>> [(term.members, term.score) for term in hoi.measures.k_sii(game)]
        [((2,), 1.0), ((0, 1), 6.0)]
        >>> [(term.members, term.score) for term in hoi.measures.k_sii(game, order=1)]
        [((2,), 1.0), ((1,), 3.0), ((0,), 3.0)]
    """
    check_count("order", order)
    started = time.perf_counter()
    if isinstance(game, Interactions):
        values, scopes, players = kept_values(game), scopes_of(game), game.players
        if scope is not None:
            values, scopes = values[[_row(scope, scopes)]], (scope,)
        origin: dict[str, Any] = {"model": game.provenance.model, "target": game.provenance.target}
    elif scope is not None:
        raise InputError(f"expected scope with Interactions only, got {type(game).__name__}")
    else:
        before = game.forward_passes if isinstance(game, MaskedGame) else 0
        values = _all_values(game)[None]
        scopes, players = ("",), tuple(map(str, range(values.shape[1].bit_length() - 1)))
        origin = {"forward_passes": game.forward_passes - before} if isinstance(game, MaskedGame) else {}
    effects = k_shapley_interactions(torch.tensor(values), order)
    limits = _ROUNDING * np.sqrt(values.shape[1]) * np.abs(values).max(axis=1, keepdims=True)
    effects[effects.abs() <= torch.from_numpy(limits)] = 0.0
    bases = dict(zip(scopes, values[:, 0].tolist(), strict=True))
    return Interactions.from_table(
        players,
        [(KIND, s, row) for s, row in zip(scopes, effects, strict=True)],
        base=bases[""] if scopes == ("",) else bases,
        provenance=Provenance(
            method=KIND, options={"order": order}, seconds=time.perf_counter() - started, **origin
        ),
        arrays={"values": values},
    )


def _row(scope: str, scopes: tuple[str, ...]) -> int:
    if scope not in scopes:
        raise InputError(f"expected scope to be one of {list(scopes)}, got {scope!r}")
    return scopes.index(scope)


def _all_values(game: Any) -> NDArray[np.float64]:
    """v of all coalitions, (2^n,)."""
    if isinstance(game, MaskedGame):
        n = game.n_players
        if game.n_examples != 1:
            raise InputError(f"expected a game of one example, got {game.n_examples}")
        if n > _MOST_PLAYERS:
            raise TooManyPlayersError(
                f"expected at most {_MOST_PLAYERS} players, got {n}: all 2^{n} coalitions would be needed; "
                "group the cells into fewer players (feature_mask)"
            )
        with preserved_rng():
            return np.asarray(game.table()[0].numpy())
    if not isinstance(game, torch.Tensor | np.ndarray):
        raise InputError(
            "expected a MaskedGame, the values of all coalitions or Interactions that keep them, got "
            f"{type(game).__name__}"
        )
    size = int(np.prod(game.shape))
    if game.ndim != 1 or size < 2 or size & (size - 1):
        raise InputError(f"expected 2^n values, one for each coalition, got shape {tuple(game.shape)}")
    return finite_values(game, size)

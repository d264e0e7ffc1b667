"""The values that a table is judged by: from a game, a function, a full table or given pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.coalitions import coalition_indices
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice, check_count
from hoi_captum.core.state import preserved_rng
from hoi_captum.errors import InputError, ModelOutputError
from hoi_captum.measures.identity import scopes_of
from hoi_captum.measures.rebuilding import as_coalitions

SAMPLING = ("subsets", "sizes")
_LISTED = 20  # up to so many players all subsets are listed and shuffled

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Values = Callable[[Bools], Floats]


def values_of(game: Any, table: Interactions, scope: str | None) -> Values:
    """A function from coalitions (c, n) bool to their values (c,) float64.

    Args:
        game: a :class:`~hoi_captum.core.games.MaskedGame` of one example; a function of a (c, n) bool tensor;
            v of all coalitions in table order, (2^n,); or None: the values that the table keeps
            (``arrays["values"]``, a row for each scope).
        table: the interactions to judge.
        scope: of the table.

    Raises:
        InputError: none of these, or of another size.
    """
    n = len(table.players)
    if game is None:
        scopes = scopes_of(table)
        return _from_table(kept_values(table)[scopes.index(scope) if scope in scopes else 0], n)
    if isinstance(game, MaskedGame):
        if game.n_players != n or game.n_examples != 1:
            raise InputError(
                f"expected a game of {n} players and one example, got {game.n_players} players and "
                f"{game.n_examples} examples"
            )
        return lambda coalitions: _run(game, coalitions)
    if isinstance(game, torch.Tensor | np.ndarray):
        return _from_table(game, n)
    if callable(game):
        return lambda coalitions: finite_values(game(torch.from_numpy(coalitions)), len(coalitions))
    raise InputError(
        "expected a MaskedGame, a function of coalitions, a table of 2^n values or a pair (coalitions, "
        f"values), got {type(game).__name__}"
    )


def draw_coalitions(n: int, count: int | None, *, sampling: str = "subsets", seed: int = 0) -> Bools:
    """Different random coalitions, neither empty nor full: (c, n) bool.

    Args:
        n: number of players.
        count: how many; None, or as many as there are and more, gives all 2^n - 2 in table order.
        sampling: ``subsets``, every coalition is equally likely (so most are of about n / 2 players), or
            ``sizes``, every size from 1 to n - 1 is, and every coalition of a size; sizes of few coalitions
            come short where many are drawn, since none is drawn twice. Default: subsets
        seed: of the random numbers. Default: 0

    Returns:
        (c, n) bool, True where a player is present.

    Raises:
        InputError: one player, or all coalitions of more than 20.
        OptionError: ``count`` or ``sampling`` out of range.

    Examples::

        >>> hoi.measures.draw_coalitions(2, None)
        array([[False,  True],
               [ True, False]])
        >>> hoi.measures.draw_coalitions(30, 100, sampling="sizes").shape
        (100, 30)
    """
    check_choice("sampling", sampling, SAMPLING)
    if count is not None:
        check_count("count", count)
    if n < 2:
        raise InputError(f"expected two players or more, got {n}: no coalition is neither empty nor full")
    if count is None and n > _LISTED:
        raise InputError(f"expected a number of coalitions for {n} players: there are 2^{n}")
    generator = np.random.default_rng(seed)
    total = (1 << n) - 2
    if count is None or count >= total:
        return _at(np.arange(1, total + 1), n)
    if sampling == "subsets" and n <= _LISTED:
        return _at(generator.permutation(total)[:count] + 1, n)
    found = np.zeros((0, n), dtype=bool)
    while len(found) < count:
        if sampling == "sizes":
            sizes = generator.integers(1, n, size=count)
            ranks = generator.random((count, n)).argsort(axis=1)
            drawn = ranks < sizes[:, None]
        else:
            drawn = generator.random((count, n)) < 0.5
            drawn = drawn[drawn.any(axis=1) & ~drawn.all(axis=1)]
        found = np.concatenate((found, drawn))
        # in the order in which they were drawn, each once
        found = found[np.sort(np.unique(np.packbits(found, axis=1), axis=0, return_index=True)[1])]
    return found[:count]


def given_pair(pair: tuple[Any, Any], n: int) -> tuple[Bools, Floats]:
    """Check given (coalitions, values)."""
    coalitions = as_coalitions(pair[0], n)
    return coalitions, finite_values(pair[1], len(coalitions))


def kept_values(table: Interactions) -> Floats:
    """v of all coalitions that a table keeps, a row for each of its scopes: (m, 2^n).

    Raises:
        InputError: it keeps none, or those of other scopes than it has.
    """
    values = table.arrays.get("values")
    if values is None or values.shape != (len(scopes_of(table)), 1 << len(table.players)):
        raise InputError(
            "the table does not keep v of all coalitions for its scopes; give the game, or the whole table "
            "and its scope"
        )
    return np.asarray(values, dtype=np.float64)


def as_floats(values: Any) -> Floats:
    """Numbers of any kind as float64: Tensors of any dtype and device, also with gradients, arrays, lists.

    Raises:
        InputError: something else than real numbers.
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise InputError(f"expected real numbers as values, got {values.dtype}")
        return np.asarray(values.detach().cpu().double().numpy())  # on the CPU: not every device has float64
    if isinstance(values, list | tuple) and any(isinstance(v, Tensor) for v in values):
        values = [as_floats(v) for v in values]
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected real numbers as values, got {type(values).__name__}: {error}") from error


def _at(indices: NDArray[np.int64], n: int) -> Bools:
    shifts = np.arange(n - 1, -1, -1)
    return (indices[:, None] >> shifts & 1).astype(bool)


def _run(game: MaskedGame, coalitions: Bools) -> Floats:
    with preserved_rng():
        return np.asarray(game.values(torch.from_numpy(coalitions))[0].numpy())


def _from_table(values: Any, n: int) -> Values:
    size = tuple(np.shape(values))
    if size != (1 << n,):
        raise InputError(f"expected {1 << n} values, one for each coalition of {n} players, got shape {size}")
    table = finite_values(values, 1 << n)
    return lambda coalitions: table[coalition_indices(torch.from_numpy(coalitions)).numpy()]


def finite_values(values: Any, count: int) -> Floats:
    """One value for each coalition, (count,) float64.

    Raises:
        InputError: another number of values, or something else than real numbers.
        ModelOutputError: a value that is not finite.
    """
    array = as_floats(values)
    if array.size != count:
        raise InputError(f"expected {count} values, one for each coalition, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ModelOutputError("expected finite values of the coalitions, got one that is not")
    return array.reshape(-1)

"""The base classes of the methods: all of Captum's argument handling, once."""

from __future__ import annotations

import os
import sys
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from captum.attr import PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from hoi_captum.core.arguments import for_each_model
from hoi_captum.core.checkpoint import Checkpoint
from hoi_captum.core.cost import Cost
from hoi_captum.core.example import PerModel
from hoi_captum.core.fingerprint import Fingerprint
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.mobius import shapley_values
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.core.state import preserved_state, warn_of_training_mode
from hoi_captum.errors import InputError


@dataclass(frozen=True)
class ValueTables:
    """The models' values for all coalitions, and how they came about.

    Attributes:
        games: one for each model.
        values: v, (B, m, 2^n) float64.
        models: a description of each model.
        target: the target argument, as text.
        started: ``time.perf_counter()`` when the call began.
        resumed_rows: model rows whose values were found in a checkpoint; None without one.

    Examples::

        >>> from hoi_captum.authoring import ValueTables
        >>> game = hoi.MaskedGame(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
        >>> tables = ValueTables((game,), game.table().unsqueeze(1), ("product",), "None", started=0.0)
        >>> tables.values.shape, tables.provenance("by-hand", {}, {}).forward_passes
        (torch.Size([1, 1, 4]), 4)
    """

    games: tuple[MaskedGame, ...]
    values: Tensor
    models: tuple[str, ...]
    target: str
    started: float
    resumed_rows: int | None = None

    def provenance(self, method: str, options: Mapping[str, Any], details: Mapping[str, Any]) -> Provenance:
        """The provenance of one row's result.

        To the details are added ``work``, what the forward functions' evaluators spent in units of their
        own, and ``checkpoint``, with the rows that it had. ``forward_passes`` are those of this run.
        """
        work: Counter[str] = Counter()
        for game in self.games:
            work.update(game.work)
        if work:
            details = {**details, "work": {name: spent // len(self.values) for name, spent in work.items()}}
        if self.resumed_rows is not None:
            details = {**details, "checkpoint": {"resumed_rows": self.resumed_rows // len(self.values)}}
        return Provenance(
            method=method,
            options=options,
            target=self.target,
            model=self.models,
            forward_passes=sum(game.forward_passes for game in self.games) // len(self.values),
            seconds=time.perf_counter() - self.started,
            details=details,
        )


class GameMethod(PerturbationAttribution):
    """Base of methods that need nothing of a model but v(T), its output with a coalition present.

    A subclass says how to turn value tables into interactions (:meth:`_interactions`); arguments,
    batches, several models, masking, counting and restoring the model are dealt with here.

    Class attributes (checked at registration):
        name: under which it is registered.
        kinds: kinds of term that ``interact`` gives.
        orders: lowest and highest order of a term; None = up to all players.
        summary: one line for the table of methods.
        several_models: whether a list of forward functions is accepted.
        result: type of the tables that ``interact`` gives.

    Args:
        forward_func (Callable or list of Callables): the model, or models where ``several_models`` is True;
            each gives (rows, ...), and ``target`` picks one number of each row.

    Raises:
        InputError: something that is not callable, or a list where one model is expected.

    Examples::

        >>> from hoi_captum.authoring import GameMethod
        >>> class ShapleyPairs(GameMethod):
        ...     name, kinds, orders, summary = "shapley-pairs", ("k-sii",), (1, 2), "k-SII of order 2"
        ...     def _check(self, games):
        ...         games[0].check_table_size(12)
        ...     def _interactions(self, tables, show_progress):
        ...         return [hoi.measures.k_sii(values[0]) for values in tables.values]
        >>> ShapleyPairs(lambda x: x[:, 0] * x[:, 1]).interact(torch.tensor([[2.0, 3.0]]))
        [Interactions(1 terms, 2 players; top: 0 · 1 (k-sii) +6)]
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    orders: ClassVar[tuple[int, int | None]]
    summary: ClassVar[str]
    several_models: ClassVar[bool] = False
    result: ClassVar[type[Interactions]] = Interactions

    def __init__(self, forward_func: Callable[..., Any] | Sequence[Callable[..., Any]]) -> None:
        is_list = isinstance(forward_func, list | tuple)
        if is_list and not self.several_models:
            raise InputError(
                f"{type(self).__name__} explains one model, got a {type(forward_func).__name__}; make one "
                "for each model"
            )
        models = list(forward_func) if isinstance(forward_func, list | tuple) else [forward_func]
        if not models or not all(callable(f) for f in models):
            raise InputError(
                f"expected forward_func to be a callable{' or a list of callables' * self.several_models}, "
                f"got {forward_func!r}"
            )
        super().__init__(models if is_list else forward_func)

    def has_convergence_delta(self) -> bool:
        return True

    @log_usage()
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Any:
        r"""The Shapley value of each player, given to all of its cells.

        It is the exact Shapley value of v(T), to which any interactions that reproduce v add up when each
        is shared evenly among its players: the sum over players is v(all present) - v(all masked).
        Where a method leaves an error, ``interact(...)[0].per_player()`` lacks the error's share.

        Args:
            inputs (Tensor or tuple[Tensor, ...]): input, batch in dimension 0. With several models:
                shared, or ``PerModel`` where the models' inputs differ (also all that follows).
            baselines (scalar, Tensor, tuple of these, or None, optional): the masked state, as in
                Captum. Default: None (0)
            target (int, tuple, Tensor or list, optional): the output to explain, as in Captum.
                Default: None
            additional_forward_args (Any, optional): as in Captum. Default: None
            feature_mask (Tensor or tuple[Tensor, ...], optional): player ids 0..n-1 of the input's
                cells, broadcastable to the inputs; -1 marks cells that are never masked.
                Default: None (every cell is a player)
            internal_batch_size (int, optional): most model rows in one forward pass.
                Default: None (chosen by the size of the inputs)
            return_convergence_delta (bool, optional): also return the sum of the players' values
                minus (v(all present) - v(all masked)), one number for each row. Default: False
            show_progress (bool, optional): a progress bar on stderr, in model rows. Default: False
            checkpoint (path, optional): a file that keeps the values of the coalitions as they are
                computed. It is made if there is none; a run that was stopped, even killed, goes on
                where it was when it is started again, with the same result to the last bit. The file
                stays; once complete a call computes no more than eight coalitions for each row, by
                which the model is known again. A file made for another input, target or model is
                refused: digests tell, and these coalitions' values where the digests cannot see.
                Passes have the size that the file began with, or ``internal_batch_size`` if that is
                smaller. Default: None

        Returns:
            *Tensor* or *tuple[Tensor, ...]* of **attributions**: shaped like the inputs, in the
            unit of the output; ``PerModel`` of these where the method was made for a list of
            models. With ``return_convergence_delta`` a pair (attributions, delta), delta (B,).

        Raises:
            InputError: arguments that do not fit (its subclasses say which).
            ModelOutputError: an output of the wrong shape or a non-finite value.
            FileError: a checkpoint that belongs to something else (what differs is said), is in use by
                another run, is damaged, or cannot be written.

        Examples::

            >>> method = hoi.GeneralizableAndOr(lambda x: x[:, 0] * x[:, 1])
            >>> method.attribute(torch.tensor([[2.0, 3.0]]))
            tensor([[3., 3.]])
        """
        arguments = (inputs, baselines, target, additional_forward_args, feature_mask)
        tables = self._tables(arguments, internal_batch_size, show_progress, checkpoint)
        attributions, deltas = self._attributions(tables, inputs)
        return (attributions, deltas) if return_convergence_delta else attributions

    @log_usage()
    def interact(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> list[Any]:
        r"""The interactions of each row.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, internal_batch_size,
                show_progress, checkpoint: as in :meth:`attribute`.

        Returns:
            *list[Interactions]*, one for each row of the batch.

        Raises:
            InputError, ModelOutputError, FileError: as :meth:`attribute`.

        Examples::

            >>> method = hoi.GeneralizableAndOr(lambda x: x[:, 0] * x[:, 1])
            >>> pair = method.interact(torch.tensor([[2.0, 3.0]]))[0].top(1)[0]
            >>> pair.members, pair.kind
            ((0, 1), 'and')
        """
        arguments = (inputs, baselines, target, additional_forward_args, feature_mask)
        tables = self._tables(arguments, internal_batch_size, show_progress, checkpoint)
        return list(self._interactions(tables, show_progress))

    @log_usage()
    def attribute_and_interact(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> tuple[Any, list[Any]]:
        r"""Both answers from one evaluation of the coalitions: what :meth:`attribute` and
        :meth:`interact` would give, at half the passes.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, internal_batch_size,
                show_progress, checkpoint: as in :meth:`attribute`.

        Returns:
            *tuple* of the **attributions** and the *list[Interactions]*.

        Raises:
            InputError, ModelOutputError, FileError: as :meth:`attribute`.
        """
        arguments = (inputs, baselines, target, additional_forward_args, feature_mask)
        tables = self._tables(arguments, internal_batch_size, show_progress, checkpoint)
        return self._attributions(tables, inputs)[0], list(self._interactions(tables, show_progress))

    def cost(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
    ) -> Cost:
        """What :meth:`attribute`, or :meth:`interact`, would spend; no pass is made.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask: as in :meth:`attribute`.

        Raises:
            InputError: as :meth:`attribute`; also for too many players, with what they would cost.
        """
        arguments = (inputs, baselines, target, additional_forward_args, feature_mask)
        games = self._games(for_each_model(arguments, len(self._models())), None, False, None)
        self._check(games)
        return self._cost(games)

    def _cost(self, games: list[MaskedGame]) -> Cost:
        n, sizes = games[0].n_players, [game.n_distinct for game in games]
        changing = max(sizes).bit_length() - 1  # the others are masked already
        which = "" if changing == n else f" ({changing} of which change anything)"
        return Cost(f"{n} players{which}, 2^{changing} coalitions", sum(sizes), games[0].n_examples)

    @abstractmethod
    def _check(self, games: list[MaskedGame]) -> None:
        """Refuse games that the method cannot solve, before any pass is spent."""

    @abstractmethod
    def _interactions(self, tables: ValueTables, show_progress: bool) -> Sequence[Interactions]:
        """Interactions of each row."""

    def _attributions(self, tables: ValueTables, inputs: Any) -> tuple[Any, Any]:
        """Shapley values on the inputs' cells, and the convergence deltas."""
        shares = shapley_values(tables.values)  # (B, m, n)
        deltas = shares.sum(-1) - (tables.values[..., -1] - tables.values[..., 0])
        given = inputs if isinstance(inputs, PerModel) else PerModel(*[inputs] * len(tables.games))
        attributions = []
        for i, (game, x) in enumerate(zip(tables.games, given, strict=True)):
            cells = game.players.spread(shares[:, i], game.inputs)
            attributions.append(cells if isinstance(x, tuple) else cells[0])
        return self._per_model(attributions), self._per_model(list(deltas.unbind(1)))

    def _models(self) -> list[Callable[..., Any]]:
        # read late: Captum's wrappers copy an instance and replace its forward_func
        return self.forward_func if isinstance(self.forward_func, list) else [self.forward_func]

    def _per_model(self, items: list[Any]) -> Any:
        return PerModel(*items) if isinstance(self.forward_func, list) else items[0]

    def _tables(
        self,
        arguments: tuple[Any, ...],
        internal_batch_size: int | None,
        show_progress: bool,
        checkpoint: str | os.PathLike[str] | None,
    ) -> ValueTables:
        """Evaluate all coalitions of all rows with all models."""
        started, models = time.perf_counter(), self._models()
        warn_of_training_mode(*models)
        kept = nullcontext() if checkpoint is None else Checkpoint(checkpoint)
        with preserved_state(*models), kept as file:
            given = for_each_model(arguments, len(models))
            games = self._games(given, internal_batch_size, show_progress, file)
            self._check(games)
            if show_progress:
                print(self._cost(games), file=sys.stderr)
            if file is None:
                tables = [game.table() for game in games]
            else:
                prints = [Fingerprint.of(*of) for of in zip(games, models, given, strict=True)]
                tables = file.tables(games, prints, show_progress=show_progress)
        return ValueTables(
            games=tuple(games),
            values=torch.stack(tables, dim=1),
            models=tuple(describe_model(f) for f in models),
            target=str(arguments[2]),
            started=started,
            resumed_rows=None if file is None else file.resumed_rows,
        )

    def _games(
        self,
        given: list[tuple[Any, ...]],
        internal_batch_size: int | None,
        show_progress: bool,
        file: Checkpoint | None,
    ) -> list[MaskedGame]:
        models = self._models()
        games = [
            MaskedGame(
                model,
                *own,
                internal_batch_size=file.rows_per_pass(i, internal_batch_size)
                if file
                else internal_batch_size,
                # a size found by timing would be another in each run, and the values' last bits with it
                probe=file is None,
                show_progress=show_progress and file is None,
                label=f"model {i + 1} of {len(models)}" if len(models) > 1 else "masked passes",
            )
            for i, (model, own) in enumerate(zip(models, given, strict=True))
        ]
        sizes = [(g.n_players, g.n_examples) for g in games]
        if len(set(sizes)) > 1:
            raise InputError(
                "the models must have the same players and batch, got "
                + ", ".join(f"model {i}: {n} players, {b} rows" for i, (n, b) in enumerate(sizes))
                + "; give PerModel inputs of as many rows, with the same ids in their feature_mask"
            )
        return games

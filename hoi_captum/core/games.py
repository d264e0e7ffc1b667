"""The masked game: a model's output as a function of which players are present."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hoi_captum.core.arguments import Arguments, is_out_of_memory, rows_of
from hoi_captum.core.coalitions import Players, all_coalitions, coalition_indices
from hoi_captum.core.evaluators import CoalitionEvaluator, EvaluatesCoalitions
from hoi_captum.core.options import check_count
from hoi_captum.core.passes import PassSize
from hoi_captum.core.progress import progress_bar
from hoi_captum.errors import InputError, ModelOutputError, PlayerError, TooManyPlayersError

_MOST_TABLES = 20  # players, of which all coalitions may still be wanted
_FEWEST_PLAYERS = 4  # for which an evaluator is asked for: fewer coalitions do not repay its start


class MaskedGame:
    r"""A cooperative game: :math:`v(T)` is the model's output with only coalition T present.

    Cells of absent players take the baseline's value: :math:`x_T = x \odot 1_T + b \odot (1 - 1_T)`.
    Each row of the batch is a game of its own. Values are computed under ``no_grad`` in chunks, the
    target is picked inside each chunk, and model rows are counted. A forward function that offers to
    evaluate coalitions together (:class:`~hoi_captum.core.evaluators.EvaluatesCoalitions`) is asked to.

    Args:
        forward_func (Callable): any forward function or module; ``forward_func(*inputs, *additional)``
            gives (rows, ...).
        inputs (Tensor or tuple[Tensor, ...]): (B, ...).
        baselines (None, number, Tensor or tuple): as in Captum; Tensors are (1 or B, ...). Default: 0.
        target: as in Captum. Default: None
        additional_forward_args: as in Captum. Tensors whose first dimension is the batch (or 1) are
            repeated with the rows; everything else is passed as it is.
        feature_mask (Tensor or tuple[Tensor, ...]): player ids, -1 = never absent. Default: a player
            for each cell.
        internal_batch_size (int, optional): most model rows in one pass. Default: by input size, and
            with ``probe`` the fastest size up to that, found on the first rows of the work.
        probe (bool): False leaves timing out, so that the same call gives the same bits: sizes then
            follow from the inputs alone. Default: True
        show_progress (bool): a bar on stderr, in model rows. Default: False
        label (str): what the bar calls this game. Default: masked passes

    Attributes:
        n_players, n_examples: n and B.
        forward_passes: model rows asked for so far.

    Raises:
        InputError: arguments that do not fit together (PlayerError, TargetError among them).

    Examples::

        >>> game = hoi.MaskedGame(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]), baselines=1.0)
        >>> game.table()  # nobody, player 1, player 0, both
        tensor([[1., 3., 2., 6.]], dtype=torch.float64)
        >>> game.values(torch.tensor([[True, False]])), game.forward_passes
        (tensor([[2.]], dtype=torch.float64), 5)
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Tensor | tuple[Tensor, ...] | None = None,
        *,
        internal_batch_size: int | None = None,
        probe: bool = True,
        show_progress: bool = False,
        label: str = "masked passes",
    ) -> None:
        self._arguments = Arguments(forward_func, inputs, baselines, target, additional_forward_args)
        self.n_examples = self._arguments.n_examples
        self.players = Players.from_feature_mask(self.inputs, feature_mask)
        self._limit = None
        self._pass_size = PassSize.for_inputs(self.inputs, sought=probe)
        if internal_batch_size is not None:
            self._limit = check_count("internal_batch_size", internal_batch_size)
            self._pass_size = PassSize(self._limit)
        self._evaluators: list[CoalitionEvaluator] | None = None  # None: not asked for yet
        self._show_progress = show_progress
        self._label = label
        self.forward_passes = 0

    @property
    def n_players(self) -> int:
        """n, the number of players."""
        return self.players.count

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs as a tuple."""
        return self._arguments.inputs

    def check_table_size(self, limit: int) -> None:
        """Raise if a table of all coalitions has more players than the limit.

        Raises:
            TooManyPlayersError: with the number of passes it would take and the ways out.
        """
        n = self.n_players
        if n > limit:
            # an image has so many cells that Python refuses to write the number out
            passes = f"2^{n} = {2**n:,}" if n <= 64 else f"2^{n}"
            last = (
                f"give max_players={n} (--option max_players={n}) if the time is yours to spend"
                if n <= _MOST_TABLES
                else "take a method of derivatives, to which so many are no trouble (taylor-cam)"
            )
            raise TooManyPlayersError(
                f"{n} players need {passes} model passes for each row and model, and the limit is "
                f"{limit} players ({2**limit:,} passes). Group the cells into fewer players (feature_mask; "
                f"players=... of explain and --players: what you leave out stays present), or {last}"
            )

    def table(self) -> Tensor:
        """v of all coalitions: (B, 2^n) float64 on the CPU, in table order."""
        coalitions, index = self.distinct_coalitions()
        return self.values(coalitions)[:, index]

    @property
    def rows_per_pass(self) -> int:
        """Model rows in the next pass; the forward function is asked for its evaluators first."""
        with torch.no_grad():
            self._coalition_evaluators()
        return self._pass_size.rows

    @property
    def work(self) -> Mapping[str, int]:
        """What the forward function's evaluators spent, in units of their own; empty without any."""
        total: Counter[str] = Counter()
        for evaluator in self._evaluators or ():
            total.update(evaluator.work)
        return dict(total)

    def distinct_coalitions(self) -> tuple[Tensor, Tensor]:
        """The coalitions of the table that need a pass of their own.

        A player whose cells all equal their baseline, in every row of the batch, changes nothing: of
        the coalitions that differ by such players only the one without them is kept.

        Returns:
            *tuple* of the coalitions (k, n) bool in table order, and for each row of the table (2^n,)
            int64 which of these gives its value: ``table()`` is ``values(coalitions)[:, index]``.
        """
        active = self._active_players()
        few = all_coalitions(len(active))
        coalitions = few.new_zeros(len(few), self.n_players)
        coalitions[:, active] = few
        return coalitions, coalition_indices(all_coalitions(self.n_players)[:, active])

    @property
    def n_distinct(self) -> int:
        """How many coalitions :meth:`distinct_coalitions` has, without making them."""
        return 1 << len(self._active_players())

    def _active_players(self) -> Tensor:
        """The players that have a cell which is not the same when masked, in their order."""
        masks = zip(self._arguments.differing(), self.players.masks, strict=True)
        owners: Tensor = torch.unique(
            torch.cat([mask.expand(cells.shape)[cells].cpu() for cells, mask in masks])
        )
        return owners[owners >= 0]

    def values(self, coalitions: Tensor, *, row: int | None = None) -> Tensor:
        """v of the given coalitions.

        When memory runs out the rows of a pass are halved, with a warning, and the work goes on.

        Args:
            coalitions (Tensor): (m, n) bool.
            row (int, optional): the example whose values are wanted. Default: None (all of them)

        Returns:
            *Tensor*, (B, m) float64 on the CPU; (1, m) of one example.

        Raises:
            InputError: no such row, or coalitions of another shape.
            ModelOutputError: the output has a wrong shape or is not finite; the coalition is named.
            TargetError: the target does not exist in the output.
        """
        if coalitions.dim() != 2 or coalitions.shape[1] != self.n_players or coalitions.dtype != torch.bool:
            raise PlayerError(
                f"expected coalitions as a (m, {self.n_players}) bool tensor, got {coalitions.dtype} "
                f"of shape {tuple(coalitions.shape)}"
            )
        if row is not None and not 0 <= row < self.n_examples:
            raise InputError(f"expected row in 0..{self.n_examples - 1}, got {row!r}")
        coalitions = coalitions.to(self.inputs[0].device)
        examples = list(range(self.n_examples)) if row is None else [row]
        total = len(examples) * len(coalitions)
        with torch.no_grad(), progress_bar(self._label, total, "row", self._show_progress) as bar:
            evaluators = self._coalition_evaluators()
            if evaluators:
                own = [self._by_evaluator(coalitions, i, evaluators[i], bar.update) for i in examples]
                return torch.stack(own)
            # coalitions vary slowest, as Captum repeats its inputs
            among = torch.tensor(examples, device=coalitions.device)
            flat = self._in_passes(partial(self._by_rows, coalitions, among), total, bar.update)
            return flat.view(-1, len(examples)).T.contiguous()

    def _coalition_evaluators(self) -> list[CoalitionEvaluator]:
        """One for each example if the forward function has them for all; none otherwise."""
        if self._evaluators is None:
            self._evaluators = self._offered() if self.n_players >= _FEWEST_PLAYERS else []
            if self._evaluators:
                most = min(e.most_rows for e in self._evaluators)
                self._pass_size = PassSize(min(most, self._limit or most))
        return self._evaluators

    def _offered(self) -> list[CoalitionEvaluator]:
        forward = self._arguments.forward_func
        offered: list[CoalitionEvaluator] = []
        if not isinstance(forward, EvaluatesCoalitions):
            return []
        for row in range(self.n_examples):
            inputs, baselines, additional = self._arguments.example(row)
            masks = tuple(rows_of(mask, torch.tensor([row])) for mask in self.players.masks)
            players = Players(masks, self.n_players)
            evaluator = forward.coalition_evaluator(inputs, baselines, players, additional)
            if evaluator is None:
                return []
            offered.append(evaluator)
        return offered

    def _in_passes(
        self, evaluate: Callable[[int, int], Tensor], total: int, update: Callable[[int], object]
    ) -> Tensor:
        """Values start..stop at a time, (total,); fewer at once when memory runs out."""
        values = torch.empty(total, dtype=torch.float64)
        done = 0
        while done < total:
            stop = min(done + self._pass_size.rows, total)
            started = time.perf_counter()
            try:
                part = evaluate(done, stop)
            except (RuntimeError, MemoryError) as error:
                if stop - done == 1 or not is_out_of_memory(error):
                    raise
                part = None
            if part is None:  # outside the handler, so that the failed pass's tensors are gone
                self._pass_size.halve(stop - done)
                continue
            self._pass_size.took(stop - done, time.perf_counter() - started)
            values[done:stop] = part
            update(stop - done)
            done = stop
        return values

    def _by_evaluator(
        self, coalitions: Tensor, row: int, evaluator: CoalitionEvaluator, update: Callable[[int], object]
    ) -> Tensor:
        def values(start: int, stop: int) -> Tensor:
            present = coalitions[start:stop]
            rows = torch.full((stop - start,), row, device=coalitions.device)
            return self._checked(self._arguments.select(evaluator(present), rows), present, rows)

        try:
            return self._in_passes(values, len(coalitions), update)
        finally:
            evaluator.release()

    def _by_rows(self, coalitions: Tensor, examples: Tensor, start: int, stop: int) -> Tensor:
        position = torch.arange(start, stop, device=coalitions.device)
        rows = examples[position % len(examples)]
        present = coalitions[position // len(examples)]
        pairs = zip(self._arguments.inputs, self._arguments.baselines, strict=True)
        masked = tuple(
            torch.where(self.players.presence(present, k, rows), rows_of(x, rows), rows_of(b, rows))
            for k, (x, b) in enumerate(pairs)
        )
        return self._checked(self._arguments.run(masked, rows), present, rows)

    def _checked(self, chosen: Tensor, present: Tensor, rows: Tensor) -> Tensor:
        """Values in float64 on the CPU, counted and known to be finite."""
        values = chosen.double().cpu()
        self.forward_passes += len(rows)
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            first = int(bad[0])
            players = present[first].nonzero().squeeze(-1).tolist()
            raise ModelOutputError(
                f"the model gave {float(values[first])} for row {int(rows[first])} of the batch with "
                f"players {players} of 0..{self.n_players - 1} present; check that the model accepts the "
                "baseline (masked) values"
            )
        return values

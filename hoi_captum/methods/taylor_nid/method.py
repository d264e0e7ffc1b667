"""TaylorNID: global interactions of any order from cross derivatives at rows that stand for the data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.cost import Cost
from hoi_captum.core.gates import positions
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_flag
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.core.state import frozen, warn_of_training_mode
from hoi_captum.errors import InputError, NotFittedError
from hoi_captum.methods.taylor_nid.aggregation import aggregated
from hoi_captum.methods.taylor_nid.growth import grow_sets, warn_of_zeros
from hoi_captum.methods.taylor_nid.learned import Learned, given_rows
from hoi_captum.methods.taylor_nid.questions import Question, Questions
from hoi_captum.methods.taylor_nid.representatives import REPRESENTATIVES, Data
from hoi_captum.methods.taylor_nid.result import TaylorNIDInteractions
from hoi_captum.methods.taylor_nid.settings import Settings, checked_names
from hoi_captum.methods.taylor_nid.sources import source_of


@dataclass(frozen=True, eq=False)
class _Answer:
    """The table of each row, and what is needed to spread them on the inputs."""

    players: Players
    inputs: tuple[Tensor, ...]
    tables: list[TaylorNIDInteractions]


class TaylorNID(GradientAttribution):
    r"""Which sets of features a model combines, over all of its data: ranked, of any order.

    The interaction of a set at a row is the cross derivative by all of its members,

    .. math:: IE_I(x) = \left| \frac{\partial^o f(x)}{\partial x_{i_1} \dots \partial x_{i_o}} \right|

    taken at a few rows that stand for the data and aggregated over these. All pairs are differentiated;
    larger sets grow from the ``top_k`` best of the order before, each with every further player.

    Such a score is output per unit of each member, so that the ranking follows the scales of the columns:
    standardise them, or use ``multiply_by_inputs``.

    Source: Lerman, Venuto, Kautz, Xu, "Explaining Local, Global, And Higher-Order Interactions In Deep
    Learning", ICCV 2021, section 3 (T-NID). Derivatives are exact; where a network is piecewise linear
    (ReLU) they are zero.

    Args:
        forward_func (Callable): gives (rows, ...); ``target`` picks one number of each row.
        order (int): the most players of a set, 2 or more. Default: 2
        representatives (str or Sequence[str]): rows of the data nearest to its ``mean``, ``median``, ``min``,
            ``max`` or ``mode`` (of each cell; of equally frequent values the least), and a ``random`` one.
            Default: all six
        aggregate (str): of the absolute derivatives at these rows: ``mean``, ``median``, ``min``, ``max`` or
            ``mode``. Default: ``mean``
        search (str): which sets are differentiated once more: ``greedy``, those of the largest scores;
            ``entity``, those whose members have the largest sums of scores (as the authors' released
            results, and worse on known functions); or ``all``. Default: ``greedy``
        top_k (int, optional): how many of them at each order. Default: None (one for each player)
        multiply_by_inputs (bool): differentiate by gates, :math:`b + \alpha_i (x_i - b)` at
            :math:`\alpha = 1`, so that scores are in the unit of the output: each factor
            :math:`\partial / \partial x_i` comes with :math:`x_i - b`. A player of many cells (a word, a
            patch) then means something; without it all cells of a player are moved by the same amount.
            Default: False
        gate (str): with ``multiply_by_inputs`` what is scaled: ``input``; ``attention``, the weight that each
            position of a transformer has as a key in all layers, for causal language models, whose first norm
            undoes a scaled embedding; or ``value``, its value vector in the first layer. These two take token
            ids (rows, T) too, with ``representatives="random"``: no row of ids is near to another.
            Default: ``input``
        pairwise (bool): let each set have rows of its own, nearest by the cells of its members alone: of a
            pair, and from order 3 on of the set that is differentiated once more. Keeps all of the data.
            Default: False
        max_players (int): largest number of players; a pass is needed for each. Default: 256
        seed (int): of the random row. Default: 0

    Attributes:
        rows_: after :meth:`fit`, the number of each representative in the data, by name.
        representatives_: after :meth:`fit`, these rows: a tuple of Tensors (r, ...), in the order of the
            names; with ``pairwise`` all rows of the data.

    Raises:
        OptionError: an option outside its range.
        InputError: forward_func is not callable.

    Examples::

        >>> model = lambda x: x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3] ** 2
        >>> data = torch.rand(100, 4)
        >>> table = hoi.TaylorNID(model, order=3).fit(data).interact(data[:1])[0]
        >>> table.top(1)[0].members
        (0, 1, 2)
    """

    name: ClassVar[str] = "taylor-nid"
    kinds: ClassVar[tuple[str, ...]] = ("taylor",)
    orders: ClassVar[tuple[int, int | None]] = (2, None)
    summary: ClassVar[str] = "sets that a model combines over all of its data, by cross derivatives"
    several_models: ClassVar[bool] = False
    default_output: ClassVar[str] = "logit"  # of log-odds it would find the competition of classes
    result: ClassVar[type[Interactions]] = TaylorNIDInteractions

    def __init__(
        self,
        forward_func: Callable[..., Any],
        *,
        order: int = 2,
        representatives: str | Sequence[str] = REPRESENTATIVES,
        aggregate: str = "mean",
        search: str = "greedy",
        top_k: int | None = None,
        multiply_by_inputs: bool = False,
        gate: str = "input",
        pairwise: bool = False,
        max_players: int = 256,
        seed: int = 0,
    ) -> None:
        if not callable(forward_func):
            raise InputError(f"expected forward_func to be a callable, got {type(forward_func).__name__}")
        super().__init__(forward_func)
        self.settings = Settings(
            order=order,
            representatives=checked_names(representatives),
            aggregate=aggregate,
            search=search,
            top_k=top_k,
            multiply_by_inputs=multiply_by_inputs,
            gate=gate,
            pairwise=pairwise,
            max_players=max_players,
            seed=seed,
        )
        self._learned: Learned | None = None

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether derivatives are by gates, with the factors x - b."""
        return self.settings.multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        return False

    @property
    def rows_(self) -> dict[str, int]:
        """The number of each representative in the data; empty with ``pairwise``."""
        return dict(self._fitted().rows)

    @property
    def representatives_(self) -> tuple[Tensor, ...]:
        """The representative rows, (r, ...) each."""
        return self._fitted().representatives

    def options(self) -> dict[str, Any]:
        """The constructor's options, for the provenance."""
        return self.settings.options()

    def fit(
        self, data: Any, *, additional_forward_args: Any = None, show_progress: bool = False
    ) -> TaylorNID:
        """Choose the rows that stand for the data. The model is not run.

        Args:
            data: a Tensor (N, ...) or a tuple of them for a model of several inputs, a Dataset or an iterable
                of batches (a DataLoader, Examples). Distances are in the unit of the inputs: features of
                unequal spread are best standardised.
            additional_forward_args: as in Captum; Tensors with one entry for each row stay with their rows.
                Default: None (those of the explained row, when it comes)
            show_progress: accepted for uniformity; choosing rows takes no time worth a bar. Default: False

        Returns:
            itself.

        Raises:
            InputError: no rows, rows of different shapes, no floating point inputs, or numbers that are not
                finite.
        """
        check_flag("show_progress", show_progress)
        self._learned = Learned.of(Data.of(data, additional_forward_args), self.settings)
        return self

    @log_usage()
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        show_progress: bool = False,
    ) -> Any:
        r"""Each player's share of the interactions, the same for every row of the same target.

        The score of a set is shared evenly among its players: :math:`\sum_{I \ni i} |IE_I| / |I|`.

        Args:
            inputs (Tensor or tuple[Tensor, ...]): input, batch in dimension 0; shaped like the rows of the
                data. Where nothing was fitted these rows are the data themselves.
            baselines (scalar, Tensor, tuple of these, or None, optional): b of the gates, as in Captum; only
                used with ``multiply_by_inputs``. Default: None (0)
            target (int, tuple, Tensor or list, optional): the output to explain, as in Captum. Default: None
            additional_forward_args (Any, optional): as in Captum; those that came with the data go first.
                Default: None
            feature_mask (Tensor or tuple[Tensor, ...], optional): player ids 0..k-1 of the input's cells,
                broadcastable to the inputs; -1 marks cells that nobody moves. Default: None (every cell is
                a player; with gates on attention every position)
            show_progress (bool, optional): a progress bar on stderr, in sets differentiated once more, single
                players among them. Default: False

        Returns:
            *Tensor* or *tuple[Tensor, ...]* of **attributions**: shaped like the inputs, none negative.

        Raises:
            InputError: arguments that do not fit; its subclasses say which.
            TooManyPlayersError: more players than ``max_players``, or sets than ``search="all"`` can take.
            ModelOutputError: an output or a derivative that is not finite.

        Examples::

            >>> method = hoi.TaylorNID(lambda x: x[:, 0] * x[:, 1] + x[:, 2]).fit(torch.randn(50, 3))
            >>> method.attribute(torch.randn(1, 3))
            tensor([[0.5000, 0.5000, 0.0000]])
        """
        answer = self._answer(inputs, baselines, target, additional_forward_args, feature_mask, show_progress)
        return self._attributions(answer, inputs)

    @log_usage()
    def interact(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        show_progress: bool = False,
    ) -> list[Any]:
        r"""The ranked sets, one table for each row; rows that ask the same share the very object.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, show_progress: as in
                :meth:`attribute`.

        Returns:
            *list[TaylorNIDInteractions]*: all sets that were reached, of orders 2 to ``order``; the score is
            the aggregated absolute derivative.

        Raises:
            InputError, TooManyPlayersError, ModelOutputError: as :meth:`attribute`.

        Examples::

            >>> method = hoi.TaylorNID(lambda x: x[:, 0] * x[:, 1] + x[:, 2]).fit(torch.randn(50, 3))
            >>> method.interact(torch.randn(1, 3))[0].top(1)[0].members
            (0, 1)
        """
        answer = self._answer(inputs, baselines, target, additional_forward_args, feature_mask, show_progress)
        return list(answer.tables)

    @log_usage()
    def attribute_and_interact(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        show_progress: bool = False,
    ) -> tuple[Any, list[Any]]:
        """Both answers from the same derivatives.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, show_progress: as in
                :meth:`attribute`.

        Returns:
            *tuple* of the **attributions** and the *list[TaylorNIDInteractions]*.

        Raises:
            InputError, TooManyPlayersError, ModelOutputError: as :meth:`attribute`.
        """
        answer = self._answer(inputs, baselines, target, additional_forward_args, feature_mask, show_progress)
        return self._attributions(answer, inputs), list(answer.tables)

    def cost(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
    ) -> Cost:
        """What the verbs above would spend; no pass is made. Rows that ask the same spend it once.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask: as in :meth:`attribute`.

        Raises:
            InputError, TooManyPlayersError: as :meth:`attribute`.
        """
        arguments, players = self._asked(inputs, baselines, target, additional_forward_args, feature_mask)
        asked = len(self._questions(arguments, players, target, self._learned).distinct)
        k = players.count
        return Cost(f"{k} players, sets of up to {self.settings.order}", self.settings.passes(k), asked)

    # ---------------------------------------------------------------- one computation behind all verbs
    def _attributions(self, answer: _Answer, inputs: Any) -> Any:
        shares = torch.stack([torch.from_numpy(table.per_player()) for table in answer.tables])
        cells = answer.players.spread(shares, answer.inputs)
        return cells if isinstance(inputs, tuple) else cells[0]

    def _answer(
        self,
        inputs: Any,
        baselines: Any,
        target: Any,
        additional_forward_args: Any,
        feature_mask: Any,
        show_progress: bool,
    ) -> _Answer:
        warn_of_training_mode(self.forward_func)
        with torch.inference_mode(False):  # in which nothing could be differentiated
            arguments, players = self._asked(inputs, baselines, target, additional_forward_args, feature_mask)
            learned = self._learned
            if learned is None:
                learned = Learned.of(given_rows(arguments, additional_forward_args), self.settings)
            learned.check_shapes(arguments)
            questions = self._questions(arguments, players, target, learned)
            table = partial(self._table, learned=learned, show_progress=show_progress)
            tables = list(map(table, questions.distinct))
        return _Answer(players, arguments.inputs, [tables[i] for i in questions.of_row])

    def _asked(
        self, inputs: Any, baselines: Any, target: Any, additional_forward_args: Any, feature_mask: Any
    ) -> tuple[Arguments, Players]:
        arguments = Arguments(self.forward_func, inputs, baselines, target, additional_forward_args)
        if feature_mask is None and self.settings.gate != "input":
            feature_mask = positions(arguments.inputs)
        players = Players.from_feature_mask(arguments.inputs, feature_mask)
        self.settings.check_players(players.count)
        return arguments, players

    def _questions(
        self, arguments: Arguments, players: Players, target: Any, learned: Learned | None
    ) -> Questions:
        # rows that are explained unfitted are data, and bring their additional arguments as such
        own = not arguments.additional if learned is None else learned.data.additional is None
        baselines = self.settings.multiply_by_inputs
        return Questions(arguments, players, target, baselines=baselines, additional=own)

    def _table(self, question: Question, learned: Learned, show_progress: bool) -> TaylorNIDInteractions:
        started, settings, k = time.perf_counter(), self.settings, question.players.count
        with (
            frozen(self.forward_func),
            progress_bar("cross derivatives", settings.work(k), "set", show_progress) as bar,
        ):
            source = source_of(question, learned, settings, self.forward_func, bar.update)
            found = grow_sets(
                source,
                k,
                settings.order,
                partial(aggregated, how=settings.aggregate),
                search=settings.search,
                top_k=settings.grown(k),
            )
        warn_of_zeros(found)
        provenance = Provenance(
            method=self.name,
            options=self.options(),
            target=str(question.target),
            model=(describe_model(self.forward_func),),
            seed=settings.drawn_seed,
            forward_passes=source.forward_passes,
            backward_passes=source.backward_passes,
            seconds=time.perf_counter() - started,
            details={"data_rows": learned.count, "rows": learned.rows} | settings.unit(),
        )
        names = [str(i) for i in range(k)]
        return TaylorNIDInteractions.from_found(names, found, settings.aggregate, provenance)

    def _fitted(self) -> Learned:
        if self._learned is None:
            raise NotFittedError("this TaylorNID has not seen data; call fit(data) first")
        return self._learned

"""The base class of methods that answer row by row: Captum's arguments in, terms and shares out."""

from __future__ import annotations

import inspect
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from captum.attr import Attribution
from captum.log import log_usage
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.cost import Cost
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.gating import plain
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.core.state import frozen, warn_of_training_mode
from hoi_captum.core.targets import target_of
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError, PluginError


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method says of one row.

    Attributes:
        terms: the interactions found, of players 0..n-1.
        shares: (n,) what ``attribute`` gives each player.
        effect: v(all present) - v(all masked), in the unit of the output, against which the convergence delta
            is measured. Default: NaN (computed where a delta is asked for)
        base: v(all masked); 0 where it is not known.
        forward_passes, backward_passes: model rows spent.
        drawn: whether random numbers were drawn; False leaves the method's seed out of the provenance.
        details: what the method measured of itself, JSON values only.
        arrays: what else it gives, by name; saved with the table.

    Examples::

        >>> from hoi_captum.authoring import Answer, Term
        >>> terms = [Term((0, 1), "and", None, 6.0), Term((0,), "and", None, 1.0)]
        >>> Answer(terms, Answer.shared_evenly(terms, n_players=2)).shares
        tensor([4., 3.], dtype=torch.float64)
    """

    terms: Sequence[Term]
    shares: Tensor
    effect: float = float("nan")
    base: float = 0.0
    forward_passes: int = 0
    backward_passes: int = 0
    drawn: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @staticmethod
    def shared_evenly(terms: Sequence[Term], n_players: int) -> Tensor:
        """Each term's score shared evenly among its players, (n,): the Shapley values of their sum."""
        shares = np.zeros(n_players)
        for term in terms:
            shares[list(term.members)] += term.score / term.order
        return torch.from_numpy(shares)


@dataclass(frozen=True, eq=False)
class Call:
    """One call, checked.

    Attributes:
        given: inputs, baselines, target, additional arguments, feature mask.
        arguments: the forward function and its inputs.
        players: of the inputs.
        internal_batch_size: most model rows in one pass; None: the method's choice.
        show_progress: as given.
    """

    given: tuple[Any, ...]
    arguments: Arguments
    players: Players
    internal_batch_size: int | None
    show_progress: bool


class RowMethod(Attribution, ABC):
    """Base of methods that explain each row of the inputs by interactions of its players.

    Captum's arguments, the state of the model, provenance and the shapes of what is given back are dealt with
    here. A method is written by one of its two subclasses:
    :class:`~hoi_captum.core.coalition_method.CoalitionMethod`, which asks for the model's values of
    coalitions, and :class:`~hoi_captum.core.derivative_method.DerivativeMethod`, which differentiates it.

    Class attributes (checked at registration): as of :class:`~hoi_captum.core.method.GameMethod`, and

        default_output: of the model, where ``explain`` is not told another. Default: ``log_odds``
        complete: whether the shares of a row add up to v(all present) - v(all masked). Where that, or the
            wording, is a matter of an option, it may be a property.
        seed: of the random numbers drawn; None where none are. An instance with the option sets its own.
        wording: what its scores are in words, for the drawings: fields of ``views.wording.Wording``.

    Args:
        forward_func (Callable): the model; gives (rows, ...), and ``target`` picks one number of each row.

    Raises:
        InputError: forward_func is not callable.

    Examples::

        >>> from hoi_captum.authoring import Answer, CoalitionMethod, Term
        >>> class Alone(CoalitionMethod):
        ...     name, kinds, orders, summary = "alone", ("single",), (1, 1), "each player without the others"
        ...     complete = False
        ...     def _explain(self, game):
        ...         alone = game.values(torch.eye(game.n_players, dtype=torch.bool)) - game.all_masked()
        ...         return Answer([Term((i,), "single", None, float(v)) for i, v in enumerate(alone)], alone)
        >>> Alone(lambda x: x[:, 0] * x[:, 1] + x[:, 0]).attribute(torch.tensor([[2.0, 3.0]]))
        tensor([[2., 0.]])
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    orders: ClassVar[tuple[int, int | None]]
    summary: ClassVar[str]
    several_models: ClassVar[bool] = False
    default_output: ClassVar[str] = "log_odds"
    complete: ClassVar[bool] = True
    wording: ClassVar[Mapping[str, Any]] = {}
    result: ClassVar[type[Interactions]] = Interactions
    seed: int | None = None

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        if not callable(forward_func):
            raise InputError(f"expected forward_func to be a callable, got {type(forward_func).__name__}")
        super().__init__(forward_func)

    def has_convergence_delta(self) -> bool:
        return True

    def options(self) -> dict[str, Any]:
        """The options of the constructor, for the provenance: attributes of their names.

        Raises:
            PluginError: an option that is kept under another name.
        """
        names = [name for name in inspect.signature(type(self)).parameters if name != "forward_func"]
        if lost := [name for name in names if not hasattr(self, name)]:
            raise PluginError(
                f"{type(self).__name__} takes {', '.join(lost)} and keeps no attribute of that name, for the "
                f"provenance; set self.{lost[0]} in the constructor"
            )
        return {name: getattr(self, name) for name in names}

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
    ) -> Any:
        r"""The share of each player, given to all of its cells.

        Args:
            inputs (Tensor or tuple[Tensor, ...]): input, batch in dimension 0.
            baselines (scalar, Tensor, tuple of these, or None, optional): the masked state, as in
                Captum. Default: None (0)
            target (int, tuple, Tensor or list, optional): the output to explain, as in Captum.
                Default: None
            additional_forward_args (Any, optional): as in Captum. Default: None
            feature_mask (Tensor or tuple[Tensor, ...], optional): player ids 0..n-1 of the input's
                cells, broadcastable to the inputs; -1 marks cells that are never masked.
                Default: None (every cell is a player)
            internal_batch_size (int, optional): most model rows in one pass. Default: None (chosen by
                the size of the inputs)
            return_convergence_delta (bool, optional): also return the sum of the players' shares minus
                (v(all present) - v(all masked)), one number for each row: about 0 of a complete method,
                what is missing of another. Default: False
            show_progress (bool, optional): a progress bar on stderr. Default: False

        Returns:
            *Tensor* or *tuple[Tensor, ...]* of **attributions**: shaped like the inputs, in the unit of the
            output. With ``return_convergence_delta`` a pair (attributions, delta), delta (B,).

        Raises:
            InputError: arguments that do not fit (its subclasses say which).
            ModelOutputError: an output of the wrong shape, or a non-finite value.

        Examples::

            >>> from hoi_captum.authoring import Answer, CoalitionMethod
            >>> class Even(CoalitionMethod):
            ...     name, kinds, orders, summary = "even", ("and",), (1, None), "the same to each player"
            ...     def _explain(self, game):
            ...         effect = game.all_present() - game.all_masked()
            ...         return Answer([], torch.full((game.n_players,), effect / game.n_players))
            >>> Even(lambda x: x.sum(1)).attribute(torch.tensor([[2.0, 4.0]]))
            tensor([[3., 3.]])
        """
        call, answers, _ = self._explain_all(
            (inputs, baselines, target, additional_forward_args, feature_mask),
            internal_batch_size,
            show_progress,
        )
        attributions = self._on_cells(call, answers, inputs)
        if not return_convergence_delta:
            return attributions
        effects = [answer.effect for answer in answers]
        if any(map(math.isnan, effects)):  # the method did not need to know
            effects = self._effects(call)
        sums = [float(answer.shares.sum()) for answer in answers]
        deltas = torch.tensor(sums, dtype=torch.float64) - torch.tensor(effects, dtype=torch.float64)
        return attributions, deltas

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
    ) -> list[Any]:
        r"""The interactions of each row.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, internal_batch_size,
                show_progress: as in :meth:`attribute`.

        Returns:
            *list[Interactions]*, one for each row of the batch.

        Raises:
            InputError, ModelOutputError: as :meth:`attribute`.
        """
        arguments = (inputs, baselines, target, additional_forward_args, feature_mask)
        return self._explain_all(arguments, internal_batch_size, show_progress)[2]

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
    ) -> tuple[Any, list[Any]]:
        r"""What :meth:`attribute` and :meth:`interact` give, from one set of passes.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, internal_batch_size,
                show_progress: as in :meth:`attribute`.

        Returns:
            *tuple* of the **attributions** and the *list[Interactions]*.

        Raises:
            InputError, ModelOutputError: as :meth:`attribute`.
        """
        arguments = (inputs, baselines, target, additional_forward_args, feature_mask)
        call, answers, tables = self._explain_all(arguments, internal_batch_size, show_progress)
        return self._on_cells(call, answers, inputs), tables

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
            InputError: as :meth:`attribute`; also for too many players.
        """
        arguments = Arguments(self.forward_func, plain(inputs), baselines, target, additional_forward_args)
        n = Players.from_feature_mask(arguments.inputs, feature_mask).count
        self._check(n)
        return Cost(f"{n} players", self._passes(n), arguments.n_examples)

    def _passes(self, n_players: int) -> float | None:
        """Forward passes that a row will take (a gradient is three), an int where that is exact.

        For the progress bar, and for :meth:`cost`. Default: None, which says that it is not known
        """
        return None

    def _check(self, n_players: int) -> None:
        """Refuse inputs that the method cannot explain, before any pass is spent."""

    @abstractmethod
    def _answers(self, call: Call) -> list[Answer]:
        """One answer for each row of the inputs."""

    def _explain_all(
        self, given: tuple[Any, ...], internal_batch_size: int | None, show_progress: bool
    ) -> tuple[Call, list[Answer], list[Any]]:
        started = time.perf_counter()
        inputs, _, target, _, _ = given
        warn_of_training_mode(self.forward_func)
        # tensors made in inference mode could not be differentiated by
        with frozen(self.forward_func), torch.inference_mode(False):
            given = (plain(inputs), *given[1:])
            arguments = Arguments(self.forward_func, *given[:4])
            players = Players.from_feature_mask(arguments.inputs, given[4])
            call = Call(given, arguments, players, internal_batch_size, show_progress)
            answers = self._answers(call)
        self._check_answers(call, answers)
        seconds = time.perf_counter() - started
        tables = [self._table(call, answer, target, row, seconds) for row, answer in enumerate(answers)]
        return call, answers, tables

    def _table(self, call: Call, answer: Answer, target: Any, row: int, seconds: float) -> Interactions:
        words = {"wording": dict(self.wording)} if self.wording else {}
        return self.result.from_terms(
            [str(i) for i in range(call.players.count)],
            list(answer.terms),
            base=answer.base,
            provenance=Provenance(
                method=self.name,
                options=self.options(),
                target=str(target_of(target, row)),
                model=(describe_model(self.forward_func),),
                seed=self.seed if answer.drawn else None,
                forward_passes=answer.forward_passes,
                backward_passes=answer.backward_passes,
                seconds=seconds,
                details=dict(answer.details) | words,
            ),
            arrays=answer.arrays,
        )

    def _check_answers(self, call: Call, answers: Sequence[Answer]) -> None:
        """What only a faulty method gives.

        Raises:
            PluginError: another number of answers than rows, or of shares than players, or numbers that are
                not finite.
        """
        rows, n = call.arguments.n_examples, call.players.count
        shapes = {tuple(a.shares.shape) for a in answers}
        finite = all(
            bool(a.shares.isfinite().all()) and all(math.isfinite(t.score) for t in a.terms) for a in answers
        )
        if len(answers) != rows or shapes != {(n,)} or not finite:
            raise PluginError(
                f"{type(self).__name__} is to give {rows} answers with finite scores and ({n},) finite "
                f"shares; it gave {len(answers)} with shares of shapes {sorted(shapes)}"
                + ("" if finite else ", and numbers that are not finite")
            )

    def _effects(self, call: Call) -> list[float]:
        """v(all present) - v(all masked) of each row."""
        with frozen(self.forward_func), torch.inference_mode(False):
            game = MaskedGame(
                self.forward_func, *call.given, internal_batch_size=call.internal_batch_size, probe=False
            )
            ends = game.values(torch.tensor([[True], [False]]).expand(2, game.n_players))
        return (ends[:, 0] - ends[:, 1]).tolist()

    @staticmethod
    def _on_cells(call: Call, answers: Sequence[Answer], inputs: Any) -> Any:
        shares = torch.stack([a.shares.double().cpu() for a in answers])
        cells = call.players.spread(shares, call.arguments.inputs)
        return cells if isinstance(inputs, tuple) else cells[0]

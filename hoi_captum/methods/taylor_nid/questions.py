"""What the table of an explained row depends on, besides the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hoi_captum.core.arguments import Arguments, rows_of
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import Gates, InputGates
from hoi_captum.core.state import module_behind
from hoi_captum.core.targets import target_of
from hoi_captum.methods.taylor_nid.representatives import Data


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about the model with one row: rows that ask the same share a table.

    Attributes:
        target: of this row.
        players: of this row.
        baselines: of this row; empty where the derivatives do not use them.
        additional: additional forward arguments of this row; empty where the data bring theirs.
    """

    target: Any
    players: Players
    baselines: tuple[Tensor, ...]
    additional: tuple[Any, ...]

    def same(self, other: Question) -> bool:
        """Whether the answers are the same."""
        return (
            self.target == other.target
            and _equal(self.players.masks, other.players.masks)
            and _equal(self.baselines, other.baselines)
            and _equal(self.additional, other.additional)
        )

    def gates(self, forward_func: Callable[..., Any], data: Data, gate: str) -> Gates:
        """Gates of the players on rows of data: of the inputs, or of what is attended to."""
        given = self.additional if data.additional is None else data.additional
        forward, additional = bound(forward_func, given, len(data.inputs), data.own)
        arguments = Arguments(forward, data.inputs, self.baselines or None, self.target, additional)
        if gate == "input":
            return InputGates(arguments, self.players)
        return AttentionGates(arguments, self.players, values=gate == "value")


class Questions:
    """What the rows of a batch ask.

    Args:
        arguments, players, target: of the batch.
        baselines, additional: whether these matter.

    Attributes:
        distinct: the questions, each once.
        of_row: for each row the place of its question.
    """

    def __init__(
        self, arguments: Arguments, players: Players, target: Any, *, baselines: bool, additional: bool
    ) -> None:
        self.distinct: list[Question] = []
        self.of_row: list[int] = []
        for row in range(arguments.n_examples):
            own = arguments.example(row)
            masks = tuple(rows_of(mask, torch.tensor([row])).clone() for mask in players.masks)
            question = Question(
                target_of(target, row),
                Players(masks, players.count),
                # copies: what was made in inference mode cannot be differentiated through
                tuple(b.clone() for b in own[1]) if baselines else (),
                own[2] if additional else (),
            )
            places = (i for i, other in enumerate(self.distinct) if other.same(question))
            place = next(places, len(self.distinct))
            if place == len(self.distinct):
                self.distinct.append(question)
            self.of_row.append(place)


def bound(
    forward_func: Callable[..., Any], additional: tuple[Any, ...], n_inputs: int, own: Sequence[bool]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Put in place the Tensors that all rows share, so that none of them is taken for one entry a row.

    Args:
        forward_func: of ``n_inputs`` inputs and all of the additional arguments.
        additional: Tensors of one entry are repeated with the rows, as in Captum.
        n_inputs: number of input tensors.
        own: for each argument whether it has an entry for each row; if empty none has.

    Returns:
        the function and the additional arguments that are left to give.
    """
    mine = own or [False] * len(additional)
    fixed = {
        i: a
        for i, (a, has_rows) in enumerate(zip(additional, mine, strict=True))
        if isinstance(a, Tensor) and a.dim() > 0 and not has_rows and len(a) != 1
    }
    if not fixed:
        return forward_func, additional

    def forward(*arguments: Any) -> Any:
        rest = iter(arguments[n_inputs:])
        every = [fixed[i] if i in fixed else next(rest) for i in range(len(additional))]
        return forward_func(*arguments[:n_inputs], *every)

    forward.module = module_behind(forward_func)  # type: ignore[attr-defined]  # as adapters name theirs
    return forward, tuple(a for i, a in enumerate(additional) if i not in fixed)


def _equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b
        for a, b in zip(first, second, strict=True)
    )

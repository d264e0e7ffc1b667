"""Modules that take one row of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hoi_captum.adapters.base import Adapter, takes_one_input
from hoi_captum.adapters.baselines import LearnedBaseline, value_of
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import Example, TableLayout
from hoi_captum.errors import InputError, PlayerError


class TabularAdapter(Adapter):
    """A module from (rows, features) to (rows,) or (rows, classes).

    Args:
        model: the module.
        labels: names of the classes. Default: their numbers
        output: see :class:`Adapter`; an output of one column is explained as it is.
    """

    family = "tabular"
    baseline_axis: ClassVar[int] = 1  # (1, features): a baseline is a row

    @classmethod
    def accepts(cls, model: nn.Module, *, tokenizer: Any, transforms: Any) -> bool:
        # a text model that no other family knows is not a table's
        return isinstance(model, nn.Module) and tokenizer is None and takes_one_input(model)

    def scores(self, *inputs: Any) -> Tensor:
        scores: Tensor = self.run(*inputs)
        return scores.unsqueeze(-1) if scores.dim() == 1 else scores

    def default_layer(self) -> nn.Module:
        """The last linear layer but one, or the only one."""
        layers = [m for m in self.model.modules() if isinstance(m, nn.Linear)]
        if not layers:
            raise InputError(f"{type(self.model).__name__} has no linear layer; name the layer")
        return layers[-2:][0]

    def example(
        self,
        raw: Any,
        *,
        players: Sequence[int] | None = None,
        baseline: float | Tensor | LearnedBaseline | str | None = None,
        background: Any = None,
        names: Sequence[str] = (),
    ) -> Example:
        """A row with its players.

        Args:
            raw: a row of numbers in the model's order: a sequence, array, Tensor, or a mapping (Series) with
                names, which is put in the order of the background's columns where these have names.
            players: the player of each feature, for groups of features; -1 is never absent. Default: one
                for each
            baseline: a number, a row (a Tensor) or a learned baseline, what an absent feature becomes.
                Default: the background's mean, or 0
            background: rows (k, features) whose mean is the baseline.
            names: names of the features. Default: the mapping's, or ``x0, x1, ...``

        Raises:
            InputError, PlayerError: no numbers, or lengths that do not match.
        """
        if isinstance(raw, Mapping) or hasattr(raw, "to_dict"):
            items = dict(raw.items())
            items = _in_order_of(items, background)
            names, raw = names or [str(k) for k in items], list(items.values())
        row = _as_tensor(raw, "a row")
        if row.dim() != 1 or not len(row):
            raise InputError(f"expected one row of numbers, got shape {tuple(row.shape)}")
        names = tuple(names) or tuple(f"x{i}" for i in range(len(row)))
        if len(names) != len(row):
            raise InputError(f"expected {len(row)} names, one for each feature, got {len(names)}")
        try:
            owner = tuple(range(len(row))) if players is None else tuple(int(p) for p in players)
        except (TypeError, ValueError) as error:
            raise PlayerError(f"expected players as the number of each feature's player: {error}") from error
        if len(owner) != len(row):
            raise PlayerError(f"expected a player for each of {len(row)} features, got {len(owner)}")
        parameter = next(self.model.parameters(), row)
        inputs = row.unsqueeze(0).to(device=parameter.device, dtype=parameter.dtype)
        mask = torch.tensor([owner], device=inputs.device)
        Players.from_feature_mask((inputs,), (mask,))
        masked = _baseline_row(value_of(baseline), background, inputs)
        return Example(
            inputs=inputs,
            # background equals the input, so that Captum's own classes find no effect there
            baselines=torch.where(mask < 0, inputs, masked),
            feature_mask=mask,
            names=_player_names(names, owner),
            layout=TableLayout(names, tuple(row.tolist()), owner),
        )

    def examples(
        self, raws: Any, *, template: str | None = None, like: Example | None = None
    ) -> Iterator[Example]:
        """Rows of a table (array, Tensor, DataFrame) or a list of rows, all in one example."""
        rows = _as_tensor(raws, "rows")
        if rows.dim() != 2 or not len(rows):
            raise InputError(f"expected rows of numbers, got shape {tuple(rows.shape)}")
        parameter = next(self.model.parameters(), rows)
        yield Example(inputs=rows.to(device=parameter.device, dtype=parameter.dtype))


def _in_order_of(items: dict[Any, Any], background: Any) -> dict[Any, Any]:
    """The named features in the order of the background's columns, where these have names too."""
    columns = list(getattr(background, "columns", items))
    if set(columns) != set(items):
        raise InputError(f"expected the background's columns {columns} in the row, got {list(items)}")
    return {column: items[column] for column in columns}


def _as_tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu().double()
    try:
        return torch.as_tensor(np.array(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {what} of numbers: {error}") from error


def _baseline_row(baseline: Any, background: Any, inputs: Tensor) -> Tensor:
    if isinstance(baseline, str):
        raise InputError(f"expected a baseline to be a number or a row of numbers, got {baseline!r}")
    if baseline is None:
        row = torch.zeros(1) if background is None else _mean_row(background, inputs.shape[1])
    else:
        row = _as_tensor(baseline, "a baseline")
    if row.numel() not in (1, inputs.shape[1]):
        raise InputError(f"expected a baseline of {inputs.shape[1]} numbers, got {row.numel()}")
    return row.reshape(1, -1).to(inputs).expand_as(inputs)


def _mean_row(background: Any, features: int) -> Tensor:
    rows = _as_tensor(background, "background rows")
    if rows.dim() != 2 or not len(rows) or rows.shape[1] != features:
        raise InputError(f"expected background rows of shape (k, {features}), got {tuple(rows.shape)}")
    return rows.mean(0)


def _player_names(names: tuple[str, ...], owner: tuple[int, ...]) -> tuple[str, ...]:
    count = max(owner) + 1
    return tuple(
        "+".join(n for n, o in zip(names, owner, strict=True) if o == player) for player in range(count)
    )

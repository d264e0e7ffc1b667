r"""Choosing the masked state: the baseline under which masking itself disturbs the model least.

A baseline is judged by the roughness it causes among few players: the sizes of the effects of
single players and pairs, seen from the empty coalition and from the full one, over
\|v(N) - v(empty)\|. That takes 2 + 2 n + n (n - 1) passes instead of 2^n (beyond 16 players 2 + 2 n).

A baseline that was learned (``adapters/learned.py``) is a value with the record of its making.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import FileError

FORMAT = "hoi_captum.baseline/1"

_SMALLEST_EFFECT = 1e-9
_PAIRS_UP_TO = 16  # players; beyond, single players alone are judged


def low_order_roughness(game: MaskedGame) -> float:
    """Roughness of the first row of a game from single players, pairs and their complements."""
    n = game.n_players
    pairs = list(combinations(range(n), 2)) if n <= _PAIRS_UP_TO else []
    few = torch.zeros(1 + n + len(pairs), n, dtype=torch.bool)
    for i in range(n):
        few[1 + i, i] = True
    for row, pair in enumerate(pairs, start=1 + n):
        few[row, list(pair)] = True
    values = game.values(torch.cat((few, ~few)))[0]
    effect = abs(float(values[len(few)] - values[0]))
    total = sum(_size(half, n, pairs) for half in values.view(2, -1))
    return total / 2 / max(effect, _SMALLEST_EFFECT)


def _size(values: Tensor, n: int, pairs: list[tuple[int, int]]) -> float:
    single = values[1 : 1 + n] - values[0]
    index = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    both = values[1 + n :] - values[0] - single[index].sum(1)
    return float(single.abs().sum() + both.abs().sum())


def smoothest(
    candidates: Mapping[str, Tensor], game: Callable[[Tensor], MaskedGame]
) -> tuple[str, dict[str, float]]:
    """The candidate with the smallest roughness, and the figures of all."""
    figures = {name: low_order_roughness(game(baseline)) for name, baseline in candidates.items()}
    return min(figures, key=lambda name: figures[name]), figures


@dataclass(frozen=True, eq=False)
class LearnedBaseline:
    """What :func:`hoi_captum.learn_baseline` gives: ``baseline=`` of every adapter's ``example``.

    Losses are relative: the mean size of the interactions drawn, over the mean ``|v(N) - v(empty)|`` at the
    start (over the present one where that is smaller).

    Attributes:
        value: (k,), k the embedding's size of a text model, the channels of an image, the columns of a table.
        start: name of the baseline that the search started from.
        losses: on the held-out samples, always with the same draws: at the start and after each epoch.
        training_losses: on the training samples as each epoch met them.
        effects: mean ``|v(N) - v(empty)|`` of the held-out samples: at the start and after each epoch.
        epoch: the one that ``value`` is of; 0 is the start, where no epoch had a smaller loss and left half
            of the effect.
        seed: of the split and the draws.
        n_training, n_held_out, n_skipped: numbers of samples; skipped are those with less than two players.
        model: what the adapter calls the model.

    Examples::

        >>> samples = torch.tensor([[2.0, 3.0], [1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
        >>> learned = hoi.learn_baseline(torch.nn.Linear(2, 1), samples, target=0, epochs=2)
        >>> learned.value.shape, learned.n_training, learned.n_held_out
        (torch.Size([2]), 3, 1)
    """

    value: Tensor
    start: str
    losses: tuple[float, ...]
    training_losses: tuple[float, ...]
    effects: tuple[float, ...]
    epoch: int
    seed: int
    n_training: int
    n_held_out: int
    n_skipped: int
    model: str

    def __repr__(self) -> str:
        return (
            f"LearnedBaseline({len(self.value)} values for {self.model} from {self.start!r}: held-out loss "
            f"{self.losses[0]:.3g} -> {self.losses[self.epoch]:.3g} in epoch {self.epoch} of "
            f"{len(self.losses) - 1}; {self.n_training} samples, {self.n_held_out} held out)"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a ``.safetensors`` file. All or nothing.

        Raises:
            FileError: the file cannot be written.
        """
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "value"}
        return write_safetensors(
            path, {"value": self.value.numpy()}, {"format": FORMAT, "record": json.dumps(record)}
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LearnedBaseline:
        """Read what :meth:`save` wrote.

        Raises:
            FileError: the file cannot be read, or is none of ours.
        """
        arrays, metadata = read_safetensors(path, FORMAT)
        try:
            record = json.loads(metadata["record"])
            lists = {key: tuple(item) for key, item in record.items() if isinstance(item, list)}
            return cls(torch.from_numpy(np.array(arrays["value"])), **(record | lists))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise FileError(f"{path} is damaged ({error!r}); write it anew") from error


def value_of(baseline: Any) -> Any:
    """The value of a learned baseline; everything else as it is."""
    return baseline.value if isinstance(baseline, LearnedBaseline) else baseline


def name_of(baseline: object, given: str = "given") -> str:
    """What a result calls a baseline: its name, ``learned``, or ``given`` for a value."""
    if isinstance(baseline, LearnedBaseline):
        return "learned"
    return baseline if isinstance(baseline, str) else given

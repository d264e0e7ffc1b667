r"""Choosing the masked state: the baseline under which masking itself disturbs the model least.

A baseline is judged by the roughness it causes among few players: the sizes of the effects of
single players and pairs, seen from the empty coalition and from the full one, over
\|v(N) - v(empty)\|. That takes 2 + 2 n + n (n - 1) passes instead of 2^n (beyond 16 players 2 + 2 n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor

from hoi_captum.core.games import MaskedGame

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

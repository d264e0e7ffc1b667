"""Roughness of a baseline against its definition."""

from __future__ import annotations

import itertools

import pytest
import torch

from hoi_captum.adapters.baselines import low_order_roughness, smoothest
from hoi_captum.core.games import MaskedGame


def game_of(v, n: int, rows: list[int] | None = None) -> MaskedGame:
    """A game whose v(T) is a function of the set of present players."""

    def forward(x):
        if rows is not None:
            rows.append(len(x))
        return torch.tensor(
            [v(frozenset(row.nonzero().squeeze(1).tolist())) for row in x], dtype=torch.float64
        )

    return MaskedGame(forward, torch.ones(1, n))


def by_definition(v, n: int) -> float:
    everybody = frozenset(range(n))

    def size(w):
        none = w(frozenset())
        single = {i: w(frozenset({i})) - none for i in range(n)}
        pairs = [
            w(frozenset({i, j})) - none - single[i] - single[j]
            for i, j in itertools.combinations(range(n), 2)
        ]
        return sum(map(abs, single.values())) + sum(map(abs, pairs))

    both = size(v) + size(lambda s: v(everybody - s))  # from nobody up, and from everybody down
    return both / 2 / abs(v(everybody) - v(frozenset()))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_roughness_is_what_it_is_defined_as(n):
    numbers = torch.randn(1 << n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)

    def v(s):
        return float(numbers[sum(1 << i for i in s)])

    rows: list[int] = []
    assert low_order_roughness(game_of(v, n, rows)) == pytest.approx(by_definition(v, n), rel=1e-12)
    assert sum(rows) == 2 + 2 * n + n * (n - 1)


def test_closed_forms():
    assert low_order_roughness(game_of(len, 4)) == pytest.approx(1.0)  # additive: one clean effect
    assert low_order_roughness(game_of(lambda s: float(s >= {0, 1}), 2)) == pytest.approx((1 + 3) / 2)
    assert low_order_roughness(game_of(lambda s: 2.0 * (0 in s) - (1 in s), 3)) == pytest.approx(3.0)


def test_no_effect_at_all_is_very_rough_but_finite():
    rough = low_order_roughness(game_of(lambda s: float(len(s) % 2), 2))
    assert 1e6 < rough < float("inf")
    assert low_order_roughness(game_of(lambda s: 5.0, 3)) == 0


def test_the_smoothest_is_chosen():
    games = {1.0: game_of(lambda s: float(s >= {0, 1}), 2), 2.0: game_of(len, 2)}
    candidates = {"rough": torch.tensor(1.0), "smooth": torch.tensor(2.0), "rough again": torch.tensor(1.0)}
    name, figures = smoothest(candidates, lambda baseline: games[float(baseline)])
    assert name == "smooth"
    assert figures == pytest.approx({"rough": 2.0, "smooth": 1.0, "rough again": 2.0})

"""The fast transforms against sums over subsets, and Shapley values against permutations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.mobius import (
    coalition_orders,
    moebius_transform,
    player_count,
    shapley_values,
    superset_moebius_transform,
    superset_zeta_transform,
    zeta_transform,
)
from hoi_captum.errors import InputError

TRANSFORMS = [moebius_transform, zeta_transform, superset_moebius_transform, superset_zeta_transform]
INVERSES = [(moebius_transform, zeta_transform), (superset_moebius_transform, superset_zeta_transform)]
TRANSPOSES = [(moebius_transform, superset_moebius_transform), (zeta_transform, superset_zeta_transform)]


def sets(n: int) -> list[frozenset[int]]:
    """The coalitions in table order, written out: the string of bits begins with player 0."""
    return (
        [frozenset(i for i, bit in enumerate(f"{row:0{n}b}") if bit == "1") for row in range(1 << n)]
        if n
        else [frozenset()]
    )


def brute_force(name: str, table: Tensor) -> Tensor:
    every = sets(player_count(table))
    out = torch.zeros_like(table)
    for row, s in enumerate(every):
        for column, other in enumerate(every):
            inside = other >= s if name.startswith("superset") else other <= s
            if inside:
                sign = (-1) ** len(s ^ other) if "moebius" in name else 1
                out[..., row] += sign * table[..., column]
    return out


def by_permutations(table: Tensor) -> Tensor:
    n = player_count(table)
    row = {s: i for i, s in enumerate(sets(n))}
    phi = torch.zeros(n, dtype=table.dtype)
    for order in itertools.permutations(range(n)):
        present: frozenset[int] = frozenset()
        for player in order:
            phi[player] += table[row[present | {player}]] - table[row[present]]
            present |= {player}
    return phi / math.factorial(n)


@st.composite
def tables(draw: st.DrawFn, most: int = 6) -> Tensor:
    n = draw(st.integers(0, most))
    numbers = st.floats(-100, 100, allow_nan=False, width=32)
    values = draw(st.lists(numbers, min_size=1 << n, max_size=1 << n))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("transform", TRANSFORMS)
@given(table=tables())
@settings(max_examples=25, deadline=None)
def test_transform_is_the_sum_over_subsets(transform, table):
    expected = brute_force(transform.__name__, table)
    torch.testing.assert_close(transform(table), expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("there", "back"), INVERSES)
@given(table=tables())
@settings(max_examples=25, deadline=None)
def test_transforms_invert_each_other(there, back, table):
    torch.testing.assert_close(back(there(table)), table, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(there(back(table)), table, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("transform", "transpose"), TRANSPOSES)
@pytest.mark.parametrize("n", range(7))
def test_superset_transform_is_the_transpose(transform, transpose, n):
    x, y = torch.randn(2, 1 << n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    torch.testing.assert_close((transform(x) * y).sum(), (x * transpose(y)).sum(), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_gradient_is_the_transpose(transform):
    x = torch.randn(8, dtype=torch.float64, requires_grad=True)
    y = torch.randn(8, dtype=torch.float64)
    transposed = {t.__name__: s for t, s in TRANSPOSES} | {s.__name__: t for t, s in TRANSPOSES}
    (gradient,) = torch.autograd.grad((transform(x) * y).sum(), x)
    torch.testing.assert_close(gradient, transposed[transform.__name__](y))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_batches_are_transformed_row_by_row(transform):
    batch = torch.randn(2, 3, 16, dtype=torch.float64)
    expected = torch.stack([torch.stack([transform(row) for row in rows]) for rows in batch])
    assert torch.equal(transform(batch), expected)
    strided = batch.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not strided.is_contiguous()
    assert torch.equal(transform(strided), expected)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_in_place_overwrites_and_the_default_does_not(transform):
    table = torch.randn(2, 8, dtype=torch.float64)
    before = table.clone()
    result = transform(table)
    assert torch.equal(table, before)
    assert transform(table, inplace=True) is table
    assert torch.equal(table, result)


def test_in_place_on_a_strided_table_is_refused():
    table = torch.randn(8, 2).T
    before = table.clone()
    with pytest.raises(InputError, match="contiguous"):
        moebius_transform(table, inplace=True)
    assert torch.equal(table, before)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 6), (4, 0), (1, 12)])
@pytest.mark.parametrize("transform", [*TRANSFORMS, shapley_values])
def test_sizes_that_are_no_power_of_two_are_refused(transform, shape):
    with pytest.raises(InputError, match=r"2\^n"):
        transform(torch.zeros(shape))


def test_player_0_is_the_most_significant_bit():
    only_first = torch.zeros(8, dtype=torch.float64)
    only_first[0b100] = 1
    assert torch.equal(zeta_transform(only_first).nonzero().squeeze(1), torch.tensor([4, 5, 6, 7]))
    assert torch.equal(shapley_values(only_first + 0).argmax(), torch.tensor(0))


@pytest.mark.parametrize("n", range(7))
def test_orders_count_the_players(n):
    assert coalition_orders(n).tolist() == [len(s) for s in sets(n)]
    assert torch.equal(coalition_orders(n), all_coalitions(n).sum(1))


@given(table=tables(most=5))
@settings(max_examples=20, deadline=None)
def test_shapley_values_are_the_mean_over_permutations(table):
    torch.testing.assert_close(shapley_values(table), by_permutations(table), rtol=1e-10, atol=1e-9)


def test_shapley_values_of_six_players():
    table = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(shapley_values(table), by_permutations(table), rtol=1e-10, atol=1e-12)


def test_shapley_values_of_no_players():
    assert shapley_values(torch.ones(3, 1)).shape == (3, 0)


@given(table=tables(), other=st.integers(0, 2**31), factor=st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_shapley_values_are_efficient_and_linear(table, other, factor):
    second = torch.randn(len(table), dtype=torch.float64, generator=torch.Generator().manual_seed(other))
    phi = shapley_values(torch.stack((table, second)))
    torch.testing.assert_close(phi[0].sum(), table[-1] - table[0], rtol=1e-10, atol=1e-8)
    mixed = shapley_values(table + factor * second)
    torch.testing.assert_close(mixed, phi[0] + factor * phi[1], rtol=1e-10, atol=1e-8)


def test_a_dummy_gets_its_own_value_and_equal_players_the_same():
    coalitions = all_coalitions(4).double()
    others = coalitions[:, 0] + coalitions[:, 2]  # players 0 and 2 are interchangeable
    phi = shapley_values(others**3 * (1 + coalitions[:, 3]) + 2.5 * coalitions[:, 1])
    assert phi[1].item() == pytest.approx(2.5, abs=1e-12)  # player 1 only ever adds 2.5
    assert phi[0].item() == pytest.approx(phi[2].item(), abs=1e-12)
    assert phi[3].item() > 1

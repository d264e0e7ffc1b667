"""Bit order, feature masks and what is refused as one."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hoi_captum.core.coalitions import Players, all_coalitions, coalition_indices, coalitions_of
from hoi_captum.errors import PlayerError


@pytest.mark.parametrize("n", range(8))
def test_tables_count_in_binary_with_player_0_first(n):
    expected = list(itertools.product([False, True], repeat=n))
    assert [tuple(row) for row in all_coalitions(n).tolist()] == expected


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, 2**n - 1)))))
def test_rows_and_coalitions_are_inverse(case):
    n, rows = case
    coalitions = coalitions_of(torch.tensor(rows, dtype=torch.int64), n)
    assert coalitions.shape == (len(rows), n)
    assert coalitions.dtype == torch.bool
    assert coalition_indices(coalitions).tolist() == rows


def test_player_0_is_the_highest_bit():
    assert coalition_indices(torch.tensor([[True, False, False], [False, False, True]])).tolist() == [4, 1]


def test_without_a_mask_every_cell_of_all_inputs_is_a_player():
    players = Players.from_feature_mask((torch.zeros(2, 2, 2), torch.zeros(2), torch.zeros(2, 3)), None)
    assert players.count == 4 + 1 + 3
    assert [m.tolist() for m in players.masks] == [[[[0, 1], [2, 3]]], [4], [[5, 6, 7]]]


def test_presence_follows_the_mask_and_background_is_always_present():
    mask = torch.tensor([[[0, -1], [1, 0]]])
    players = Players.from_feature_mask((torch.zeros(3, 2, 2),), (mask,))
    shown = players.presence(all_coalitions(2), 0)
    assert shown.int().tolist() == [
        [[0, 1], [0, 0]],
        [[0, 1], [1, 0]],
        [[1, 1], [0, 1]],
        [[1, 1], [1, 1]],
    ]


def test_an_id_in_two_tensors_is_one_player():
    masks = (torch.tensor([[0, 1]]), torch.tensor([[1, 2, -1]]))
    players = Players.from_feature_mask((torch.zeros(1, 2), torch.zeros(1, 3)), masks)
    assert players.count == 3
    only_1 = torch.tensor([[False, True, False]])
    assert players.presence(only_1, 0).tolist() == [[False, True]]
    assert players.presence(only_1, 1).tolist() == [[True, False, True]]


def test_masks_may_differ_between_rows():
    mask = torch.tensor([[0, 0, 1], [1, -1, 0]])
    players = Players.from_feature_mask((torch.zeros(2, 3),), (mask,))
    coalitions = torch.tensor([[True, False]] * 2)
    assert players.presence(coalitions, 0, torch.tensor([0, 1])).tolist() == [
        [True, True, False],
        [False, True, True],
    ]
    with pytest.raises(PlayerError, match="example of each copy"):
        players.presence(coalitions, 0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("rows", [1, 2])
def test_any_integer_type_will_do(dtype, rows):
    mask = torch.tensor([[0, 1, 1, 2]] * rows, dtype=dtype)
    players = Players.from_feature_mask((torch.zeros(2, 4),), (mask,))
    coalitions = torch.tensor([[True, False, True], [False, True, False]])
    shown = players.presence(coalitions, 0, torch.tensor([0, 1]))
    assert shown.tolist() == [[True, False, False, True], [False, True, True, False]]


def test_many_players_in_a_small_integer_type():
    mask = torch.arange(128, dtype=torch.int8).view(1, 128)
    players = Players.from_feature_mask((torch.zeros(1, 128),), (mask,))
    values = torch.arange(128.0).view(1, 128)
    assert torch.equal(players.spread(values, (torch.zeros(1, 128),))[0], values)


x = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.tensor([[0, 1, 3]]), r"largest is 3 but \[2\] are missing"),
        (torch.tensor([[1, 1, 2]]), r"\[0\] are missing"),
        (torch.tensor([[-2, 0, 1]]), "got -2"),
        (torch.tensor([[0.0, 1.0, 2.0]]), "torch.float32"),
        (torch.tensor([[True, False, True]]), "torch.bool"),
        ([[0, 1, 2]], "list"),
        (torch.tensor([0, 1, 2]), r"\(2, 3\), got \(3,\)"),
        (torch.tensor([[0, 1]]), r"got \(1, 2\)"),
        (torch.zeros(3, 3, dtype=torch.int64), r"got \(3, 3\)"),
        (torch.zeros(1, 1, 3, dtype=torch.int64), r"got \(1, 1, 3\)"),
        (torch.tensor(0), r"got \(\)"),
        (torch.full((1, 3), -1), "names no player"),
    ],
)
def test_unusable_masks(mask, says):
    with pytest.raises(PlayerError, match=says):
        Players.from_feature_mask((x,), (mask,))


def test_a_gap_within_one_row_is_fine_if_another_row_fills_it():
    players = Players.from_feature_mask((x,), (torch.tensor([[0, 0, 2], [0, 1, 1]]),))
    assert players.count == 3


def test_one_mask_for_each_input():
    with pytest.raises(PlayerError, match="2 input tensors, got 1"):
        Players.from_feature_mask((x, x), (torch.zeros(1, 3, dtype=torch.int64),))


def test_inputs_without_cells_have_no_players():
    with pytest.raises(PlayerError, match="no cells"):
        Players.from_feature_mask((torch.zeros(2, 0),), None)


def test_spread_gives_each_cell_its_players_value():
    inputs = (
        torch.zeros(2, 2, 2, dtype=torch.float16),
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(2, 1).bool(),
    )
    masks = (
        torch.tensor([[[0, 1]]]),  # broadcast over the middle dimension
        torch.tensor([[2, -1, 0], [1, 1, -1]]),
        torch.tensor([[-1]]),
    )
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], dtype=torch.float64)
    cells = Players.from_feature_mask(inputs, masks).spread(values, inputs)
    assert [c.dtype for c in cells] == [torch.float32, torch.float32, torch.float32]
    assert cells[0].tolist() == [[[1, 2], [1, 2]], [[10, 20], [10, 20]]]
    assert cells[1].tolist() == [[3, 0, 1], [20, 20, 0]]
    assert cells[2].tolist() == [[0], [0]]

"""The forms of target that need no game: what is refused, and numbers of other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum.core.targets import Target
from hoi_captum.errors import TargetError

OUTPUT = torch.arange(12.0).view(3, 4)
ROWS = torch.tensor([0, 1, 2])


@pytest.mark.parametrize("target", [2, np.int64(2), torch.tensor([[2]]), torch.tensor(2, dtype=torch.uint8)])
def test_one_index_for_all_rows(target):
    assert Target(target, 3).select(OUTPUT, ROWS).tolist() == [2, 6, 10]


@pytest.mark.parametrize(
    "target", [[3, 0, 1], torch.tensor([3, 0, 1]), [np.int64(3), 0, 1], [(3,), (0,), (1,)]], ids=str
)
def test_a_row_takes_its_own_target_wherever_it_stands(target):
    rows = torch.tensor([2, 2, 0])  # copies of row 2, 2 and 0
    assert Target(target, 3).select(OUTPUT, rows).tolist() == [1, 5, 11]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("positive", "got str"),
        (1.0, "got float"),
        ({0: 1}, "got dict"),
        (torch.tensor(1.0), "torch.float32"),
        (torch.zeros(3, 2, dtype=torch.int64), r"shape \(3, 2\)"),
        ([], "each of the 3 rows, got 0"),
        (torch.tensor([1, 2]), "each of the 3 rows, got 2"),
    ],
)
def test_what_is_no_target(target, says):
    with pytest.raises(TargetError, match=says):
        Target(target, 3)


@pytest.mark.parametrize("target", [[0.5, 1, 2], ["a", "b", "c"], [(0, 1), (0,), (1,)], [[0], [1], [2, 3]]])
def test_lists_that_are_no_targets_are_noticed_on_use(target):
    with pytest.raises(TargetError):
        Target(target, 3).select(OUTPUT, ROWS)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (OUTPUT, r"leaves \(4,\) .* give target=<number of a class>, 0 to 3$"),
        (OUTPUT.view(3, 2, 2), r"leaves \(2, 2\) .* give target as 2 indices$"),
    ],
)
def test_the_way_out_of_many_numbers(output, says):
    with pytest.raises(TargetError, match=says):
        Target(None, 3).select(output, ROWS)


@pytest.mark.parametrize("target", [[True, True, True], torch.tensor([True, True, True])], ids=str)
def test_booleans_do_not_choose_columns_as_a_mask_would(target):
    with pytest.raises(TargetError, match="booleans"):
        Target(target, 3).select(torch.zeros(3, 3), ROWS)


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (2, 2),
        (torch.tensor(2), 2),
        ((2,), 2),
        ([1, 0, 2], [1, 0, 2]),
        (torch.tensor([1, 0, 2]), [1, 0, 2]),
        (None, None),
        ((0, 1), None),
        ([(0, 1)] * 3, None),
        ((slice(0, 1),), None),
    ],
)
def test_the_class_that_a_target_names(target, classes):
    assert Target(target, 3).classes == classes

"""Which rows stand for the data: against loops, and what data may look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader, TensorDataset

from hoi_captum.core.coalitions import Players
from hoi_captum.errors import InputError
from hoi_captum.methods.taylor_nid.representatives import (
    REPRESENTATIVES,
    Data,
    nearest_rows,
    nearest_rows_by_set,
)

CENTRES = {
    "mean": lambda x: x.mean(0),
    "median": lambda x: np.median(x, 0),
    "min": lambda x: x.min(0),
    "max": lambda x: x.max(0),
    "mode": lambda x: stats.mode(x, axis=0).mode,
}


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return torch.tensor(generator.normal(size=(60, 4)).round(1))  # rounded, so that values repeat


def brute(x, name, columns):
    """The row of least distance on some columns, by a loop."""
    centre = CENTRES[name](x)
    distances = [sum((row[c] - centre[c]) ** 2 for c in columns) for row in x]
    return int(np.argmin(distances))


@pytest.mark.parametrize("name", CENTRES)
def test_the_nearest_row(rows, name):
    (found,) = nearest_rows(Data.of(rows), [name], seed=0).tolist()
    assert found == brute(rows.numpy(), name, range(4))


def test_names_in_the_order_given_and_rows_that_differ(rows):
    found = nearest_rows(Data.of(rows), ["max", "mean", "min"], seed=0).tolist()
    assert found == [brute(rows.numpy(), n, range(4)) for n in ("max", "mean", "min")]
    assert len(set(found)) == 3


def test_the_random_row_follows_the_seed_and_touches_no_other_numbers(rows):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    draws = {int(nearest_rows(Data.of(rows), ["random"], seed)[0]) for seed in range(20)}
    assert torch.equal(torch.rand(1), expected)
    assert len(draws) > 10
    assert draws <= set(range(60))
    again = {int(nearest_rows(Data.of(rows), ["random"], seed)[0]) for seed in range(20)}
    assert draws == again


def test_cells_of_several_tensors_count_together():
    first, second = (
        torch.tensor([[0.0], [1.0], [5.0]]),
        torch.tensor([[[9.0, 9.0]], [[0.0, 1.0]], [[0.0, 0.0]]]),
    )
    data = Data.of((first, second))
    assert nearest_rows(data, ["min", "max"], 0).tolist() == [1, 0]
    assert data.cells().tolist() == [[0, 9, 9], [1, 0, 1], [5, 0, 0]]


def test_integers_beside_floats_do_not_count():
    data = Data.of((torch.tensor([[0.0], [1.0]]), torch.tensor([[9], [0]])))
    assert data.cells().tolist() == [[0.0], [1.0]]
    with pytest.raises(InputError, match=r"expected floating point inputs, got torch.int64.*embeddings"):
        nearest_rows(Data.of(torch.ones(3, 2, dtype=torch.int64)), ["mean"], 0)


@pytest.mark.parametrize("mask", [[0, 1, 2, 3], [0, 0, 1, 2], [2, -1, 1, 0]])
def test_rows_of_each_set(rows, mask):
    players = Players.from_feature_mask((rows,), (torch.tensor([mask]),))
    k = players.count
    sets = np.column_stack(np.triu_indices(k, 1))
    names = [n for n in REPRESENTATIVES if n != "random"]
    found = nearest_rows_by_set(Data.of(rows), players, sets, names, seed=0)
    for s, of_set in zip(sets, found.tolist(), strict=True):
        columns = [c for c, owner in enumerate(mask) if owner in s]
        assert of_set == [brute(rows.numpy(), name, columns) for name in names]
    assert len(set(found[:, 0].tolist())) > 1  # they do differ
    (one,) = set(nearest_rows_by_set(Data.of(rows), players, sets, ["random"], 4).reshape(-1).tolist())
    assert one == int(nearest_rows(Data.of(rows), ["random"], 4))


def test_data_in_all_forms(rows):
    whole = Data.of(rows)
    loader = DataLoader(TensorDataset(rows), batch_size=7)
    for other in (
        loader,
        TensorDataset(rows),
        [rows[:10], rows[10:]],
        ({"inputs": r} for r in rows.split(9)),
    ):
        assert torch.equal(Data.of(other).inputs[0], whole.inputs[0])
    assert len(whole) == 60
    assert whole.additional is None


def test_additional_arguments_stay_with_their_rows(rows):
    own, shared = torch.arange(60), torch.ones(7)
    data = Data.of(rows, (own, shared, "word"))
    part = data.take(torch.tensor([4, 2]))
    assert part.additional[0].tolist() == [4, 2]
    assert part.additional[1] is shared
    assert part.additional[2] == "word"
    assert torch.equal(part.inputs[0], rows[[4, 2]])
    batches = [
        {"inputs": rows[i : i + 20], "additional_forward_args": (own[i : i + 20], 3)} for i in (0, 20, 40)
    ]
    assert Data.of(batches).additional[0].tolist() == own.tolist()
    assert Data.of(batches).additional[1] == 3


def test_data_that_cannot_be_used(rows):
    for data, message in [
        ([], "at least one row"),
        ([rows, rows[:, :2]], r"rows of one shape, got \[\(4,\)\] and \[\(2,\)\]"),
        (rows.index_fill(0, torch.tensor([3]), float("nan")), "finite data"),
        (rows.numpy(), "Tensor"),
        (
            [{"inputs": rows, "additional_forward_args": a} for a in (1, 2)],
            "argument 0 differs between batches",
        ),
        (
            [{"inputs": rows, "additional_forward_args": a} for a in (1, (1, 2))],
            "as many additional arguments",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            Data.of(data)

"""Rows of tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import FeatureAblation
from torch import nn

from hoi_captum import adapt, tabular_example
from hoi_captum.adapters.tabular import TabularAdapter
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import InputError, PlayerError


@pytest.fixture
def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


VALUES = [1.0, -2.0, 0.5]


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (VALUES, ("x0", "x1", "x2")),
        (tuple(VALUES), ("x0", "x1", "x2")),
        (np.array(VALUES, dtype=np.float32), ("x0", "x1", "x2")),
        (torch.tensor(VALUES), ("x0", "x1", "x2")),
        (torch.tensor(VALUES, requires_grad=True), ("x0", "x1", "x2")),
        (torch.tensor(VALUES, dtype=torch.bfloat16), ("x0", "x1", "x2")),
        (pd.Series(VALUES, index=["age", "income", 3]), ("age", "income", "3")),
        ({"age": 1, "income": -2, "3": 0.5}, ("age", "income", "3")),
        (pd.DataFrame([VALUES], columns=list("abc")).iloc[0], ("a", "b", "c")),
    ],
    ids=lambda v: type(v).__name__,
)
def test_rows_of_every_kind(mlp, raw, names):
    example = TabularAdapter(mlp).example(raw)
    assert example.inputs.tolist() == [VALUES]
    assert example.inputs.dtype == torch.float32
    assert not example.inputs.requires_grad
    assert example.names == names
    assert example.baselines.tolist() == [[0, 0, 0]]
    assert example.feature_mask.tolist() == [[0, 1, 2]]
    assert (example.layout.columns, example.layout.values, example.layout.players) == (
        names,
        tuple(VALUES),
        (0, 1, 2),
    )


def test_given_names_win():
    example = TabularAdapter(nn.Linear(3, 1)).example({"a": 1, "b": 2, "c": 3}, names=["x", "y", "z"])
    assert example.names == ("x", "y", "z")


def test_the_background_mean_is_the_baseline(mlp):
    rows = np.arange(12.0).reshape(4, 3)
    for background in (rows, rows.tolist(), torch.from_numpy(rows), pd.DataFrame(rows)):
        assert TabularAdapter(mlp).example(VALUES, background=background).baselines.tolist() == [
            [4.5, 5.5, 6.5]
        ]
    assert TabularAdapter(mlp).example(VALUES, background=rows, baseline=2).baselines.tolist() == [[2, 2, 2]]
    assert TabularAdapter(mlp).example(VALUES, baseline=[1, 2, 3]).baselines.tolist() == [[1, 2, 3]]
    row = torch.tensor([[1.0, 2, 3]])
    assert TabularAdapter(mlp).example(VALUES, baseline=row).baselines.tolist() == [[1, 2, 3]]


def test_groups_of_features_are_players(mlp):
    adapter = TabularAdapter(mlp)
    example = adapter.example(VALUES, players=[1, 0, 1], names="abc", baseline=7.0)
    assert example.names == ("b", "a+c")
    table = MaskedGame(adapter.forward_func, **example, target=0).table()[0]
    rows = torch.tensor([[7.0, 7, 7], [1, 7, 0.5], [7, -2, 7], VALUES])
    torch.testing.assert_close(table.float(), adapter.forward_func(rows)[:, 0].detach())


def test_background_features_are_never_absent_for_captum_too(mlp):
    adapter = TabularAdapter(mlp)
    example = adapter.example(VALUES, players=[0, -1, 1], baseline=7.0)
    assert example.names == ("x0", "x2")
    assert example.baselines.tolist() == [[7, -2, 7]]
    ablation = FeatureAblation(adapter.forward_func).attribute(**example, target=0)
    assert ablation[0, 1] == 0
    assert ablation[0, 0] != 0


@pytest.mark.parametrize(
    ("raw", "options", "error", "says"),
    [
        ([], {}, InputError, r"got shape \(0,\)"),
        ([VALUES], {}, InputError, r"got shape \(1, 3\)"),
        (torch.zeros(2, 3), {}, InputError, r"got shape \(2, 3\)"),
        (3.0, {}, InputError, r"got shape \(\)"),
        (["a", "b", "c"], {}, InputError, "a row of numbers"),
        ("text", {}, InputError, "a row of numbers"),
        ([[1], [2, 3]], {}, InputError, "a row of numbers"),
        (VALUES, {"names": ["a", "b"]}, InputError, "3 names, one for each feature, got 2"),
        (VALUES, {"players": [0, 1]}, PlayerError, "3 features, got 2"),
        (VALUES, {"players": [0, 2, 2]}, PlayerError, "missing"),
        (VALUES, {"players": [-1, -1, -1]}, PlayerError, "no player"),
        (VALUES, {"players": [-2, 0, 1]}, PlayerError, "-2"),
        (VALUES, {"baseline": [1, 2]}, InputError, "baseline of 3 numbers, got 2"),
        (VALUES, {"baseline": "mean"}, InputError, "got 'mean'"),
        (VALUES, {"background": [[1, 2]]}, InputError, r"\(k, 3\), got \(1, 2\)"),
        (VALUES, {"background": [1, 2, 3]}, InputError, r"\(k, 3\), got \(3,\)"),
        (VALUES, {"background": np.zeros((0, 3))}, InputError, r"\(k, 3\), got \(0, 3\)"),
    ],
)
def test_what_cannot_be_used(mlp, raw, options, error, says):
    with pytest.raises(error, match=says):
        TabularAdapter(mlp).example(raw, **options)


def test_an_output_of_one_column_is_explained_as_it_is():
    for model in (nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))):
        adapter = adapt(model)
        example = adapter.example(VALUES)
        out = adapter.forward_func(example.inputs)
        assert out.shape == (1, 1)
        torch.testing.assert_close(out.view(-1), model(example.inputs).view(-1))
        assert adapter.objective(None, example).target == 0


def test_a_probability_of_one_column_is_logistic():
    model = nn.Linear(3, 1)
    adapter = adapt(model, output="prob")
    x = torch.randn(4, 3)
    torch.testing.assert_close(adapter.forward_func(x), model(x).sigmoid())


def test_inputs_take_the_models_type_and_keep_its_digits(mlp):
    model = mlp.double()
    example = tabular_example(model, [0.1, 1 / 3, 1e-12])
    assert example.inputs.tolist() == [[0.1, 1 / 3, 1e-12]]
    assert adapt(model).forward_func(example.inputs).dtype == torch.float64


def test_the_default_layer(mlp):
    assert TabularAdapter(mlp).default_layer() is mlp[0]
    only = nn.Linear(3, 1)
    assert TabularAdapter(only).default_layer() is only
    with pytest.raises(InputError, match="no linear layer"):
        TabularAdapter(nn.ReLU()).default_layer()


def test_a_row_with_names_follows_the_columns_of_the_background():
    """Not the order in which a mapping was written."""
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
    frame = pd.DataFrame({"a": [0.0, 2.0], "b": [0.0, 0.0], "c": [1.0, 1.0]})
    example = adapt(model).example({"c": 3.0, "b": 2.0, "a": 1.0}, background=frame)
    assert example.names == ("a", "b", "c")
    assert example.inputs.tolist() == [[1.0, 2.0, 3.0]]
    assert example.baselines.tolist() == [[1.0, 0.0, 1.0]]
    with pytest.raises(InputError, match="columns"):
        adapt(model).example({"a": 1.0, "b": 2.0, "x": 3.0}, background=frame)


def test_players_of_a_row_are_numbers():
    with pytest.raises(PlayerError, match="number of each feature"):
        adapt(nn.Linear(2, 1)).example([1.0, 2.0], players=["a", "b"])

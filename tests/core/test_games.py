"""v(T) against masking by hand, and what happens when the model or the memory fails."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch
from captum._utils.common import _select_targets  # noqa: TID251  # the reference of the forms of target
from torch import Tensor, nn

from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import (
    InputError,
    MemoryWarning,
    ModelOutputError,
    PlayerError,
    TargetError,
    TooManyPlayersError,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def mlp(features: int, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 7), nn.Tanh(), nn.Linear(7, outputs)).double()


def by_hand(forward, inputs, baselines, masks, n, select=lambda out, row: out[0], additional=lambda row: ()):
    """v of all coalitions, one model row at a time and one cell at a time."""
    rows = []
    for row in range(len(inputs[0])):
        values = []
        for coalition in all_coalitions(n).tolist():
            masked = []
            for x, b, m in zip(inputs, baselines, masks, strict=True):
                cells, base = x[row : row + 1].clone(), b.expand(x.shape)[row : row + 1]
                ids = m.expand(x.shape)[row : row + 1]
                for place in torch.cartesian_prod(*map(torch.arange, cells.shape)).reshape(-1, cells.dim()):
                    at = tuple(place.tolist())
                    if ids[at] >= 0 and not coalition[ids[at]]:
                        cells[at] = base[at]
                masked.append(cells)
            values.append(select(forward(*masked, *additional(row)), row).item())
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float64)


def close(values: Tensor, expected: Tensor) -> None:
    assert values.dtype == torch.float64
    assert values.device.type == "cpu"
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)


BATCH = 3
INPUT = torch.randn(BATCH, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("baselines", "as_tensor"),
    [
        (None, torch.zeros(1, 4)),
        (2, torch.full((1, 4), 2.0)),
        (-0.5, torch.full((1, 4), -0.5)),
        (torch.tensor(1.5), torch.full((1, 4), 1.5)),
        (INPUT[:1] * 3, INPUT[:1] * 3),
        (INPUT.flip(0), INPUT.flip(0)),
        ((None,), torch.zeros(1, 4)),
        ((0.25,), torch.full((1, 4), 0.25)),
        ((INPUT.flip(0).float(),), INPUT.flip(0).float().double()),
    ],
    ids=str,
)
def test_baselines_in_all_forms(baselines, as_tensor):
    model = mlp(4, 1)
    game = MaskedGame(model, INPUT, baselines)
    cells = torch.arange(4).view(1, 4)
    close(game.table(), by_hand(model, (INPUT,), (as_tensor.double(),), (cells,), 4))


def test_several_inputs_of_any_type_with_shared_and_separate_masks():
    flags = torch.tensor([[True, False], [False, False], [True, True]])
    whole = torch.arange(BATCH * 4).view(BATCH, 2, 2)
    first = mlp(4, 1)

    def forward(x, flag, numbers):
        return first(x)[:, 0] * flag.sum(1) + (numbers.double() * flag.view(-1, 2, 1)).sum((1, 2)) ** 2

    inputs = (INPUT, flags, whole)
    masks = (
        torch.tensor([[0, 1, 1, -1]]),  # shared by the rows
        torch.tensor([[2, 0], [1, -1], [2, 2]]),  # a row each; ids shared with the other tensors
        torch.tensor([[[1], [3]]]),  # broadcast over a dimension
    )
    baselines = (torch.full((1, 4), 0.5).double(), torch.zeros(1, 2).bool(), -torch.ones_like(whole))
    game = MaskedGame(forward, inputs, (0.5, None, baselines[2]), feature_mask=masks)
    assert game.n_players == 4
    close(game.table(), by_hand(forward, inputs, baselines, masks, 4))


@pytest.mark.parametrize("rows", [1, BATCH])
def test_a_mask_for_each_row(rows):
    masks = torch.tensor([[0, 0, 1, 2], [2, 1, 0, -1], [1, 1, 1, 0]])[:rows]
    model = mlp(4, 1)
    game = MaskedGame(model, INPUT, 1, feature_mask=masks)
    ones = torch.ones(1, 4).double()
    close(game.table(), by_hand(model, (INPUT,), (ones,), (masks,), 3))


TARGETS = {
    "int": (1, (3,)),
    "negative": (-1, (3,)),
    "0-d tensor": (torch.tensor(2), (3,)),
    "tensor of one": (torch.tensor([2]), (3,)),
    "list": ([0, 2, 1], (3,)),
    "tensor": (torch.tensor([2, 0, 2]), (3,)),
    "int32 tensor": (torch.tensor([2, 0, 2], dtype=torch.int32), (3,)),
    "tuple": ((1, 0), (2, 2)),
    "tuple with a slice of one": ((slice(1, 2), 0), (2, 2)),
    "list of tuples": ([(0, 1), (1, 1), (1, 0)], (2, 2)),
    "three dimensions": ((1, 0, 1), (2, 2, 2)),
    "none": (None, ()),
    "none, one column": (None, (1,)),
}


@pytest.mark.parametrize("chunk", [1, 2, 1000])
@pytest.mark.parametrize("case", TARGETS, ids=str)
def test_targets_as_captum_selects_them(case, chunk):
    target, shape = TARGETS[case]
    inner = mlp(4, 8)

    def forward(x: Tensor) -> Tensor:
        out = inner(x)
        return out[:, 0] if not shape else out[:, : torch.Size(shape).numel()].reshape(-1, *shape)

    game = MaskedGame(forward, INPUT, target=target, internal_batch_size=chunk)
    table = game.table()
    cells = torch.arange(4)
    reference = target.long() if isinstance(target, Tensor) else target
    for column, coalition in enumerate(all_coalitions(4)):
        masked = INPUT * coalition[cells]  # all rows at once, so that Captum can tell the targets apart
        expected = _select_targets(forward(masked), reference).reshape(-1)
        torch.testing.assert_close(table[:, column], expected.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (3, r"target 3 does not exist in an output of shape \(\d+, 3\)"),
        (-4, "target -4"),
        ([0, 1, 3], "does not exist"),
        ((0, 0), "does not exist"),
        (None, r"one number for each row, but target None leaves \(3,\)"),
        ((slice(0, 2),), "one number for each row"),
    ],
)
def test_targets_that_the_output_does_not_have(target, says):
    with pytest.raises(TargetError, match=says):
        MaskedGame(mlp(4), INPUT, target=target).table()


def test_additional_arguments_follow_their_rows():
    model = mlp(4, 1)
    each, shared, number = (
        torch.randn(BATCH, 4).double(),
        torch.randn(1, 4).double(),
        torch.tensor(0.5).double(),
    )
    table = torch.randn(5, 4).double()  # neither 1 nor the batch: not a tensor of rows
    seen = []

    def forward(x, a, b, c, name, lookup, nothing):
        seen.append((a.shape[0], b.shape[0], c.dim(), name, lookup.shape, nothing, len(x)))
        return model(x * a + b + c) + lookup.sum()

    additional = (each, shared, number, "name", table, None)
    game = MaskedGame(forward, INPUT, additional_forward_args=additional, internal_batch_size=5)
    expected = by_hand(
        forward,
        (INPUT,),
        (torch.zeros(1, 4).double(),),
        (torch.arange(4).view(1, 4),),
        4,
        additional=lambda row: (each[row : row + 1], *additional[1:]),
    )
    seen.clear()
    close(game.table(), expected)
    assert {(a == b == rows, d, name, shape, none) for a, b, d, name, shape, none, rows in seen} == {
        (True, 0, "name", (5, 4), None)
    }


def test_one_additional_argument_needs_no_tuple():
    game = MaskedGame(lambda x, k: x.sum(1) * k, INPUT, additional_forward_args=3)
    assert torch.allclose(game.table()[:, -1], INPUT.sum(1) * 3)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_model_that_writes_into_its_arguments_does_no_harm(rows):
    inputs, extra, baseline = torch.ones(rows, 2), torch.ones(1, 2), torch.zeros(1, 2)

    def forward(x, a):
        x.mul_(2)
        a.add_(1)
        return (x * a).sum(1)

    game = MaskedGame(forward, inputs, baseline, additional_forward_args=extra, internal_batch_size=1)
    assert game.table().tolist() == [[0, 4, 4, 8]] * rows
    assert inputs.eq(1).all()
    assert extra.eq(1).all()
    assert baseline.eq(0).all()


@pytest.mark.parametrize("chunk", [1, 3, 7, 48, 1000])
def test_chunks_do_not_matter_and_rows_are_counted(chunk):
    model, seen = mlp(4), []

    def forward(x, a):
        seen.append(len(x))
        return model(x) * a

    arguments = (INPUT, 0.5, [0, 1, 2], torch.randn(BATCH, 1).double())
    reference = MaskedGame(forward, *arguments).table()
    seen.clear()
    game = MaskedGame(forward, *arguments, internal_batch_size=chunk)
    assert game.forward_passes == 0
    assert torch.allclose(game.table(), reference, rtol=1e-13, atol=1e-13)
    assert game.forward_passes == sum(seen) == BATCH * 16
    assert max(seen) == min(chunk, BATCH * 16)
    game.values(all_coalitions(4)[:2])
    assert game.forward_passes == sum(seen) == BATCH * 18


def test_given_coalitions_come_back_in_their_order():
    game = MaskedGame(mlp(4, 1), INPUT)
    table = game.table()
    rows = torch.tensor([9, 0, 15, 9])
    assert torch.equal(game.values(all_coalitions(4)[rows]), table[:, rows])
    assert game.values(all_coalitions(4)[:0]).shape == (BATCH, 0)


def test_the_table_is_made_of_the_distinct_coalitions():
    game = MaskedGame(mlp(4, 1), INPUT)
    coalitions, index = game.distinct_coalitions()
    assert torch.equal(coalitions[index], all_coalitions(4))
    assert torch.equal(game.values(coalitions)[:, index], game.table())


IDLE = [
    # a row's players that equal their baseline, and those that do in all rows
    (INPUT * torch.tensor([1.0, 0, 1, 0]), None, [1, 3]),
    (INPUT * torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 0], [1, 0, 0, 1]]), 0, []),
    (INPUT * torch.tensor([[0.0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]), 0.0, [0]),
    (INPUT, INPUT, [0, 1, 2, 3]),
    (INPUT, torch.cat((INPUT[:, :2], INPUT[:, 2:] + 1), 1), [0, 1]),
]


@pytest.mark.parametrize(("inputs", "baselines", "idle"), IDLE)
def test_players_that_equal_their_baseline_cost_nothing(inputs, baselines, idle):
    model = mlp(4, 1)
    game = MaskedGame(model, inputs, baselines)
    coalitions, index = game.distinct_coalitions()
    active = [i for i in range(4) if i not in idle]
    assert torch.equal(coalitions[:, active], all_coalitions(len(active)))
    assert not coalitions[:, idle].any()
    assert torch.equal(coalitions[index][:, active], all_coalitions(4)[:, active])
    table = game.table()
    assert game.forward_passes == BATCH * 2 ** len(active)
    base = torch.zeros(1, 4).double() if baselines is None else torch.as_tensor(baselines).double()
    close(table, by_hand(model, (inputs,), (base,), (torch.arange(4).view(1, 4),), 4))


def test_a_player_of_several_tensors_is_idle_only_if_all_of_its_cells_are():
    first, second = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[5, 2]])
    masks = (torch.tensor([[0, 1, 2]]), torch.tensor([[0, -1]]))
    game = MaskedGame(lambda x, y: x.sum(1) + y.sum(1), (first, second), (0, 0), feature_mask=masks)
    assert game.distinct_coalitions()[0].tolist() == [
        [present[0], False, present[1]] for present in all_coalitions(2).tolist()
    ]
    assert game.table()[0].tolist() == [2, 3, 2, 3, 7, 8, 7, 8]


def test_what_is_no_number_is_not_taken_for_equal():
    game = MaskedGame(lambda x: x.nan_to_num(3).sum(1), torch.tensor([[torch.nan, 1]]), torch.nan)
    assert game.table().tolist() == [[6, 4, 6, 4]]


@pytest.mark.parametrize("bad", [torch.ones(2, 4), torch.ones(2, 3).bool(), torch.ones(4).bool()])
def test_coalitions_of_another_kind_are_refused(bad):
    with pytest.raises(PlayerError, match=r"\(m, 4\) bool"):
        MaskedGame(mlp(4, 1), INPUT).values(bad)


def test_no_gradients_are_kept_and_the_callers_mode_is_left():
    inputs = INPUT.clone().requires_grad_()
    modes = []

    def forward(x):
        modes.append(torch.is_grad_enabled())
        return x.sum(1)

    with torch.enable_grad():
        table = MaskedGame(forward, inputs).table()
        assert torch.is_grad_enabled()
    assert not any(modes)
    assert not table.requires_grad
    assert inputs.grad is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("chunk", [1, 1000])
def test_a_number_that_is_not_finite_is_traced_to_row_and_players(value, chunk):
    def forward(x):
        out = x.sum(1)
        # row 1 with players 0 and 2 present, with player 1 or without: the first one is named
        return torch.where((x[:, 0] == 10) & (x[:, 2] == 30), value, out)

    inputs = torch.tensor([[1.0, 2, 3], [10, 20, 30]])
    with pytest.raises(
        ModelOutputError, match=r"row 1 of the batch with players \[0, 2\] of 0\.\.2"
    ) as error:
        MaskedGame(forward, inputs, internal_batch_size=chunk).table()
    assert f"gave {float(value)}" in str(error.value)


def test_non_finite_numbers_outside_the_target_do_not_matter():
    game = MaskedGame(lambda x: torch.stack((x.sum(1), x.sum(1) / 0), 1), INPUT, target=0)
    assert torch.allclose(game.table()[:, -1], INPUT.sum(1))


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__ + str(e)[:12])
def test_when_memory_runs_out_the_pieces_get_smaller(error):
    model, sizes = mlp(4, 1), []

    def forward(x):
        sizes.append(len(x))
        if len(x) > 7:
            raise error
        return model(x)

    reference = MaskedGame(model, INPUT).table()
    game = MaskedGame(forward, INPUT, internal_batch_size=40)
    with pytest.warns(MemoryWarning) as caught:
        table = game.table()
    assert torch.allclose(table, reference)
    said = [str(w.message) for w in caught]
    assert [text.split(";")[0] for text in said] == [
        f"memory ran out with {rows} rows in one pass" for rows in (40, 20, 10)
    ]
    assert said[0].endswith("going on with 20. Give internal_batch_size=20 to start there")
    assert sizes == [40, 20, 10, 5, 5, 5, 5, 5, 5, 5, 5, 5, 3]
    assert game.forward_passes == 48  # the failed ones gave nothing
    sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        game.values(all_coalitions(4)[:4])  # the lesson is remembered
    assert max(sizes) == 5


def test_what_does_not_fit_at_all_is_raised():
    error = torch.OutOfMemoryError("out of memory")

    def forward(x):
        raise error

    game = MaskedGame(forward, INPUT, internal_batch_size=4)
    with pytest.warns(MemoryWarning) as caught, pytest.raises(torch.OutOfMemoryError) as raised:
        game.table()
    assert raised.value is error
    assert len(caught) == 2  # 4, 2; one row is the least


class Custom(RuntimeError):
    pass


@pytest.mark.parametrize("error", [ValueError("mine"), Custom("mine"), KeyError("mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("module", [False, True])
def test_the_models_own_exception_passes_unchanged(error, module):
    def fail(x):
        raise error

    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))  # float32, and the inputs are float64

        def forward(self, x):
            return fail(x)

    with pytest.raises(type(error)) as raised:
        MaskedGame(Failing() if module else fail, INPUT).table()
    assert raised.value is error


def test_a_shortage_of_memory_is_not_taken_for_a_wrong_type():
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp(4, 1).float()

        def forward(self, x):
            if len(x) > 8:
                raise torch.OutOfMemoryError("out of memory on device 0")
            return self.inner(x.float())

    with pytest.warns(MemoryWarning):
        MaskedGame(Hungry(), INPUT).table()


def test_types_that_do_not_fit_are_named():
    with pytest.raises(
        InputError, match=r"parameters are torch.float32 and an input is torch.float64"
    ) as error:
        MaskedGame(mlp(4).float(), INPUT, target=0).table()
    assert isinstance(error.value.__cause__, RuntimeError)


def test_devices_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="the model is on meta and an input on cpu"):
        MaskedGame(nn.Linear(4, 1, device="meta"), INPUT.float()).table()


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda x: x.sum(), r"with 12 rows.*got shape \(\)"),
        (lambda x: x.sum(1)[:-1], r"with 12 rows.*got shape \(11,\)"),
        (lambda x: x.T, r"got shape \(2, 12\)"),
        (lambda x: SimpleNamespace(logits=x), "got SimpleNamespace; for HuggingFace"),
        (lambda x: (x.sum(1),), "got tuple"),
        (lambda x: None, "got NoneType"),
    ],
)
def test_outputs_of_another_shape_or_kind(forward, says):
    with pytest.raises(ModelOutputError, match=says):
        MaskedGame(forward, torch.ones(3, 2)).table()


def test_too_many_players_name_the_passes():
    game = MaskedGame(lambda x: x.sum(1), torch.zeros(1, 20))
    with pytest.raises(
        TooManyPlayersError,
        match=r"20 players need 2\^20 = 1,048,576 model passes.*limit is 12.*give max_players=20",
    ):
        game.check_table_size(12)
    game.check_table_size(20)


def test_an_image_without_a_mask_has_too_many_players_to_count():
    game = MaskedGame(lambda x: x.sum((1, 2, 3)), torch.zeros(1, 3, 224, 224))
    with pytest.raises(TooManyPlayersError, match=r"150528 players need 2\^150528 model passes.*taylor-cam"):
        game.check_table_size(16)


def test_progress_goes_to_stderr_only_when_asked(capsys):
    MaskedGame(lambda x: x.sum(1), INPUT, show_progress=True, label="my label").table()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "my label" in shown.err
    assert "48" in shown.err
    MaskedGame(lambda x: x.sum(1), INPUT).table()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"forward_func": 3}, "callable"),
        ({"inputs": [[1.0]]}, "Tensor or a tuple of Tensors, got list"),
        ({"inputs": ()}, "Tensor or a tuple"),
        ({"inputs": torch.zeros(0, 4)}, "empty batch"),
        ({"inputs": torch.tensor(1.0)}, "dimension 0"),
        ({"inputs": (torch.zeros(1, 2), torch.zeros(2, 2))}, "same batch"),
        ({"baselines": (0, 0)}, "1 input tensors, got 2"),
        ({"baselines": "mean"}, "number or a Tensor, got str"),
        ({"baselines": [0]}, "got list"),
        ({"baselines": torch.zeros(4)}, r"\(4,\)"),
        ({"baselines": torch.zeros(2, 4)}, r"\(2, 4\)"),
        ({"internal_batch_size": 0}, "internal_batch_size"),
        ({"internal_batch_size": 2.5}, "internal_batch_size"),
        ({"target": [0, 1]}, "each of the 3 rows, got 2"),
        ({"feature_mask": torch.tensor([[0, 1, 2, 4]])}, "missing"),
        ({"feature_mask": [[0, 1, 2, 3]]}, "got list"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, says):
    given = {"forward_func": lambda x: x.sum(1), "inputs": INPUT} | arguments
    with pytest.raises(InputError, match=says):
        MaskedGame(**given)


def sizes_of_passes(monkeypatch, features, players, seconds, **options):
    """Sizes of the passes over a table, by a clock that only the model moves: ``seconds`` of its rows."""
    sizes, clock = [], [0.0]
    monkeypatch.setattr("hoi_captum.core.games.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def forward(x):
        sizes.append(len(x))
        clock[0] += seconds(len(x))
        return x.flatten(1)[:, 0]

    mask = torch.arange(features).view(1, -1) % players
    game = MaskedGame(forward, torch.ones(1, features), feature_mask=mask, **options)
    game.table()
    assert game.forward_passes == sum(sizes) == 1 << players  # nothing is evaluated twice
    return sizes, game.rows_per_pass


@pytest.mark.parametrize(
    ("features", "seconds", "expected"),
    [
        # the larger the cheaper: up to the most
        (12, lambda rows: 1 + rows / 1000, [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024, 128]),
        # best at 128
        (12, lambda rows: abs(rows - 128) + rows, [64, 64, 128, 128, 256, 256] + [128] * 25),
        # the smaller the cheaper
        (12, lambda rows: rows**2, [64, 64, 128, 128, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1, 1]),
        # the size makes hardly a difference
        (12, lambda rows: rows + (rows == 64), [64, 64, 128, 128, 32, 32, 64, 64, 64]),
        # inputs of 10,486 numbers: 99 rows at most
        (10_486, lambda rows: 1 + rows / 1000, [64, 64, 32, 32, 64, 64, 64]),
    ],
    ids=["large", "middle", "small", "equal", "limited"],
)
def test_the_size_of_a_pass_is_found_on_the_work_itself(monkeypatch, features, seconds, expected):
    sizes, last = sizes_of_passes(monkeypatch, features, 12, seconds)
    assert sizes[: len(expected)] == expected
    assert last == max(sizes[-2:])


@pytest.mark.parametrize(
    ("features", "options", "expected"),
    [
        (12, {"probe": False}, 64),
        (12, {"internal_batch_size": 300}, 300),
        (12, {"internal_batch_size": 7, "probe": False}, 7),
        (40_000, {"probe": False}, 26),
        (200_000, {"probe": False}, 16),
    ],
)
def test_without_a_probe_the_size_does_not_depend_on_time(monkeypatch, features, options, expected):
    for seconds in (lambda rows: 1 + rows / 1000, lambda rows: rows * rows):
        sizes, last = sizes_of_passes(monkeypatch, features, 9, seconds, **options)
        assert set(sizes[:-1]) == {expected}
        assert last == expected


def test_half_precision_values_are_kept_as_they_are():
    x = torch.tensor([[1.0, 0.001]], dtype=torch.bfloat16)
    table = MaskedGame(lambda x: x.sum(1), x).table()
    assert table[0].tolist() == [0, float(x[0, 1]), 1.0, 1.0]


def test_a_fraction_is_no_baseline_of_integers():
    with pytest.raises(InputError, match="fractions"):
        MaskedGame(lambda x: x.sum(1), torch.tensor([[3, 4]]), 0.5)
    game = MaskedGame(lambda x: x.sum(1), torch.tensor([[3, 4]]), 1.0)
    assert game.table().tolist() == [[2.0, 5.0, 4.0, 7.0]]

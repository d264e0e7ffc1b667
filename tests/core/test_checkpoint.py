"""Tables that survive: the same bits after any death, no finished block twice, nothing of another call."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hoi_captum.adapters.base import Forward
from hoi_captum.core import checkpoint, value_file
from hoi_captum.core.checkpoint import Checkpoint
from hoi_captum.core.coalitions import coalition_indices
from hoi_captum.core.example import PerModel
from hoi_captum.core.method import GameMethod
from hoi_captum.core.value_file import ValueFile
from hoi_captum.errors import FileError, InputError, MemoryWarning, OptionError, TooManyPlayersError

CHECK = 8  # rows by which a model is known again


class Tables(GameMethod):
    """The value tables themselves."""

    name = "tables"
    several_models = True

    def _check(self, games):
        games[0].check_table_size(10)

    def _interactions(self, tables, show_progress):
        provenance = tables.provenance(self.name, {}, {})
        return [SimpleNamespace(values=v, provenance=provenance) for v in tables.values]


class Stopped(BaseException):
    pass


class Net(nn.Module):
    """A network in float32, whose last bits depend on the rows of a pass, and which counts these.

    It stops in the pass of the given number.
    """

    def __init__(self, players=6, seed=0, dies_at=0, error=Stopped):
        super().__init__()
        self._left, self.error = dies_at, error
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(players, 48), nn.Tanh(), nn.Linear(48, 48), nn.Linear(48, 2)
            )
        self.seen = []

    def forward(self, x):
        self._left -= 1
        if self._left == 0:
            raise self.error
        self.seen.append(len(x))
        return self.layers(x)

    @property
    def rows(self):
        total = sum(self.seen)
        self.seen.clear()
        return total


def inputs(players=6, rows=1):
    return torch.randn(rows, players, generator=torch.Generator().manual_seed(1))


def run(model, path, x=None, target=1, **options):
    """The value tables (B, m, 2^n) and the provenance."""
    results = Tables(model).interact(inputs() if x is None else x, target=target, checkpoint=path, **options)
    return torch.stack([r.values for r in results]), results[0].provenance


def finished(path):
    with ValueFile(path) as file:
        return [file.finished(i) for i in range(len(file.sections))]


# ---------------------------------------------------------------- the same bits
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("size", [1, 5, 16, 1000])
def test_the_same_bits_without_a_file_with_one_and_from_one(tmp_path, rows, size):
    model, x = Net(), inputs(rows=rows)
    plain, _ = run(model, None, x, internal_batch_size=size)
    model.seen.clear()
    first, source = run(model, tmp_path / "table", x, internal_batch_size=size)
    passes = list(model.seen)
    assert model.rows == rows * (64 + CHECK)
    assert max(passes) == min(size, rows * 64)
    assert source.forward_passes == 64 + CHECK
    assert source.details["checkpoint"] == {"resumed_rows": 0}
    again, source = run(model, tmp_path / "table", x)
    assert model.rows == rows * CHECK
    assert source.forward_passes == CHECK
    assert source.details["checkpoint"] == {"resumed_rows": 64}
    assert torch.equal(first, plain)
    assert torch.equal(again, plain)
    assert finished(tmp_path / "table")[0].all()
    other, _ = run(model, None, x, internal_batch_size=3)
    assert not torch.equal(other, plain) or size == 3  # so that equal bits say something
    torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("rows", [1, 3])
def test_what_was_done_when_the_model_failed_is_kept(tmp_path, monkeypatch, error, rows):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)  # each block is written by itself
    path, x, size = tmp_path / "table", inputs(rows=rows), 8
    expected, _ = run(Net(), None, x, internal_batch_size=size)
    checks, done = rows, 0  # passes of 8 rows for the 8 coalitions of each row
    for blocks, passes in ((0, 0), (4, rows - 1), (2, 0)):  # whole ones, and passes of the next
        model = Net(dies_at=checks + blocks * rows + passes + 1, error=error)
        with pytest.raises(error):
            run(model, path, x, internal_batch_size=size)
        done += blocks
        assert finished(path)[0].tolist() == [True] * done + [False] * (8 - done)
        assert model.rows == rows * (CHECK + 8 * blocks) + 8 * passes
    model = Net()
    values, source = run(model, path, x, internal_batch_size=size)
    assert model.rows == rows * (CHECK + 16)
    assert source.forward_passes == CHECK + 16
    assert source.details["checkpoint"] == {"resumed_rows": 48}
    assert torch.equal(values, expected)


def test_two_models_in_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    path, x = tmp_path / "table", PerModel(inputs(), inputs() * 2)
    f, g = Net(), Net(seed=1)
    expected, _ = run([f, g], None, x, PerModel(0, 1), internal_batch_size=8)
    assert not torch.equal(expected[:, 0], expected[:, 1])
    f.seen.clear()
    g._left = 4
    with pytest.raises(Stopped):
        run([f, g], path, x, PerModel(0, 1), internal_batch_size=8)
    assert [done.sum() for done in finished(path)] == [8, 2]
    f.seen.clear()
    g.seen.clear()
    values, source = run([f, g], path, x, PerModel(0, 1), internal_batch_size=8)
    assert (f.rows, g.rows) == (CHECK, CHECK + 48)
    assert source.details["checkpoint"] == {"resumed_rows": 80}
    assert torch.equal(values, expected)
    assert os.listdir(tmp_path) == ["table"]


def test_attributions_and_interactions_share_a_file(tmp_path):
    model, path = Net(), tmp_path / "table"
    method = Tables(model)
    attributions = method.attribute(inputs(), target=1, checkpoint=path)
    assert model.rows == 64 + CHECK
    both, results = method.attribute_and_interact(inputs(), target=1, checkpoint=str(path))
    (result,) = method.interact(inputs(), target=1, checkpoint=path)
    assert model.rows == 2 * CHECK
    assert torch.equal(both, attributions)
    assert torch.equal(results[0].values, result.values)


def test_players_that_change_nothing_take_no_room(tmp_path):
    model, path, x = Net(), tmp_path / "table", inputs()
    x[0, [1, 4]] = 0  # as masked
    expected, _ = run(model, None, x, internal_batch_size=4)
    model.seen.clear()
    values, _ = run(model, path, x, internal_batch_size=4)
    assert model.rows == 16 + CHECK
    with ValueFile(path) as file:
        assert file.sections[0].total == 16
    assert torch.equal(values, expected)
    assert torch.equal(run(model, path, x)[0], expected)


# ---------------------------------------------------------------- kill -9
WORKER = """
import json, os, signal, sys
import numpy as np
import torch
from torch import nn
from hoi_captum.core import checkpoint
from hoi_captum.core.method import GameMethod

class Tables(GameMethod):
    name = "tables"
    def _check(self, games): pass
    def _interactions(self, tables, show_progress): return [tables]

class Net(nn.Module):
    def __init__(self, log, last):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(9, 48), nn.Tanh(), nn.Linear(48, 48), nn.Linear(48, 2))
        self._log, self._left = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), last
    def forward(self, x):
        # which coalitions: inputs are not 0, and the baseline is
        rows = ((x != 0) * 2 ** torch.arange(8, -1, -1)).sum(1).tolist()
        os.write(self._log, (json.dumps(rows) + "\\n").encode())
        self._left -= 1
        if self._left == 0:
            os.read(held, 1)  # nothing comes: it stays in this pass until it is killed
            os._exit(1)
        return self.layers(x)

def work(path, log, out, last):
    checkpoint._SECONDS = 0.0  # each block is written by itself
    x = torch.randn(1, 9, generator=torch.Generator().manual_seed(1))
    (tables,) = Tables(Net(log, last)).interact(x, target=1, internal_batch_size=16, checkpoint=path)
    np.save(out, tables.values.numpy())

held, holding = os.pipe()  # ends with this process, and its children with it
# imports once, and a new process for each line
for line in iter(sys.stdin.readline, ''):
    child = os.fork()
    if child == 0:
        os.close(holding)
        work(*json.loads(line))
        os._exit(0)
    print("begun", flush=True)
    if sys.stdin.readline().strip() != "wait":
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Worker:
    """Runs of one table, each in a process of its own."""

    def __init__(self, folder):
        self.path, self.log, self.out = (str(folder / name) for name in ("table", "log", "out.npy"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *, path="", passes=0, after=None):
        """The coalitions of each pass; it stays in pass number ``passes``, if any, until it is killed.

        Killed as soon as it is there, or ``after`` so many seconds, wherever it is by then.
        """
        if os.path.exists(self.log):
            os.remove(self.log)
        self._say(json.dumps([path or self.path, self.log, self.out, passes]))
        assert self.process.stdout.readline() == "begun\n"
        if after is not None:
            time.sleep(after)
        elif passes:
            until = time.monotonic() + 300
            while len(self.passes()) < passes:
                assert time.monotonic() < until
                time.sleep(0.0005)
        self._say("kill" if passes else "wait")
        assert int(self.process.stdout.readline()) == (-signal.SIGKILL if passes else 0)
        return self.passes()

    def _say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def passes(self):
        if not os.path.exists(self.log):
            return []
        with open(self.log) as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def table(self):
        return np.load(self.out)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("killed"))
    yield worker
    worker.process.stdin.close()
    worker.process.wait()
    worker.process.stdout.close()


@pytest.fixture(scope="module")
def uninterrupted(worker):
    passes = worker.run(path=worker.path + "-whole")
    table = worker.table()
    assert [len(p) for p in passes] == [8] + [16] * 32
    assert [row for p in passes[1:] for row in p] == list(range(512))
    assert table.shape == (1, 1, 512)
    return table


def bits(table):
    return table.view(np.int64)


def test_killed_at_any_pass_it_goes_on(worker, uninterrupted):
    chance = random.Random(0)
    moments = [1, 2, *(chance.randint(2, 5) for _ in range(6))]
    done = np.zeros(32, bool)
    for passes in moments:
        check, *blocks = worker.run(passes=passes)
        assert len(check) == 8
        assert len(blocks) == passes - 1
        numbers = [block[0] // 16 for block in blocks]
        assert [row for block in blocks for row in block] == [16 * b + k for b in numbers for k in range(16)]
        assert not done[numbers].any()  # nothing finished is computed again
        if passes > 1:
            after = finished(worker.path)[0]
            assert after[done].all()
            # what was computed is kept, but for the block that was being computed
            assert numbers[:-1] == np.flatnonzero(after & ~done).tolist()
            done = after
    assert 0 < done.sum() < 32
    last = worker.run()
    assert len(last[0]) == 8
    assert [block[0] // 16 for block in last[1:]] == np.flatnonzero(~done).tolist()
    assert np.array_equal(bits(worker.table()), bits(uninterrupted))
    assert worker.run() == last[:1]  # complete: it is known again, and nothing is left to do
    assert np.array_equal(bits(worker.table()), bits(uninterrupted))


def test_killed_at_any_time_the_file_is_usable(worker, uninterrupted):
    """Whatever the machine's speed: no run gets further than three blocks, so that none is complete."""
    chance = random.Random(1)
    path = worker.path + "-often"
    found = 0
    for _ in range(10):
        worker.run(path=path, after=chance.uniform(0, 0.1), passes=5)
        if os.path.exists(path):
            count = int(finished(path)[0].sum())
            assert count >= found
            found = count
    rest = worker.run(path=path)
    assert sum(len(p) for p in rest) == 8 + 512 - 16 * found
    assert np.array_equal(bits(worker.table()), bits(uninterrupted))


# ---------------------------------------------------------------- damage
def test_a_damaged_block_is_computed_again_and_no_other(tmp_path):
    model, path = Net(), tmp_path / "table"
    expected, _ = run(model, path, internal_batch_size=8)
    content = bytearray(path.read_bytes())
    with ValueFile(path) as file:
        content[file._values_at + 8 * 19 + 3] ^= 1  # in the third block
    path.write_bytes(content)
    model.seen.clear()
    values, source = run(model, path)
    assert model.seen == [CHECK, 8]
    assert source.details["checkpoint"] == {"resumed_rows": 56}
    assert torch.equal(values, expected)
    assert finished(path)[0].all()


def test_blocks_that_are_missing_in_the_middle(tmp_path):
    model, path = Net(), tmp_path / "table"
    expected, _ = run(model, path, internal_batch_size=8)
    content = bytearray(path.read_bytes())
    with ValueFile(path) as file:
        for block in (0, 3, 4, 7):
            content[file._marks_at + 8 * block : file._marks_at + 8 * block + 8] = bytes(8)
    path.write_bytes(content)
    order = []
    model.layers.register_forward_pre_hook(lambda module, args: order.append(args[0] != 0))
    values, _ = run(model, path)
    rows = coalition_indices(torch.cat(order[1:])).tolist()
    assert rows == [*range(8), *range(24, 40), *range(56, 64)]
    assert torch.equal(values, expected)


# ---------------------------------------------------------------- something else
def test_a_file_of_another_call_is_refused_and_says_what_differs(tmp_path):
    model, path = Net(), tmp_path / "table"
    arguments = {"inputs": inputs(), "baselines": 0.0, "target": 1, "feature_mask": None}
    Tables(model).interact(**arguments, checkpoint=path)
    before = path.read_bytes()
    heavier = Net()
    with torch.no_grad():
        heavier.layers[0].weight[3, 2] += 1e-5
    softer = Net()
    softer.layers[1] = nn.Softsign()
    cases = [
        ({"inputs": inputs() + 1e-6}, model, "what differs: the inputs. Give"),
        ({"baselines": 1.0}, model, "what differs: the baselines. Give"),
        ({"target": 0}, model, "what differs: the target. Give"),
        ({"feature_mask": torch.tensor([[0, 1, 2, 3, 4, 4]])}, model, "what differs: the players (feature"),
        ({"inputs": inputs(rows=2)}, model, "what differs: the inputs, the baselines, the players"),
        ({}, heavier, "what differs: the model's parameters or buffers. Give"),
        ({}, softer, "what differs: the model's class, code or config. Give"),
        ({}, lambda x: model(x), "what differs: the forward function (its output, its code or a value"),
        ({}, [model, model], "models in the file: 1, models given: 2. Give"),
    ]  # fmt: skip
    model.seen.clear()
    for changes, other, says in cases:
        with pytest.raises(FileError) as raised:
            Tables(other).interact(**(arguments | changes), checkpoint=path)
        assert f"{path} belongs to another call: {says}" in str(raised.value)
        assert str(raised.value).endswith("Give another checkpoint path, or delete the file")
    assert model.rows == 0  # refused before any pass
    assert path.read_bytes() == before


def test_which_of_several_models_differs_is_said(tmp_path):
    f, g, path = Net(), Net(seed=1), tmp_path / "table"
    run([f, g], path, target=PerModel(0, 1))
    for models, target, says in (
        ([f, Net(seed=2)], PerModel(0, 1), "what differs: the model's parameters or buffers of model 1. "),
        ([f, g], PerModel(1, 1), "what differs: the target of model 0. "),
        (
            [g, f],
            PerModel(0, 0),
            "buffers of model 0; the target, the model's parameters or buffers of",
        ),
    ):
        with pytest.raises(FileError) as raised:
            run(models, path, target=target)
        assert says in str(raised.value)


class Hidden:
    """A model whose numbers cannot be seen from outside."""

    def __init__(self, weights, size=1.0):
        self.keeper = SimpleNamespace(weights=weights.double(), size=size)
        self.calls = []

    def __call__(self, x):
        self.calls.append(len(x))
        return (x.double() @ self.keeper.weights).tanh() * self.keeper.size


def weights(seed=0):
    return torch.randn(6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Hidden(weights()), True),
        (Hidden(weights(), 1 + 1e-8), True),  # as on other hardware
        (Hidden(weights(), 1 + 1e-3), False),
        (Hidden(weights(1)), False),
        (Hidden(weights(), -1), False),
    ],
)
def test_a_function_is_known_again_by_its_values(tmp_path, monkeypatch, complete, other, same):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    path, model = tmp_path / "table", Hidden(weights())
    expected, _ = run(model, path, target=None, internal_batch_size=8)
    if not complete:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    other.calls.clear()
    if same:
        values, source = run(other, path, target=None)
        torch.testing.assert_close(values, expected, rtol=1e-7, atol=0)
        assert source.forward_passes == sum(other.calls) == CHECK + 8 * (not complete)
    else:
        with pytest.raises(FileError, match=r"belongs to another call: values at the same coalitions differ"):
            run(other, path, target=None)
        assert other.calls == [CHECK]


def test_a_model_whose_state_changed_is_known_again_by_its_values(tmp_path):
    model, path = Net(), tmp_path / "table"
    expected, _ = run(model, path)
    hook = model.layers.register_forward_hook(lambda module, args, output: None)
    model.seen.clear()
    assert torch.equal(run(model, path)[0], expected)
    assert model.rows == CHECK
    hook.remove()
    hook = model.layers.register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(FileError, match="values at the same coalitions differ by up to 1;"):
        run(model, path)
    hook.remove()
    assert torch.equal(run(model, path)[0], expected)


class Keeper(Net):
    """What it computes is also kept where digests do not look."""

    def __init__(self):
        super().__init__()
        self.shift, self.factors, self.options = torch.ones(1), [1.0, 2.0], {"power": 1}
        self.squashed = torch.tanh
        self.helper = SimpleNamespace(scale=1.0)

    def scaled(self, x):
        return x

    def forward(self, x, settings=None):
        x = self.squashed(super().forward(x) * self.helper.scale + self.shift)
        return self.scaled(x) * self.factors[1] ** self.options["power"] * getattr(settings, "scale", 1)


def doubled(self, x):
    return 2 * x


CHANGES = {
    "a plain tensor": lambda model: model.shift.add_(1),
    "an item of a list": lambda model: model.factors.__setitem__(1, 3.0),
    "an entry of a dict": lambda model: model.options.update(power=2),
    "a function as an attribute": lambda model: setattr(model, "squashed", torch.sigmoid),
    "an object's attribute": lambda model: setattr(model.helper, "scale", 2.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_complete_table_of_a_module_that_changed_unseen_is_refused(tmp_path, change):
    model, path = Keeper(), tmp_path / "table"
    expected, _ = run(model, path)
    assert torch.equal(run(model, path)[0], expected)
    CHANGES[change](model)
    with pytest.raises(FileError, match="values at the same coalitions differ"):
        run(model, path)


def test_a_complete_table_made_with_another_helper_method_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "table"
    run(Keeper(), path)
    monkeypatch.setattr(Keeper, "scaled", doubled)
    with pytest.raises(FileError, match="values at the same coalitions differ"):
        run(Keeper(), path)


def test_a_complete_table_made_with_another_object_among_the_arguments_is_refused(tmp_path):
    path = tmp_path / "table"
    for scale in (1, 1, 2):
        given = {"additional_forward_args": SimpleNamespace(scale=scale), "checkpoint": path}
        if scale == 1:
            Tables(Keeper()).interact(inputs(), target=1, **given)
    with pytest.raises(FileError, match="values at the same coalitions differ"):
        Tables(Keeper()).interact(inputs(), target=1, **given)


def test_a_complete_table_made_with_another_object_in_a_closure_is_refused(tmp_path):
    path, settings = tmp_path / "table", SimpleNamespace(scale=1)

    def forward(model):
        return Forward(
            SimpleNamespace(scores=model).scores, lambda y: y * settings.scale, "scaled output", model
        )

    run(forward(Net()), path)
    run(forward(Net()), path)
    settings.scale = 2
    with pytest.raises(FileError, match="values at the same coalitions differ"):
        run(forward(Net()), path)


def test_a_complete_table_made_without_autocast_is_refused_with_it(tmp_path):
    path = tmp_path / "table"
    run(Net(), path)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(FileError, match="values at the same coalitions differ"),
    ):
        run(Net(), path)


def test_a_long_target_that_differs_in_its_last_row_is_refused(tmp_path):
    path, x = tmp_path / "table", torch.zeros(1100, 1)
    run(Net(1), path, x, target=[0] * 1100)
    with pytest.raises(FileError, match="what differs: the target"):
        run(Net(1), path, x, target=[0] * 1099 + [1])


@pytest.mark.filterwarnings("ignore::hoi_captum.errors.TrainingModeWarning")
def test_a_model_that_gives_another_output_each_time(tmp_path):
    model, path = Net(dies_at=4), tmp_path / "table"
    model.layers.append(nn.Dropout())
    torch.manual_seed(0)
    with pytest.raises(Stopped):
        run(model, path, internal_batch_size=8)
    torch.manual_seed(1)
    with pytest.raises(FileError, match="gives another output each time"):
        run(model, path)


def test_the_check_sees_empty_full_and_others():
    for n in (1, 2, 3, 6, 10):
        asked = []

        def values(coalitions, asked=asked):
            asked.extend(coalition_indices(coalitions).tolist())

        checkpoint._check_values(SimpleNamespace(n_players=n, values=values))
        assert asked == sorted(set(asked))
        assert {0, 2**n - 1} <= set(asked) <= set(range(2**n))
        assert len(asked) == CHECK if n > 3 else len(asked) >= 2


# ---------------------------------------------------------------- rows of a pass
def test_passes_keep_their_size_unless_a_smaller_one_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    path, model = tmp_path / "table", Net(players=8)
    expected, _ = run(Net(players=8), None, inputs(8), internal_batch_size=16)
    sizes = {None: 16, 100: 16, 4: 4}
    for asked, size in sizes.items():
        model._left = 8
        model.seen.clear()
        with pytest.raises(Stopped):
            run(model, path, inputs(8), internal_batch_size=asked if path.exists() else 16)
        assert set(model.seen[2:]) == {size}
    model.seen.clear()
    values, _ = run(model, path, inputs(8))
    assert set(model.seen) == {4}  # the smallest that was needed
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(OptionError, match="internal_batch_size to be an int"):
        run(model, path, inputs(8), internal_batch_size="8")


class Hungry(Net):
    most = 1000

    def forward(self, x):
        if len(x) > Hungry.most:
            raise MemoryError
        return super().forward(x)


def test_memory_that_ran_out_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    path = tmp_path / "table"
    expected, _ = run(Net(), None, internal_batch_size=12)
    model = Hungry()
    monkeypatch.setattr(Hungry, "most", 7)
    model._left = 6
    with pytest.warns(MemoryWarning), pytest.raises(Stopped):
        run(model, path, internal_batch_size=12)
    first = list(model.seen)
    assert max(first) <= 7
    model.seen.clear()
    values, _ = run(model, path)  # and no warning
    assert model.seen
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


def test_blocks_are_as_long_as_there_are_not_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_MOST_BLOCKS", 10)
    for size, block in {1: 7, 3: 9, 16: 16, 100: 100}.items():
        path = tmp_path / f"{size}"
        expected, _ = run(Net(), None, internal_batch_size=size)
        values, _ = run(Net(), path, internal_batch_size=size)
        with ValueFile(path) as file:
            assert file.sections == ((64, block),)
        assert torch.equal(values, expected)


def test_writes_are_a_second_apart(tmp_path, monkeypatch):
    """With blocks of an eighth of a second, by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    written = []
    write = ValueFile.write

    def note(self, section, first, values, tag):
        written.append(len(values))
        write(self, section, first, values, tag)

    monkeypatch.setattr(ValueFile, "write", note)
    model = Net()
    model.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + 0.125))
    run(model, tmp_path / "table", internal_batch_size=1)
    assert written == [1, 4, *[8] * 7, 3]


# ---------------------------------------------------------------- refusals
def test_what_cannot_be_a_checkpoint_is_told_before_any_pass(tmp_path):
    model = Net()
    (tmp_path / "notes.txt").write_text("precious")
    for place, error, says in (
        (3, OptionError, "expected checkpoint to be a path, got int"),
        (True, OptionError, "expected checkpoint to be a path, got bool"),
        (tmp_path, FileError, "it is a directory"),
        (tmp_path / "missing" / "table", FileError, r"cannot write .*table: there is no directory .*missing"),
        (tmp_path / "notes.txt", FileError, "no checkpoint of hoi-captum, and is left as it is"),
        (tmp_path / "notes.txt" / "table", FileError, "there is no directory"),
    ):
        with pytest.raises(error, match=says):
            run(model, place)
    assert model.rows == 0
    assert (tmp_path / "notes.txt").read_text() == "precious"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_calls_that_fail_leave_no_file(tmp_path):
    path = tmp_path / "table"
    with pytest.raises(TooManyPlayersError):
        run(Net(players=11), path, inputs(11))
    with pytest.raises(InputError):
        run(Net(), path, target=7)
    with pytest.raises(ZeroDivisionError):
        run(lambda x: 1 / 0, path)
    assert os.listdir(tmp_path) == []


def test_a_file_in_use_is_refused_before_any_pass(tmp_path):
    path = tmp_path / "table"
    with pytest.raises(Stopped):
        run(Net(dies_at=3), path, internal_batch_size=8)
    model = Net()
    with ValueFile(path) as other:
        other.lock()
        with pytest.raises(FileError, match="is in use by another run"):
            run(model, path)
    assert model.rows == 0
    run(model, path)
    with ValueFile(path) as other:  # complete, it can be read by many
        other.lock()
        run(model, path)


def read_only(file, mode="r", *arguments, **options):
    if "+" in mode:  # a superuser may write anything, so the answer of the system is put in its mouth
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return open(file, mode, *arguments, **options)


def test_a_complete_file_that_may_only_be_read(tmp_path, monkeypatch):
    path, model = tmp_path / "table", Net()
    expected, _ = run(model, path)
    model.seen.clear()
    monkeypatch.setattr(value_file, "open", read_only, raising=False)
    assert torch.equal(run(model, path)[0], expected)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    model.seen.clear()
    with pytest.raises(FileError, match="Permission denied; its table is not complete"):
        run(model, path)
    assert model.rows == 0


def test_a_disk_that_becomes_full_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    path, model = tmp_path / "table", Net()
    expected, _ = run(model, None, internal_batch_size=8)
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 9:  # the file, its directory, and two for each block
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"cannot write .*table: No space left on device"):
        run(model, path, internal_batch_size=8)
    monkeypatch.setattr(os, "fsync", fsync)
    assert finished(path)[0].sum() >= 3
    assert torch.equal(run(model, path)[0], expected)


def test_a_file_that_appears_while_ours_is_begun_is_not_written_over(tmp_path):
    path = tmp_path / "table"

    def forward(x):
        path.write_text("precious")
        return x.sum(1)

    with pytest.raises(FileError, match="another run has just made it"):
        run(forward, path, target=None)
    assert path.read_text() == "precious"


def test_the_file_is_closed_after_any_failure(tmp_path):
    path = tmp_path / "table"
    run(Net(), path)
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        with pytest.raises(FileError):
            run(Net(seed=1), path)
        with pytest.raises(InputError):
            run(Net(), path, PerModel(inputs(), inputs()))
        run(Net(), path)
    if handles:
        assert len(os.listdir("/proc/self/fd")) <= handles + 2


# ---------------------------------------------------------------- what is shown
def test_progress_starts_at_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    path = tmp_path / "table"
    with pytest.raises(Stopped):
        run(Net(dies_at=6), path, internal_batch_size=8, show_progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "rows found" not in shown.err
    assert "masked passes:   0%" in shown.err
    run(Net(), path, show_progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "6 players, 2^6 coalitions: 64 forward passes for each row\n" in shown.err
    assert f"{path}: 32 of 64 rows found\n" in shown.err
    assert "masked passes:  50%" in shown.err
    run(Net(), path, show_progress=True)
    shown = capsys.readouterr()
    assert f"{path}: 64 of 64 rows found\n" in shown.err
    assert "masked passes" not in shown.err
    run(Net(), path)
    assert capsys.readouterr() == ("", "")


def test_bars_name_the_models(tmp_path, capsys):
    run([Net(), Net(seed=1)], tmp_path / "table", show_progress=True)
    shown = capsys.readouterr().err
    assert "model 1 of 2:" in shown
    assert "model 2 of 2:" in shown


def test_the_rows_of_a_pass_are_those_of_the_file(tmp_path):
    path = tmp_path / "table"
    with Checkpoint(path) as new:
        assert [new.rows_per_pass(0, size) for size in (None, 5)] == [None, 5]
    run([Net(), Net(seed=1)], path, internal_batch_size=12)
    with ValueFile(path) as file, open(path, "r+b") as raw:
        raw.seek(file._marks_at)
        raw.write(b"\1")  # of a mark that was not written to its end nothing counts
    with Checkpoint(path) as old:
        assert old.rows_per_pass(0, None) == 12
        assert [old.rows_per_pass(1, size) for size in (None, 5, 12, 40)] == [12, 5, 12, 12]
        assert old.rows_per_pass(2, None) is None  # the models differ, which is told later

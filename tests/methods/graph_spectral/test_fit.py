"""GraphSpectral.fit: what it learns from, what it says of itself, what it refuses, and files."""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hoi_captum import GraphSpectral
from hoi_captum.errors import (
    DataWarning,
    FidelityError,
    FidelityWarning,
    FileError,
    InputError,
    ModelOutputError,
    NotFittedError,
    OptionError,
)
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.graphs.predefined import ring
from hoi_captum.measures.neuron_maps import fraction_of_variance_explained
from hoi_captum.methods.graph_spectral.samples import Reservoir
from tests.methods.graph_spectral.networks import QUICK, conv, mlp, noise

FEW = {"alpha": 0.01, "n_nodes": 16} | QUICK
quick = pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")


# ---------------------------------------------------------------- data
@quick
@pytest.mark.parametrize(
    "form", ["loader", "labelled loader", "batches", "mappings", "dataset", "few at once"]
)
def test_streamed_data_teach_the_same_as_data_given_whole(
    net: nn.Sequential, data: Tensor, form: str
) -> None:
    labels = torch.zeros(len(data), dtype=torch.long)
    given: Any = {
        "loader": DataLoader(TensorDataset(data), batch_size=37),
        "labelled loader": DataLoader(TensorDataset(data, labels), batch_size=64),
        "batches": (data[i : i + 50] for i in range(0, 300, 50)),
        "mappings": [{"inputs": data[:100]}, {"inputs": data[100:]}],
        "dataset": TensorDataset(data, labels),
        "few at once": data,
    }[form]
    size = 7 if form == "few at once" else None
    whole = GraphSpectral(net, net[1], **FEW).fit(data)
    other = GraphSpectral(net, net[1], **FEW).fit(given, internal_batch_size=size)
    torch.testing.assert_close(other.attribute(data[:9]), whole.attribute(data[:9]), rtol=1e-2, atol=1e-2)
    assert other.quality_.fve == pytest.approx(whole.quality_.fve, abs=1e-3)
    assert (other.quality_.n_samples, other.quality_.n_judged, other.fit_rows_) == (270, 30, 300)


@quick
def test_seeds(net: nn.Sequential, data: Tensor) -> None:
    for method in ("probe", "layout"):
        options = {"method": method, "alpha": 0.01, "n_swaps": 500 if method == "layout" else None} | QUICK
        first, same, other = (
            GraphSpectral(net, net[1], random_state=seed, **options).fit(data).neuron_map(data[:3])
            for seed in (1, 1, 2)
        )
        assert torch.equal(first, same)
        assert not torch.equal(first, other)


def test_the_quality_is_that_of_rows_that_taught_nothing(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor
) -> None:
    reservoir = Reservoir(20_000, 42)
    z = net[:2](data).detach()
    reservoir.add(z.unsqueeze(1), torch.ones(300, 1, dtype=torch.bool))
    learning, judging = reservoir.split(0.1, 42)
    u = fitted.units_
    torch.testing.assert_close(u.mean, learning.mean(0))
    torch.testing.assert_close(u.scale, learning.std(0, correction=0))
    said = u.decode(u.encode(judging))
    expected = fraction_of_variance_explained((judging - u.mean) / u.scale, (said - u.mean) / u.scale)
    assert fitted.quality_.fve == pytest.approx(expected, abs=1e-5)
    seen = u.encode(learning).double().numpy()
    np.testing.assert_allclose(fitted.unit_mean_, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(fitted.unit_std_, seen.std(0), rtol=1e-5)
    rest = u.encode(judging).double().numpy()
    rest = rest - rest.mean(1, keepdims=True)
    quotients = np.einsum("bi,ij,bj->b", rest, fitted.graph_.laplacian(), rest) / (rest**2).sum(1)
    assert fitted.quality_.roughness == pytest.approx(quotients.mean(), rel=1e-3)


# ---------------------------------------------------------------- the reservoir
def test_each_sample_is_as_likely_as_any_other() -> None:
    counts, values = np.zeros(30), torch.arange(30.0).view(10, 3, 1)
    for seed in range(600):
        reservoir = Reservoir(10, seed)
        for part in values.split(4):
            reservoir.add(part, torch.ones(len(part), 3, dtype=torch.bool))
        kept = torch.cat(reservoir.split(0.2, seed)).flatten().long().numpy()
        assert len(np.unique(kept)) == 10
        counts[kept] += 1
    # 600 times a third; five standard deviations are 0.1
    np.testing.assert_allclose(counts / 600, 1 / 3, atol=0.1)


def test_what_is_kept_does_not_depend_on_the_batches() -> None:
    values = noise(101, 3, 2)
    kept = torch.rand(101, 3, generator=torch.Generator().manual_seed(2)) < 0.7
    found = []
    for size in (1, 7, 64, 101):
        reservoir = Reservoir(50, 3)
        for part, mask in zip(values.split(size), kept.split(size), strict=True):
            reservoir.add(part, mask)
        assert reservoir.seen == int(kept.sum())
        assert reservoir.n_rows == 101
        found.append(reservoir.split(0.3, 4))
    assert len(found[0][0]) + len(found[0][1]) == 50
    for learning, judging in found[1:]:
        assert torch.equal(learning, found[0][0])
        assert torch.equal(judging, found[0][1])


def test_samples_of_one_input_are_on_one_side_and_masked_ones_on_none() -> None:
    values = torch.arange(40.0).view(40, 1, 1).expand(40, 5, 1).clone()
    kept = torch.ones(40, 5, dtype=torch.bool)
    kept[::4] = False
    kept[1, 2:] = False
    reservoir = Reservoir(1000, 0)
    reservoir.add(values, kept)
    learning, judging = (set(part.flatten().tolist()) for part in reservoir.split(0.25, 1))
    assert not learning & judging
    assert learning | judging == {float(i) for i in range(40) if i % 4}
    assert len(torch.cat(reservoir.split(0.25, 1))) == int(kept.sum())


@quick
def test_samples_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoi_captum.methods.graph_spectral.learning.MOST_SAMPLES", 200)
    model, images = conv(), noise(60, 1, 6, 6)
    method = GraphSpectral(model, model[1], **FEW).fit(images)
    assert method.quality_.n_samples + method.quality_.n_judged == 200
    assert method.fit_rows_ == 60


# ---------------------------------------------------------------- what is said and refused
def test_constant_neurons_are_said(data: Tensor) -> None:
    net = mlp()
    with torch.no_grad():
        net[0].weight[:2] = 0
    with pytest.warns(DataWarning, match="2 of 12 neurons are constant"):
        method = GraphSpectral(net, net[1], method="layout", n_swaps=100).fit(data)
    assert method.quality_.constant == 2
    assert method.quality_.dead == pytest.approx(2 / 12)
    assert (method.groups_ == -1).sum() >= 2
    torch.testing.assert_close(method.attribute(data[:4]), net[:2](data[:4]).detach())
    with torch.no_grad():
        net[0].weight.zero_()
    with pytest.raises(InputError, match="neurons vary over the data, got 12 constant"):
        GraphSpectral(net, net[1]).fit(data)


def test_unusable_data_are_refused(net: nn.Sequential, data: Tensor) -> None:
    with pytest.raises(InputError, match="at least 20 rows to learn a map from, got 19"):
        GraphSpectral(net, net[1]).fit(data[:19])
    with pytest.raises(InputError, match="at least one row"):
        GraphSpectral(net, net[1]).fit([])
    holed = data.clone()
    holed[7, 2] = float("nan")
    with pytest.raises(ModelOutputError, match="finite activations"):
        GraphSpectral(net, net[1]).fit(holed)
    with pytest.raises(InputError, match="did not run"):
        GraphSpectral(net, nn.Linear(2, 2)).fit(data)
    with pytest.raises(InputError, match=r"as many nodes as there are neurons, 12; got one of 3 x 3 = 9"):
        GraphSpectral(net, net[1], method="layout", graph=(3, 3)).fit(data)
    with pytest.raises(InputError, match="n_nodes=12, the layer's neurons"):
        GraphSpectral(net, net[1], method="layout", n_nodes=9).fit(data)


@pytest.mark.parametrize(
    "options",
    [
        {"graph": "spiral"},
        {"graph": None},
        {"graph": (0, 4)},
        {"graph": (4, 4), "n_nodes": 9},
        {"graph": ring(5), "n_nodes": 6},
        {"method": "magic"},
        {"alpha": -1.0},
        {"n_nodes": 1},
        {"pooling": "max"},
        {"terms": "triples"},
        {"n_groups": 0},
        {"affinity": "love"},
        {"affinity": "knn"},
        {"affinity": "knn", "method": "layout"},
        {"graph": "learned", "affinity": "love"},
        {"n_swaps": 10},
        {"graph": "learned", "method": "layout", "n_swaps": 10},
        {"max_steps": 0},
        {"held_out": 0.9},
        {"force": "yes"},
        {"random_state": -1},
        {"learning_rate": 0.0},
    ],
)
def test_unusable_options_are_refused(net: nn.Sequential, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        GraphSpectral(net, net[1], **options)


def test_no_adjacency_is_refused(net: nn.Sequential) -> None:
    for bad in (np.zeros((4, 4)), np.ones((3, 3)), np.zeros((2, 3)), [[0, -1], [-1, 0]], [[0, 1], [0, 0]]):
        with pytest.raises(InputError):
            GraphSpectral(net, net[1], graph=bad)


def test_a_map_that_says_little_is_refused(net: nn.Sequential, data: Tensor) -> None:
    hard: dict[str, Any] = {"alpha": 1000.0, "max_steps": 300, "n_nodes": 16}
    message = r"units explain -?\d+% of the layer's variance on samples that taught them nothing"
    with pytest.raises(FidelityError, match=message + r".*alpha=1000 .*270 samples came.*force=True"):
        GraphSpectral(net, net[1], **hard).fit(data)
    with pytest.raises(FidelityError, match="more steps"):
        GraphSpectral(net, net[1], max_steps=10).fit(data)
    with pytest.warns(FidelityWarning, match=message):
        method = GraphSpectral(net, net[1], force=True, **hard).fit(data)
    assert method.quality_.fve < 0.5


@pytest.mark.parametrize(
    "verb",
    [
        "attribute",
        "interact",
        "neuron_map",
        "pull_back",
        "unit_forward",
        "class_maps",
        "accuracy_kept",
        "save",
    ],
)
def test_nothing_is_said_before_fit(net: nn.Sequential, data: Tensor, tmp_path: Any, verb: str) -> None:
    method = GraphSpectral(net, net[1])
    arguments = {
        "pull_back": (data, 0),
        "unit_forward": (),
        "class_maps": (data, torch.arange(300)),
        "save": (tmp_path / "map.safetensors",),
    }.get(verb, (data,))
    with pytest.raises(NotFittedError, match=r"call fit\(data\)"):
        getattr(method, verb)(*arguments)


def test_nothing_can_be_read_before_fit(net: nn.Sequential) -> None:
    method = GraphSpectral(net, net[1])
    for name in ("quality_", "groups_", "graph_", "unit_names", "fit_rows_"):
        with pytest.raises(NotFittedError, match=rf"has no {name} yet; call fit\(data\)"):
            getattr(method, name)
        assert not hasattr(method, name)
    with pytest.raises(AttributeError, match="no attribute 'quality'") as other:
        method.quality  # noqa: B018
    assert not isinstance(other.value, NotFittedError)


def test_layers_without_neurons_are_refused(net: nn.Sequential, data: Tensor) -> None:
    with pytest.raises(InputError, match=r"one row of the layer for each.*of one row.*give x\[None\]"):
        GraphSpectral(net, net[1]).fit(data[0])
    square = nn.Sequential(nn.Linear(64, 64), nn.Tanh()).eval()
    with pytest.raises(InputError, match=r"expected a layer that gives \(rows, neurons\).*got shape \(64,\)"):
        GraphSpectral(square, square[1]).fit(noise(64))
    for dim in (2, -2, 5):
        with pytest.raises(InputError, match=rf"neuron_dim to be a dimension behind the rows.*got {dim}"):
            GraphSpectral(net, net[1], neuron_dim=dim).fit(data)


def test_as_many_inputs_as_the_model_takes(net: nn.Sequential, data: Tensor) -> None:
    three = DataLoader(TensorDataset(data, data, data[:, 0].long()), batch_size=50)
    with pytest.raises(InputError, match=r"as the model takes, got 3 \(too many.*labels\": y} names them"):
        GraphSpectral(net, net[1]).fit(three)
    with pytest.raises(InputError, match=r"got 1 \(missing a required argument: 'other'"):
        GraphSpectral(lambda x, other: net(x + other), net[1]).fit(data)


@quick
def test_a_failed_fit_keeps_the_earlier_one(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(net, net[1], **(FEW | {"force": False})).fit(data)
    before = method.neuron_map(data[:3]), method.quality_, method.groups_
    for bad in (data[:5], data * float("nan"), torch.zeros(50, 6)):
        with pytest.raises((InputError, ModelOutputError)):
            method.fit(bad)
        assert torch.equal(method.neuron_map(data[:3]), before[0])
        assert method.quality_ is before[1]
        assert method.groups_ is before[2]


@quick
def test_a_fit_that_fails_at_the_groups_leaves_nothing(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(net, net[1], n_groups=40, **FEW)
    with pytest.raises(OptionError, match="n_groups"):
        method.fit(data)
    with pytest.raises(NotFittedError):
        method.interact(data[:1])


# ---------------------------------------------------------------- learned graphs
def blocks() -> tuple[nn.Sequential, Tensor]:
    """Three groups of neurons that have nothing in common."""
    first = nn.Linear(3, 18, bias=False)
    first.weight.data = torch.eye(3).repeat_interleave(6, 0) * torch.linspace(0.5, 1.5, 18)[:, None]
    net = nn.Sequential(first, nn.Tanh(), nn.Linear(18, 2)).eval()
    values = torch.zeros(300, 3)
    values[torch.arange(300), torch.arange(300) % 3] = 1 + noise(300).abs()
    return net, values


def test_a_learned_layout_in_pieces_is_said() -> None:
    net, data = blocks()
    with pytest.warns(DataWarning, match="learned graph has 3 pieces that nothing joins: no edge says"):
        method = GraphSpectral(net, net[1], method="layout", graph="learned", affinity="knn").fit(data)
    assert method.graph_.components.max() == 2
    assert method.units_.order.tolist() == list(range(18))
    assert [len(set(method.groups_[i : i + 6])) for i in (0, 6, 12)] == [1, 1, 1]


@quick
def test_a_learned_probe_that_falls_apart_is_said() -> None:
    net, data = blocks()
    method = GraphSpectral(net, net[1], graph="learned", n_nodes=18, **(QUICK | {"max_steps": 1000}))
    with pytest.warns(DataWarning, match=r"fell apart into \d+ pieces at step"):
        method.fit(data)
    assert method.graph_.components.max() > 0
    assert method.neuron_map(data[:2]).shape == (2, 1, 18)


# ---------------------------------------------------------------- files
OWN = np.diag(np.arange(1.0, 9.0), 1)
OWN = OWN + OWN.T
KINDS: dict[str, dict[str, Any]] = {
    "probe": {"n_nodes": 11},
    "layout": {"method": "layout", "n_swaps": 100},
    "own adjacency": {"graph": OWN, "n_groups": 2},
    "own graph": {"graph": NeuronGraph(OWN, "mine", (3, 3), noise(9, 2).double().numpy())},
    "height and width": {"graph": (3, 5), "terms": "edges"},
    "learned": {"method": "layout", "graph": "learned", "pooling": "mean"},
    "learned probe": {"graph": "learned", "n_nodes": 12, "terms": "pairs", "n_groups": 2},
}


@quick
@pytest.mark.filterwarnings("ignore::hoi_captum.errors.DataWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learned_is_saved_and_loaded(
    net: nn.Sequential, data: Tensor, tmp_path: Any, kind: str
) -> None:
    method = GraphSpectral(net, net[1], **(QUICK | KINDS[kind])).fit(data)
    path = method.save(tmp_path / "map.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GraphSpectral, "fit", None)
        loaded = GraphSpectral.load(path, net, net[1])
    rows = data[:3]
    assert torch.equal(loaded.attribute(rows), method.attribute(rows))
    assert torch.equal(loaded.neuron_map(rows).nan_to_num(-9), method.neuron_map(rows).nan_to_num(-9))
    for one, other in zip(loaded.interact(rows, target=0), method.interact(rows, target=0), strict=True):
        assert one.players == other.players
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.members, other.members)
        for name in ("units", "groups", "adjacency", "map_shape"):
            np.testing.assert_array_equal(one.arrays[name], other.arrays[name])
    assert loaded.quality_ == method.quality_
    assert loaded._parts() == method._parts()
    assert (loaded.graph_.name, loaded.graph_.shape) == (method.graph_.name, method.graph_.shape)
    np.testing.assert_array_equal(loaded.graph_.places(), method.graph_.places())
    # and can be written and taught once more
    again = GraphSpectral.load(loaded.save(tmp_path / "again.safetensors"), net, net[1])
    assert torch.equal(again.attribute(rows), method.attribute(rows))
    torch.testing.assert_close(again.fit(data).attribute(rows), method.attribute(rows))


def rewritten(path: Any, without: str | None = None, **content: Any) -> None:
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if without is not None:
        del arrays[without]
    metadata["content"] = json.dumps(json.loads(metadata["content"]) | content)
    save_file(arrays, path, metadata=metadata)


def test_damaged_and_foreign_files_are_refused(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor, tmp_path: Any
) -> None:
    path = tmp_path / "map.safetensors"
    for damage in (
        {"without": "units.encoder"},
        {"without": "groups_"},
        {"without": "graph.adjacency"},
        {"options": {"method": "magic"}},
        {"options": {"colour": "red"}},
        {"quality": {"fve": 1.0}},
        {"graph": {"given": "grid", "name": "grid", "shape": [9, 9]}},
        {"learned": None},
    ):
        rewritten(fitted.save(path), **damage)
        with pytest.raises(FileError, match="damaged"):
            GraphSpectral.load(path, net, net[1])
    whole = fitted.save(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="cannot read"):
        GraphSpectral.load(path, net, net[1])
    with pytest.raises(FileError, match="cannot read"):
        GraphSpectral.load(tmp_path / "none.safetensors", net, net[1])
    table = fitted.interact(data[:1])[0].save(tmp_path / "table.safetensors")
    with pytest.raises(FileError, match="format"):
        GraphSpectral.load(table, net, net[1])
    with pytest.raises(FileError):
        fitted.save(tmp_path / "nowhere" / "map.safetensors")
    with pytest.raises(FileError, match="safetensors"):
        fitted.save(tmp_path / "map.csv")


def test_another_layer_is_asked_about(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor, tmp_path: Any
) -> None:
    path = fitted.save(tmp_path / "map.safetensors")
    with pytest.warns(DataWarning, match="is of the layer '1' and is given '3'"):
        other = GraphSpectral.load(path, net, net[3])
    for verb in (other.attribute, other.accuracy_kept, other.unit_forward(), other.neuron_map):
        with pytest.raises(InputError, match=r"12 neurons that fit\(\) saw of 1, got 8: give the model"):
            verb(data[:2])
    with pytest.raises(InputError, match="12 neurons that fit"):
        other.class_maps(data[:2], torch.arange(2))


def test_another_model_is_asked_about(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor, tmp_path: Any
) -> None:
    path = fitted.save(tmp_path / "map.safetensors")
    other = copy.deepcopy(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GraphSpectral.load(path, other, other[1])
        half = copy.deepcopy(net).bfloat16()
        GraphSpectral.load(path, half, half[1])
    with torch.no_grad():
        other[0].weight += 0.1
    with pytest.warns(DataWarning, match="was learned of a model with other weights") as told:
        GraphSpectral.load(path, other, other[1])
    assert told[0].filename == __file__


def test_files_that_named_options_without_use_are_read(fitted: GraphSpectral, tmp_path: Any) -> None:
    path = fitted.save(tmp_path / "map.safetensors")
    with safe_open(path, framework="numpy") as file:
        content = json.loads(file.metadata()["content"])
    content["options"] |= {"affinity": "knn", "n_swaps": 5}
    del content["learned"]["_weights"]
    rewritten(path, **content)
    loaded = GraphSpectral.load(path, fitted.forward_func, fitted.layer)
    assert (loaded.affinity, loaded.n_swaps, loaded._weights) == (None, None, None)

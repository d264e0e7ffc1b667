"""What was learned goes into a file and comes back the same; other files are refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.errors import FidelityWarning, FileError, NotFittedError, OptionError
from hoi_captum.methods.second_glance import SecondGlance
from hoi_captum.methods.second_glance.saving import FORMAT
from tests.methods.second_glance.models import cubic, drawn, quadratic, relu_net

BRIEF = {"hidden": 8, "max_steps": 60, "force": True}


def own() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 4))


def comes_back(method: SecondGlance, again: SecondGlance, x: Tensor, **call) -> None:
    for one, other in zip(again.interact(x, **call), method.interact(x, **call), strict=True):
        assert one.players == other.players
        np.testing.assert_array_equal(one.members, other.members)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-10)
        for name, array in other.arrays.items():
            np.testing.assert_allclose(one.arrays[name], array, rtol=1e-10, atol=1e-12)
        assert (one.provenance.options, one.provenance.seed) == (other.provenance.options, method.seed)
        notes, expected = dict(one.provenance.details), dict(other.provenance.details)
        assert notes.pop("asymmetry") == pytest.approx(expected.pop("asymmetry"), abs=1e-10)
        assert notes == expected
    target = call.get("target")
    assert again.over_data(target) == method.over_data(target)
    assert again.over_data(target).provenance.details == method.over_data(target).provenance.details
    for name, value in asdict(method.quality(target)).items():
        np.testing.assert_array_equal(asdict(again.quality(target))[name], value)
    torch.testing.assert_close(again.attribute(x, **call), method.attribute(x, **call))


@pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetry": "potential"},
        {"surrogate": "paper"},
        {"surrogate": "ridge", "seed": 5},
        {"surrogate": "own"},
        {"order": 3},
        {"order": 3, "third": "autodiff"},
        {"order": 3, "surrogate": "ridge"},
        {"order": 3, "symmetry": "potential", "validation": 0.3},
    ],
    ids=str,
)
def test_every_surrogate_comes_back(tmp_path, options):
    x, module = drawn(60, 4), own()
    is_own = options.get("surrogate") == "own"
    method = SecondGlance(cubic, **BRIEF | options | ({"surrogate": module} if is_own else {}))
    method.fit(x, names=["a", "b", "c", "π"])
    path = method.save(tmp_path / "learned.safetensors")
    assert path == tmp_path / "learned.safetensors"
    given = {"surrogate": own()} if is_own else {}  # of other weights
    comes_back(method, SecondGlance.load(path, cubic, **given), x[:3])


@pytest.mark.parametrize("factors", ["pca", "corex"])
def test_factors_come_back_with_their_layer(tmp_path, factors):
    x, layer = drawn(100, 4), relu_net()[0]

    def f(v: Tensor) -> Tensor:
        return layer(v).square().sum(1)

    method = SecondGlance(f, layer, surrogate="ridge", factors=factors, n_factors=3, force=True)
    method.fit(x, attribute_to_layer_input=True)
    path = method.save(tmp_path / "learned.safetensors")
    again = SecondGlance.load(path, f, layer)
    comes_back(method, again, x[:3], attribute_to_layer_input=True)
    assert again.players_are_neurons
    with pytest.raises(OptionError, match=r"learned with a layer of your own: give load\(..., layer=...\)"):
        SecondGlance.load(path, f)


def test_patterns_and_masks_come_back(tmp_path):
    x, mask = drawn(100, 4), torch.tensor([[1, 1, 0, 2]])
    method = SecondGlance(lambda v: v[:, :2].sum(1) * v[:, 2], surrogate="ridge").fit(x, feature_mask=mask)
    again = SecondGlance.load(method.save(tmp_path / "learned.safetensors"), method.forward_func)
    comes_back(method, again, x[:3], feature_mask=mask)


def test_words_come_back(tmp_path):
    generator = torch.Generator().manual_seed(0)
    masks = torch.where(torch.rand(200, 4, generator=generator) < 0.6, torch.arange(4), -1)
    x = (masks >= 0).double()
    method = SecondGlance(quadratic, surrogate="ridge").fit(x, feature_mask=masks)
    again = SecondGlance.load(method.save(tmp_path / "learned.safetensors"), quadratic)
    comes_back(method, again, x[:3], feature_mask=masks[:3])


def test_all_targets_come_back(tmp_path):
    x = drawn(60, 4)

    def f(v: Tensor) -> Tensor:
        return torch.stack([quadratic(v), v[:, 0] * v[:, 2]], 1).unsqueeze(2)

    method = SecondGlance(f, surrogate="ridge").fit(x, target=[(0, 0), (1, 0)])
    again = SecondGlance.load(method.save(tmp_path / "learned.safetensors"), f)
    for target in ((0, 0), (1, 0)):
        comes_back(method, again, x[:3], target=target)
    assert again.over_data().pairs[1, 3] == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "target"),
    [({"hidden": np.int64(8)}, 0), ({"n_samples": np.int32(16)}, 0), ({}, (np.int64(0), 1))],
)
def test_integers_of_numpy_are_integers(tmp_path, options, target):
    def f(v: Tensor) -> Tensor:
        both = torch.stack([v.sum(1), quadratic(v)], 1)
        return both[:, 1:] if target == 0 else both.unsqueeze(1)

    method = SecondGlance(f, surrogate="ridge", **options).fit(drawn(60, 4), target=target)
    again = SecondGlance.load(method.save(tmp_path / "learned.safetensors"), f)
    comes_back(method, again, drawn(2, 4), target=target)


def test_a_fit_may_go_on_from_what_was_loaded(tmp_path):
    x = drawn(60, 4)
    path = SecondGlance(quadratic, surrogate="ridge").fit(x).save(tmp_path / "learned.safetensors")
    again = SecondGlance.load(path, quadratic).fit(drawn(80, 4, seed=1))
    assert again.quality().rows == 80


def test_a_file_is_all_or_nothing(tmp_path):
    method = SecondGlance(quadratic, surrogate="ridge")
    with pytest.raises(NotFittedError, match=r"has learned nothing yet; call fit\(data, target\) first"):
        method.save(tmp_path / "learned.safetensors")
    method.fit(drawn(60, 4))
    with pytest.raises(FileError, match=r"expected a path that ends in \.safetensors"):
        method.save(tmp_path / "learned.json")
    with pytest.raises(FileError, match="cannot write"):
        method.save(tmp_path / "nowhere" / "learned.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- files that are none of ours, or damaged
@pytest.fixture
def saved(tmp_path: Path) -> Path:
    method = SecondGlance(quadratic, surrogate="ridge").fit(drawn(60, 4))
    return method.save(tmp_path / "learned.safetensors")


def test_a_cut_file(saved):
    saved.write_bytes(saved.read_bytes()[:-40])
    with pytest.raises(FileError, match="cannot read"):
        SecondGlance.load(saved, quadratic)
    with pytest.raises(FileError, match="cannot read"):
        SecondGlance.load(saved.with_name("nothing.safetensors"), quadratic)


def test_a_file_of_another_kind(saved):
    table = SecondGlance(quadratic).interact(drawn(1, 4) + 2)[0]
    other = table.save(saved.with_name("table.safetensors"))
    with pytest.raises(FileError, match=f"expected a file of format '{FORMAT}', got 'hoi_captum.interac"):
        SecondGlance.load(other, quadratic)


@pytest.mark.parametrize(
    "name",
    [
        "space.mask.0",
        "space.pattern",
        "target.0.linear",
        "target.0.scaling.known",
        "target.0.scaling.std",
        "target.0.quality.r2",
        "target.0.over.mean",
    ],
)
def test_a_file_without_one_of_its_arrays(saved, name):
    arrays, metadata = read_safetensors(saved, FORMAT)
    del arrays[name]
    write_safetensors(saved, arrays, metadata)
    with pytest.raises(FileError, match=r"learned.safetensors is damaged \(KeyError.*write it anew"):
        SecondGlance.load(saved, quadratic)


@pytest.mark.parametrize(
    "entry",
    [
        "options",
        "space",
        "targets",
        "names",
        "seconds",
    ],
)
def test_a_file_without_one_of_its_entries(saved, entry):
    arrays, metadata = read_safetensors(saved, FORMAT)
    content = json.loads(metadata["content"])
    del content[entry]
    write_safetensors(saved, arrays, metadata | {"content": json.dumps(content)})
    with pytest.raises(FileError, match="is damaged"):
        SecondGlance.load(saved, quadratic)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"options": 3}'])
def test_a_file_whose_text_is_none(saved, content):
    arrays, metadata = read_safetensors(saved, FORMAT)
    write_safetensors(saved, arrays, metadata | {"content": content})
    with pytest.raises(FileError, match="is damaged"):
        SecondGlance.load(saved, quadratic)


def test_a_network_of_another_width(tmp_path):
    path = tmp_path / "learned.safetensors"
    method = SecondGlance(quadratic, **BRIEF)
    with pytest.warns(FidelityWarning):
        method.fit(drawn(60, 4))
    arrays, metadata = read_safetensors(method.save(path), FORMAT)
    content = json.loads(metadata["content"])
    content["options"]["hidden"] = 9
    write_safetensors(path, arrays, metadata | {"content": json.dumps(content)})
    with pytest.raises(FileError, match="is damaged"):
        SecondGlance.load(path, quadratic)


def test_a_layer_or_a_module_too_many(saved):
    with pytest.raises(OptionError, match="was learned without a layer of your own: leave layer out"):
        SecondGlance.load(saved, quadratic, relu_net()[0])
    with pytest.raises(OptionError, match="was learned without a surrogate of your own"):
        SecondGlance.load(saved, quadratic, surrogate=own())


def test_a_module_that_is_missing_or_another(tmp_path):
    path = tmp_path / "learned.safetensors"
    method = SecondGlance(quadratic, **BRIEF | {"surrogate": own(), "max_steps": 300})
    method.fit(drawn(60, 4)).save(path)
    with pytest.raises(OptionError, match=r"learned with a surrogate of your own: give load"):
        SecondGlance.load(path, quadratic)
    with pytest.raises(FileError, match="is damaged"):
        SecondGlance.load(path, quadratic, surrogate=nn.Linear(4, 4))

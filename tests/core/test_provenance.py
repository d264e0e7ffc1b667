"""Where a result came from."""

from __future__ import annotations

import functools
import json
from importlib.metadata import version

from torch import nn

from hoi_captum.core.provenance import Provenance, describe_model, library_versions


def test_json_gives_it_back():
    source = Provenance(
        method="some-method", options={"n": 3, "names": ["é"]}, target="positive", model=("A", "B"), seed=7,
        forward_passes=12, backward_passes=3, seconds=0.5, libraries={"torch": "2"},
        details={"gap": [0.5, None]},
    )  # fmt: skip
    assert Provenance.from_json(source.to_json()) == source
    assert json.loads(source.to_json())["model"] == ["A", "B"]


def test_what_json_does_not_know_is_written_as_text():
    source = Provenance(method="m", options={"layer": nn.Linear(1, 2)})
    assert "Linear(in_features=1" in Provenance.from_json(source.to_json()).options["layer"]


def test_versions_are_those_installed():
    versions = Provenance(method="m").libraries
    assert versions["torch"] == version("torch")
    assert versions["captum"] == version("captum")
    assert library_versions() == versions


class Model(nn.Module):
    def __call__(self, x):
        return x


def plain(x):
    return x


def test_models_are_called_by_their_class_and_functions_by_their_name():
    assert describe_model(Model()) == "Model"
    assert describe_model(plain) == "plain"
    assert describe_model(functools.partial(plain)) == "partial"
    described = functools.partial(plain)
    described.description = "the teacher"
    assert describe_model(described) == "the teacher"

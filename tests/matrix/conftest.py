"""Fixtures that make a cell of the matrix, and note its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hoi_captum as hoi
from hoi_captum import cli, zoo
from hoi_captum.core.interactions import Interactions
from tests.matrix.page import Cell, Check
from tests.matrix.planted import Planted, planted_bert, planted_llama, planted_vgg
from tests.matrix.routes import ROUTES, Ask, Question
from tests.matrix.samples import FAMILIES, Sample, bert_sample, cnn_sample, llama_sample


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sample]:
    def make(family: str) -> Sample:
        if family == "BERT":
            return bert_sample(*zoo.load("sentiment-bert-a"), "zoo:sentiment-bert-a")
        if family == "LLaMA":
            return llama_sample(*zoo.load("sentiment-llama-a"), "zoo:sentiment-llama-a")
        folder = tmp_path_factory.mktemp("digit")
        return cnn_sample(*zoo.load("digits-resnet"), "zoo:digits-resnet", folder)

    return cache(make)


@pytest.fixture
def sample(sample_of: Callable[[str], Sample], family: str) -> Sample:
    """The zoo's model of the family, with its input."""
    return sample_of(family)


@pytest.fixture(scope="session")
def planted_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planted]:
    makers = {"BERT": planted_bert, "LLaMA": planted_llama, "CNN": planted_vgg}
    return cache(lambda family: makers[family](tmp_path_factory.mktemp("planted")))


@pytest.fixture
def planted(planted_of: Callable[[str], Planted], family: str) -> Planted:
    """A network of the family, with hidden causes in a layer."""
    return planted_of(family)


@pytest.fixture
def ask(
    route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ask:
    """Put a question by the route of the test: ``ask(sample, method, value, **options of the method)``."""

    def by_command_line(question: Question) -> Interactions:
        if question.sample.zoo is not None:  # the command line knows CNNs of the zoo alone
            monkeypatch.setattr(zoo, "_WEIGHTS", question.sample.zoo)
        out = tmp_path / "found.safetensors"
        with pytest.raises(SystemExit) as stop:
            cli.main(question.command(out))
        printed = capsys.readouterr()
        assert stop.value.code == 0, printed.err
        assert "warning:" not in printed.err
        table = hoi.Explanation.load(out).interactions
        scores = [term["score"] for term in json.loads(printed.out)["terms"]]
        np.testing.assert_array_equal(scores, table.top(len(table)).scores)
        return table

    by = dict(zip(ROUTES, (Question.by_explain, Question.by_class, by_command_line), strict=True))

    def put(sample: Sample, method: Any, value: str = "logit", /, **options: Any) -> Interactions:
        return by[route](Question(sample, method, value, options))

    return put


@pytest.fixture
def check(request: pytest.FixtureRequest, family: str, route: str) -> Check:
    """Check the number of this cell and note it for the page: ``check(expected, measured, rel=...)``."""
    module = request.module

    def compare(expected: float, measured: float, **tolerance: float) -> None:
        assert measured == pytest.approx(expected, **tolerance)
        cell = Cell.of(module.METHOD.__name__, family, route, module.FACTS[family], expected, measured)
        request.node.user_properties.append(("matrix", list(cell)))

    return compare

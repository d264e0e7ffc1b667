"""SecondGlance by one call: texts, images and tables, with a background to learn from and without one."""

from __future__ import annotations

import json
import math
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum import cli, zoo
from hoi_captum.core.example import ImageLayout, TableLayout, TextLayout
from hoi_captum.errors import (
    DataWarning,
    FidelityError,
    FidelityWarning,
    InputError,
    NotFittedError,
    OptionError,
)
from hoi_captum.explanation import Explanation
from hoi_captum.methods.second_glance import SecondGlance, SecondGlanceInteractions

BERT, LLAMA, RESNET = "zoo:sentiment-bert-a", "zoo:sentiment-llama-a", "zoo:digits-resnet"
TEXT = "not a bad film"
WORDS = ("not", "a", "bad", "film")
PROMPT = "review : {} sentiment :"


def reviews(*words: str) -> list[str]:
    """Every text of some of the words."""
    return [" ".join(c) for n in range(1, len(words) + 1) for c in combinations(words, n)]


BACKGROUND = reviews(*WORDS, "really")


def same(explanation: Explanation, table: SecondGlanceInteractions) -> None:
    """The numbers of the class, called by hand."""
    found = explanation.interactions
    assert type(found) is SecondGlanceInteractions
    for name, array in table.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- texts
def test_a_text_alone():
    explanation = hoi.explain(BERT, TEXT, "second-glance", target="negative")
    found, details = explanation.interactions, explanation.interactions.provenance.details
    assert found.players == WORDS
    assert isinstance(explanation.layout, TextLayout)
    assert (details["form"], details["unit"], details["gate"]) == ("around the input", "logit", "input")
    assert found.provenance.target == "negative"
    adapter = hoi.adapt(BERT, output="logit")
    (table,) = SecondGlance(adapter.forward_func).interact(**adapter.example(TEXT), target=0)
    same(explanation, table)
    assert np.isfinite(found.stderr).all()
    shape = explanation.example.inputs.shape
    assert explanation.attributions.shape == shape
    cells = explanation.attributions[0, 1:5].sum(1) / shape[2]
    np.testing.assert_allclose(cells, found.node_scores(), rtol=1e-5)
    assert "128 gradients at uniform gates on the inputs" in explanation.summary()
    with pytest.raises(NotFittedError):
        explanation.method.over_data()


def test_a_text_learned_from_others():
    with pytest.warns(FidelityWarning, match="of the gradients of target 1"):
        explanation = hoi.explain(
            BERT, TEXT, "second-glance", target=1, background=BACKGROUND, surrogate="ridge", force=True
        )
    found, details = explanation.interactions, explanation.interactions.provenance.details
    assert found.players == WORDS
    assert (details["form"], details["units"], details["unit"]) == ("learned", "presence", "logit")
    assert details["fit_rows"] == 30  # "really" alone has none of the words
    adapter = hoi.adapt(BERT, output="logit")
    example = adapter.example(TEXT)
    method = SecondGlance(adapter.forward_func, surrogate="ridge", force=True)
    with pytest.warns(FidelityWarning):
        method.fit(adapter.examples(BACKGROUND, like=example), target=1, names=example.names)
    (table,) = method.interact(**example, target=1)
    same(explanation, table)
    over = explanation.method.over_data()
    assert over.players == WORDS
    np.testing.assert_allclose(over.pairs, method.over_data().pairs, rtol=1e-5, atol=1e-6)
    assert "surrogate of 30 gradients" in explanation.summary()
    assert "learned in" in explanation.summary()
    with pytest.raises(FidelityError, match="force=True takes it as it is"):
        hoi.explain(BERT, TEXT, "second-glance", background=BACKGROUND, max_steps=1)


def test_texts_that_have_the_words_at_the_same_places():
    # it is words all the same: what is said of them goes by their presence
    between = ("good", "bad", "dull", "fun", "great", "odd", "long", "short", "nice", "poor", "rich", "new")
    texts = [f"a {word} film" for word in between]
    # both are always there, so that nothing is known of what either does without the other
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FidelityWarning)
        with pytest.warns(DataWarning, match=r"1 of 1 pairs \(a · film\)"):
            explanation = hoi.explain(
                BERT, "a film", "second-glance", background=texts, surrogate="ridge", force=True, target=1
            )
    assert explanation.interactions.provenance.details["units"] == "presence"
    assert math.isnan(explanation.interactions.pairs[0, 1])


def test_a_text_in_a_prompt():
    explanation = hoi.explain(LLAMA, TEXT, "second-glance", template=PROMPT, target="good")
    found, details = explanation.interactions, explanation.interactions.provenance.details
    assert found.players == WORDS  # none of the prompt's
    assert (details["gate"], details["unit"]) == ("attention", "logit")
    adapter = hoi.adapt(LLAMA, output="logit")
    example = adapter.example(TEXT, template=PROMPT)
    (table,) = SecondGlance(adapter.forward_func).interact(**example, target=adapter.column("good"))
    same(explanation, table)
    options = {"surrogate": "ridge", "background": BACKGROUND, "force": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FidelityWarning)
        learned = hoi.explain(LLAMA, TEXT, "second-glance", template=PROMPT, target="good", **options)
    assert learned.interactions.players == WORDS
    # the row's own gradients are those of the prompt, however they were learned
    np.testing.assert_allclose(learned.interactions.main, found.main, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- images
def test_an_image_alone_and_learned_from_others():
    images = [image for image, _ in zoo.samples("digits-resnet", 60)]
    alone = hoi.explain(RESNET, images[0], "second-glance", players=(4, 4), target=7)
    names = tuple(f"r{row}c{column}" for row in range(1, 5) for column in range(1, 5))
    assert alone.interactions.players == names
    assert isinstance(alone.layout, ImageLayout)
    assert alone.attributions.shape == alone.example.inputs.shape
    assert alone.interactions.provenance.details["unit"] == "logit"
    adapter = hoi.adapt(RESNET, output="logit")
    example = adapter.example(images[0], players=(4, 4))
    (table,) = SecondGlance(adapter.forward_func).interact(**example, target=7)
    same(alone, table)
    with pytest.warns(FidelityWarning):
        learned = hoi.explain(
            RESNET, images[0], "second-glance", players=(4, 4), target=7, background=images,
            surrogate="ridge", force=True, units="pca",
        )  # fmt: skip
    details = learned.interactions.provenance.details
    assert learned.interactions.players == names
    assert (details["units"], details["unit"], details["fit_rows"]) == ("inputs", "", 60)
    method = SecondGlance(adapter.forward_func, surrogate="ridge", force=True)
    with pytest.warns(FidelityWarning):
        method.fit(adapter.examples(images), target=7, feature_mask=example.feature_mask)
    (table,) = method.interact(**example, target=7)
    same(learned, table)


# ---------------------------------------------------------------- tables
class Score(nn.Module):
    """balance x calls - 2 age x balance, and age alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, x: Tensor) -> Tensor:
        age, balance, calls = x.unbind(1)
        return self.weight[0] * balance * calls + self.weight[1] * age * balance + age.exp()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(generator.uniform(-1, 1, (120, 3)), columns=["age", "balance", "calls"])


def test_a_row_of_a_table_learned_from_the_others(frame):
    row = frame.iloc[3]
    explanation = hoi.explain(Score(), row, "second-glance", background=frame, surrogate="ridge")
    found, details = explanation.interactions, explanation.interactions.provenance.details
    assert found.players == ("age", "balance", "calls")
    assert isinstance(explanation.layout, TableLayout)
    assert found.pairs[0, 1] == pytest.approx(-2, abs=0.05)
    assert found.pairs[1, 2] == pytest.approx(1, abs=0.05)
    assert found.main == pytest.approx(
        [np.exp(row["age"]) - 2 * row["balance"], row["calls"] - 2 * row["age"], row["balance"]], rel=1e-5
    )
    # derivatives by features: not in the unit of the output
    assert (details["form"], details["unit"], details["fit_rows"]) == ("learned", "", 120)
    method = SecondGlance(Score(), surrogate="ridge")
    data = torch.tensor(frame.to_numpy(), dtype=torch.float32)
    (table,) = method.fit(data).interact(data[3:4])
    same(explanation, table)
    over = explanation.method.over_data()
    assert over.players == found.players
    assert str(over.explain_pair("age", "balance")).startswith("more of 'age' amplifies the influence of")


def test_a_row_of_a_table_alone(frame):
    row = frame.iloc[3] + 2
    explanation = hoi.explain(Score(), row, "second-glance", baseline=0.5)
    found = explanation.interactions
    assert found.players == ("age", "balance", "calls")
    age, balance, calls = row - 0.5
    for pair, expected in (((0, 1), -2 * age * balance), ((1, 2), balance * calls)):
        assert found.pairs[pair] == pytest.approx(expected, rel=0.05)
        assert abs(found.pairs[pair] - expected) < 4 * found.stderr[pair]
    assert found.provenance.details["form"] == "around the input"


def test_groups_of_features_learn_patterns(frame):
    options = {"players": [0, 1, 0], "surrogate": "ridge", "force": True}
    with pytest.warns(FidelityWarning):
        explanation = hoi.explain(Score(), frame.iloc[0], "second-glance", background=frame, **options)
    found = explanation.interactions
    assert found.players == ("age+calls", "balance")
    data = torch.tensor(frame.to_numpy(), dtype=torch.float32)
    method = SecondGlance(Score(), surrogate="ridge", force=True)
    with pytest.warns(FidelityWarning):
        method.fit(data, feature_mask=torch.tensor([[0, 1, 0]]))
    same(explanation, method.interact(data[:1])[0])


def test_factors_of_a_layer(frame):
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 1))
    explanation = hoi.explain(
        mlp, frame.iloc[0], "second-glance", layer="0", background=frame, n_factors=3, surrogate="ridge"
    )
    assert explanation.interactions.players == ("factor 0", "factor 1", "factor 2")
    assert explanation.layout is None
    data = torch.tensor(frame.to_numpy(), dtype=torch.float32)
    method = SecondGlance(mlp, mlp[0], n_factors=3, surrogate="ridge").fit(data, target=0)
    same(explanation, method.interact(data[:1], target=0)[0])


def test_an_explanation_goes_into_files_and_pictures(frame, tmp_path):
    explanation = hoi.explain(Score(), frame.iloc[3], "second-glance", background=frame, surrogate="ridge")
    again = Explanation.load(explanation.save(tmp_path / "x.safetensors"))
    assert again.interactions == explanation.interactions
    assert type(again.interactions) is SecondGlanceInteractions
    page = explanation.save(tmp_path / "x.html").read_text("utf-8")
    assert "second-glance" in page
    assert explanation.save(tmp_path / "x.png").stat().st_size > 1000
    loaded = SecondGlance.load(
        explanation.method.save(tmp_path / "fit.safetensors"), explanation.method.forward_func
    )
    data = torch.tensor(frame.to_numpy(), dtype=torch.float32)
    same(explanation, loaded.interact(data[3:4], target=0)[0])


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"background": "not bad"}, InputError, "expected background as a list of inputs, got str"),
        ({"background": ["great fun"] * 20}, InputError, "expected at least one row of data, got none"),
        ({"background": ["not bad", "film"]}, InputError, "expected at least 10 rows"),
        ({"samples": 8}, OptionError, "SecondGlance has no option samples; it has order, surrogate,"),
        (
            {"checkpoint": "values"},
            OptionError,
            "SecondGlance keeps no values in a file; leave checkpoint out",
        ),
        ({"layer": "bert.encoder.layer.9"}, InputError, "the model has no layer 'bert.encoder.layer.9'"),
    ],
    ids=["a text", "other words", "two", "option", "checkpoint", "layer"],
)
def test_what_cannot_be_explained(options, error, says):
    with pytest.raises(error, match=says):
        hoi.explain(BERT, TEXT, "second-glance", **options)


# ---------------------------------------------------------------- the command line
def test_the_command_line(capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "reviews.txt").write_text("\n".join(BACKGROUND), encoding="utf-8")
    arguments = ["explain", BERT, TEXT, "--method", "second-glance", "--target", "negative"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--json"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0
    printed = json.loads(out)
    expected = hoi.explain(BERT, TEXT, "second-glance", target="negative").interactions
    assert printed["players"] == list(WORDS)
    assert [t["score"] for t in printed["terms"]] == pytest.approx(expected.top(9).scores.tolist())
    assert "4 units, mode 'ridge': about 384 forward passes" in err
    learned = ["--background", "reviews.txt", "--option", "surrogate=ridge", "--option", "force=true"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, *learned, "--out", "x.safetensors"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0
    assert "warning: the surrogate explains R² = " in err
    assert "wrote x.safetensors" in err
    assert "not · bad" in out
    found = Explanation.load(tmp_path / "x.safetensors").interactions
    assert found.provenance.details["fit_rows"] == 30
    assert found.players == WORDS

"""Methods that learn, through explain() and the command line: fitted on raw data, neurons for players."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import hoi_captum as hoi
from hoi_captum import cli, zoo
from hoi_captum.corex import LinearCorEx
from hoi_captum.errors import DataWarning, InputError, OptionError

QUICK = {"method": "layer-local-corex", "n_factors": 3, "n_clusters": 1, "embedder": None}
TEXTS = [text for text, _ in zoo.samples("sentiment-bert-a", 60)]
TEXT = "not a bad film"


def learned(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    return LinearCorEx(3, gaussianize="outliers", random_state=42).fit(matrix).mi_


def hidden_states(name: str, template: str) -> NDArray[np.float32]:
    """Mean last hidden state of each text, as transformers itself gives it."""
    model, tokenizer = zoo.load(name)
    rows = []
    with torch.no_grad():
        for text in TEXTS:
            ids = tokenizer(template.replace("{}", text), return_tensors="pt")["input_ids"]
            rows.append(model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0].mean(0))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(("name", "layer"), [("sentiment-bert-a", None), ("sentiment-llama-a", "model.norm")])
def test_texts_teach_a_language_model_s_layer(name, layer):
    template = zoo.prompt(name)
    explanation = hoi.explain(f"zoo:{name}", TEXT, layer=layer, background=TEXTS, template=template, **QUICK)
    mi = learned(hidden_states(name, template or "{}"))
    # float32 sums of other batches: factors agree to their third digit
    np.testing.assert_allclose(explanation.attributions[0, 0].numpy(), mi[0], atol=2e-3)
    assert explanation.attributions.shape[::2] == (1, mi.shape[1])
    table = explanation.interactions
    assert table.players == tuple(f"neuron {i}" for i in range(mi.shape[1]))
    assert table.provenance.details["unit"] == "nats"
    assert explanation.layout is None
    place = layer or "bert.encoder.layer.1"
    assert explanation.summary().startswith(f"cluster:0 of {place} (60 of 60 rows), total correlation ")


def test_classes_have_the_model_s_names():
    explanation = hoi.explain("zoo:sentiment-bert-a", TEXT, background=TEXTS, include_logits=True, **QUICK)
    assert explanation.interactions.players[-2:] == ("log p(negative)", "log p(positive)")


def test_tokens_can_be_named_and_a_whole_vocabulary_is_refused():
    call = {"background": TEXTS, "template": zoo.prompt("sentiment-llama-a"), "layer": "model.norm"} | QUICK
    explanation = hoi.explain("zoo:sentiment-llama-a", TEXT, include_logits=["good", "bad"], **call)
    assert [p.replace(" ", "") for p in explanation.interactions.players[-2:]] == ["logp(good)", "logp(bad)"]
    assert explanation.method.class_association(0).shape == (3, 2)
    with pytest.raises(OptionError, match="include_logits with the classes that matter, of 5,000"):
        hoi.explain("zoo:sentiment-llama-a", TEXT, include_logits=True, **call)


def test_what_explain_has_fitted_can_be_kept_and_asked(tmp_path):
    explanation = hoi.explain("zoo:sentiment-bert-a", TEXT, background=TEXTS, include_logits=True, **QUICK)
    method = explanation.method
    x = explanation.example.inputs
    moved = method.perturb(x, 0, 0.5)
    torch.testing.assert_close(moved.outputs[1], method.forward_func(x).detach())
    saved = method.save(tmp_path / "layer.safetensors")
    loaded = hoi.LayerLocalCorEx.load(saved, method.forward_func, method.layer)
    assert torch.equal(loaded.attribute(x), explanation.attributions)
    with pytest.warns(DataWarning, match=r"bert.encoder.layer.1.*bert.encoder.layer.0"):
        hoi.LayerLocalCorEx.load(saved, method.forward_func, zoo_layer(method, 0))


def zoo_layer(method: hoi.LayerLocalCorEx, number: int) -> nn.Module:
    return method.forward_func.module.get_submodule(f"bert.encoder.layer.{number}")


def test_images_teach_a_convolution_s_channels(tmp_path):
    images = [image for image, _ in zoo.samples("digits-resnet", 80)]
    model = zoo.load("digits-resnet").model
    explanation = hoi.explain(
        "zoo:digits-resnet", images[0], layer="layer2", background=images, include_logits=True, **QUICK
    )
    channels = model.layer2[-1].conv2.out_channels
    assert explanation.attributions.shape[1] == channels
    assert explanation.interactions.players[0] == "channel 0"
    assert explanation.interactions.players[channels:] == tuple(f"log p({i})" for i in range(10))
    for ending in (".html", ".png", ".json", ".safetensors"):
        explanation.save(tmp_path / f"x{ending}")
    loaded = hoi.Explanation.load(tmp_path / "x.safetensors")
    assert loaded.interactions == explanation.interactions
    assert loaded.method is None
    assert "cluster:0 of layer2 (80 of 80 rows)" in (tmp_path / "x.html").read_text("utf-8")


def test_rows_teach_a_tabular_model(capsys):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    rows = np.random.default_rng(0).normal(size=(100, 4))
    explanation = hoi.explain(model, rows[0], layer="1", background=rows, show_progress=True, **QUICK)
    with torch.no_grad():
        mi = learned(model[:2](torch.tensor(rows, dtype=torch.float32)).numpy())
    np.testing.assert_allclose(explanation.attributions[0].numpy(), mi[0], atol=1e-4)
    assert "rows" in capsys.readouterr().err


def test_a_method_that_learns_needs_data():
    with pytest.raises(InputError, match=r"LayerLocalCorEx learns from data.*background"):
        hoi.explain("zoo:sentiment-bert-a", TEXT, **QUICK)
    with pytest.raises(InputError, match="background as a list of inputs, got str"):
        hoi.explain("zoo:sentiment-bert-a", TEXT, background="one text", **QUICK)
    with pytest.raises(InputError, match=r"no layer .* did you mean 'bert.encoder.layer.1'"):
        hoi.explain("zoo:sentiment-bert-a", TEXT, layer="bert.encoder.layers.1", background=TEXTS, **QUICK)
    with pytest.raises(InputError, match="no layer 'qqq'; See"):
        hoi.explain("zoo:sentiment-bert-a", TEXT, layer="qqq", background=TEXTS, **QUICK)
    with pytest.raises(OptionError, match="keeps no values in a file"):
        hoi.explain("zoo:sentiment-bert-a", TEXT, background=TEXTS, checkpoint="x", **QUICK)


def test_the_command_line_reads_what_to_learn_from(tmp_path, capsys):
    learn = tmp_path / "texts.txt"
    learn.write_text("\n".join([*TEXTS, ""]), "utf-8")
    command = ["explain", "zoo:sentiment-bert-a", TEXT, "--method", "layer-local-corex", "--json"]
    quick = ["--option", "n_factors=3", "--option", "n_clusters=1", "--option", "embedder=None"]
    layer = ["--layer", "bert.encoder.layer.0", "--background", str(learn)]
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, *layer, *quick])
    assert stop.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    expected = hoi.explain(
        "zoo:sentiment-bert-a", TEXT, layer="bert.encoder.layer.0", background=TEXTS, **QUICK
    )
    assert [t["score"] for t in printed["terms"]] == [t.score for t in expected.interactions.top(99)]


def test_the_command_line_reads_a_directory_of_images(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, (image, _) in enumerate(zoo.samples("digits-resnet", 60)):
        image.save(folder / f"{i:02}.png")
    command = ["explain", "zoo:digits-resnet", str(folder / "00.png"), "--method", "layer-local-corex"]
    quick = ["--option", "n_factors=2", "--option", "n_clusters=1", "--option", "embedder=None"]
    page = tmp_path / "x.html"
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--background", str(folder), *quick, "--out", str(page)])
    assert stop.value.code == 0
    assert "channel" in capsys.readouterr().out
    assert page.is_file()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\xff"])
def test_the_command_line_refuses_what_it_cannot_learn_from(tmp_path: Path, capsys, content):
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        cli.main(["explain", "zoo:sentiment-bert-a", TEXT, "--background", str(path), "--json"])
    assert stop.value.code == (1 if content is None else 2)
    assert str(path) in capsys.readouterr().err

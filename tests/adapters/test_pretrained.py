"""Models by the path of a GGUF file; directories of HuggingFace are in ``test_huggingface.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map
from torch import nn
from transformers import PreTrainedTokenizerFast

import hoi_captum as hoi
from hoi_captum.adapters.huggingface import CausalLMAdapter
from hoi_captum.adapters.pretrained import load_pretrained
from hoi_captum.cli import main
from hoi_captum.errors import InputError

TEXT = "The capital of France is"
Causal = tuple[nn.Module, PreTrainedTokenizerFast]


def write_gguf(path: Path, model: nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    """The file that llama.cpp would make of a LLaMA: rows of queries and keys in its order of rotation."""
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    words = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(words["vocab"], key=words["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        count = heads.get(name.split(".")[-2])
        if count is not None:
            weight = weight.view(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def written(llama: Causal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one GGUF file."""
    folder = tmp_path_factory.mktemp("secret") / "my-llama"
    folder.mkdir()
    write_gguf(folder / "tiny-F32.gguf", *llama)
    return folder


@pytest.mark.parametrize("form", ["file", "directory"])
def test_a_gguf_file_is_the_model_that_it_was_made_of(form: str, written: Path, llama: Causal) -> None:
    path = written / "tiny-F32.gguf" if form == "file" else written
    model, tokenizer = load_pretrained(str(path))
    assert not model.training
    ids = llama[1](TEXT, return_tensors="pt")["input_ids"]
    assert tokenizer(TEXT)["input_ids"] == ids[0, 1:].tolist()  # the file does not say "<s> in front"
    torch.testing.assert_close(model(ids).logits, llama[0](ids).logits)
    adapter = hoi.adapt(path)
    assert isinstance(adapter, CausalLMAdapter)
    # the adapter puts <s> in front, as the tokenizer that was written does
    expected = hoi.adapt(llama[0], tokenizer=llama[1]).example(TEXT, baseline="unk")
    torch.testing.assert_close(adapter.example(TEXT, baseline="unk").inputs, expected.inputs)


@pytest.mark.parametrize("form", ["file", "directory", "dot"])
def test_results_name_the_file_and_not_its_place(
    form: str, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written)
    path = {"file": str(written / "tiny-F32.gguf"), "directory": written, "dot": "."}[form]
    found = hoi.explain(path, "not bad", target=9, baseline="unk", output="logit", solver="harsanyi")
    assert found.interactions.provenance.model == ("tiny-F32" if form == "file" else "my-llama",)
    assert "secret" not in found.to_json()


def test_the_command_line_takes_it(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(written / "tiny-F32.gguf")
    target = (" bad", " film")
    words = [
        "--target",
        target[0],
        "--against",
        target[1],
        "--baseline",
        "unk",
        "--option",
        "solver=harsanyi",
    ]
    with pytest.raises(SystemExit) as stop:
        main(["explain", path, "not a", *words, "--json"])
    assert stop.value.code == 0
    told = json.loads(capsys.readouterr().out)
    called = hoi.explain(path, "not a", target=target, baseline="unk", solver="harsanyi").interactions
    assert told["models"] == ["tiny-F32"]
    assert {tuple(t["members"]): t["score"] for t in told["terms"]} == pytest.approx(
        {t.members: t.score for t in called}
    )


def test_a_config_goes_before_gguf_files(tmp_path: Path, written: Path, llama: Causal) -> None:
    other = hoi.zoo.load("sentiment-llama-a")
    other[0].save_pretrained(tmp_path)
    other[1].save_pretrained(tmp_path)
    (tmp_path / "other.gguf").write_bytes((written / "tiny-F32.gguf").read_bytes())
    model, _ = load_pretrained(str(tmp_path))
    assert model.config.vocab_size == other[0].config.vocab_size != llama[0].config.vocab_size


def test_without_the_package_the_remedy_is_said(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_gguf_available", lambda: False)
    with pytest.raises(InputError, match=r"reading 'tiny-F32.gguf' needs the package gguf: pip install gguf"):
        hoi.adapt(written)


def test_of_several_files_one_has_to_be_named(tmp_path: Path) -> None:
    for name in ("b-Q4.gguf", "a-Q8.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"2 \.gguf files \(a-Q8.gguf, b-Q4.gguf\); give the path of one"):
        hoi.adapt(tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a \.gguf file, got '.*none.gguf', and there is no such file"):
        hoi.adapt(tmp_path / "none.gguf")


DAMAGE = {
    "empty": lambda raw: b"",
    "another file": lambda raw: b"PK" + raw[2:],
    "cut in its head": lambda raw: raw[:700],
    "cut in its weights": lambda raw: raw[:-500],
    "an unknown architecture": lambda raw: raw.replace(b"llama", b"lloma"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file(damage: str, tmp_path: Path, written: Path) -> None:
    file = tmp_path / "damaged.gguf"
    file.write_bytes(DAMAGE[damage]((written / "tiny-F32.gguf").read_bytes()))
    with pytest.raises(InputError, match=r"cannot load a model from '.*damaged.gguf': expected a GGUF file"):
        hoi.adapt(file)

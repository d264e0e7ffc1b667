"""Tiny language models and tokenizers, made here and now: nothing is downloaded."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hoi_captum import zoo

TEXTS = [
    "The capital of France is Paris",
    "not a bad film",
    "It is raining cats and dogs",
    "a well-made film",
] * 4


def byte_level(*, first: bool, **special: str) -> PreTrainedTokenizerFast:
    """A GPT-2 tokenizer of TEXTS; ``first``: whether it puts its bos token in front by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=sorted(set(special.values())),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if first:
        bos = special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.fixture(scope="session")
def gpt2() -> tuple[nn.Module, PreTrainedTokenizerFast]:
    """A causal LM whose tokenizer puts nothing in front of a text."""
    tokenizer = byte_level(first=False, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config).eval(), tokenizer


@pytest.fixture(scope="session")
def llama() -> tuple[nn.Module, PreTrainedTokenizerFast]:
    """A causal LM whose tokenizer puts <s> in front of a text."""
    tokenizer = byte_level(first=True, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


@pytest.fixture(scope="session")
def bert() -> tuple[nn.Module, PreTrainedTokenizerFast]:
    return tuple(zoo.load("sentiment-bert-a"))

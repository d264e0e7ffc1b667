"""Coalitions along their common beginnings: the same numbers as row by row, at the promised cost."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from hoi_captum import adapt, zoo
from hoi_captum.adapters import prefix_tree
from hoi_captum.adapters.huggingface import CausalLMAdapter
from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.state import preserved_state
from hoi_captum.errors import MemoryWarning

LENGTH, WIDTH, VOCABULARY = 12, 32, 40
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=32, initializer_range=0.3
        )
    ),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            word_embed_proj_dim=WIDTH,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=32,
            init_std=0.3,
        )
    ),
}


def made(family: str, dtype: torch.dtype = torch.float64, **config) -> nn.Module:
    torch.manual_seed(3)
    return FAMILIES[family]().to(dtype).eval()


def owners(*tokens: int) -> Tensor:
    """A mask with the player of each token."""
    assert len(tokens) == LENGTH
    return torch.tensor(tokens).view(1, LENGTH, 1)


_ = -1
PLAYERS = {
    "spread": owners(_, _, 0, _, 1, 2, _, 3, _, _, 4, _),
    "from the first token on": owners(0, 1, 2, 3, 4, _, _, _, _, _, _, _),
    "up to the last": owners(_, _, _, _, _, _, _, 0, 1, 2, 3, 4),
    "of several tokens, apart": owners(_, 0, 0, 1, _, 0, 2, 1, 3, 3, 4, 2),
    "not in reading order": owners(_, 3, _, 1, 1, 0, _, 4, 3, 2, 0, _),
    "one in all of the text": owners(0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 0),
    "two in one token": torch.where(
        torch.arange(WIDTH) < 9,
        owners(_, 0, _, 2, _, _, 3, 3, _, 1, _, 4),
        owners(_, 1, _, 2, _, 4, 0, _, 3, 3, _, _),
    ),
    "parts of all tokens": (torch.arange(WIDTH) % 6 - 1).view(1, 1, WIDTH),
}


def example(dtype: torch.dtype = torch.float64, rows: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(rows, LENGTH, WIDTH, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(rows, LENGTH, WIDTH, generator=generator, dtype=torch.float64).to(dtype),
    )


@pytest.fixture
def adapter_of(llama):
    """An adapter of any causal model; the tokenizer does not matter here."""
    return lambda model: CausalLMAdapter(model, tokenizer=llama[1], output="logit")


def both(
    adapter: CausalLMAdapter, x: Tensor, b: Tensor, mask: Tensor, **options
) -> tuple[MaskedGame, MaskedGame]:
    """The game with the tree, and one of rows."""
    forward = adapter.forward_func
    functions = (forward, lambda z: forward(z))
    return [MaskedGame(f, x, b, 7, None, mask, **options) for f in functions]


def promised(mask: Tensor) -> int:
    """Token steps of all coalitions: p_1 + sum_j 2^j (p_(j+1) - p_j)."""
    ids = mask[0].expand(LENGTH, -1).tolist()
    n = int(mask.max()) + 1
    first = sorted(next(t for t in range(LENGTH) if player in ids[t]) for player in range(n))
    ends = [*first, LENGTH]
    return first[0] + sum(2**j * (b - a) for j, (a, b) in enumerate(pairwise(ends), start=1))


def close(values: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert (values - expected).abs().max() <= tolerance * expected.abs().max()
    assert expected.std() > 0.01  # masking matters to these models


# ----------------------------------------------------------------- the same numbers, at their price


@pytest.mark.parametrize("players", PLAYERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_steps_in_double_precision(adapter_of, family, players):
    mask = PLAYERS[players]
    tree, plain = both(adapter_of(made(family)), *example(), mask)
    close(tree.table(), plain.table())
    assert tree.work == {"token steps": promised(mask), "token steps row by row": 32 * LENGTH}
    assert tree.forward_passes == 32
    assert plain.work == {}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_in_lower_precision(adapter_of, family, dtype):
    tree, plain = both(adapter_of(made(family, dtype)), *example(dtype), PLAYERS["of several tokens, apart"])
    close(tree.table(), plain.table(), 1e-5 if dtype == torch.float32 else 0.05)
    assert tree.work["token steps"] == promised(PLAYERS["of several tokens, apart"])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_values_with_either_attention(adapter_of, family, attention):
    model = made(family)
    model.set_attn_implementation(attention)
    tree, plain = both(adapter_of(model), *example(), PLAYERS["spread"])
    close(tree.table(), plain.table())
    assert tree.work


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 32, 1000])
@pytest.mark.parametrize("players", PLAYERS)
def test_chunks_do_not_matter(adapter_of, players, rows):
    mask = PLAYERS[players]
    tree, plain = both(adapter_of(made("llama")), *example(), mask, internal_batch_size=rows)
    sizes = []
    handle = tree._arguments.forward_func.module.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    assert tree.rows_per_pass == min(rows, 256)
    sizes.clear()  # the trial is made of four rows
    values = tree.table()
    handle.remove()
    close(values, plain.table())
    assert max(sizes) == min(rows, 32)
    steps = tree.work["token steps"]
    in_order = players not in ("not in reading order", "two in one token")
    if (in_order and rows & (rows - 1) == 0) or rows >= 32:
        assert steps == promised(mask)  # what was in common with the chunk before is still there
    else:
        assert promised(mask) <= steps <= 32 * LENGTH


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_any_coalitions_in_any_order(adapter_of, rows):
    mask = PLAYERS["of several tokens, apart"]
    tree, plain = both(adapter_of(made("llama")), *example(), mask, internal_batch_size=rows)
    table = plain.table()
    for some in (
        torch.randperm(32, generator=torch.Generator().manual_seed(1)),
        torch.tensor([31, 0, 31, 5, 5, 6, 0]),
        torch.tensor([17]),
        torch.tensor([], dtype=torch.long),
    ):
        values = tree.values(all_coalitions(5)[some])
        torch.testing.assert_close(values, table[:, some], rtol=1e-10, atol=1e-10)


def test_several_examples_with_their_own_players_and_baselines(adapter_of):
    x, b = example(rows=3)
    masks = torch.cat([PLAYERS[name] for name in ("spread", "up to the last", "not in reading order")])
    forward = adapter_of(made("qwen2")).forward_func
    tree = MaskedGame(forward, x, b, [1, 2, 3], None, masks)
    plain = MaskedGame(lambda z: forward(z), x, b, [1, 2, 3], None, masks)
    close(tree.table(), plain.table())
    assert tree.work["token steps"] == sum(promised(mask.unsqueeze(0)) for mask in masks)
    assert tree.forward_passes == 96
    number = (
        MaskedGame(forward, x, 0.5, 1, None, masks),
        MaskedGame(lambda z: forward(z), x, 0.5, 1, None, masks),
    )
    close(number[0].table(), number[1].table())


@pytest.mark.parametrize("missing", [[4], [0, 4], [0, 1, 2, 3, 4]])
def test_a_row_without_tokens_of_some_players(adapter_of, missing):
    mask = PLAYERS["spread"]
    fewer = torch.where(torch.isin(mask, torch.tensor(missing)), -1, mask)
    x, b = example(rows=2)
    tree, plain = both(adapter_of(made("llama")), x, b, torch.cat([mask, fewer]))
    close(tree.table(), plain.table())
    # the others stand where they stood, so each fork is met with fewer branches
    starts = [int((fewer[0, :, 0] == player).nonzero()[0]) for player in range(5) if player not in missing]
    ends = [*starts, LENGTH]
    steps = ends[0] + sum(2**j * (b - a) for j, (a, b) in enumerate(pairwise(ends), start=1))
    assert tree.work == {
        "token steps": promised(mask) + steps,
        "token steps row by row": 2 * 32 * LENGTH,
    }


def test_players_that_equal_their_baseline_do_not_fork_the_tree(adapter_of):
    mask = PLAYERS["spread"]
    x, b = example()
    b = torch.where((mask == 1) | (mask == 4), x, b)
    tree, plain = both(adapter_of(made("gpt2")), x, b, mask)
    close(tree.table(), plain.table())
    assert tree.forward_passes == 8
    assert tree.work["token steps"] == 2 + 2 * 3 + 4 * 2 + 8 * 5


@pytest.mark.parametrize("name", ["sentiment-llama-a", "sentiment-llama-b"])
def test_the_zoos_models_and_their_words(name):
    adapter = adapt(f"zoo:{name}")
    text = "unwatchable, but not a bad film at all"
    words = adapter.example(text, template=zoo.prompt(name))
    objective = adapter.objective(("good", "bad"), words)
    tree = MaskedGame(objective.forward_func, **words)
    plain = MaskedGame(lambda z: objective.forward_func(z), **words)
    assert (words.feature_mask == 0).sum() > 1  # a word of several tokens
    close(tree.table(), plain.table(), 1e-5)
    assert 2 * tree.work["token steps"] < tree.work["token steps row by row"]


def test_the_last_scores_of_a_model_that_gives_all(adapter_of):
    class Older(GPT2LMHeadModel):
        def forward(self, input_ids=None, inputs_embeds=None, past_key_values=None, use_cache=None):
            return super().forward(
                input_ids, inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=use_cache
            )

    model = Older(made("gpt2").config).double().eval()
    tree, plain = both(adapter_of(model), *example(), PLAYERS["up to the last"])
    close(tree.table(), plain.table())
    assert tree.work["token steps"] == promised(PLAYERS["up to the last"])


def test_nothing_that_transformers_is_giving_up_is_used(adapter_of, recwarn):
    tree, plain = both(adapter_of(made("llama")), *example(), PLAYERS["spread"])
    close(tree.table(), plain.table())
    assert tree.work["token steps"] == promised(PLAYERS["spread"])
    assert not [str(w.message) for w in recwarn if "past_key_values" in str(w.message)]


# ----------------------------------------------------------------- memory


def test_the_chunk_follows_the_size_of_the_cache(adapter_of, monkeypatch):
    x, b = example()
    sizes = {}
    # a row keeps 12 tokens x 2 layers x keys and values x 2 heads x 8 x 8 bytes; the trunk up to 6 rows
    row = LENGTH * 2 * 2 * 2 * 8 * 8
    for fitting in (0.1, 7, 8, 10, 21, 22, 10**6):
        monkeypatch.setattr(prefix_tree, "_CACHE_BYTES", int(fitting * row))
        tree, plain = both(adapter_of(made("llama")), x, b, PLAYERS["spread"])
        close(tree.table(), plain.table())
        sizes[fitting] = tree.rows_per_pass
    assert sizes == {0.1: 1, 7: 1, 8: 2, 10: 4, 21: 8, 22: 16, 10**6: 256}


def test_no_memory_is_kept_when_the_work_is_done(adapter_of):
    tree, _plain = both(adapter_of(made("llama")), *example(), PLAYERS["spread"], internal_batch_size=4)
    tree.table()
    inner = tree._evaluators[0].scores
    assert inner._trunk == []
    assert inner._rooms._rooms == []


# ----------------------------------------------------------------- what cannot be walked as a tree


class LooksAhead(LlamaForCausalLM):
    """Not causal: each position sees the mean of all."""

    def forward(self, inputs_embeds=None, **options):
        return super().forward(inputs_embeds=inputs_embeds + inputs_embeds.mean(1, keepdim=True), **options)


class LooksAheadALittle(LlamaForCausalLM):
    """Not causal, but nearly."""

    def forward(self, inputs_embeds=None, **options):
        ahead = 1e-4 * inputs_embeds.mean(1, keepdim=True)
        return super().forward(inputs_embeds=inputs_embeds + ahead, **options)


class RefusesACache(LlamaForCausalLM):
    def forward(self, past_key_values=None, use_cache=False, **options):
        if past_key_values is not None or use_cache:
            raise NotImplementedError("no cache together with inputs_embeds")
        return super().forward(use_cache=False, **options)


class KeepsNothing(LlamaForCausalLM):
    def forward(self, past_key_values=None, use_cache=False, **options):
        return super().forward(use_cache=False, **options)


class PositionsFromZero(LlamaForCausalLM):
    """Counts the positions of each call anew."""

    def forward(self, inputs_embeds=None, **options):
        positions = torch.arange(inputs_embeds.shape[1]).unsqueeze(0)
        return super().forward(inputs_embeds=inputs_embeds, position_ids=positions, **options)


WINDOW = SIZES | {"sliding_window": 4}
UNFIT = {
    "looks ahead": lambda: LooksAhead(LlamaConfig(**SIZES)),
    "looks ahead a little": lambda: LooksAheadALittle(LlamaConfig(**SIZES)),
    "refuses": lambda: RefusesACache(LlamaConfig(**SIZES)),
    "keeps nothing": lambda: KeepsNothing(LlamaConfig(**SIZES)),
    "positions": lambda: PositionsFromZero(LlamaConfig(**SIZES)),
    "mistral, window": lambda: MistralForCausalLM(MistralConfig(**WINDOW)),
    "qwen2, window": lambda: Qwen2ForCausalLM(
        Qwen2Config(**WINDOW, use_sliding_window=True, max_window_layers=1)
    ),
    "gemma3, window": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**WINDOW, head_dim=8, layer_types=["sliding_attention", "full_attention"])
    ),
    "mamba": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, state_size=4, num_hidden_layers=2)
    ),
}


@pytest.mark.parametrize("players", ["spread", "from the first token on"])
@pytest.mark.parametrize("name", UNFIT)
def test_other_models_are_run_row_by_row(adapter_of, name, players):
    torch.manual_seed(3)
    model = UNFIT[name]().double().eval()
    tree, plain = both(adapter_of(model), *example(), PLAYERS[players])
    torch.testing.assert_close(tree.table(), plain.table(), rtol=1e-10, atol=1e-10)
    assert tree.work == {}
    assert tree.forward_passes == 32


def test_a_window_larger_than_the_text_is_right(adapter_of):
    torch.manual_seed(3)
    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)).double().eval()
    tree, plain = both(adapter_of(model), *example(), PLAYERS["spread"])
    close(tree.table(), plain.table())
    assert tree.work["token steps"] == promised(PLAYERS["spread"])


def test_dropout_is_not_explained_along_a_tree(adapter_of):
    model = made("gpt2")
    model.train()
    tree, _plain = both(adapter_of(model), *example(), PLAYERS["spread"])
    tree.table()
    assert tree.work == {}


def test_arguments_besides_the_embeddings_leave_the_tree_out(adapter_of):
    forward = adapter_of(made("llama")).forward_func
    x, b = example()
    game = MaskedGame(forward, x, b, 7, (torch.ones(1, LENGTH),), PLAYERS["spread"])
    with pytest.raises(ValueError, match=r"embeddings .* alone, got 2 arguments"):
        game.table()


# ----------------------------------------------------------------- the model is left alone


def state_of(model: nn.Module):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return tensors, flags, copy.deepcopy(model.config.to_dict()), torch.get_rng_state()


def same_state(a, b) -> bool:
    return (
        all(torch.equal(a[0][name], b[0][name]) for name in a[0])
        and a[1:3] == b[1:3]
        and torch.equal(a[3], b[3])
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_left_as_it_was(adapter_of, family):
    model = made(family)
    tree, _plain = both(adapter_of(model), *example(), PLAYERS["spread"])
    x, b = (t.clone() for t in example())
    before = state_of(model)
    with preserved_state(model):
        tree.table()
    assert same_state(before, state_of(model))
    assert torch.equal(tree.inputs[0], x)
    assert torch.equal(example()[1], b)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("failing", [0, 3, 11, 14])
def test_after_an_exception_in_the_middle_the_work_can_be_done_again(adapter_of, failing):
    model = made("llama")
    tree, plain = both(adapter_of(model), *example(), PLAYERS["spread"], internal_batch_size=4)
    assert tree.rows_per_pass == 4  # the trial is made
    before, calls = state_of(model), []

    def fail(module, args):
        calls.append(module)
        if len(calls) > failing:
            raise RuntimeError("stopped")

    handle = model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="stopped"):
        tree.table()
    handle.remove()
    assert same_state(before, state_of(model))
    close(tree.table(), plain.table())


def test_when_memory_runs_out_in_the_middle_the_pieces_get_smaller(adapter_of):
    model = made("llama")
    tree, plain = both(adapter_of(model), *example(), PLAYERS["spread"])

    def hungry(module, args, kwargs):
        if len(kwargs["inputs_embeds"]) > 6:
            raise torch.OutOfMemoryError("out of memory")

    handle = model.model.register_forward_pre_hook(hungry, with_kwargs=True)
    with pytest.warns(UserWarning, match="memory ran out") as caught:
        values = tree.table()
    handle.remove()
    ours = [w for w in caught if issubclass(w.category, MemoryWarning)]  # transformers has some of its own
    assert [str(w.message).split(";")[0] for w in ours] == [
        f"memory ran out with {rows} rows in one pass" for rows in (32, 16, 8)
    ]
    close(values, plain.table())
    assert tree.rows_per_pass == 4

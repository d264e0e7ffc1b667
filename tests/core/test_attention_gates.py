"""Attention gates against log gates that are added to the scores by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import _len_torch_function_stack
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import gradient, hessian
from hoi_captum.core.gates import cells_of_a_grid
from hoi_captum.errors import InputError, PlayerError
from tests.core.gated_models import TinyAttention, kernels, nested

EXACT = {"rtol": 0, "atol": 1e-10}
T = 5


def attention_gates(f, x, mask=None, *, values=False, target=0) -> AttentionGates:
    arguments = Arguments(f, x, None, target)
    masks = cells_of_a_grid(arguments.inputs) if mask is None else (mask,)
    return AttentionGates(arguments, Players.from_feature_mask(arguments.inputs, masks), values=values)


def tokens() -> Tensor:
    return torch.randn(2, T, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def log_gates(gates: Tensor, causal: bool) -> Tensor:
    """What is added to the score of query i and key j, (m, 1, T, T), entry by entry."""
    m, size = gates.shape
    rows = [
        [
            [
                gates[n, j].log() if i != j or (causal and j == size - 1) else gates.new_zeros(())
                for j in range(size)
            ]
            for i in range(size)
        ]
        for n in range(m)
    ]
    return torch.stack([torch.stack([torch.stack(row) for row in table]) for table in rows]).unsqueeze(1)


GATES = torch.tensor([[0.5, 1.5, 1.0, 0.2, 0.8], [1.0, 0.4, 2.0, 1.0, 0.6]], dtype=torch.float64)


# ---------------------------------------------------------------- attention of our own
@pytest.mark.parametrize("how", ["fused", "grouped", "softmax"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", ["", "bool", "float"])
def test_a_gates_logarithm_is_added_to_the_scores(how, causal, mask):
    net, x = TinyAttention(how, causal=causal, mask=mask), tokens()
    gates = attention_gates(net, x, target=1)
    rows = torch.tensor([1, 0])
    with torch.no_grad():
        found = gates.run(rows, GATES)
        torch.testing.assert_close(found, net(x[rows], log_gates(GATES, causal))[:, 1], **EXACT)
        torch.testing.assert_close(gates.run(rows, torch.ones_like(GATES)), net(x[rows])[:, 1], **EXACT)
        torch.testing.assert_close(gates.run(rows), net(x[rows])[:, 1], **EXACT)
        assert (found - net(x[rows])[:, 1]).abs().min() > 1e-4


@pytest.mark.parametrize("how", ["fused", "grouped", "softmax"])
@pytest.mark.parametrize("causal", [False, True])
def test_derivatives_are_those_of_the_gates_by_hand(how, causal):
    net, x = TinyAttention(how, causal=causal), tokens()
    gates = attention_gates(net, x, target=1)
    first, second = gradient(gates), hessian(gates)
    # the same model with its softmax written out
    written = TinyAttention("softmax" if how == "fused" else how, causal=causal)
    for row in range(2):

        def f(scale: Tensor, row=row) -> Tensor:
            return written(x[row : row + 1], log_gates(scale.unsqueeze(0), causal))[0, 1]

        if how != "grouped":
            one = torch.ones(T, dtype=torch.float64)
            torch.testing.assert_close(first[row], nested(f, one, 1), **EXACT)
            torch.testing.assert_close(second[row], nested(f, one, 2), **EXACT)
    torch.testing.assert_close(second, second.transpose(1, 2), **EXACT)
    assert second.abs().amax((1, 2)).min() > 1e-4


def test_units_of_several_positions_share_a_gate():
    net, x = TinyAttention("softmax"), tokens()
    mask = torch.tensor([[0, 0, 1, -1, 1], [1, 0, 0, 1, -1]]).view(2, T, 1)
    gates = attention_gates(net, x, mask)
    scale = torch.tensor([[0.5, 2.0], [0.3, 0.9]], dtype=torch.float64)
    padded = torch.cat((scale, torch.ones(2, 1, dtype=torch.float64)), 1)
    by_position = torch.stack([padded[n, mask[n, :, 0]] for n in range(2)])
    with torch.no_grad():
        found = gates.run(torch.arange(2), scale)
        torch.testing.assert_close(found, net(x, log_gates(by_position, False))[:, 0], **EXACT)


def test_gates_at_zero_hide_a_position_but_for_itself():
    net, x = TinyAttention("softmax"), tokens()
    scale = torch.ones(2, T, dtype=torch.float64)
    scale[:, 1] = 0
    with torch.no_grad():
        found = attention_gates(net, x).run(torch.arange(2), scale)
        hidden = TinyAttention("softmax", mask="bool")(x)[:, 0]
    torch.testing.assert_close(found, hidden, rtol=0, atol=2e-4)  # a gate is never below 1e-4
    assert gradient(attention_gates(net, x), at=scale).isfinite().all()


@pytest.mark.parametrize("how", ["fused", "grouped", "softmax"])
@pytest.mark.parametrize("causal", [False, True])
def test_value_gates_are_a_hook_on_the_values(how, causal):
    net, x = TinyAttention(how, causal=causal), tokens()
    found = attention_gates(net, x, values=True).run(torch.arange(2), GATES)
    handle = net.value.register_forward_hook(lambda module, args, out: out * GATES.unsqueeze(-1))
    expected = net(x)[:, 0]
    handle.remove()
    torch.testing.assert_close(found, expected, **EXACT)


def test_value_gates_are_those_of_the_first_attention_only():
    first, second = TinyAttention("fused"), TinyAttention("softmax")
    second.value.weight.data.mul_(-1.5)

    def f(x: Tensor) -> Tensor:
        return first(x) * second(x)

    x = tokens()
    found = attention_gates(f, x, values=True).run(torch.arange(2), GATES)
    alone = attention_gates(first, x, values=True).run(torch.arange(2), GATES)
    torch.testing.assert_close(found, alone * second(x)[:, 0], **EXACT)


# ---------------------------------------------------------------- HuggingFace
def bert(attention: str) -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=17, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=T, attn_implementation=attention, initializer_range=0.5,
    )  # fmt: skip
    return BertForSequenceClassification(config).double().eval()


def llama(attention: str) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=17, hidden_size=8, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=12, max_position_embeddings=T, attn_implementation=attention, initializer_range=0.5,
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()


MODELS = {"bert": bert, "llama": llama}
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def scores(model: nn.Module, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    logits = model(input_ids=ids, attention_mask=mask).logits
    return logits if logits.dim() == 2 else logits[:, -1]


@pytest.mark.parametrize("name", MODELS)
def test_of_huggingface_models_it_is_a_mask_of_four_axes(name):
    causal = name == "llama"
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else torch.zeros(T, T, dtype=torch.bool)
    lowest = torch.zeros(T, T, dtype=torch.float64).masked_fill(hidden, torch.finfo(torch.float64).min)
    found = {}
    for attention in ("eager", "sdpa"):
        model = MODELS[name](attention)
        gates = attention_gates(lambda ids, model=model: scores(model, ids), IDS)
        assert gates.attention.causal is causal
        assert gates.attention.calls == 2

        def by_hand(scale: Tensor, model=model, n: slice = slice(0, 1)) -> Tensor:
            return scores(model, IDS[n], lowest + log_gates(scale, causal))[:, 0]

        rounding = 2e-6  # gates of token ids are float32, and so is some of what the models do
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            value = gates.run(torch.arange(2), GATES)
            torch.testing.assert_close(value, by_hand(GATES, n=slice(0, 2)), rtol=rounding, atol=rounding)
        found[attention] = hessian(gates)
        with sdpa_kernel(SDPBackend.MATH):
            expected = nested(lambda s: by_hand(s.unsqueeze(0))[0], torch.ones(T, dtype=torch.float64), 2)
        torch.testing.assert_close(found[attention][0], expected, rtol=rounding, atol=rounding)
        assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found["sdpa"], found["eager"], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_of_padded_texts_too(attention):
    model = bert(attention)
    padding = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    arguments = Arguments(lambda ids, mask: scores(model, ids, mask), IDS, None, 0, (padding,))
    players = Players.from_feature_mask(arguments.inputs, (torch.arange(T).unsqueeze(0),))
    with torch.no_grad():
        found = AttentionGates(arguments, players).run(torch.arange(2), GATES)
        seen = torch.zeros(2, 1, 1, T, dtype=torch.float64)
        seen = seen.masked_fill(padding[:, None, None] == 0, torch.finfo(torch.float64).min)
        expected = scores(model, IDS, seen + log_gates(GATES, False))[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_value_gates_of_llama_are_a_hook_on_its_first_values(attention):
    model = llama(attention)
    values = model.model.layers[0].self_attn.v_proj
    with torch.no_grad():
        found = attention_gates(lambda ids: scores(model, ids), IDS, values=True).run(torch.arange(2), GATES)
        handle = values.register_forward_hook(lambda module, args, out: out * GATES.unsqueeze(-1))
        expected = scores(model, IDS)[:, 0]
        handle.remove()
        assert (expected - scores(model, IDS)[:, 0]).abs().min() > 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- bad input, and what is left behind
def test_models_without_attention():
    with pytest.raises(InputError, match=r"no attention over the positions .*\(2, 5, 4\); use gate='input'"):
        attention_gates(lambda x: x.sum(1), tokens())
    with pytest.raises(InputError, match=r"no attention over .*attn_implementation='sdpa' or 'eager'"):
        attention_gates(lambda x: x.flatten(1), torch.rand(2, 3, 4, 4))
    # one of torch's own, which hides what it calls
    torch_own = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    with pytest.raises(InputError, match=r"no attention over .*use gate='input' or a layer"):
        attention_gates(lambda x: torch_own(x).sum(1), tokens())


def test_units_that_divide_a_position():
    mask = torch.arange(T * 4).view(1, T, 4)
    with pytest.raises(PlayerError, match="switch whole positions: expected one unit for each"):
        attention_gates(TinyAttention(), tokens(), mask)


def test_attention_has_no_shift():
    gates = attention_gates(TinyAttention(), tokens())
    with pytest.raises(InputError, match="no shift: expected variant='taylor'"):
        hessian(gates, wrt=("scale", "shift"))


def test_what_was_changed_is_back_after_an_error():
    net, x = TinyAttention(), tokens()
    stack, before, passes = _len_torch_function_stack(), kernels(), []

    def fails(v: Tensor) -> Tensor:
        out = net(v)
        passes.append(1)
        if len(passes) > 1:  # inside the gated pass
            raise ValueError("stop")
        return out

    with pytest.raises(ValueError, match="stop"):
        attention_gates(fails, x).run(torch.arange(2), GATES)
    assert len(passes) == 2
    assert _len_torch_function_stack() == stack
    assert kernels() == before


def test_a_model_that_writes_into_its_input_leaves_the_callers_alone():
    net = TinyAttention()

    def f(v: Tensor) -> Tensor:
        v += 1
        return net(v)

    x = tokens()[:1]
    before = x.clone()
    gates = attention_gates(f, x)
    with torch.no_grad():
        for _ in range(2):
            found = gates.run(torch.tensor([0]), GATES[:1])
    torch.testing.assert_close(found, net(before + 1, log_gates(GATES[:1], False))[:, 0], **EXACT)
    assert torch.equal(x, before)

"""What attention is recognised in, and what is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _len_torch_function_stack

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention import AttentionProbe, GatedAttention, probe_attention
from tests.core.gated_models import TinyAttention


def tokens(rows: int = 2, size: int = 5) -> Tensor:
    return torch.randn(rows, size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def probe(f, x) -> AttentionProbe | None:
    return probe_attention(Arguments(f, x, None, 0))


# ---------------------------------------------------------------- the probe
@pytest.mark.parametrize("how", ["fused", "grouped", "softmax"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", ["", "bool", "float"])
def test_attention_is_seen_and_whether_it_is_causal(how, causal, mask):
    found = probe(TinyAttention(how, causal=causal, mask=mask), tokens())
    assert found == AttentionProbe(positions=5, calls=1, causal=causal)


def scored(hide: float, write):
    """Causal attention whose hidden scores are one number, and whose softmax is written in some way."""
    above = torch.ones(5, 5, dtype=torch.bool).triu(1)

    def f(x: Tensor) -> Tensor:
        scores = (x @ x.transpose(1, 2)).unsqueeze(1).masked_fill(above, hide)
        return (write(scores) @ x.unsqueeze(1))[:, 0, -1]

    return f


WAYS = {
    "functional": lambda s: functional.softmax(s, dim=-1),
    "functional-type": lambda s: functional.softmax(s, -1, dtype=torch.float32).double(),
    "functional-named": lambda s: functional.softmax(input=s, dim=3),
    "torch": lambda s: torch.softmax(s, -1),
    "torch-named": lambda s: torch.softmax(input=s, dim=-1),
    "torch-type": lambda s: torch.softmax(s, -1, torch.float64),
    "method": lambda s: s.softmax(-1),
    "method-named": lambda s: s.softmax(dim=-1),
    "module": nn.Softmax(-1),
    "special": lambda s: torch.special.softmax(s, -1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hide", [-torch.inf, torch.finfo(torch.float64).min, -1e9, -1e4])
def test_softmaxes_in_all_their_ways(way, hide):
    assert probe(scored(hide, WAYS[way]), tokens()) == AttentionProbe(5, 1, causal=True)
    assert probe(scored(-1.0, WAYS[way]), tokens()) == AttentionProbe(5, 1, causal=False)


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_gated_in_all_ways(way):
    x, gates = tokens(), torch.tensor([[0.5, 2.0, 1.0, 1.5, 0.7], [1.0, 0.1, 3.0, 1.0, 1.0]]).double()
    bias = gates.log().view(2, 1, 1, 5).masked_fill(torch.eye(5, dtype=torch.bool), 0.0)
    bias[:, :, 4, 4] = gates[:, 4].log().unsqueeze(1)
    expected = scored(-torch.inf, lambda s: functional.softmax(s + bias, -1))(x)
    with GatedAttention(gates, AttentionProbe(5, 1, causal=True)):
        found = scored(-torch.inf, WAYS[way])(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if way == "functional-type" else 1e-12)


def test_left_padded_rows_are_causal_too():
    # rows that are hidden from everybody, and see nothing: all their scores are the same
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    hidden[:2] = hidden[:, :2] = True

    def f(x: Tensor) -> Tensor:
        lowest = torch.finfo(x.dtype).min
        mask = torch.zeros(5, 5, dtype=x.dtype).masked_fill(hidden, lowest).view(1, 1, 5, 5)
        heads = x.unsqueeze(1)
        return functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)[:, 0, -1]

    assert probe(f, tokens()) == AttentionProbe(5, 1, causal=True)


def test_one_causal_attention_of_two_is_not_enough():
    causal, both = TinyAttention(causal=True), TinyAttention()

    assert probe(lambda x: causal(x) + both(x), tokens()) == AttentionProbe(5, 2, causal=False)
    assert probe(lambda x: causal(x) + causal(x), tokens()) == AttentionProbe(5, 2, causal=True)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.softmax(-1).sum(1),  # three axes
        lambda x: (x.unsqueeze(1) @ x.unsqueeze(1).mT).softmax(2).sum((1, 2)),  # over the queries
        lambda x: (x.unsqueeze(1) @ x[:, :3].unsqueeze(1).mT).softmax(-1).sum((1, 2)),  # other keys
        lambda x: (x @ x.mT).unsqueeze(0).softmax(-1).sum((0, 2)),  # rows are heads
        lambda x: functional.softmax((x @ x.mT)[0:1].unsqueeze(1).expand(3, 1, 5, 5), -1)[:2].sum((1, 2)),
        lambda x: x.sum(1).log_softmax(-1),
    ],
)
def test_what_is_no_attention_over_the_positions(f):
    assert probe(f, tokens()) is None
    with GatedAttention(torch.full((2, 5), 0.5).double(), AttentionProbe(5, 1, causal=False)):
        gated = f(tokens())
    assert torch.equal(gated, f(tokens()))


def test_images_have_no_positions():
    assert probe(lambda x: x.flatten(1), torch.rand(2, 3, 4, 4)) is None


def test_the_probe_leaves_nothing_behind():
    def fails(x: Tensor) -> Tensor:
        raise ValueError("stop")

    stack = _len_torch_function_stack()
    probe(TinyAttention(), tokens())
    with pytest.raises(ValueError, match="stop"):
        probe(fails, tokens())
    assert _len_torch_function_stack() == stack
    x = tokens(1)

    def writes(v: Tensor) -> Tensor:
        v += 1
        return TinyAttention()(v)

    before = x.clone()
    assert probe(writes, x) is not None
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (1, 1, 1, 5), (1, 5)])
@pytest.mark.parametrize("kind", [torch.bool, torch.float64])
def test_masks_of_keys_that_are_broadcast(shape, kind):
    seen = torch.tensor([True, True, False, True, True]).expand(shape)
    mask = seen if kind == torch.bool else torch.zeros(shape, dtype=kind).masked_fill(~seen, -torch.inf)

    def f(x: Tensor, bias: Tensor | float = 0.0) -> Tensor:
        heads = x.unsqueeze(1)
        given = mask
        if isinstance(bias, Tensor):
            given = torch.zeros(shape, dtype=torch.float64).masked_fill(~seen, -torch.inf) + bias
        return functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=given)[:, 0, -1]

    x, gates = tokens(), torch.full((2, 5), 0.5, dtype=torch.float64)
    assert probe(f, x) == AttentionProbe(5, 1, causal=False)
    bias = gates.log().view(2, 1, 1, 5).masked_fill(torch.eye(5, dtype=torch.bool), 0.0)
    with GatedAttention(gates, AttentionProbe(5, 1, causal=False)):
        found = f(x)
    torch.testing.assert_close(found, f(x, bias), rtol=0, atol=1e-12)

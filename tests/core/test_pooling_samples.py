"""Every token or position as a sample of its own, and the way back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hoi_captum.core.pooling import Pooling
from hoi_captum.errors import InputError

G = torch.Generator().manual_seed(0)
ROWS = torch.randn(3, 5, generator=G)
TOKENS = torch.randn(3, 4, 5, generator=G)
IMAGES = torch.randn(3, 5, 2, 6, generator=G)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]])
EACH = Pooling("each")


def test_tokens_and_positions_are_samples() -> None:
    assert torch.equal(EACH.samples((ROWS,)).values, ROWS.unsqueeze(1))
    assert torch.equal(EACH.samples((TOKENS,)).values, TOKENS)
    positions = EACH.samples((IMAGES,)).values
    assert positions.shape == (3, 12, 5)
    for y in range(2):
        for x in range(6):
            assert torch.equal(positions[:, 6 * y + x], IMAGES[:, :, y, x])


@pytest.mark.parametrize("kind", ["each", "none", "mean", "last"])
@pytest.mark.parametrize("tensor", [ROWS, TOKENS, IMAGES], ids=["rows", "tokens", "images"])
def test_the_way_back(kind: str, tensor: Tensor) -> None:
    pooling = Pooling(kind)
    if kind == "last" and tensor.dim() == 4:
        pytest.skip("images have no last token")
    values = pooling.samples((tensor,)).values
    (back,) = pooling.spread_samples(values, [tensor.shape])
    assert back.shape == tensor.shape
    if kind in ("each", "none") or tensor.dim() == 2:
        assert torch.equal(back, tensor)
    else:  # every cell of a neuron has its pooled value
        assert torch.equal(pooling.reduce((back,)).sub(values[:, 0]).abs() < 1e-6, torch.ones(3, 5) > 0)


def test_another_dimension_may_be_the_neurons() -> None:
    first, last = Pooling("each", 1), Pooling("each", -1)
    assert torch.equal(first.samples((TOKENS,)).values, TOKENS.transpose(1, 2))
    assert torch.equal(last.samples((IMAGES,)).values, IMAGES.reshape(3, 10, 6))
    for pooling, tensor in ((first, TOKENS), (last, IMAGES)):
        samples = pooling.samples((tensor,))
        assert torch.equal(pooling.spread_samples(samples.values, [tensor.shape])[0], tensor)
    volumes = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    samples = EACH.samples((volumes,))
    assert samples.values.shape == (2, 8, 3)
    assert torch.equal(EACH.spread_samples(samples.values, [volumes.shape])[0], volumes)


def test_a_mask_says_which_tokens_count() -> None:
    samples = EACH.samples((TOKENS,), (MASK,))
    assert torch.equal(samples.kept, MASK.bool())
    assert torch.equal(samples.values, TOKENS)
    expected = torch.stack([TOKENS[0].mean(0), TOKENS[1, :2].mean(0), TOKENS[2, 1:3].mean(0)])
    torch.testing.assert_close(samples.mean(samples.values), expected)
    twice = samples.mean(torch.cat([samples.values, samples.values**2], -1))
    torch.testing.assert_close(twice[1, 5:], (TOKENS[1, :2] ** 2).mean(0))
    # a mask of one row is that of all; one that does not fit, or of positions, is none
    assert torch.equal(EACH.samples((TOKENS,), (MASK[1:2],)).kept, MASK[1:2].bool().expand(3, 4))
    assert EACH.samples((TOKENS,), (MASK[:, :3], "text", None)).kept.all()
    assert EACH.samples((IMAGES,), (torch.tensor([[1] * 6 + [0] * 6] * 3),)).kept.all()
    assert EACH.samples((ROWS,), (torch.tensor([[0]] * 3),)).kept.all()


def test_reduce_gives_the_mean_of_the_samples() -> None:
    for tensor, more in ((ROWS, ()), (TOKENS, ()), (TOKENS, (MASK,)), (IMAGES, ())):
        samples = EACH.samples((tensor,), more)
        torch.testing.assert_close(EACH.reduce((tensor,), more), samples.mean(samples.values))
        torch.testing.assert_close(EACH.reduce((tensor,), more), Pooling("mean").reduce((tensor,), more))


def test_other_poolings_have_one_sample() -> None:
    for kind in ("mean", "last", "none"):
        samples = Pooling(kind).samples((TOKENS,), (MASK,))
        assert torch.equal(samples.values[:, 0], Pooling(kind).reduce((TOKENS,), (MASK,)))
        assert samples.kept.shape == (3, 1)
        assert samples.kept.all()
        assert torch.equal(samples.mean(samples.values), samples.values[:, 0])


def test_gradients_flow_there_and_back() -> None:
    for tensor in (ROWS, TOKENS, IMAGES):
        leaf = tensor.double().requires_grad_()
        samples = EACH.samples((leaf,))
        assert samples.values.dtype == torch.float64
        (back,) = EACH.spread_samples(samples.values**2, [leaf.shape])
        (grad,) = torch.autograd.grad(back.sum(), leaf)
        torch.testing.assert_close(grad, 2 * leaf.detach())
    leaf = TOKENS.clone().requires_grad_()
    samples = EACH.samples((leaf,), (MASK,))
    (grad,) = torch.autograd.grad(samples.mean(samples.values).sum(), leaf)
    weights = MASK / MASK.sum(1, keepdim=True)
    torch.testing.assert_close(grad, weights.unsqueeze(-1).expand_as(grad))


def test_half_precision_becomes_single() -> None:
    assert EACH.samples((TOKENS.bfloat16(),)).values.dtype == torch.float32
    assert EACH.samples((ROWS.half(),)).values.dtype == torch.float32


def test_several_tensors_are_put_together_only_as_rows() -> None:
    samples = EACH.samples((ROWS, ROWS[:, :2]))
    assert samples.values.shape == (3, 1, 7)
    first, second = EACH.spread_samples(samples.values, [ROWS.shape, ROWS[:, :2].shape])
    assert torch.equal(first, ROWS)
    assert torch.equal(second, ROWS[:, :2])
    with pytest.raises(InputError, match="one tensor with pooling='each', got 2"):
        EACH.samples((TOKENS, TOKENS))
    with pytest.raises(InputError, match="no dimension 3"):
        Pooling("each", 3).samples((TOKENS,))

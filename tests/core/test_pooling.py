"""From a layer's cells to neurons and back."""

from __future__ import annotations

import pytest
import torch

from hoi_captum.core.pooling import Pooling, token_mask
from hoi_captum.errors import InputError, OptionError

G = torch.Generator().manual_seed(0)
ROWS = torch.randn(3, 5, generator=G)
TOKENS = torch.randn(3, 4, 5, generator=G)
IMAGES = torch.randn(3, 5, 2, 6, generator=G)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]])


def test_the_mean_of_tokens_of_positions_and_of_what_a_mask_leaves():
    mean = Pooling()
    assert torch.equal(mean.reduce((ROWS,)), ROWS)
    torch.testing.assert_close(mean.reduce((TOKENS,)), TOKENS.mean(1))
    torch.testing.assert_close(mean.reduce((IMAGES,)), IMAGES.mean((2, 3)))
    masked = torch.stack([TOKENS[0].mean(0), TOKENS[1, :2].mean(0), TOKENS[2, 1:3].mean(0)])
    torch.testing.assert_close(mean.reduce((TOKENS,), (MASK,)), masked)
    torch.testing.assert_close(mean.reduce((TOKENS, ROWS), (MASK,)), torch.cat([masked, ROWS], 1))


def test_the_last_token_is_the_last_that_a_mask_leaves():
    last = Pooling("last")
    assert torch.equal(last.reduce((TOKENS,)), TOKENS[:, -1])
    assert torch.equal(last.reduce((TOKENS,), (MASK,)), TOKENS[[0, 1, 2], [3, 1, 2]])
    with pytest.raises(InputError, match="pooling 'last'"):
        last.reduce((IMAGES,))


def test_none_keeps_every_cell_and_spread_undoes_it():
    none = Pooling("none")
    for tensor in (ROWS, TOKENS, IMAGES):
        neurons = none.reduce((tensor,))
        assert neurons.shape == (3, tensor[0].numel())
        assert torch.equal(none.spread(neurons, (tensor.shape,))[0], tensor)
        assert len(none.names((tensor.shape,))) == neurons.shape[1]
    assert none.names((TOKENS.shape,))[6] == "neuron 1 at 1"
    assert none.names((IMAGES.shape,))[12 + 6 + 2] == "channel 1 at 1,2"


@pytest.mark.parametrize("tensor", [ROWS, TOKENS, IMAGES])
@pytest.mark.parametrize("kind", ["mean", "none"])
def test_reducing_what_was_spread_gives_it_back(tensor, kind):
    pooling = Pooling(kind)
    neurons = pooling.reduce((tensor, tensor * 2))
    shapes = (tensor.shape, tensor.shape)
    spread = pooling.spread(neurons, shapes)
    assert [t.shape for t in spread] == list(shapes)
    torch.testing.assert_close(pooling.reduce(spread), neurons)


def test_the_neurons_dimension_can_be_named():
    swin = IMAGES.permute(0, 2, 3, 1)  # channels last
    pooling = Pooling(neuron_dim=-1)
    torch.testing.assert_close(pooling.reduce((swin,)), IMAGES.mean((2, 3)))
    assert pooling.spread(ROWS, (swin.shape,))[0][1, 0, 3].tolist() == ROWS[1].tolist()
    for dim in (4, -4, 9):
        with pytest.raises(InputError, match="has no dimension"):
            Pooling(neuron_dim=dim).reduce((swin,))


def test_half_precision_is_averaged_in_float32_and_float64_stays():
    assert Pooling().reduce((TOKENS.bfloat16(),)).dtype == torch.float32
    assert Pooling().reduce((TOKENS.double(),)).dtype == torch.float64
    assert Pooling().reduce((torch.ones(2, 3, dtype=torch.long),)).dtype == torch.float32


def test_a_mask_is_told_from_other_arguments():
    assert token_mask((TOKENS, "x", None, MASK), 3, 4).tolist() == MASK.bool().tolist()
    assert token_mask((MASK[:1],), 3, 4).shape == (3, 4)  # one for all rows
    types = torch.zeros(3, 4, dtype=torch.long)
    assert token_mask((types, MASK), 3, 4).tolist() == MASK.bool().tolist()  # token types come first
    assert token_mask((MASK.float(),), 3, 4).dtype == torch.bool
    for other in (MASK * 0.5, MASK * 7, MASK[:, :3], MASK.view(-1), types):
        assert token_mask((other,), 3, 4) is None


@pytest.mark.parametrize(
    "options", [{"kind": "max"}, {"neuron_dim": 0}, {"neuron_dim": True}, {"neuron_dim": 1.0}]
)
def test_unusable_options_are_refused(options):
    with pytest.raises(OptionError):
        Pooling(**options)


def test_tensors_of_other_rows_are_refused():
    with pytest.raises(InputError, match="same rows"):
        Pooling().reduce((ROWS, ROWS[:2]))
    with pytest.raises(InputError, match="same rows"):
        Pooling().reduce((torch.tensor(1.0),))

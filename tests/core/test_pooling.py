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


def test_a_rows_mask_does_not_depend_on_its_neighbours():
    types = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]])
    empty = MASK * torch.tensor([[1], [0], [1]])
    odd = torch.tensor([[1, 1, 0, 0], [0, 1, 2, 3], [1, 0, 0, 0]])
    for given in ((MASK, types), (types, MASK), (types,), (empty,), (odd,), (empty, types)):
        whole = token_mask(given, 3, 4)
        for row in range(3):
            alone = token_mask(tuple(g[row : row + 1] for g in given), 1, 4)
            assert whole[row].tolist() == ([True] * 4 if alone is None else alone[0].tolist())
    # a row of padding alone has all of its tokens, and the others keep their mask
    assert token_mask((empty,), 3, 4).tolist() == [MASK[0].tolist(), [1] * 4, MASK[2].tolist()]
    assert token_mask((MASK, types), 3, 4).tolist() == MASK.bool().tolist()


def test_the_mask_can_be_named():
    types = 1 - MASK + torch.eye(3, 4, dtype=torch.long) * MASK
    given = (types, MASK)
    assert torch.equal(Pooling(mask=1).reduce((TOKENS,), given), Pooling().reduce((TOKENS,), (MASK,)))
    for kind in ("mean", "last", "each"):
        assert torch.equal(Pooling(kind, mask=None).reduce((TOKENS,), given), Pooling(kind).reduce((TOKENS,)))
    assert torch.equal(Pooling(mask=0).reduce((IMAGES,)), Pooling().reduce((IMAGES,)))
    for pooling, more in ((Pooling(mask=2), given), (Pooling(mask=0), ("text",)), (Pooling(mask=0), (ROWS,))):
        with pytest.raises(InputError, match=r"expected an attention mask \(3 or 1, 4\)"):
            pooling.reduce((TOKENS,), more)
    with pytest.raises(InputError, match="of 0 and 1"):
        Pooling(mask=0).reduce((TOKENS,), (MASK * 2,))


@pytest.mark.parametrize("kind", ["mean", "last", "none", "each"])
@pytest.mark.parametrize("more", [(), (MASK,)])
def test_a_change_moves_the_neurons_by_itself_and_nothing_else(kind, more):
    for dim, tensor in ((None, TOKENS), (1, TOKENS.transpose(1, 2).contiguous())):
        pooling = Pooling(kind, dim)
        samples = pooling.samples((tensor, tensor) if kind != "each" else (tensor,), more)
        change = torch.ones_like(samples.values)
        tensors = (tensor, tensor) if kind != "each" else (tensor,)
        moved = pooling.add(tensors, change, more)
        if kind != "each":
            torch.testing.assert_close(pooling.reduce(moved, more), samples.values[:, 0] + 1)
        mask = MASK if more else torch.ones_like(MASK)
        last = torch.zeros_like(MASK).scatter(1, torch.tensor([[3], [1], [2]] if more else [[3]] * 3), 1)
        read = {"mean": mask, "each": mask, "last": last, "none": torch.ones_like(mask)}[kind]
        expected = TOKENS + read.unsqueeze(-1)
        torch.testing.assert_close(moved[0], expected if dim is None else expected.transpose(1, 2))
    assert torch.equal(Pooling().add((IMAGES,), torch.ones(3, 1, 5))[0], IMAGES + 1)


@pytest.mark.parametrize(
    "options",
    [
        *({"kind": "max"}, {"neuron_dim": 0}, {"neuron_dim": True}, {"neuron_dim": 1.0}),
        *({"mask": -1}, {"mask": True}, {"mask": "first"}),
    ],
)
def test_unusable_options_are_refused(options):
    with pytest.raises(OptionError):
        Pooling(**options)


def test_tensors_of_other_rows_are_refused():
    with pytest.raises(InputError, match="same rows"):
        Pooling().reduce((ROWS, ROWS[:2]))
    with pytest.raises(InputError, match="same rows"):
        Pooling().reduce((torch.tensor(1.0),))

"""Layer norms written out: the same values, and third derivatives that are right."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import hoi_captum as hoi
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import grow, hessian
from hoi_captum.core.gates import InputGates
from hoi_captum.core.layer_norm import WrittenOutLayerNorm


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_values_are_those_of_pytorch(shape, affine, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 5, generator=generator).to(dtype)
    weight = torch.randn(shape, generator=generator).to(dtype) if affine else None
    bias = torch.randn(shape, generator=generator).to(dtype) if affine else None
    expected = functional.layer_norm(x, shape, weight, bias, 1e-3)
    with WrittenOutLayerNorm():
        found = functional.layer_norm(x, shape, weight, bias, 1e-3)
        again = torch.layer_norm(x, shape, weight, bias, 1e-3)
    tolerance = 1e-12 if dtype == torch.float64 else 0.05
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    assert torch.equal(found, again)
    assert found.dtype == dtype


def test_nothing_else_is_touched():
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    with WrittenOutLayerNorm():
        inside = functional.gelu(x), functional.group_norm(x, 2)
    assert torch.equal(inside[0], functional.gelu(x))
    assert torch.equal(inside[1], functional.group_norm(x, 2))


def test_triples_through_a_layer_norm_are_those_of_differences_of_the_hessian():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1)).double()
    arguments = Arguments(net, torch.randn(2, 4, dtype=torch.float64), target=0)
    gates = InputGates(arguments, Players.from_feature_mask(arguments.inputs, None))
    pairs = torch.combinations(torch.arange(4), 2)
    third = grow(gates, pairs)
    step = 1e-5
    for unit in range(4):
        up, down = torch.ones(2, 4, dtype=torch.float64), torch.ones(2, 4, dtype=torch.float64)
        up[:, unit] += step
        down[:, unit] -= step
        slope = (hessian(gates, at=up) - hessian(gates, at=down)) / (2 * step)
        torch.testing.assert_close(
            third[:, :, unit], slope[:, pairs[:, 0], pairs[:, 1]], atol=1e-8, rtol=1e-6
        )


def test_a_berts_triple_does_not_depend_on_the_order_of_its_words():
    model, tokenizer = hoi.zoo.load("sentiment-bert-a")
    example = hoi.adapt(model.double(), tokenizer=tokenizer, output="logit").example("not a bad film")
    arguments = Arguments(
        lambda e: model(inputs_embeds=e).logits,
        example.inputs.double(),
        example.baselines.double(),
        1,
    )
    gates = InputGates(arguments, Players.from_feature_mask(arguments.inputs, (example.feature_mask,)))
    pairs = torch.combinations(torch.arange(4), 2)
    third = dict(zip(map(tuple, pairs.tolist()), grow(gates, pairs)[0], strict=True))
    assert max(float(row.abs().max()) for row in third.values()) > 0.01
    for i, j, k in itertools.combinations(range(4), 3):
        values = [third[i, j][k], third[i, k][j], third[j, k][i]]
        assert max(values) - min(values) < 1e-12

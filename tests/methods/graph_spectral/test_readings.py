"""What is read is what the layer gave: in place, in inference mode, over whole inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hoi_captum import GraphSpectral
from hoi_captum.core.pooling import Pooling
from hoi_captum.methods.graph_spectral.samples import WholeRows
from tests.methods.graph_spectral.networks import QUICK, conv, mlp, noise


def in_place() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(inplace=True), nn.Linear(12, 3)).eval()


def test_what_follows_a_layer_in_place_does_not_change_what_is_read() -> None:
    net, x = in_place(), noise(9, 6)
    method = GraphSpectral(net, net[0], n_nodes=9, **QUICK).fit(noise(200, 6))
    maps = method.neuron_map(x).reshape(9, -1)
    found = method.unit_forward()(x).detach().double()
    torch.testing.assert_close(found, maps)
    # the derivative of the layer's own output, which no ReLU has touched
    pixels = method.pull_back(x, 4)
    leaf = x.clone().requires_grad_()
    units = method.units_
    method.units_.encode(net[0](leaf))[:, 4].sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(pixels, (leaf * leaf.grad).detach())
    assert units is method.units_


@pytest.mark.parametrize("terms", ["groups", "edges", "pairs"])
def test_inference_mode_changes_nothing(terms: str) -> None:
    net, x = mlp(nn.GELU), noise(3, 6)
    method = GraphSpectral(net, net[1], n_nodes=9, terms=terms, **QUICK).fit(noise(200, 6))
    expected, pixels = method.interact(x, 0), method.pull_back(x, 1)
    with torch.inference_mode():
        inside = noise(3, 6)  # a tensor of inference mode
        for one in (x, inside):
            found = method.interact(one, 0)
            for here, there in zip(found, expected, strict=True):
                np.testing.assert_allclose(here.scores, there.scores, rtol=1e-5, atol=1e-9)
            torch.testing.assert_close(method.pull_back(one, 1), pixels)
            assert method.neuron_map(one, 0, relevance="gradient_x_activation").shape == (3, 3, 3)


@pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")
def test_what_is_usual_is_told_by_maps_of_whole_inputs() -> None:
    """And not by single positions, which vary many times as much: scores are standard deviations."""
    net = conv()
    data = noise(400, 1, 14, 14)
    method = GraphSpectral(net, net[1], n_nodes=9, **QUICK).fit(data)
    maps = method.neuron_map(data).reshape(400, -1).numpy()
    alive = maps.std(0) > 1e-9
    np.testing.assert_allclose(method.unit_mean_[alive], maps.mean(0)[alive], rtol=0.05)
    np.testing.assert_allclose(method.unit_std_[alive], maps.std(0)[alive], rtol=0.25)
    scores = np.array([[t.score for t in table] for table in method.interact(data)])
    assert 0.3 < scores.std() < 1.5


def test_whole_rows_are_bounded_by_rows_and_by_samples() -> None:
    values = torch.arange(300.0).view(300, 1, 1).expand(300, 7, 2)
    kept = torch.ones(300, 7, dtype=torch.bool)
    kept[:, 5:] = False
    for size, expected in ((10_000, 50), (200, 40), (60, 20)):
        held = WholeRows(50, size, seed=1)
        for part in torch.arange(300).split(64):
            held.add(values[part], kept[part])
        rows = held.rows()
        assert len(rows) == expected
        assert {tuple(own.shape) for own in rows} == {(5, 2)}
        assert len({float(own[0, 0]) for own in rows}) == expected
    # the choice is that of one call, whatever the batches
    whole = WholeRows(50, 10_000, seed=1)
    whole.add(values, kept)
    again = WholeRows(50, 10_000, seed=1)
    for part in torch.arange(300).split(10):
        again.add(values[part], kept[part])
    assert [float(r[0, 0]) for r in whole.rows()] == [float(r[0, 0]) for r in again.rows()]


@pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")
def test_a_named_mask_survives_a_file(tmp_path: Path) -> None:
    net = conv()
    method = GraphSpectral(net, net[1], n_nodes=9, pooling=Pooling("each", mask=None), **QUICK)
    method.fit(noise(40, 1, 14, 14)).save(tmp_path / "map.safetensors")
    again = GraphSpectral.load(tmp_path / "map.safetensors", net, net[1])
    assert again.pooling == method.pooling == Pooling("each", mask=None)

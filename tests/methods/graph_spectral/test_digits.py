"""Maps of a network that knows digits: its classes are regions, and it goes on knowing them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hoi_captum import GraphSpectral
from hoi_captum.measures.neuron_maps import morans_i
from tests.methods.graph_spectral.networks import Digits


def test_a_probe_explains_the_layer_and_keeps_the_accuracy(digits: Digits, digit_map: GraphSpectral) -> None:
    assert digit_map.quality_.fve >= 0.97
    assert digit_map.quality_.dead <= 0.25
    assert digit_map.quality_.n_samples + digit_map.quality_.n_judged == len(digits.seen)
    kept = digit_map.accuracy_kept(digits.x, digits.y)
    assert kept.n_rows == len(digits.x)
    right = (digits.net(digits.x).argmax(1) == digits.y).double().mean()
    assert kept.before == pytest.approx(float(right))
    assert kept.before >= 0.95
    assert kept.after >= kept.before - 0.01
    assert kept.agreement >= 0.98


def test_its_classes_are_regions(digits: Digits, digit_map: GraphSpectral) -> None:
    maps = digit_map.class_maps(digits.x, digits.y, n_permutations=199)
    assert maps.moran.value >= 0.75
    for tested in (maps.moran, maps.edges, maps.separation):
        assert tested.p <= 0.01
        assert tested.value > tested.chance
    assert maps.maps.shape == (10, 8, 8)


def test_labels_that_mean_nothing_are_told_by_the_separation(
    digits: Digits, digit_map: GraphSpectral
) -> None:
    order = torch.randperm(len(digits.y), generator=torch.Generator().manual_seed(0))
    maps = digit_map.class_maps(digits.x, digits.y[order], n_permutations=199)
    assert maps.separation.p > 0.05
    assert maps.separation.value == pytest.approx(maps.separation.chance, abs=0.01)


def test_a_layout_puts_alike_neurons_beside_each_other(digits: Digits) -> None:
    method = digits.fit(method="layout")
    assert method.quality_.fve == pytest.approx(1.0)
    assert sorted(method.units_.order.tolist()) == list(range(64))
    maps = method.class_maps(digits.x, digits.y, n_permutations=199)
    assert maps.moran.value >= 0.35
    assert maps.moran.p <= 0.01
    found = []
    for seed in range(5):
        order = torch.as_tensor(np.random.default_rng(seed).permutation(64))
        method.units_ = replace(method.units_, order=order)
        moved = method.class_maps(digits.x, digits.y, n_permutations=0)
        found.append(moved.moran.value)
        np.testing.assert_allclose(np.sort(moved.means), np.sort(maps.means), atol=1e-6)
    assert abs(np.mean(found)) < 0.1


def test_a_smoother_map_is_paid_for_by_variance(digits: Digits, digit_map: GraphSpectral) -> None:
    rough = digits.fit(alpha=0.0, max_steps=1000)
    assert rough.quality_.roughness > 2 * digit_map.quality_.roughness
    maps = rough.class_maps(digits.x, digits.y, n_permutations=0)
    assert abs(maps.moran.value) < 0.3
    means = digit_map.class_maps(digits.x, digits.y, n_permutations=0).means
    assert morans_i(means, digit_map.graph_, n_permutations=0).value > maps.moran.value + 0.4

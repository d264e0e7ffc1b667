"""Results of layers on the scale of the input, as Captum's users bring them there."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerAttribution
from torch.nn import functional

from hoi_captum.testing.suite import as_tuple
from tests.workflows.methods import Ready

CHANNELS = {"TaylorCAM": 1, "SecondGlance": 1, "LayerLocalCorEx": 4, "GraphSpectral": 4}


@pytest.mark.parametrize("name", CHANNELS)
def test_maps_of_a_layer_are_brought_to_the_size_of_the_image(name: str, ready: Ready) -> None:
    method, case = ready(f"{name}, at a layer", "images")
    found = method.attribute(case.inputs, target=2)
    assert found.shape == (2, CHANNELS[name], 4, 4)
    nearest = method.interpolate(found, (8, 8))
    assert nearest.shape[2:] == case.inputs.shape[2:]
    assert torch.equal(nearest, found.repeat_interleave(2, 2).repeat_interleave(2, 3))
    # each new pixel lies a quarter of a cell from the next old one, and three from the one behind
    smooth = LayerAttribution.interpolate(found, (8, 8), interpolate_mode="bilinear")
    padded = functional.pad(found, (1, 1, 1, 1), mode="replicate")
    rows = torch.stack(
        (
            0.25 * padded[:, :, :-2] + 0.75 * padded[:, :, 1:-1],
            0.75 * padded[:, :, 1:-1] + 0.25 * padded[:, :, 2:],
        ),
        3,
    ).flatten(2, 3)
    both = torch.stack(
        (0.25 * rows[..., :-2] + 0.75 * rows[..., 1:-1], 0.75 * rows[..., 1:-1] + 0.25 * rows[..., 2:]), 4
    ).flatten(3, 4)
    torch.testing.assert_close(smooth, both)
    torch.testing.assert_close(smooth, functional.interpolate(found, (8, 8), mode="bilinear"))


def test_a_pooled_neuron_stands_at_all_positions(ready: Ready) -> None:
    """LayerLocalCorEx says something of channels: interpolating it changes nothing."""
    method, case = ready("LayerLocalCorEx, at a layer", "images")
    found = method.attribute(case.inputs, target=2)
    upsampled = method.interpolate(found, (8, 8), interpolate_mode="bilinear")
    torch.testing.assert_close(upsampled, found[:, :, :1, :1].expand(-1, -1, 8, 8))
    assert len(as_tuple(found)) == 1
    assert bool((found[:, :, 0, 0].std(1) > 0).all())

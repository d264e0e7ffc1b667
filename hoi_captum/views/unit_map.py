"""A row's neuron map as an image whose regions are its units: what the page shows of it."""

from __future__ import annotations

import numpy as np
import torch

from hoi_captum.core.example import ImageLayout
from hoi_captum.core.interactions import Interactions
from hoi_captum.views.palette import diverging, sequential


def map_layout(interactions: Interactions) -> ImageLayout | None:
    """The map of a table that has one, a pixel for each unit in the colours of its activation.

    Args:
        interactions: GraphSpectral's have ``units`` and ``map_shape`` among their arrays.

    Returns:
        None of other tables.
    """
    arrays = interactions.arrays
    if not {"units", "map_shape"} <= set(arrays) or len(arrays["units"]) != len(interactions.players):
        return None
    h, w = arrays["map_shape"].tolist()
    k = len(arrays["units"])
    units, mask = np.zeros(h * w), np.full(h * w, -1)
    units[:k], mask[:k] = np.nan_to_num(arrays["units"]), np.arange(k)
    peak = float(np.abs(units).max()) or 1.0
    signed = bool((units < 0).any())
    colours = diverging() if signed else sequential("positive")
    shade = colours((units / peak + 1) / 2 if signed else units / peak)[:, :3].astype(np.float32)
    shade[mask < 0] = 1.0
    return ImageLayout(
        torch.from_numpy(shade.reshape(h, w, 3)), torch.from_numpy(mask.reshape(h, w).astype(np.int64))
    )

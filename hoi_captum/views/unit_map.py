"""A row's neuron map as an image whose regions are its units: what the page shows of it."""

from __future__ import annotations

import numpy as np
import torch

from hoi_captum.core.example import ImageLayout
from hoi_captum.core.interactions import Interactions
from hoi_captum.views.palette import diverging, sequential

_LARGEST = 1 << 20  # cells of a map


def shape_of_map(interactions: Interactions) -> tuple[int, int] | None:
    """(h, w) of the map that a table has among its arrays; None of others, and of shapes that hold no map."""
    units, shape = (interactions.arrays.get(name) for name in ("units", "map_shape"))
    if (
        units is None
        or shape is None
        or units.ndim != 1
        or shape.shape != (2,)
        or shape.dtype.kind not in "iu"
    ):
        return None
    h, w = (int(side) for side in shape)
    return (h, w) if h > 0 and w > 0 and len(units) <= h * w <= _LARGEST else None


def map_layout(interactions: Interactions) -> ImageLayout | None:
    """The map of a table that has one, a pixel for each unit in the colours of its activation.

    Args:
        interactions: GraphSpectral's have ``units`` and ``map_shape`` among their arrays.

    Returns:
        None of other tables.
    """
    shape = shape_of_map(interactions)
    if shape is None or len(interactions.arrays["units"]) != len(interactions.players):
        return None
    h, w = shape
    arrays = interactions.arrays
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

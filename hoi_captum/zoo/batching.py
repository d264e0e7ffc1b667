"""Batches of texts of similar length, which saves most of the padding."""

from __future__ import annotations

import torch
from torch import Tensor

_POOL = 50  # batches that are sorted by length together


def by_length(lengths: Tensor, size: int) -> list[Tensor]:
    """The numbers of all texts in random order, those of similar length in the same batch."""
    batches = [
        batch
        for pool in torch.split(torch.randperm(len(lengths)), _POOL * size)
        for batch in torch.split(pool[lengths[pool].argsort()], size)
    ]
    return [batches[i] for i in torch.randperm(len(batches)).tolist()]

"""From pairs to triples: which to look at, and what is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALL_UP_TO = 12  # units, for which all triples are taken


def pairs_to_go_on_from(k: int, search: str, top_k: int | None) -> int:
    """How many pairs of k units are differentiated once more."""
    every = k * (k - 1) // 2
    if search == "greedy" or (search == "auto" and k > _ALL_UP_TO):
        return min(k if top_k is None else top_k, every)
    return every


def find_triples(
    third: Callable[[Tensor], Tensor], pairs: Tensor, search: str, top_k: int | None
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Triples and their third derivatives, for each example.

    Args:
        third: pairs (B, s, 2) -> derivatives with each unit, (B, s, k).
        pairs: (B, k, k) second derivatives.
        search: ``all`` pairs are differentiated once more, ``greedy`` those of largest absolute value,
            ``auto`` all up to 12 units.
        top_k: pairs for ``greedy``. Default: k

    Returns:
        for each example members (t, 3), sorted, without repetition, and scores (t,). A triple that several
        pairs lead to gets their mean; they differ by rounding, or by what a difference misses.
    """
    examples, k, _ = pairs.shape
    if k < 3:
        return [(np.zeros((0, 3), dtype=np.int64), np.zeros(0))] * examples
    every = torch.combinations(torch.arange(k), 2)
    count = pairs_to_go_on_from(k, search, top_k)
    strength = pairs[:, every[:, 0], every[:, 1]].abs()
    chosen = every[strength.topk(count).indices] if count < len(every) else every.expand(examples, -1, -1)
    found = third(chosen).numpy()
    return [_collected(chosen[b].numpy(), found[b]) for b in range(examples)]


def _collected(
    pairs: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    s, k = values.shape
    triples = np.empty((s, k, 3), dtype=np.int64)
    triples[..., :2] = pairs[:, None]
    triples[..., 2] = np.arange(k)
    proper = (triples[..., 2] != triples[..., 0]) & (triples[..., 2] != triples[..., 1])
    members, owner = np.unique(np.sort(triples[proper], axis=1), axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    sums = np.bincount(owner, values[proper], minlength=len(members))
    return members, sums / np.maximum(np.bincount(owner, minlength=len(members)), 1)

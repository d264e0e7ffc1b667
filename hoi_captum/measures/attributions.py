"""Captum's attributions as tables of order one, to be judged like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import Example, PerModel, as_tensors
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError

KIND = "attribution"
_CELLS = ("auto", "whole", "parts")
_SAME = 1e-5  # of the largest: float32 values that are meant to be equal


def interactions_from_attributions(
    attributions: Any,
    example: Example,
    *,
    cells: str = "auto",
    base: float | PerModel[float] = 0.0,
    method: str = KIND,
) -> Interactions:
    """One term of order 1 for each player, of kind ``attribution``, from attributions shaped like the inputs.

    Captum's perturbation methods (ShapleyValueSampling, FeatureAblation, Lime, ...) give **every cell** of a
    player the player's whole value, as the ``attribute`` of this library does: summing them would count it
    once for each cell. Gradient methods give each cell its own part, to be summed.

    Args:
        attributions: a Tensor or tuple of Tensors shaped like the example's inputs, one row; with several
            models a ``PerModel`` of these, whose scopes are ``model:i``.
        example: which cells belong to which player (``feature_mask``), and the players' names.
        cells: ``whole``, each cell has its player's value; ``parts``, the player's value is the sum of its
            cells; ``auto``, whole where all cells of each player are equal, else parts. Default: auto
        base: v(empty), which no attribution tells; a table judged without it is off by a constant. With
            several models a ``PerModel``, or one for all. Default: 0
        method: name of the method, for the provenance. Default: attribution

    Returns:
        Interactions: scores in the unit of the attributions.

    Raises:
        InputError: attributions of another shape than the inputs, or cells of a player that differ with
            ``cells="whole"``.
        OptionError: ``cells`` is none of the three.

    Examples::

        >>> from captum.attr import ShapleyValueSampling
        >>> model, example = (lambda x: x[:, 0] * x[:, 1]), hoi.Example(torch.tensor([[2.0, 3.0]]))
        >>> attributions = ShapleyValueSampling(model).attribute(**example, n_samples=200)
        >>> table = hoi.measures.interactions_from_attributions(attributions, example)
        >>> table.orders, round(hoi.measures.faithfulness(table, hoi.MaskedGame(model, **example)).mae[-1])
        (array([1, 1]), 3)
    """
    check_choice("cells", cells, _CELLS)
    several = isinstance(attributions, PerModel)
    given = list(attributions) if isinstance(attributions, PerModel) else [attributions]
    blocks, bases = [], {}
    for i, attribution in enumerate(given):
        inputs, masks = (_of_model(example[key], i, len(given)) for key in ("inputs", "feature_mask"))
        scope = f"model:{i}" if several else ""
        blocks.append((scope, _per_player(attribution, inputs, masks, cells)))
        bases[scope] = float(_of_model(base, i, len(given)))
    n = len(blocks[0][1])
    names = example.names or tuple(map(str, range(n)))
    return Interactions(
        players=tuple(names),
        scores=np.concatenate([scores for _, scores in blocks]),
        members=np.tile(np.arange(n, dtype=np.int32), len(blocks)),
        offsets=np.arange(n * len(blocks) + 1, dtype=np.int64),
        kinds=np.full(n * len(blocks), KIND),
        scopes=np.repeat([scope for scope, _ in blocks], n),
        base=bases if several else bases[""],
        provenance=Provenance(method=method, options={"cells": cells}),
    )


def _of_model(value: Any, i: int, models: int) -> Any:
    if not isinstance(value, PerModel):
        return value
    if len(value) != models:
        raise InputError(f"expected attributions for {len(value)} models as a PerModel, got {models}")
    return value[i]


def _per_player(attributions: Any, inputs: Any, masks: Any, cells: str) -> NDArray[np.float64]:
    """The value of each player, (n,)."""
    tensors, found = as_tensors(inputs), as_tensors(attributions, "attributions")
    shapes = [tuple(x.shape) for x in tensors]
    if [tuple(a.shape) for a in found] != shapes or tensors[0].shape[0] != 1:
        raise InputError(
            f"expected attributions of one row, shaped like the inputs {shapes}, got "
            f"{[tuple(a.shape) for a in found]}"
        )
    players = Players.from_feature_mask(tensors, masks)
    flat, owners = _cells(found, players)
    n = players.count
    sums = np.bincount(owners, flat, minlength=n).astype(np.float64)
    highest, lowest = np.full(n, -np.inf), np.full(n, np.inf)
    np.maximum.at(highest, owners, flat)
    np.minimum.at(lowest, owners, flat)
    same = bool((highest - lowest <= _SAME * np.abs(flat).max(initial=0.0)).all())
    if cells == "whole" and not same:
        raise InputError(
            'expected the cells of each player to have one value (cells="whole"), got values that differ; '
            'give cells="parts" to sum them'
        )
    if cells == "parts" or not same:
        return sums
    return sums / np.bincount(owners, minlength=n)


def _cells(
    attributions: tuple[Tensor, ...], players: Players
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The values of all cells that belong to a player, and whose they are."""
    values = torch.cat([a.detach().cpu().double().reshape(-1) for a in attributions]).numpy()
    owners = torch.cat(
        [m.expand(a.shape).reshape(-1).cpu() for a, m in zip(attributions, players.masks, strict=True)]
    ).numpy()
    if not np.isfinite(values).all():
        raise InputError("expected finite attributions, got one that is not")
    mine = owners >= 0
    return values[mine], owners[mine]

"""How much a result depends on chance: several runs on the same sample, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count, check_number
from hoi_captum.errors import InputError
from hoi_captum.measures.identity import as_tables, scopes_of, term_ids


class Stability(NamedTuple):
    """Agreement of each pair of r runs, for each of m scopes: (m, r, r) arrays, symmetric.

    Attributes:
        jaccard: of the salient sets, 1 = the same (two empty ones too).
        overlap: share of the k strongest terms that both runs have; NaN where a run has none.
        difference: largest difference of an effect, in parts of the largest effect of any run.

    Examples::

        >>> runs = [hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, v])) for v in (6.0, 3.0)]
        >>> hoi.measures.stability(runs).difference  # the pair's effect is 3 in one run, 0 in the other
        array([[[0., 1.],
                [1., 0.]]])
    """

    jaccard: NDArray[np.float64]
    overlap: NDArray[np.float64]
    difference: NDArray[np.float64]


def stability(runs: Sequence[Interactions], *, fraction: float = 0.05, k: int = 10) -> Stability:
    """How alike several runs (seeds, starts, settings) on one sample are.

    Args:
        runs: tables of the same players and scopes.
        fraction: salient is what exceeds this part of the scope's largest effect. Default: 0.05
        k: number of strongest terms of the overlap, all kinds together; where a run has fewer, the smaller
            number of the two counts. Default: 10

    Returns:
        Stability: of each pair of runs.

    Raises:
        OptionError: ``fraction`` or ``k`` out of range.
        InputError: fewer than two runs, or of different players or scopes.

    Examples::

        >>> runs = [hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, v])) for v in (6.0, 3.0)]
        >>> hoi.measures.stability(runs).jaccard.round(2)
        array([[[1.  , 0.67],
                [0.67, 1.  ]]])
    """
    check_number("fraction", fraction, low=0.0, high=1.0)
    check_count("k", k)
    tables = as_tables(runs)
    if len(tables) < 2:
        raise InputError(f"expected two runs or more, got {len(tables)}")
    ids = term_ids(tables)
    count = 1 + max(int(i.max(initial=0)) for i in ids)
    found = []
    for scope in scopes_of(tables[0]):
        effects = np.zeros((len(tables), count))
        for row, table, numbers in zip(effects, tables, ids, strict=True):
            mine = table.scopes == scope
            np.add.at(row, numbers[mine], table.scores[mine])
        found.append(_agreement(effects, fraction, k))
    return Stability(*(np.array(parts) for parts in zip(*found, strict=True)))


def _agreement(effects: NDArray[np.float64], fraction: float, k: int) -> tuple[NDArray[np.float64], ...]:
    """Jaccard index, overlap and largest difference of each pair of rows, (r, r) each."""
    size = np.abs(effects)
    largest = size.max(axis=1, keepdims=True)
    salient = size > fraction * largest
    # the k strongest of what is there
    top = np.zeros_like(salient)
    np.put_along_axis(top, np.argsort(-size, axis=1, kind="stable")[:, :k], True, axis=1)
    top &= size > 0
    both, either = _pairs(salient, np.logical_and), _pairs(salient, np.logical_or)
    fewer = np.minimum(top.sum(axis=1)[:, None], top.sum(axis=1)[None, :])
    apart = np.array([[np.abs(a - b).max() for b in effects] for a in effects])
    return (
        np.divide(both, either, out=np.ones(both.shape), where=either > 0),
        np.divide(_pairs(top, np.logical_and), fewer, out=np.full(both.shape, np.nan), where=fewer > 0),
        apart / (largest.max() or 1.0),
    )


def _pairs(sets: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.float64]:
    """Number of elements of each pair of sets, combined."""
    return np.array([[combine(a, b).sum() for b in sets] for a in sets], dtype=np.float64)

"""Which triples are looked at, and what they get."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from hoi_captum.methods.taylor_cam import TaylorCAM
from hoi_captum.methods.taylor_cam.triples import find_triples


def symmetric(k: int, examples: int = 2) -> Tensor:
    """Third derivatives of some function, (B, k, k, k)."""
    values = torch.randn(examples, k, k, k, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
    turned = [values.permute(0, *(1 + i for i in order)) for order in
              ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))]  # fmt: skip
    return torch.stack(turned).mean(0)


def of(cube: Tensor, asked: list[Tensor]):
    def third(pairs: Tensor) -> Tensor:
        asked.append(pairs)
        rows = torch.arange(len(cube)).unsqueeze(1)
        return cube[rows, pairs[..., 0], pairs[..., 1]]

    return third


def drawn_pairs(k: int) -> Tensor:
    values = torch.randn(2, k, k, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    return values + values.transpose(1, 2)


def test_all_triples_are_found_once():
    k, cube = 5, symmetric(5)
    found = find_triples(of(cube, asked := []), drawn_pairs(k), "all", None)
    assert asked[0].shape == (2, 10, 2)
    for row, (members, scores) in enumerate(found):
        assert members.tolist() == [list(t) for t in combinations(range(k), 3)]
        expected = [float(cube[row, i, j, m]) for i, j, m in members.tolist()]
        np.testing.assert_allclose(scores, expected, rtol=1e-12)


@pytest.mark.parametrize(("top_k", "count"), [(None, 6), (2, 2), (99, 15)])
def test_greedy_takes_the_strongest_pairs_of_each_row(top_k, count):
    k, cube, pairs = 6, symmetric(6), drawn_pairs(6)
    found = find_triples(of(cube, asked := []), pairs, "greedy", top_k)
    assert asked[0].shape == (2, count, 2)
    for row, (members, scores) in enumerate(found):
        by_size = sorted(combinations(range(k), 2), key=lambda p, row=row: -abs(float(pairs[row][p])))
        chosen = {frozenset(p) for p in by_size[:count]}
        assert {frozenset(p) for p in asked[0][row].tolist()} == chosen
        # all that contain a chosen pair
        expected = [t for t in combinations(range(k), 3) if any(pair < set(t) for pair in chosen)]
        assert members.tolist() == [list(t) for t in expected]
        np.testing.assert_allclose(scores, [float(cube[row][t]) for t in expected], rtol=1e-12)


def test_auto_is_all_up_to_twelve_units():
    for k, count in ((12, 66), (13, 13)):
        find_triples(of(symmetric(k), asked := []), drawn_pairs(k), "auto", None)
        assert asked[0].shape[1] == count
    find_triples(of(symmetric(13), asked := []), drawn_pairs(13), "auto", 5)
    assert asked[0].shape[1] == 5


def test_a_triple_that_several_pairs_lead_to_gets_their_mean():
    values = {(0, 1): 1.0, (0, 2): 2.0, (1, 2): 6.0}

    def third(pairs: Tensor) -> Tensor:
        return torch.stack([torch.full((3,), values[tuple(p)]) for p in pairs[0].tolist()])[None].double()

    ((members, scores),) = find_triples(third, torch.ones(1, 3, 3), "all", None)
    assert members.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [3.0]


@pytest.mark.parametrize("k", [1, 2])
def test_fewer_units_than_three(k):
    def never(pairs: Tensor) -> Tensor:
        raise AssertionError

    for members, scores in find_triples(never, torch.ones(2, k, k), "auto", None):
        assert members.shape == (0, 3)
        assert scores.shape == (0,)


@pytest.mark.parametrize("mode", ["exact", "grad_diff", "stein", "occlusion", "path", "softplus"])
def test_greedy_is_all_restricted(mode):
    x = torch.tensor([[0.5, 1.0, -1.5, 2.0, 0.3], [2.0, 0.1, 1.0, -0.7, 1.2]], dtype=torch.float64)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)

    def f(v: Tensor) -> Tensor:
        return (v @ weights).tanh().prod(1) + (v[:, 0] * v[:, 3]).sin()

    options = {"order": 3, "mode": mode, "n_samples": 64, "h": 0.01, "synergy": 0}
    every = TaylorCAM(f, search="all", **options).interact(x)
    greedy = TaylorCAM(f, search="greedy", top_k=2, **options).interact(x)
    for whole, part in zip(every, greedy, strict=True):
        assert 0 < len(part) < len(whole) == 10
        np.testing.assert_array_equal(whole.pairs, part.pairs)
        scores = {t.members: t.score for t in whole}
        # differences see a triple from each of its pairs in a slightly other way; the others do not
        tolerance = 0.01 if mode == "grad_diff" else 1e-9
        for term in part:
            assert term.score == pytest.approx(scores[term.members], rel=tolerance, abs=1e-9)

"""Weights of the structure against sets of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum.corex.marginals import Observations, gaussian_marginals
from hoi_captum.corex.structure import MAX_ROWS, enough_rows, likeliest_states, structure, unique_shares
from tests.corex import bio_oracles as slow


def stacked(P: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(P).permute(2, 0, 1).contiguous()


@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_weights_are_those_of_the_loops(states, gaps):
    random = np.random.RandomState(0)
    n, p, m = 60, 8, 4
    X = random.randn(n, p)
    if gaps:
        X[random.random_sample(X.shape) < 0.3] = np.nan
    P = random.dirichlet(np.full(states, 0.3), (m, n))
    data = Observations.of(torch.from_numpy(X.T.copy()))
    marginals = gaussian_marginals(data, stacked(P), min_variance=0.25, smooth=False)
    expected = slow.structure(slow.normal_theta(X, P), X, P)
    tcs = np.array([1.0, 0.005, -0.5, 0.0])
    noise = np.random.RandomState(7).random_sample((2, p))
    found = structure(data, marginals, stacked(P), torch.from_numpy(tcs), np.random.RandomState(7))
    np.testing.assert_allclose(found.numpy(), slow.raised(expected, tcs, noise), rtol=1e-12)
    assert np.array_equal(found[[0, 2]], expected[[0, 2]])
    assert found[1].max() >= 0.99


def test_shares_of_rows_that_no_other_factor_is_told_in():
    told = torch.zeros(3, 1, 10, dtype=torch.bool)
    told[0, 0, :4] = True
    told[1, 0, 2:8] = True  # 6 rows: first
    told[2, 0, 6:10] = True  # 4 rows, like factor 0: after it
    assert unique_shares(told)[:, 0].tolist() == [2 / 4, 6 / 6, 2 / 4]
    told[2] = told[0]
    assert unique_shares(told)[:, 0].tolist() == [2 / 4, 1.0, 0.0]
    assert unique_shares(told, torch.tensor([False, True, False]))[:, 0].tolist() == [1.0, 4 / 6, 0.0]
    assert unique_shares(told & False)[:, 0].tolist() == [0, 0, 0]


def test_the_first_of_equally_likely_states():
    odds = torch.tensor([[-1.0, 2.0, 0.0, 3.0], [-1.0, 1.0, 0.0, 3.0]])
    assert likeliest_states(odds).tolist() == [0, 1, 0, 1]
    assert likeliest_states(odds[:1]).tolist() == [0, 1, 0, 1]
    assert likeliest_states(odds.flip(0)).tolist() == [0, 2, 0, 1]


def test_a_single_factor_has_every_variable():
    data = Observations.of(torch.randn(3, 10, dtype=torch.float64))
    P = torch.full((2, 1, 10), 0.5, dtype=torch.float64)
    marginals = gaussian_marginals(data, P, min_variance=0.25, smooth=False)
    alpha = structure(data, marginals, P, torch.zeros(1), np.random.RandomState(0))
    assert alpha.tolist() == [[1.0, 1.0, 1.0]]


def test_many_rows_are_judged_by_some_of_them():
    assert enough_rows(MAX_ROWS, np.random.RandomState(0)) is None
    index = enough_rows(3 * MAX_ROWS, np.random.RandomState(0))
    assert index.shape == (MAX_ROWS,)
    assert len(index.unique()) == MAX_ROWS
    assert 0 <= int(index.min()) < int(index.max()) < 3 * MAX_ROWS
    assert float(index.double().mean()) == pytest.approx(1.5 * MAX_ROWS, rel=0.02)

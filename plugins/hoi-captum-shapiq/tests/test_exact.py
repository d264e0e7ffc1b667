"""The indices of all coalitions, against shapiq's own enumeration and against ours."""

from __future__ import annotations

import numpy as np
import pytest
import shapiq
import torch
from hoi_captum_shapiq import exact_interactions
from hoi_captum_shapiq.exact import INDICES

from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.mobius import moebius_transform, shapley_values
from hoi_captum.errors import InputError, OptionError


def oracle(values, index, order):
    """By shapiq, which enumerates the marginal differences of each set."""
    n = len(values).bit_length() - 1
    powers = 2 ** np.arange(n)[::-1]

    def game(coalitions):
        return values.numpy()[np.atleast_2d(coalitions).astype(int) @ powers]

    found = shapiq.ExactComputer(game, n)(index, order)
    rows = [tuple(np.flatnonzero(c)) for c in all_coalitions(n).numpy()]
    return [found.dict_values.get(row, 0.0) if 0 < len(row) <= order else 0.0 for row in rows]


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize(("n", "order"), [(1, 1), (4, 1), (5, 2), (6, 3), (4, 4)])
def test_agreement_with_shapiq(index, n, order):
    values = torch.randn(1 << n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    found = exact_interactions(values, index, order).numpy()
    # shapiq solves weighted least squares with a weight of 1e8 for FSII
    np.testing.assert_allclose(found, oracle(values, index, order), atol=2e-6 if index == "FSII" else 1e-12)


@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII", "FBII"])
def test_the_highest_order_is_the_moebius_transform(index):
    values = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dividends = moebius_transform(values)
    dividends[0] = 0
    torch.testing.assert_close(exact_interactions(values, index, 5), dividends, rtol=0, atol=1e-12)


@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_efficiency(index, order):
    values = torch.randn(256, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    total = exact_interactions(values, index, order).sum()
    assert float(total) == pytest.approx(float(values[-1] - values[0]), abs=1e-12)


@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII", "SII"])
def test_order_one_is_the_shapley_value(index):
    values = torch.randn(64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    singles = exact_interactions(values, index, 1)[[1 << (5 - i) for i in range(6)]]
    torch.testing.assert_close(singles, shapley_values(values), rtol=0, atol=1e-12)


def test_bad_input():
    with pytest.raises(OptionError, match="index"):
        exact_interactions(torch.zeros(4), "SHAP")
    with pytest.raises(OptionError, match="at most"):
        exact_interactions(torch.zeros(4), "STII", 3)
    with pytest.raises(InputError):
        exact_interactions(torch.zeros(3))

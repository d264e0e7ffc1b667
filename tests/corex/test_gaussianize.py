"""Standardised columns against numpy and scipy, column by column."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from hoi_captum.corex import gaussianize
from hoi_captum.corex.gaussianize import KINDS, Marginals, chunks, fit_marginals
from hoi_captum.errors import InputError

CPU = torch.device("cpu")


def data(n: int = 60) -> NDArray[np.float64]:
    """Skewed columns, ties, an outlier, missing values and a constant."""
    random = np.random.default_rng(3)
    x = np.stack(
        [
            random.standard_normal(n) * 3 + 100,
            random.exponential(size=n) * 1e-3,
            random.integers(0, 4, n).astype(float),
            np.where(np.arange(n) == 7, 50.0, random.standard_normal(n)),
            np.full(n, 0.1),
            np.where(np.arange(n) % 3 == 0, np.nan, random.standard_normal(n)),
        ],
        axis=1,
    )
    return x


def standardised(marginals: Marginals, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return torch.cat([marginals.apply(piece) for piece in chunks(x, CPU)]).numpy()


def squeezed(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(z) > 4, np.sign(z) * (4 + np.tanh(np.abs(z) - 4)), z)


@pytest.mark.parametrize("kind", ["standard", "outliers", "empirical"])
@pytest.mark.parametrize("chunk", [1 << 22, 40])
def test_columns_are_those_of_the_formula(kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussianize, "CHUNK", chunk)
    x = data()
    z = standardised(fit_marginals(x, kind, CPU), x)
    for i in range(x.shape[1]):
        there = ~np.isnan(x[:, i])
        values = x[there, i]
        if np.ptp(values) == 0:
            expected = np.zeros_like(values)
        elif kind == "empirical":
            expected = norm.ppf((rankdata(values) - 0.5) / len(values))
        else:
            expected = (values - values.mean()) / values.std()
            expected = squeezed(expected) if kind == "outliers" else expected
        np.testing.assert_allclose(z[there, i], expected, atol=1e-10)
        assert np.all(z[~there, i] == 0)  # the mean


def test_an_outlier_is_squeezed_to_at_most_five() -> None:
    x = data()
    plain = standardised(fit_marginals(x, "standard", CPU), x)[7, 3]
    z = standardised(fit_marginals(x, "outliers", CPU), x)[7, 3]
    assert plain > 7
    assert 4.9 < z <= 5


@pytest.mark.parametrize("kind", ["standard", "outliers", "empirical"])
def test_inverse_gives_the_data_back(kind: str) -> None:
    x = data()
    marginals = fit_marginals(x, kind, CPU)
    back = marginals.invert(torch.from_numpy(standardised(marginals, x))).numpy()
    there = ~np.isnan(x)
    if kind == "empirical":
        there[:, 2] = False  # ties share a quantile
    np.testing.assert_allclose(back[there], x[there], rtol=1e-9)


def test_new_values_of_an_empirical_distribution_stay_within_its_range() -> None:
    x = np.arange(10.0)[:, None]
    marginals = fit_marginals(x, "empirical", CPU)
    z = marginals.apply(torch.tensor([[-5.0], [0.0], [4.5], [9.0], [99.0]], dtype=torch.float64))
    expected = norm.ppf([0.05, 0.05, 0.5, 0.95, 0.95])
    np.testing.assert_allclose(z[:, 0].numpy(), expected, atol=1e-12)


def test_many_rows_share_knots() -> None:
    x = np.random.default_rng(0).exponential(size=(20_000, 1))
    marginals = fit_marginals(x, "empirical", CPU)
    assert marginals.knots is not None
    assert marginals.knots.shape == (gaussianize.KNOTS, 1)
    z = standardised(marginals, x)[:, 0]
    exact = norm.ppf((rankdata(x[:, 0]) - 0.5) / len(x))
    inner = np.abs(exact) < 2.5  # between the outermost knots
    np.testing.assert_allclose(z[inner], exact[inner], atol=0.02)


def test_none_leaves_standardised_columns_as_they_are() -> None:
    x = data()[:, :4]
    x = (x - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(standardised(fit_marginals(x, "none", CPU), x), x, rtol=1e-12)
    half = 0.5 * x
    np.testing.assert_array_equal(standardised(fit_marginals(half, "none", CPU), half), half)
    with pytest.raises(InputError, match="mean square 1 at most, got 4"):
        fit_marginals(2 * x, "none", CPU)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_no_scale_is_too_small_or_too_large(size: float) -> None:
    x = np.random.default_rng(0).standard_normal((50, 2))
    ours = standardised(fit_marginals(x * size, "standard", CPU), x * size)
    np.testing.assert_allclose(ours, (x - x.mean(0)) / x.std(0), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_is_zero_and_comes_back(kind: str) -> None:
    x = np.stack([np.full(30, 0.1), np.full(30, np.nan), np.linspace(-1, 1, 30)], axis=1)
    marginals = fit_marginals(x, kind, CPU)
    assert marginals.constant.tolist() == [True, True, False]
    z = standardised(marginals, x)
    assert np.all(z[:, :2] == 0)
    assert np.all(marginals.invert(torch.from_numpy(z)).numpy()[:, :2] == [0.1, 0.0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_column_that_varies_by_rounding_is_constant(dtype: type[np.floating]) -> None:
    last_place = np.finfo(dtype).eps
    rounded = 0.3 * (1 + 2 * last_place * (np.arange(40) % 2))
    small = 0.3 * (1 + 100 * last_place * (np.arange(40) % 2))
    marginals = fit_marginals(np.stack([rounded, small], axis=1).astype(dtype), "standard", CPU)
    assert marginals.constant.tolist() == [True, False]


def test_the_data_are_not_touched() -> None:
    x = data()
    before = x.copy()
    x.flags.writeable = False
    for kind in ("standard", "outliers", "empirical"):
        standardised(fit_marginals(x, kind, CPU), x)
    np.testing.assert_array_equal(x, before)

"""LinearCorEx against the authors' code (PyPI: linearcorex) on the same data."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits

from hoi_captum.corex import LinearCorEx
from tests.corex.oracles import Array


def authors(data: Array, n_factors: int, **options: Any) -> Any:
    """A fit of the authors' code, which prints, writes to its data and seeds numpy."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from linearcorex import Corex

            return Corex(n_factors, seed=1, **options).fit(data.copy())
    finally:
        np.random.set_state(state)  # noqa: NPY002


def separated() -> Array:
    """Four factors, each with six variables of its own, of different strength."""
    random = np.random.default_rng(0)
    loadings = np.linspace(0.5, 0.9, 24)
    factors = np.repeat(random.standard_normal((1000, 4)), 6, axis=1)
    return loadings * factors + np.sqrt(1 - loadings**2) * random.standard_normal((1000, 24))


def digits() -> Array:
    pixels = load_digits().data
    varying: Array = pixels[:, pixels.std(axis=0) > 0.2]
    return varying


@pytest.mark.parametrize("gaussianize", ["standard", "outliers", "empirical"])
def test_separated_factors(gaussianize: str) -> None:
    data = separated()
    peer = authors(data, 4, gaussianize=gaussianize)
    ours = LinearCorEx(4, gaussianize=gaussianize, eps_end=0.0, random_state=1).fit(data)
    assert ours.tc_ == pytest.approx(float(peer.tc), rel=1e-3)
    with contextlib.redirect_stdout(io.StringIO()):
        values = peer.transform(data.copy())
    alike = np.abs(np.corrcoef(values, ours.transform(data), rowvar=False)[:4, 4:])
    rows, columns = linear_sum_assignment(-alike)
    assert alike[rows, columns].min() > 0.999
    np.testing.assert_allclose(ours.tcs_[columns], peer.tcs[rows], atol=2e-3)
    np.testing.assert_allclose(ours.mi_[columns], peer.mis[rows], atol=5e-3)
    np.testing.assert_array_equal(ours.labels_, columns[peer.clusters()])


@pytest.mark.parametrize("gaussianize", ["standard", "outliers"])
def test_digits(gaussianize: str) -> None:
    data = digits()
    peer = authors(data, 5, gaussianize=gaussianize)
    ours = LinearCorEx(5, gaussianize=gaussianize, eps_end=0.0, random_state=1).fit(data)
    assert ours.tc_ == pytest.approx(float(peer.tc), rel=5e-3)
    assert ours.tc_ > float(peer.tc) * 0.999


@pytest.mark.parametrize("data", [separated(), digits()], ids=["separated", "digits"])
def test_overlapping(data: Array) -> None:
    """The authors' fixed point is slow to converge: it ends within 0.5 % below."""
    peer = authors(data, 4, discourage_overlap=False, max_iter=3000)
    ours = LinearCorEx(4, overlap=True, eps_end=0.0, random_state=1).fit(data)
    assert 0.9999 < ours.tc_ / float(peer.tc) < 1.005


def test_covariance() -> None:
    data = separated() * np.linspace(1, 5, 24)
    peer, ours = authors(data, 4), LinearCorEx(4, eps_end=0.0, random_state=1).fit(data)
    np.testing.assert_allclose(ours.get_covariance(), peer.get_covariance(), atol=0.05)
    np.testing.assert_allclose(ours.get_covariance(), np.cov(data, rowvar=False), atol=1.5)

"""Advice on clusters, dimensions, factors and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score

from hoi_captum.corex import (
    BioCorEx,
    LinearCorEx,
    advise_clusters,
    advise_dimensions,
    advise_factors,
    advise_threshold,
)
from hoi_captum.corex.factors import member_threshold, noise_floor
from hoi_captum.errors import InputError, NotFittedError, OptionError


def groups(sizes=(30, 30, 30)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=(len(truth), 5)) + 15 * np.eye(5)[truth], truth


# ---------------------------------------------------------------- clusters
def test_the_number_of_groups_is_suggested():
    rows, truth = groups()
    advice = advise_clusters(rows, ks=range(2, 6), embedder=None, min_rows=20)
    assert advice.suggested == 3
    assert advice.ks.tolist() == [2, 3, 4, 5]
    assert adjusted_rand_score(truth, advice.labels[1]) == 1.0
    for labels, silhouette, smallest in zip(advice.labels, advice.silhouette, advice.smallest, strict=True):
        assert silhouette == pytest.approx(silhouette_score(rows, labels))
        assert smallest == np.bincount(labels).min()
    assert advice.inertia[0] == pytest.approx(KMeans(2, n_init=10, random_state=42).fit(rows).inertia_)
    assert (np.diff(advice.inertia) < 0).all()


def test_clusters_that_are_too_small_are_not_suggested():
    rows, _ = groups((60, 60, 6))
    few = advise_clusters(rows, ks=[2, 3, 3], embedder=None, min_rows=20)
    assert few.ks.tolist() == [2, 3]
    assert few.silhouette[1] > few.silhouette[0]
    assert few.smallest.tolist() == [60, 6]
    assert few.suggested == 2
    assert advise_clusters(rows, ks=[2, 3], embedder=None, min_rows=70).suggested is None


def test_the_map_is_the_plane_that_holds_most():
    rows, _ = groups()
    advice = advise_clusters(rows, ks=[2], embedder=None)
    np.testing.assert_allclose(np.abs(advice.points), np.abs(PCA(2).fit_transform(rows)), atol=1e-9)
    line = advise_clusters(np.arange(10.0)[:, None], ks=[2], embedder=None)
    expected = np.stack([np.abs(np.arange(10) - 4.5), np.zeros(10)], axis=1)
    np.testing.assert_allclose(np.abs(line.points), expected, atol=1e-12)


def test_phate_has_a_map_of_its_own():
    rows, truth = groups()
    advice = advise_clusters(rows, ks=[3], n_components=4)
    assert advice.points.shape == (90, 2)
    assert adjusted_rand_score(truth, advice.labels[0]) == 1.0
    assert adjusted_rand_score(truth, KMeans(3, n_init=10, random_state=0).fit_predict(advice.points)) == 1.0


def test_advice_is_read_only():
    advice = advise_clusters(groups()[0], ks=[3], embedder=None)
    with pytest.raises(ValueError, match="read-only"):
        advice.points[0] = 0


def test_more_clusters_than_rows_allow_are_left_out_or_refused():
    rows, _ = groups((3, 3))
    assert advise_clusters(rows, embedder=None).ks.tolist() == [2, 3, 4, 5]
    with pytest.raises(InputError, match="expected ks from 2 to 5"):
        advise_clusters(rows, ks=[6], embedder=None)
    with pytest.raises(OptionError, match="ks"):
        advise_clusters(rows, ks=[1], embedder=None)
    with pytest.raises(InputError, match="NaN"):
        advise_clusters(rows * np.nan, embedder=None)


# ---------------------------------------------------------------- dimensions
def test_a_plane_needs_two_dimensions():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 6))
    advice = advise_dimensions(rows, dimensions=[1, 2, 3, 99], embedder=PCA(), n_neighbors=5)
    assert advice.dimensions.tolist() == [1, 2, 3]  # there are no 99
    assert advice.kept[1] == advice.kept[2] == 1.0
    assert advice.suggested == 2
    np.testing.assert_allclose(advice.variance[2:], 0, atol=1e-12)
    assert advice.variance.sum() == pytest.approx(1)


def test_kept_neighbours_are_counted_one_by_one():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 6))
    advice = advise_dimensions(rows, dimensions=[2], embedder=PCA(), n_neighbors=3)
    flat = PCA(2).fit_transform(rows)

    def nearest(points, i):
        return set(np.argsort(np.linalg.norm(points - points[i], axis=1))[1:4].tolist())

    expected = np.mean([len(nearest(rows, i) & nearest(flat, i)) / 3 for i in range(40)])
    assert advice.kept[0] == pytest.approx(expected)


def test_phate_is_measured_in_every_number_of_dimensions():
    rows = np.random.default_rng(2).normal(size=(90, 3))
    advice = advise_dimensions(rows, dimensions=[1, 3])
    assert 0 < advice.kept[0] < advice.kept[1] <= 1
    assert len(advice.variance) == 3
    # only the last step is repeated, from the same seed
    assert advise_dimensions(rows, dimensions=[3]).kept[0] == pytest.approx(advice.kept[1])


def test_dimensions_that_cannot_be_had_are_refused():
    rows, _ = groups((10, 10))
    with pytest.raises(InputError, match="n_neighbors below 19, one less than the rows"):
        advise_dimensions(rows, n_neighbors=19)
    with pytest.raises(InputError, match="option n_components"):
        advise_dimensions(rows, embedder=KMeans(2))
    with pytest.raises(InputError, match=r"\(20, 5\) data can have"):
        advise_dimensions(rows, dimensions=[6], embedder=PCA())


# ---------------------------------------------------------------- factors
def two_factors(n: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 12))
    X[:, :5] += 1.5 * rng.normal(size=(n, 1))
    X[:, 5:9] += 1.5 * rng.normal(size=(n, 1))
    return X


def test_factors_above_those_of_shuffled_columns_are_counted():
    X = two_factors()
    model = LinearCorEx(4, random_state=0).fit(X)
    advice = advise_factors(model, X, n_repeats=3)
    assert advice.suggested == 2
    np.testing.assert_array_equal(advice.tcs, model.tcs_)
    assert advice.null.shape == (3, 4)
    assert advice.level == advice.null.max()
    assert advice.tcs[1] > 5 * advice.level
    assert (np.diff(advice.null) <= 0).all()


def test_shuffled_columns_keep_their_values_and_lose_what_joins_them():
    seen = []

    class Recorder(LinearCorEx):
        def fit(self, X, y=None):
            seen.append(X)
            return super().fit(X)

    X = two_factors()
    model = Recorder(2, random_state=0).fit(X)
    seen.clear()
    advise_factors(model, X, n_repeats=2)
    for shuffled in seen:
        np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(X, axis=0))
        assert np.abs(np.corrcoef(shuffled.T) - np.eye(12)).max() < 0.25
        assert (shuffled != X).any(0).all()


def test_missing_values_may_be_shuffled_too():
    X = two_factors()
    X[::7, 3] = -9
    model = LinearCorEx(2, missing_values=-9, random_state=0).fit(X)
    assert advise_factors(model, X, n_repeats=1).suggested == 2


def test_shuffled_columns_that_explain_nothing_are_no_news():
    random = np.random.default_rng(0)
    X = np.repeat(random.integers(0, 2, (500, 1)), 2, axis=1) + 0.1 * random.normal(size=(500, 2))
    advice = advise_factors(BioCorEx(1, random_state=0).fit(X), X, n_repeats=3)
    assert advice.level < 0.01  # a fit to them warns
    assert advice.suggested == 1


def test_advice_on_factors_needs_a_fit_and_its_columns():
    X = two_factors()
    with pytest.raises(NotFittedError, match="this LinearCorEx instance is not fitted yet"):
        advise_factors(LinearCorEx(), X)
    with pytest.raises(InputError, match="12 features"):
        advise_factors(LinearCorEx(2, random_state=0).fit(X), X[:, :5])


# ---------------------------------------------------------------- threshold
def test_screes_are_sorted_with_floor_knee_and_default():
    rho = np.array([[0.1, 0.9, 0.0, 0.8, 0.05, 0.85], [0.3, 0.3, 0.3, 0.3, 0.3, 0.3]])
    mi = -0.5 * np.log1p(-(rho**2))
    advice = advise_threshold(mi, 400)
    np.testing.assert_array_equal(advice.order[0], [1, 5, 3, 0, 4, 2])
    np.testing.assert_array_equal(advice.mi[0], mi[0, advice.order[0]])
    assert advice.floor == noise_floor(400, 6)
    np.testing.assert_array_equal(advice.default, [member_threshold(row, 400) for row in mi])
    assert advice.members.tolist() == [3, 6]
    assert advice.knee[0] == mi[0, 3]  # .9 .85 .8 | .1 .05 0
    assert advise_threshold(mi[0], 400).members.tolist() == [3]
    with pytest.raises(InputError, match="n_factors, n_features"):
        advise_threshold(mi[None], 400)
    with pytest.raises(OptionError, match="n_rows"):
        advise_threshold(mi, 0)

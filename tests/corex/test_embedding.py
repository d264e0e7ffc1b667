"""PHATE's potential, laid out by metric scaling."""

from __future__ import annotations

import numpy as np
import pytest
from phate import PHATE
from sklearn.decomposition import PCA
from sklearn.metrics import euclidean_distances

from hoi_captum.corex.embedding import PhateEmbedding, metric_coordinates, quiet_phate
from hoi_captum.errors import DataWarning, InputError, OptionError

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 6)) * [4, 3, 2, 1, 1, 1]


def stress(places, points) -> float:
    wanted = euclidean_distances(points)
    return float(((euclidean_distances(places) - wanted) ** 2).sum() / (wanted**2).sum())


def test_what_fits_into_so_many_dimensions_keeps_its_distances():
    points = RNG.normal(size=(50, 2)) @ RNG.normal(size=(2, 9))
    np.testing.assert_allclose(
        euclidean_distances(metric_coordinates(points, 2)), euclidean_distances(points), atol=1e-6
    )


def test_metric_coordinates_are_a_minimum_of_the_stress():
    points = RNG.normal(size=(25, 6))
    places = metric_coordinates(points, 2)
    least = stress(places, points)
    assert least < 0.75 * stress(PCA(2).fit_transform(points), points)
    for _ in range(200):  # no small move of a point is better by more than the tolerance
        moved = places.copy()
        moved[RNG.integers(25)] += 0.02 * RNG.normal(size=2)
        assert stress(moved, points) > 0.999 * least


def test_coinciding_points_are_no_obstacle():
    points = np.repeat(RNG.normal(size=(5, 4)), 6, axis=0)
    places = metric_coordinates(points, 2)
    assert np.isfinite(places).all()
    np.testing.assert_allclose(places[:6], places[[0] * 6], atol=1e-9)


@pytest.mark.parametrize("n_landmark", [1000, 60])
def test_the_potential_is_that_of_the_package_and_the_stress_no_larger(n_landmark):
    ours = PhateEmbedding(2, n_landmark=n_landmark, random_state=3)
    theirs = PHATE(n_components=2, n_landmark=n_landmark, random_state=3, n_jobs=1, verbose=0)
    with quiet_phate():
        peer = theirs.fit_transform(ROWS)
        potential = theirs.diff_potential
    mine = ours.fit_transform(ROWS)
    if n_landmark == 1000:
        np.testing.assert_allclose(ours._potential, potential, rtol=1e-9)
    wanted = euclidean_distances(ours._potential)
    found = [euclidean_distances(p) for p in (ours.landmarks_, np.asarray(theirs.embedding))]
    # each at its best scale
    least, other = (((d * (d * wanted).sum() / (d**2).sum() - wanted) ** 2).sum() for d in found)
    assert least < 1.01 * other
    # the same map up to turning and scale
    distances = [euclidean_distances(p)[np.triu_indices(120, 1)] for p in (mine, peer)]
    assert np.corrcoef(distances)[0, 1] > 0.97


def test_other_dimensions_need_the_last_step_alone():
    fitted = PhateEmbedding(4, random_state=0).fit(ROWS)
    np.testing.assert_array_equal(fitted.laid_out(2), PhateEmbedding(2, random_state=0).fit_transform(ROWS))
    assert fitted.landmarks_.shape == (120, 4)  # as it was
    assert fitted.transform(ROWS[:3]).shape == (3, 4)
    np.testing.assert_array_equal(fitted.laid_out(4), fitted.landmarks_)


@pytest.mark.parametrize("n_landmark", [1000, 60])
def test_a_restored_one_places_new_rows_as_the_one_did(n_landmark):
    options = {"n_landmark": n_landmark, "random_state": 0}
    fitted = PhateEmbedding(3, **options).fit(ROWS)
    fresh = RNG.normal(size=(10, 6))
    again = PhateEmbedding(3, **options).restore(ROWS, fitted.landmarks_)
    np.testing.assert_array_equal(again.transform(fresh), fitted.transform(fresh))
    assert fitted.transform(fresh).shape == (10, 3)
    np.testing.assert_array_equal(
        fitted.fit_transform(ROWS), PhateEmbedding(3, **options).fit_transform(ROWS)
    )


def test_few_rows_are_refused_or_have_fewer_dimensions():
    with pytest.raises(InputError, match="at least 7 rows for PHATE, got 6"):
        PhateEmbedding(2).fit(ROWS[:6])
    with pytest.warns(DataWarning, match="9 rows have a PHATE embedding of at most 8 dimensions, not 10"):
        assert PhateEmbedding(10).fit_transform(ROWS[:9]).shape == (9, 8)
    with pytest.raises(OptionError, match="n_components"):
        PhateEmbedding(0).fit(ROWS)

"""A model for each cluster."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from hoi_captum.corex import BioCorEx, LinearCorEx
from hoi_captum.corex.clusters import fit_clusters, take_rows
from hoi_captum.errors import ConvergenceWarning, DataWarning, HoiWarning, InputError
from tests.corex.stand_in import PrincipalCorEx

ROWS = np.random.default_rng(0).normal(size=(30, 3))
LABELS = np.array([0] * 12 + [2] * 14 + [-1] * 4)


def test_each_cluster_is_fitted_alone_and_small_ones_not_at_all():
    with pytest.warns(DataWarning, match=r"min_rows=12 .*\{1: 0\}"):
        models = fit_clusters(PrincipalCorEx(), ROWS, LABELS, min_rows=12, seed=3)
    assert models[1] is None
    np.testing.assert_array_equal(models[0].given_, ROWS[:12])
    np.testing.assert_array_equal(models[2].given_, ROWS[12:26])
    assert [m.random_state for m in models if m] == [3, 3]


def test_no_cluster_of_that_size_is_an_error():
    with pytest.raises(InputError, match="min_rows=15 rows, got 3 clusters of at most 14"):
        fit_clusters(PrincipalCorEx(), ROWS, LABELS, min_rows=15, seed=3)
    with pytest.raises(InputError, match="got 0 clusters of at most 0"):
        fit_clusters(PrincipalCorEx(), ROWS, np.full(30, -1), min_rows=2, seed=3)


def test_a_cluster_that_is_refused_is_named():
    shifted = ROWS + 5 * (LABELS == 2)[:, None]
    labels = np.where(LABELS == 2, 1, LABELS)
    with pytest.raises(InputError, match=r"cluster 1 \(14 rows\): rows of another kind"):
        fit_clusters(PrincipalCorEx(refuse_mean_above=2.0), shifted, labels, min_rows=2, seed=3)


def test_a_cluster_that_does_not_vary_has_no_model():
    """Such as that of the rows for which all units of a layer are silent."""
    labels = np.repeat([0, 1, 2], 10)
    rows = np.where(labels[:, None] == 1, 0.0, ROWS)
    for estimator in (LinearCorEx(1), BioCorEx(1, max_iter=500)):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            models = fit_clusters(estimator, rows, labels, min_rows=2, seed=3)
        assert [m is None for m in models] == [False, True, False]
        lost = [w for w in found if "no variable varies" in str(w.message)]
        assert [(w.category, str(w.message)[:9]) for w in lost] == [(DataWarning, "cluster 1")]
        with pytest.raises(InputError, match=r"in clusters 0, 1, 2 of at least min_rows=2 rows none does"):
            fit_clusters(estimator, 0 * rows, labels, min_rows=2, seed=3)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_warnings_name_their_clusters(n_jobs):
    rows = np.random.default_rng(0).normal(size=(90, 4))
    rows[60:] = np.outer(rows[60:, 0], [1.0, 2.0, 3.0, 4.0])  # copies
    labels = np.repeat([0, 1, 2], 30)
    estimator = LinearCorEx(1, eps_end=0.0, max_iter=40)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit_clusters(estimator, rows, labels, min_rows=2, seed=3, n_jobs=n_jobs)
    own = [w for w in found if issubclass(w.category, HoiWarning)]
    assert [(w.category, str(w.message)[:30]) for w in own] == [
        (DataWarning, "cluster 2: a factor's informat")
    ]
    with pytest.warns(ConvergenceWarning, match=r"^clusters 0, 1, 2: LinearCorEx stopped after max_iter=1 "):
        fit_clusters(LinearCorEx(1, max_iter=1), ROWS, np.repeat([0, 1, 2], 10), min_rows=2, seed=3)


def test_processes_give_the_same_as_one():
    labels = np.repeat([0, 1, 2], 10)
    one, two = (fit_clusters(PrincipalCorEx(), ROWS, labels, min_rows=2, seed=3, n_jobs=n) for n in (None, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.mi_, b.mi_)


def test_the_bar_is_on_stderr_alone(capfd):
    fit_clusters(PrincipalCorEx(), ROWS, np.repeat([0, 1], 15), min_rows=2, seed=3, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Local CorEx" in err
    fit_clusters(PrincipalCorEx(), ROWS, np.repeat([0, 1], 15), min_rows=2, seed=3)
    assert capfd.readouterr() == ("", "")


def test_rows_stay_what_they_are():
    index = np.array([4, 1])
    tensor = take_rows(torch.arange(10.0).view(5, 2), index)
    assert torch.equal(tensor, torch.tensor([[8.0, 9.0], [2.0, 3.0]]))
    frame = take_rows(pd.DataFrame({"a": range(5)}, index=list("vwxyz")), index)
    assert frame["a"].to_dict() == {"z": 4, "w": 1}
    np.testing.assert_array_equal(take_rows([[0], [1], [2], [3], [4]], index), [[4], [1]])

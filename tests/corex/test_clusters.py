"""A model for each cluster."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from hoi_captum.corex.clusters import fit_clusters, take_rows
from hoi_captum.errors import DataWarning, InputError
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

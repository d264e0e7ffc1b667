"""LocalCorEx files: what is read back does what was written."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA

from hoi_captum.corex import BioCorEx, LinearCorEx, LocalCorEx
from hoi_captum.corex.saving import FORMAT
from hoi_captum.errors import DataWarning, FileError, OptionError
from tests.corex.stand_in import PrincipalCorEx


def data(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = np.arange(150) % 3 - 1  # one kind in three is left out
    X = rng.normal(size=(150, 5)) + 3 * rng.normal(size=(150, 1)) * (np.arange(5) < 3)
    return pd.DataFrame(X + 40 * kind[:, None], columns=list("abcde")), kind


LINEAR = LinearCorEx(n_factors=2, gaussianize="empirical", tol=1e-3)
BIO = BioCorEx(n_factors=2, n_permutations=2, tol=1e-3)


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (LINEAR, {"embedder": None}),
        (LINEAR, {"embedder": None, "space": "embedding"}),
        (BIO, {"n_components": 2, "space": "embedding"}),
        (BioCorEx(n_factors=1, n_states=3, n_permutations=2, tol=1e-2), {"embedder": PCA(2)}),
    ],
)
def test_a_file_holds_all_that_is_needed(tmp_path, estimator, options):
    X, _ = data()
    model = LocalCorEx(estimator, n_clusters=3, **options).fit(X)
    again = LocalCorEx.load(model.save(tmp_path / "local.safetensors"))
    fresh, _ = data(1)
    np.testing.assert_array_equal(again.predict(fresh), model.predict(fresh))
    np.testing.assert_allclose(again.transform(fresh), model.transform(fresh), rtol=0, atol=1e-12)
    assert again.interactions() == model.interactions()
    assert again.interactions(threshold=0.01) == model.interactions(threshold=0.01)
    np.testing.assert_array_equal(again.cluster_labels_, model.cluster_labels_)
    np.testing.assert_array_equal(again.tc_, model.tc_)
    assert again.get_params()["estimator"].get_params().keys() == estimator.get_params().keys()
    assert type(again.models_[0]) is type(estimator)
    assert isinstance(again.models_, tuple)
    assert again.feature_names_in_.tolist() == list("abcde")


def test_clusters_without_a_model_and_separate_partition_data_are_kept(tmp_path):
    X, kind = data()
    with pytest.warns(DataWarning, match="no model"):
        model = LocalCorEx(LINEAR, min_rows=51).fit(
            X, cluster_labels=np.where(kind < 1, 0, 1), partition_data=kind[:, None]
        )
    again = LocalCorEx.load(model.save(tmp_path / "local.safetensors"))
    assert again.models_[1] is None
    assert np.isnan(again.tc_[1])
    assert again.predict([[-1], [1]]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="pass partition_data"):
        again.transform(X)


def test_what_cannot_be_kept_is_refused(tmp_path):
    X, _ = data()
    placed = LocalCorEx(LINEAR, n_clusters=3, embedder=PCA(2), space="embedding").fit(X)
    with pytest.raises(FileError, match="cannot save PCA, which predict needs"):
        placed.save(tmp_path / "a.safetensors")
    foreign = LocalCorEx(PrincipalCorEx(), n_clusters=3, embedder=None).fit(X)
    with pytest.raises(FileError, match="cannot save a PrincipalCorEx"):
        foreign.save(tmp_path / "b.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_clusterer_that_was_not_kept_is_named_when_it_is_needed(tmp_path):
    X, _ = data()
    model = LocalCorEx(LINEAR, embedder=None, clusterer=DBSCAN(eps=20)).fit(X)
    again = LocalCorEx.load(model.save(tmp_path / "local.safetensors"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(OptionError, match=r"expected clusterer .*DBSCAN\(eps=20\)"):
        again.fit(X)


def test_files_of_another_kind_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(1)}, path, metadata={"format": "hoi_captum.interactions/1"})
    with pytest.raises(FileError, match="expected a file of format"):
        LocalCorEx.load(path)
    for content in (
        "{}",
        "not json",
        json.dumps({"params": {}, "estimator": {"class": "os.system", "params": {}}, "learned": {}}),
    ):
        save_file({"a": np.zeros(1)}, path, metadata={"format": FORMAT, "content": content})
        with pytest.raises(FileError, match="is damaged"):
            LocalCorEx.load(path)
    with pytest.raises(FileError, match="cannot read"):
        LocalCorEx.load(tmp_path / "none.safetensors")

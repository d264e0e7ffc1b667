"""LocalCorEx: clusters, a model in each, and what they say of new rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score

from hoi_captum.corex import LinearCorEx, LocalCorEx
from hoi_captum.errors import DataWarning, InputError, NotFittedError, OptionError
from tests.corex.stand_in import PrincipalCorEx


def two_kinds(rows: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Kind 0: columns 0, 1, 2 move together; kind 1: columns 2, 3, 4. The kinds are far apart."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([0, 1], rows))
    X = rng.normal(size=(2 * rows, 5))
    common = 3 * rng.normal(size=2 * rows)
    for kind, columns in enumerate(([0, 1, 2], [2, 3, 4])):
        X[np.ix_(truth == kind, columns)] += common[truth == kind, None]
    return X + 30 * truth[:, None], truth


def local(**options) -> LocalCorEx:
    return LocalCorEx(PrincipalCorEx(1), **{"n_clusters": 2, "embedder": None} | options)


@pytest.fixture(scope="module")
def fitted() -> tuple[LocalCorEx, np.ndarray, np.ndarray]:
    X, truth = two_kinds()
    return local().fit(X), X, truth


def test_each_kind_has_its_own_factors(fitted):
    model, _, truth = fitted
    assert adjusted_rand_score(truth, model.cluster_labels_) == 1.0
    assert model.n_clusters_ == 2
    assert model.cluster_sizes_.tolist() == [60, 60]
    groups = {tuple(t.members): t.scope for t in model.interactions()}
    first = model.cluster_labels_[np.argmax(truth == 0)]
    assert groups == {(0, 1, 2): f"cluster:{first}", (2, 3, 4): f"cluster:{1 - first}"}


def test_a_cluster_s_model_is_that_of_its_rows_alone(fitted):
    model, X, _ = fitted
    for k in (0, 1):
        alone = PrincipalCorEx(1).fit(X[model.cluster_labels_ == k])
        np.testing.assert_array_equal(model.models_[k].mi_, alone.mi_)
        assert model.tc_[k] == alone.tc_
        assert model.models_[k].random_state == 42


def test_interactions_hold_the_information_of_the_members(fitted):
    model, _, _ = fitted
    table = model.interactions(cluster=1, threshold=0.0)
    term = table[0]
    assert (len(table), term.kind, term.scope) == (1, "corex", "cluster:1")
    assert term.score == model.models_[1].tcs_[0]
    np.testing.assert_array_equal(term.weights, model.models_[1].mi_[0])
    assert table.base == {"cluster:1": 0.0}
    assert table.provenance.method == "LocalCorEx"
    assert table.provenance.details["cluster_sizes"] == {"cluster:1": 60}
    assert len(model.interactions(threshold=99.0)) == 0
    with pytest.raises(InputError, match=r"one with a model, \[0, 1\], got 2"):
        model.interactions(cluster=2)


def test_new_rows_join_their_kind_and_are_transformed_by_its_model(fitted):
    model, X, truth = fitted
    fresh, kinds = two_kinds(rows=20, seed=1)
    number = [model.cluster_labels_[np.argmax(truth == k)] for k in (0, 1)]
    found = model.predict(fresh)
    np.testing.assert_array_equal(found, np.take(number, kinds))
    values = model.transform(fresh)
    for k in (0, 1):
        rows = found == k
        np.testing.assert_array_equal(values[rows], model.models_[k].transform(fresh[rows]))
    np.testing.assert_array_equal(model.predict(X), model.cluster_labels_)


def test_fit_transform_is_fit_and_transform(fitted):
    model, X, _ = fitted
    np.testing.assert_array_equal(local().fit_transform(X), model.transform(X))
    assert model.get_feature_names_out().tolist() == ["localcorex0"]


def test_the_space_decides_where_a_row_belongs():
    # (9, 0) is beside the end of a long cluster, and nearer to the middle of a short one
    X = np.array([[float(x), 0.0] for x in range(-40, 9)] + [[12.0, y / 10] for y in range(-20, 20)])
    labels = np.repeat([0, 1], [49, 40])
    options = {"min_rows": 2, "embedder": None}
    inside = local(**options).fit(X, cluster_labels=labels)
    assert inside.predict([[9.0, 0.0]]).tolist() == [0]

    class Given(DBSCAN):
        def fit_predict(self, X, y=None, **params):
            return labels

    middle = local(**options, space="embedding", clusterer=Given()).fit(X)
    assert middle.predict([[9.0, 0.0]]).tolist() == [1]  # 3 from one mean, 25 from the other


def test_phate_and_k_means_by_default():
    X, truth = two_kinds(rows=50)
    model = LocalCorEx(PrincipalCorEx(1), n_clusters=2, n_components=3, space="embedding").fit(X)
    assert adjusted_rand_score(truth, model.cluster_labels_) == 1.0
    assert model.embedding_.shape == (100, 3)
    fresh, kinds = two_kinds(rows=10, seed=1)
    assert adjusted_rand_score(kinds, model.predict(fresh)) == 1.0


def test_clusters_may_be_made_of_other_data():
    X, truth = two_kinds()
    rng = np.random.default_rng(9)
    images = torch.as_tensor(rng.normal(size=(120, 2, 2)) + 9 * truth[:, None, None])
    noise = X - 30 * truth[:, None]
    model = local().fit(noise, partition_data=images)
    assert adjusted_rand_score(truth, model.cluster_labels_) == 1.0
    np.testing.assert_array_equal(model.predict(images), model.cluster_labels_)
    values = model.transform(noise, partition_data=images)
    np.testing.assert_array_equal(values, model.transform(noise, cluster_labels=model.cluster_labels_))
    with pytest.raises(InputError, match="pass partition_data or cluster_labels"):
        model.transform(noise)
    with pytest.raises(InputError, match="partition_data of 4 columns, got 5"):
        model.predict(noise)
    with pytest.raises(InputError, match="expected 120 rows of partition_data, got 3"):
        model.transform(noise, partition_data=images[:3])
    with pytest.raises(InputError, match=r"expected 120 rows of partition_data, one for each .* got 119"):
        local().fit(noise, partition_data=images[1:])


def test_given_clusters_are_taken_as_they_are():
    X, truth = two_kinds()
    labels = np.where(truth == 1, 3, 1)
    labels[:5] = -1
    with pytest.warns(DataWarning, match=r"\{0: 0, 2: 0\}"):
        model = local().fit(X, cluster_labels=labels)
    assert model.n_clusters_ == 4
    assert [m is None for m in model.models_] == [True, False, True, False]
    assert np.isnan(model.tc_).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(model.cluster_labels_, labels)
    values = model.fit_transform(X, cluster_labels=np.where(labels < 0, -1, labels // 2))
    np.testing.assert_array_equal(np.isnan(values[:, 0]), labels < 0)
    assert model.predict(X[:5]).tolist() == [-1] * 5  # the nearest row is in none
    with pytest.raises(InputError, match="space='input' with cluster_labels"):
        local(space="embedding").fit(X, cluster_labels=labels)
    with pytest.raises(InputError, match=r"in -1\.\.1, got 0\.\.2"):
        model.transform(X[:3], cluster_labels=[0, 1, 2])


def test_missing_values_are_for_the_models_not_for_the_clusters():
    X, truth = two_kinds()
    X[0, 0] = np.nan
    with pytest.raises(InputError, match=r"Input X contains NaN(?s:.*)or pass cluster_labels"):
        local().fit(X)
    model = local().fit(X, cluster_labels=truth)
    with pytest.raises(InputError, match="no rows to compare with"):
        model.predict(X)
    assert np.isfinite(model.transform(X, cluster_labels=truth)).all()
    separate = local().fit(X, cluster_labels=truth, partition_data=truth[:, None])
    np.testing.assert_array_equal(separate.predict([[0.1], [0.9]]), [0, 1])


def test_small_clusters_have_no_model_and_their_rows_no_values():
    X, truth = two_kinds()
    X, truth = X[np.argsort(truth)][:80], np.sort(truth)[:80]
    with pytest.warns(DataWarning, match="fewer than min_rows=50"):
        model = local().fit(X)
    small = int(np.argmin(model.cluster_sizes_))
    assert model.models_[small] is None
    values = model.transform(X)[:, 0]
    np.testing.assert_array_equal(np.isnan(values), model.cluster_labels_ == small)
    assert {t.scope for t in model.interactions()} == {f"cluster:{1 - small}"}
    with pytest.raises(InputError, match="lower min_rows"):
        local(min_rows=81).fit(X)


def test_a_cluster_that_does_not_vary_is_none_among_others():
    X, truth = two_kinds()
    X[truth == 1] = 30.0
    with pytest.warns(DataWarning, match=r"cluster \d: no variable varies there"):
        model = LocalCorEx(LinearCorEx(1), n_clusters=2, embedder=None).fit(X)
    still = model.cluster_labels_[np.argmax(truth == 1)]
    assert model.models_[still] is None
    np.testing.assert_array_equal(np.isnan(model.tc_), [still == 0, still == 1])
    np.testing.assert_array_equal(np.isnan(model.transform(X)[:, 0]), truth == 1)
    assert {t.scope for t in model.interactions()} == {f"cluster:{1 - still}"}


def test_frames_keep_their_names():
    X, _ = two_kinds()
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = local().fit(frame)
    assert model.interactions().players == tuple("abcde")
    assert model.models_[0].feature_names_in_.tolist() == list("abcde")
    np.testing.assert_allclose(model.transform(frame), local().fit(X).transform(X), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))


def test_tensors_and_lists_are_read_as_arrays_are(fitted):
    model, X, _ = fitted
    tensor = torch.as_tensor(X)
    for same in (tensor, X.tolist()):
        again = local().fit(same)
        np.testing.assert_array_equal(again.cluster_labels_, model.cluster_labels_)
        np.testing.assert_array_equal(again.transform(same), model.transform(X))
    assert isinstance(local().fit(tensor).models_[0].given_, torch.Tensor)


def test_the_user_s_objects_and_random_state_are_left_alone():
    X, _ = two_kinds()
    estimator, embedder = PrincipalCorEx(1), PCA(2)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    LocalCorEx(estimator, n_clusters=2, embedder=embedder).fit(X)
    assert not hasattr(estimator, "mi_")
    assert estimator.random_state is None
    assert not hasattr(embedder, "components_")
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert (
        LocalCorEx(PrincipalCorEx(random_state=7), n_clusters=2, embedder=None).fit(X).models_[0].random_state
        == 7
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "latent"}, "space"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 2.0}, "n_clusters"),
        ({"n_components": 0}, "n_components"),
        ({"min_rows": 1}, "min_rows"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"n_jobs": "all"}, "n_jobs"),
        ({"random_state": "seed"}, "random_state"),
        ({"verbose": 1}, "verbose"),
        ({"embedder": "umap"}, "expected embedder"),
        ({"embedder": TSNE(), "space": "embedding"}, "TSNE cannot transform new rows"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        local(**options).fit(two_kinds()[0])


def test_only_corex_estimators_are_taken():
    with pytest.raises(OptionError, match=r"expected estimator to be a LinearCorEx.*got PCA"):
        LocalCorEx(PCA()).fit(two_kinds()[0])


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_data_that_are_not_finite_are_refused(bad):
    X, _ = two_kinds()
    X[3, 2] = bad
    with pytest.raises(InputError, match="infinity"):
        local().fit(X)


def test_more_clusters_than_rows_or_one_distinct_row_are_refused():
    with pytest.raises(InputError, match="at least 7 distinct rows to divide in clusters, got 6"):
        local(n_clusters=7).fit(two_kinds(3)[0])
    with pytest.raises(InputError, match="distinct rows"):
        local().fit(np.ones((100, 3)))


@pytest.mark.parametrize("call", ["predict", "transform"])
def test_unfitted_use_is_refused(call):
    with pytest.raises(NotFittedError, match="call fit"):
        getattr(local(), call)(np.ones((2, 5)))
    with pytest.raises(SklearnNotFittedError):
        getattr(local(), call)(np.ones((2, 5)))


def test_results_and_files_need_a_fit(tmp_path):
    with pytest.raises(NotFittedError):
        local().interactions()
    with pytest.raises(NotFittedError):
        local().get_feature_names_out()
    with pytest.raises(NotFittedError):
        local().save(tmp_path / "x.safetensors")

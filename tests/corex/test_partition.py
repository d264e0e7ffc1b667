"""Clusters of rows: PHATE, k-means and what may stand in for them."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from hoi_captum.corex.partition import (
    checked_labels,
    embed,
    embed_new,
    make_partition,
    partition_rows,
    seed_of,
    seeded,
)
from hoi_captum.errors import DataWarning, InputError, OptionError

OPTIONS = {"n_clusters": 3, "embedder": "phate", "clusterer": None, "n_components": 4, "seed": 0}


def groups(rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three far groups in 6 dimensions, shuffled."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(3), rows))
    return rng.normal(size=(3 * rows, 6)) + 12 * np.eye(6)[truth], truth


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embedder": None},
        {"embedder": PCA(2)},
        {"clusterer": AgglomerativeClustering(3)},
        {"embedder": None, "clusterer": KMeans(3)},
    ],
)
def test_far_groups_are_found_whatever_finds_them(options):
    rows, truth = groups()
    partition = make_partition(rows, **OPTIONS | options)
    assert adjusted_rand_score(truth, partition.labels) == 1.0
    if "embedder" in options and options["embedder"] is None:
        assert partition.embedding is None
        assert partition.embedder is None
    else:
        width = 2 if "embedder" in options else 4
        assert partition.embedding.shape == (120, width)
        assert partition.embedding.dtype == np.float64


def test_the_same_seed_gives_the_same_clusters_and_another_may_not():
    rows = np.random.default_rng(5).normal(size=(150, 5))
    first, second = (make_partition(rows, **OPTIONS) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    k_means = OPTIONS | {"embedder": None, "n_clusters": 20}
    other = make_partition(rows, **k_means | {"seed": 1}).labels
    assert not np.array_equal(make_partition(rows, **k_means).labels, other)


def test_embedders_and_clusterers_are_cloned():
    rows, _ = groups()
    embedder, clusterer = PCA(2), KMeans(3)
    partition = make_partition(rows, **OPTIONS | {"embedder": embedder, "clusterer": clusterer})
    assert not hasattr(embedder, "components_")
    assert not hasattr(clusterer, "labels_")
    assert clusterer.random_state is None
    assert partition.embedder.random_state == 0
    assert seeded(KMeans(3, random_state=9), 0).random_state == 9  # a seed of one's own stays


def test_noise_is_said_and_all_noise_is_refused():
    rows, truth = groups()
    rows = np.vstack([rows, np.full((1, 6), 90.0)])
    options = OPTIONS | {"embedder": None}
    with pytest.warns(DataWarning, match="1 of 121 rows are noise to DBSCAN"):
        partition = make_partition(rows, **options | {"clusterer": DBSCAN(eps=5.0)})
    assert partition.labels[-1] == -1
    assert adjusted_rand_score(truth, partition.labels[:-1]) == 1.0
    with pytest.raises(InputError, match="all 121 rows noise"):
        make_partition(rows, **options | {"clusterer": DBSCAN(eps=1e-3)})


def test_too_few_distinct_rows_are_refused():
    same = np.ones((50, 3))
    with pytest.raises(InputError, match="at least 3 distinct rows to divide in clusters, got 1 of 50"):
        make_partition(same, **OPTIONS)
    with pytest.raises(InputError, match="got 2 of 2"):
        make_partition(np.eye(2), **OPTIONS)
    with pytest.raises(InputError, match="at least 2 distinct rows"):
        make_partition(same, **OPTIONS | {"n_clusters": 1, "embedder": None})


def test_phate_of_few_rows_is_refused_or_has_fewer_dimensions():
    rows, _ = groups(rows=3)
    with pytest.raises(InputError, match="at least 7 rows for PHATE, got 6"):
        make_partition(rows[:6], **OPTIONS | {"n_clusters": 2})
    with pytest.warns(DataWarning, match="9 rows have a PHATE embedding of at most 8 dimensions, not 10"):
        partition = make_partition(rows, **OPTIONS | {"n_components": 10})
    assert partition.embedding.shape == (9, 8)


def test_duplicates_are_embedded_without_a_word(recwarn, capfd):
    rows = np.repeat(groups(rows=5)[0], 10, axis=0)
    partition = make_partition(rows, **OPTIONS)
    assert np.isfinite(partition.embedding).all()
    assert all(len(set(partition.labels[i : i + 10])) == 1 for i in range(0, 150, 10))
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_phate_leaves_loggers_filters_and_random_state_as_they_were():
    rows, _ = groups(rows=10)
    log = logging.getLogger("graphtools")
    log.setLevel(logging.ERROR)
    try:
        filters, state = list(warnings.filters), np.random.get_state()  # noqa: NPY002
        make_partition(rows, **OPTIONS)
        assert log.level == logging.ERROR
        assert not log.disabled
    finally:
        log.setLevel(logging.NOTSET)
    assert warnings.filters == filters
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def test_the_first_import_of_phate_leaves_the_filters_as_they_were():
    code = """
import warnings, numpy as np
from hoi_captum.corex.partition import embed
before = list(warnings.filters)
embed(np.random.default_rng(0).normal(size=(30, 3)), embedder="phate", n_components=2, seed=0)
assert warnings.filters == before, set(warnings.filters) - set(before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_new_rows_are_placed_beside_their_like():
    rows, _ = groups()
    points, fitted = embed(rows, embedder="phate", n_components=3, seed=0)
    fresh, _ = groups(rows=5, seed=1)
    placed = embed_new(fresh, fitted)
    nearest_there = np.linalg.norm(points[None] - placed[:, None], axis=-1).argmin(1)
    nearest_here = np.linalg.norm(rows[None] - fresh[:, None], axis=-1).argmin(1)
    gap = np.linalg.norm(rows[nearest_there] - rows[nearest_here], axis=1)
    assert gap.max() < 8  # of the same group: the groups are 17 apart


@pytest.mark.parametrize("bad", [3, "umap", KMeans, object()])
def test_an_embedder_or_clusterer_that_is_none_is_refused(bad):
    rows, _ = groups(rows=5)
    with pytest.raises(OptionError, match="expected embedder"):
        make_partition(rows, **OPTIONS | {"embedder": bad})
    with pytest.raises(OptionError, match="expected clusterer"):
        make_partition(rows, **OPTIONS | {"embedder": None, "clusterer": bad})


def test_an_embedding_that_is_not_finite_is_refused():
    class Broken(PCA):
        def fit_transform(self, X, y=None):
            return np.full((len(X), 2), np.nan)

    with pytest.raises(InputError, match="finite embedding of shape"):
        make_partition(groups(rows=5)[0], **OPTIONS | {"embedder": Broken()})


def test_an_embedder_or_clusterer_that_fails_is_named():
    rows, _ = groups(rows=5)
    with pytest.raises(
        InputError, match=r"the embedder PCA failed on data of shape \(15, 6\): .*20.*another"
    ):
        make_partition(rows, **OPTIONS | {"embedder": PCA(20)})
    with pytest.raises(
        InputError, match=r"the clusterer KMeans failed on data of shape \(15, 6\): n_samples"
    ):
        make_partition(rows, **OPTIONS | {"embedder": None, "clusterer": KMeans(16)})
    _, fitted = embed(rows, embedder=PCA(2), n_components=2, seed=0)
    with pytest.raises(InputError, match=r"the embedder PCA failed on data of shape \(15, 5\): X has 5 feat"):
        embed_new(rows[:, :5], fitted)


@pytest.mark.parametrize("name", ["partition_data", "X"])
def test_missing_values_are_refused_in_our_words(name):
    with pytest.raises(InputError) as error:
        partition_rows(np.array([[1.0, np.nan], [0.0, 1.0]]), name=name)
    first, second = str(error.value).splitlines()
    assert first == f"Input {name} contains NaN."
    assert second.startswith(
        f"Clusters are made of {name}, where no value may be missing: pass partition_data"
    )


def test_partition_data_may_be_images_tensors_and_whole_numbers():
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(partition_rows(images), np.arange(24.0).reshape(2, 12))
    half = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(partition_rows(half), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "contains NaN"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "contains infinity"),
        (np.ones(3), "1D array"),
        (np.array([["a", "b"]]), "could not convert"),
        (csr_matrix(np.eye(3)), "sparse"),
    ],
)
def test_partition_data_are_checked(data, message):
    with pytest.raises(InputError, match=message):
        partition_rows(data)


def test_rows_must_be_as_many_as_those_of_the_data():
    with pytest.raises(InputError, match="expected 4 rows of partition_data, one for each row of X, got 3"):
        partition_rows(np.eye(3), 4)


def test_labels_are_whole_numbers_one_for_each_row():
    np.testing.assert_array_equal(checked_labels(torch.tensor([True, False]), 2), [1, 0])
    np.testing.assert_array_equal(checked_labels([-1, 0, 2], 3), [-1, 0, 2])
    for bad in ([0.0, 1.0, 1.0], [0, 1], [0, 1, 3], [0, 1, -2], ["a", "b", "c"]):
        with pytest.raises(InputError, match="number the clusters 0, 1"):
            checked_labels(bad, 3)
    with pytest.raises(InputError, match=r"in -1\.\.1, got 0\.\.2"):
        checked_labels([0, 1, 2], 3, below=2)


def test_a_seed_is_an_int_itself_or_drawn():
    assert seed_of(42) == 42
    assert seed_of(np.int64(3)) == 3
    drawn = np.random.RandomState(0).randint(2**31 - 1)
    assert seed_of(np.random.RandomState(0)) == drawn
    for bad in (-1, 1.5, "42", True):
        with pytest.raises(OptionError, match="random_state"):
            seed_of(bad)

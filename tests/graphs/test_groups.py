"""Spectral clustering of nodes whose groups can be seen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hoi_captum.errors import OptionError
from hoi_captum.graphs import NeuronGraph, line, spectral_groups


def blocks(sizes: tuple[int, ...], between: float = 0.0, order: np.ndarray | None = None) -> NeuronGraph:
    """Cliques of weight 1, and what joins them."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    group = group if order is None else group[order]
    a = np.where(group[:, None] == group, 1.0, between)
    np.fill_diagonal(a, 0.0)
    return NeuronGraph(a)


@pytest.mark.parametrize("between", [0.0, 0.02])
@pytest.mark.parametrize("n_groups", [None, 4])
def test_cliques_are_found_and_numbered_by_size(between: float, n_groups: int | None) -> None:
    sizes = (3, 9, 5, 7)
    order = np.random.default_rng(0).permutation(sum(sizes))
    found = spectral_groups(blocks(sizes, between, order), n_groups)
    known = np.array([3, 0, 2, 1])[np.repeat(np.arange(4), sizes)[order]]
    np.testing.assert_array_equal(found, known)
    assert found.dtype == np.int64


def test_equal_groups_go_by_their_first_node() -> None:
    order = np.array([4, 0, 8, 5, 1, 9, 6, 2, 10, 7, 3, 11])
    found = spectral_groups(blocks((4, 4, 4), 0.0, order))
    np.testing.assert_array_equal(found, [0, 1, 2] * 4)


def test_nodes_without_edges_are_in_no_group() -> None:
    a = np.zeros((9, 9))
    a[:4, :4] = a[5:8, 5:8] = 1.0
    np.fill_diagonal(a, 0.0)
    np.testing.assert_array_equal(spectral_groups(NeuronGraph(a)), [0] * 4 + [-1] + [1] * 3 + [-1])
    np.testing.assert_array_equal(spectral_groups(NeuronGraph(np.zeros((3, 3)))), [-1] * 3)


def test_a_single_clique_is_one_group() -> None:
    np.testing.assert_array_equal(spectral_groups(blocks((6,))), [0] * 6)
    np.testing.assert_array_equal(spectral_groups(blocks((3, 3)), 1), [0] * 6)


def test_a_path_is_cut_in_the_middle() -> None:
    np.testing.assert_array_equal(spectral_groups(line(10), 2), [0] * 5 + [1] * 5)


def test_as_many_groups_as_nodes() -> None:
    assert sorted(spectral_groups(line(5), 5)) == [0, 1, 2, 3, 4]


def test_two_nodes_make_two_groups_where_these_are_asked_for() -> None:
    assert sorted(spectral_groups(line(2), 2)) == [0, 1]


@pytest.mark.parametrize(
    "n",
    [
        12,
        pytest.param(
            20,
        ),
    ],
)
def test_components_are_no_noise_of_the_jump(n: int) -> None:
    """More than the 16 groups that are looked for: any number but 1 may be found, of whole components."""
    sizes = (3,) * n
    found = spectral_groups(blocks(sizes))
    assert found.max() + 1 >= min(n, 16)
    if n <= 16:
        assert adjusted_rand_score(np.repeat(np.arange(n), sizes), found) == 1


def test_a_seed_decides() -> None:
    graph = blocks((5, 5, 5, 5), 0.3)
    np.testing.assert_array_equal(spectral_groups(graph, 7, seed=3), spectral_groups(graph, 7, seed=3))


def test_more_groups_than_nodes_are_refused() -> None:
    a = np.zeros((6, 6))
    a[:4, :4] = 1 - np.eye(4)
    with pytest.raises(OptionError, match="expected n_groups of at most 4 nodes that have edges, got 5"):
        spectral_groups(NeuronGraph(a), 5)
    with pytest.raises(OptionError, match="expected n_groups to be an int >= 1, got 0"):
        spectral_groups(NeuronGraph(a), 0)

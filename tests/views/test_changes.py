"""Accuracy by cluster, before and after."""

from __future__ import annotations

import numpy as np
import pytest

from hoi_captum import views
from hoi_captum.errors import InputError
from hoi_captum.views.palette import NEGATIVE, POSITIVE

BEFORE, AFTER = np.array([0.9, 0.5, 1.0, np.nan]), np.array([0.6, 0.75, 1.0, np.nan])


def test_bars_are_percentage_points_in_the_colour_of_their_sign():
    ax = views.accuracy_change_plot(BEFORE, AFTER, clusters=[7, 8, 9, 10], sizes=[10, 2000, 30, 0]).axes[0]
    np.testing.assert_allclose([b.get_height() for b in ax.patches], [-30, 25, 0, 0], atol=1e-12)
    from matplotlib.colors import to_rgba

    assert [b.get_facecolor() for b in ax.patches[:2]] == [to_rgba(NEGATIVE), to_rgba(POSITIVE)]
    assert [t.get_text() for t in ax.texts] == ["−30.0", "+25.0", "0", "no rows"]
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "7\n90.0\nn=10",
        "8\n50.0\nn=2,000",
        "9\n100.0\nn=30",
        "10\n–\nn=0",
    ]
    low, high = ax.get_ylim()
    assert low < -30 < 25 < high


def test_the_cluster_that_was_meant_is_bold():
    figure = views.accuracy_change_plot(BEFORE, AFTER, focus=1)
    weights = [t.get_fontweight() for t in figure.axes[0].get_xticklabels()]
    assert weights == ["normal", "bold", "normal", "normal"]
    assert "aimed at" in figure.get_supxlabel()


def test_many_clusters_have_no_numbers():
    ax = views.accuracy_change_plot(np.full(100, 0.5), np.full(100, 0.4)).axes[0]
    assert not ax.texts
    assert len(ax.patches) == 100
    np.testing.assert_allclose([b.get_height() for b in ax.patches], -10)


@pytest.mark.parametrize(
    ("before", "after", "more", "message"),
    [
        ([0.5], [0.5, 0.6], {}, "expected after"),
        ([[0.5]], [[0.5]], {}, "expected before"),
        ([], [], {}, "expected before"),
        ([90.0], [80.0], {}, r"0\.\.1, got shape \(1,\) up to 90"),
        ([0.5], [-0.5], {}, "expected after"),
        ([0.5], [0.5], {"sizes": [1, 2]}, r"expected 1 sizes.*\(2,\)"),
        ([0.5], [0.5], {"clusters": ["a", "b"]}, "expected 1 clusters"),
        ([0.5], [0.5], {"focus": 1}, r"focus in 0\.\.0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(before, after, more, message):
    with pytest.raises(InputError, match=message):
        views.accuracy_change_plot(before, after, **more)

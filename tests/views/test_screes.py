"""Advice drawn."""

from __future__ import annotations

import numpy as np
import pytest

from hoi_captum import views
from hoi_captum.corex import ClusterAdvice, DimensionAdvice, FactorAdvice, advise_threshold
from hoi_captum.errors import InputError

FACTORS = FactorAdvice(
    tcs=np.array([3.0, 2.0, 0.4, 0.1]),
    null=np.array([[0.5, 0.3, 0.2, 0.1], [0.4, 0.4, 0.1, 0.0]]),
    level=0.5,
    suggested=2,
)
CLUSTERS = ClusterAdvice(
    ks=np.array([2, 3, 4]),
    silhouette=np.array([0.4, 0.6, 0.5]),
    inertia=np.array([9.0, 4.0, 3.0]),
    smallest=np.array([40, 30, 5]),
    labels=np.zeros((3, 80), dtype=int),
    points=np.zeros((80, 2)),
    min_rows=20,
    suggested=3,
)
DIMENSIONS = DimensionAdvice(
    dimensions=np.array([2, 5, 10]),
    kept=np.array([0.3, 0.58, 0.6]),
    n_neighbors=10,
    variance=np.array([0.7, 0.2, 0.1]),
    suggested=5,
)


def said(figure) -> list[str]:
    return [t.get_text() for box in figure.legends for t in box.get_texts()]


def test_factors_above_chance_are_filled():
    figure = views.scree_plot(FACTORS)
    ax = figure.axes[0]
    curve = next(line for line in ax.lines if len(line.get_xdata()) == 4)
    np.testing.assert_array_equal(curve.get_ydata(), FACTORS.tcs)
    filled, hollow = (c.get_offsets() for c in ax.collections[1:])
    np.testing.assert_array_equal(filled, [[1, 3.0], [2, 2.0]])
    np.testing.assert_array_equal(hollow, [[3, 0.4], [4, 0.1]])
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(v) for v in band} >= {(1, 0.4), (1, 0.5), (4, 0.0), (4, 0.1)}
    assert said(figure) == ["2 of 4 factors above chance", "shuffled columns, 2 fits", "their largest: 0.50"]


def test_members_are_dark_and_levels_drawn():
    rho = np.array([[0.9, 0.1, 0.85, 0.0], [0.0, 0.5, 0.0, 0.05]])
    advice = advise_threshold(-0.5 * np.log1p(-(rho**2)), 1000)
    figure = views.scree_plot(advice)
    for ax, row, members in zip(figure.axes, rho, (2, 1), strict=True):
        bars = ax.collections[0]
        tops = [segment[1, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(tops, np.sort(row)[::-1], atol=1e-12)
        colours = {tuple(c) for c in bars.get_colors()[:members]}
        assert len(colours) == 1
        assert not colours & {tuple(c) for c in bars.get_colors()[members:]}
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines]
    floor = np.sqrt(-np.expm1(-2 * advice.floor))
    assert levels == pytest.approx([(0.85 + 0.1) / 2, floor, 0.85])
    assert [ax.get_title() for ax in figure.axes] == ["factor 0: 2 members", "factor 1: 1 member"]
    assert len(views.scree_plot(advice, factors=[1]).axes) == 1
    with pytest.raises(InputError, match=r"factors in 0\.\.1"):
        views.scree_plot(advice, factors=[-1])


def test_choices_are_curves_with_the_suggestion():
    figure = views.choice_plot(CLUSTERS)
    drawn = [ax.lines[0].get_ydata() for ax in figure.axes]
    for found, expected in zip(
        drawn, (CLUSTERS.silhouette, CLUSTERS.inertia, CLUSTERS.smallest), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert all(ax.lines[-1].get_xdata()[0] == 3 for ax in figure.axes)
    assert figure.axes[2].texts[0].get_text() == "wanted: 20"
    assert figure.get_supxlabel() == "dotted: suggested, 3"
    figure = views.choice_plot(DIMENSIONS)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), DIMENSIONS.kept)
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), DIMENSIONS.variance)
    assert len(figure.axes[1].lines) == 1  # the suggestion is no axis


def test_no_suggestion_is_said():
    from dataclasses import replace

    figure = views.choice_plot(replace(CLUSTERS, suggested=None, min_rows=10_000))
    assert "no number of clusters" in figure.get_supxlabel()
    assert figure.axes[2].get_ylim()[1] > 10_000  # what would be wanted is in sight


def test_negative_total_correlations_are_in_sight():
    from dataclasses import replace

    (ax,) = views.scree_plot(replace(FACTORS, tcs=FACTORS.tcs - 100)).axes
    assert ax.get_ylim()[0] < FACTORS.tcs.min() - 100


def test_each_advice_has_its_plot():
    with pytest.raises(InputError, match="ClusterAdvice; choice_plot"):
        views.scree_plot(CLUSTERS)
    with pytest.raises(InputError, match="FactorAdvice; scree_plot"):
        views.choice_plot(FACTORS)

"""Strips of decoded images and curves of outputs."""

from __future__ import annotations

import numpy as np
import pytest

from hoi_captum import views
from hoi_captum.errors import InputError

S = [-1.0, 0.0, 1.5]
RNG = np.random.default_rng(0)
DECODED = RNG.normal(size=(3, 2, 4, 5))
OUTPUTS = RNG.dirichlet(np.ones(7), size=(3, 2))


def test_images_stand_in_rows_by_strength_on_one_scale():
    figure = views.perturbation_plot(S, decoded=DECODED, rows=["one", "$two$"])
    drawn = np.array([ax.images[0].get_array() for ax in figure.axes]).reshape(2, 3, 4, 5)
    scaled = (DECODED - DECODED.min()) / np.ptp(DECODED)
    np.testing.assert_allclose(drawn, scaled.swapaxes(0, 1))
    assert all(ax.images[0].get_clim() == (0, 1) for ax in figure.axes)
    assert [ax.get_title() for ax in figure.axes[:3]] == ["−1", "0", "+1.5"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["one", "$two$"]


@pytest.mark.parametrize("shape", [(3, 2, 4, 5, 3), (3, 2, 3, 4, 5)])
def test_channels_may_come_first_or_last(shape):
    images = RNG.random(shape)
    figure = views.perturbation_plot(S, decoded=images)
    last = images if shape[-1] == 3 else np.moveaxis(images, 2, -1)
    expected = (last - last.min()) / np.ptp(last)
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), expected[1, 0])


def test_curves_are_the_outputs_that_change_most():
    outputs = np.zeros((3, 2, 7))
    for c in range(7):
        outputs[2, c % 2, c] = 0.1 * c  # the largest change of class c
    figure = views.perturbation_plot(S, outputs=outputs, classes=list("abcdefg"))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list("gfedc")
    for b, ax in enumerate(figure.axes):
        curves = [line.get_ydata() for line in ax.lines[:5]]
        for curve, c in zip(curves, (6, 5, 4, 3, 2), strict=True):
            np.testing.assert_array_equal(curve, outputs[:, b, c])
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), S)
    assert figure.axes[0].get_ylim() == (-0.05, 1.05)  # probabilities


def test_both_stand_side_by_side():
    figure = views.perturbation_plot(S, decoded=DECODED, outputs=10 * OUTPUTS, output_label="log-odds")
    assert len(figure.axes) == 2 * 4
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 0] * 2
    assert figure.axes[3].get_ylabel() == "log-odds"
    assert figure.axes[3].get_ylim()[1] > 10 * OUTPUTS.max()


@pytest.mark.parametrize(
    ("strengths", "more", "message"),
    [
        (S, {}, "neither"),
        ([1.0, 0.0], {"outputs": OUTPUTS[:2]}, "ascending"),
        ([[0.0]], {"outputs": OUTPUTS}, "ascending"),
        ([0.0, np.nan], {"outputs": OUTPUTS[:2]}, "ascending"),
        (S, {"outputs": OUTPUTS[:2]}, r"outputs \(3, B, C\), got shape \(2, 2, 7\)"),
        (S, {"outputs": OUTPUTS[0]}, "got shape"),
        (S, {"decoded": DECODED[:2]}, r"decoded images \(3, B, h, w\).*got shape \(2, 2, 4, 5\)"),
        (S, {"decoded": RNG.random((3, 2, 4, 5, 2))}, "1 or 3 channels"),
        (S, {"decoded": DECODED[:, :1], "outputs": OUTPUTS}, r"as many rows, got \[1, 2\]"),
        (S, {"decoded": DECODED, "rows": ["a"]}, "expected 2 rows"),
        (S, {"outputs": OUTPUTS, "classes": ["a"]}, "expected 7 classes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(strengths, more, message):
    with pytest.raises(InputError, match=message):
        views.perturbation_plot(strengths, **more)

"""Factors of pixels as images."""

from __future__ import annotations

import numpy as np
import pytest

from hoi_captum import views
from hoi_captum.errors import InputError

MI = np.random.default_rng(0).gamma(1.0, size=(3, 6))


def test_images_are_the_roots_in_the_order_of_rows_on_one_scale():
    figure = views.pixel_map_plot(MI, (2, 3), titles=["a", "b", "$c$"])
    images = [ax.images[0] for ax in figure.axes[:3]]
    for image, row in zip(images, MI, strict=True):
        np.testing.assert_allclose(image.get_array(), np.sqrt(row).reshape(2, 3))
        assert image.get_clim() == (0.0, np.sqrt(MI.max()))
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "$c$"]


def test_each_may_have_its_own_scale_and_negative_estimates_are_none():
    figure = views.pixel_map_plot(-MI + [[0, 0, 0, 0, 0, 9]], (3, 2), own_scale=True)
    for ax, row in zip(figure.axes, MI, strict=True):
        assert ax.images[0].get_clim()[1] == pytest.approx(np.sqrt(9 - row[5]))
        assert ax.images[0].get_array()[0, 0] == 0
    assert len(figure.axes) == 3  # no common bar
    assert views.pixel_map_plot(np.zeros(4), (2, 2)).axes[0].images[0].get_clim() == (0.0, 1.0)


def test_a_pixel_that_outshines_all_others_goes_beyond_the_scale():
    mi = np.full((2, 100), 0.25)
    mi[0, 7] = 49.0
    figure = views.pixel_map_plot(mi, (10, 10))
    assert figure.axes[0].images[0].get_clim()[1] == 0.5
    assert figure.axes[-1]._colorbar.extend == "max"
    assert views.pixel_map_plot(mi, (10, 10), outlier_perc=0).axes[0].images[0].get_clim()[1] == 7.0
    with pytest.raises(InputError, match="outlier_perc"):
        views.pixel_map_plot(mi, (10, 10), outlier_perc=100)


@pytest.mark.parametrize(
    ("mi", "size", "titles", "message"),
    [
        (MI, (2, 2), None, r"\(m, 2·2\) for images of size \(2, 2\), got shape \(3, 6\)"),
        (MI, (6,), None, "for images of size"),
        (MI[None], (2, 3), None, "for images of size"),
        (MI * np.nan, (2, 3), None, "finite"),
        (MI, (2, 3), ["a"], "expected 3 titles"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(mi, size, titles, message):
    with pytest.raises(InputError, match=message):
        views.pixel_map_plot(mi, size, titles=titles)

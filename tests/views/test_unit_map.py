"""A neuron map on the page."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import hoi_captum as hoi
from hoi_captum.views import neuron_map_plot, render_page
from hoi_captum.views.unit_map import map_layout


def table(**arrays: Any) -> hoi.Interactions:
    terms = [hoi.Term((0, 1), "group", None, 0.5), hoi.Term((2, 4), "group", None, -0.2)]
    source = hoi.Provenance("graph-spectral")
    return hoi.Interactions.from_terms([f"u{i}" for i in range(5)], terms, provenance=source, arrays=arrays)


def test_each_unit_is_a_pixel_and_a_region() -> None:
    units = np.array([1.0, 0.0, -2.0, 0.5, 2.0])
    layout = map_layout(table(units=units, map_shape=np.array([2, 3])))
    assert layout is not None
    assert layout.mask.tolist() == [[0, 1, 2], [3, 4, -1]]
    flat = layout.image.reshape(6, 3)
    assert flat[5].tolist() == [1, 1, 1]  # no unit
    assert flat[2, 0] > flat[2, 2]  # the most negative is orange, the most positive blue
    assert flat[4, 2] > flat[4, 0]
    assert float(flat[1].min()) > 0.9  # zero is pale


@pytest.mark.parametrize("units", [np.zeros(5), np.array([np.nan, 1, 2, 3, 4])])
def test_zeros_and_nan_are_pale(units: np.ndarray) -> None:
    layout = map_layout(table(units=units, map_shape=np.array([1, 5])))
    assert layout is not None
    assert torch.isfinite(layout.image).all()
    assert float(layout.image[0, 0].min()) > 0.9


def test_other_tables_have_none() -> None:
    assert map_layout(table()) is None
    assert map_layout(table(units=np.zeros(4), map_shape=np.array([2, 2]))) is None


def test_the_page_shows_the_map_and_its_units() -> None:
    page = render_page(table(units=np.arange(5.0), map_shape=np.array([2, 3])))
    assert re.search(r'<svg class="image pixelated" viewBox="0 0 3 2"', page)
    assert page.count('<image href="data:image/png;base64,') == 1
    assert '<svg class="image' not in render_page(table())


@pytest.mark.parametrize(
    "shape", [[1, 1], [1, 1, 5], [1.0, 5.0], [-2, -5], [5, 0], [10**6, 10**6], 5, [[1, 5]]]
)
def test_shapes_that_hold_no_map_are_passed_over(shape: Any) -> None:
    one = table(units=np.zeros(5), map_shape=np.array(shape), groups=np.zeros(5))
    assert map_layout(one) is None
    assert '<svg class="image' not in render_page(one)
    assert neuron_map_plot(one).axes

"""Maps of rows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from hoi_captum import views
from hoi_captum.errors import InputError

POINTS = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0, 0], [9, 0], [0, 9]], 20, axis=0)


def shades(ax) -> dict[str, np.ndarray]:
    """Points by the colour they have."""
    return {to_hex(c.get_facecolor()[0]): c.get_offsets() for c in ax.collections if len(c.get_offsets())}


def test_each_category_has_a_colour_and_its_name_amid_its_points():
    labels = np.repeat([0, 1, -1], 20)
    ax = views.map_plot(POINTS, labels, label="cluster").axes[0]
    drawn = shades(ax)
    assert len(drawn) == 3
    np.testing.assert_array_equal(drawn["#c4c8ce"], POINTS[40:])  # grey: in none
    names = {t.get_text(): t.xy for t in ax.texts}
    assert set(names) == {"0", "1", "none"}
    assert np.linalg.norm(np.subtract(names["1"], (9, 0))) < 1
    assert names["1"] in [tuple(p) for p in POINTS[20:40]]
    assert ax.get_title() == "cluster"


@pytest.mark.parametrize("count", [2, 10, 24, 30])
def test_up_to_thirty_categories_have_colours_of_their_own(count):
    labels = np.arange(60) % count
    ax = views.map_plot(POINTS, labels).axes[0]
    assert len(shades(ax)) == count
    assert [t.get_text() for t in ax.texts] == [str(i) for i in range(count)]  # 10 after 9


def test_numbers_go_from_pale_to_dark_and_what_is_missing_is_grey():
    values = np.linspace(0, 1, 60)
    values[5] = np.nan
    figure = views.map_plot(POINTS, values)
    grey, drawn = figure.axes[0].collections
    np.testing.assert_array_equal(grey.get_offsets(), POINTS[5:6])
    np.testing.assert_array_equal(drawn.get_array(), np.delete(values, 5))
    assert drawn.get_clim() == pytest.approx(tuple(np.percentile(np.delete(values, 5), [1, 99])))
    assert len(figure.axes) == 2  # the colours' bar
    assert len(views.map_plot(POINTS, np.full(60, np.nan)).axes) == 1
    many = views.map_plot(POINTS, np.arange(60)).axes[0]  # too many for categories
    assert not many.texts


def test_several_columns_are_panels():
    columns = {"cluster": np.repeat([0, 1, 2], 20), "state": np.repeat(["$a$", "b", "a"], 20), "none": None}
    figure = views.map_plot(POINTS, columns, title="Rows")
    assert [ax.get_title() for ax in figure.axes] == ["cluster", "state", "none"]
    assert {t.get_text() for t in figure.axes[1].texts} == {"$a$", "a", "b"}


@pytest.mark.parametrize(
    ("points", "values", "message"),
    [
        (np.ones((3, 3)), None, r"points \(n, 2\)"),
        (np.full((3, 2), np.nan), None, r"points \(n, 2\)"),
        (np.ones((0, 2)), None, r"points \(n, 2\)"),
        (np.ones((3, 2)), [1, 2], r"expected 3 values of the column.*got shape \(2,\)"),
        (np.ones((3, 2)), {"income": [1, 2]}, "values of income"),
        (np.ones((3, 2)), {}, "at least one column"),
        (np.ones((3, 2)), np.ones(3, dtype="complex") * 1j, "numbers or names"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(points, values, message):
    with pytest.raises(InputError, match=message):
        views.map_plot(points, values)

from __future__ import annotations

import math
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import visualization

from hoi_captum import views
from hoi_captum.core.example import ImageLayout, TextLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError

METHODS = ("heat_map", "blended_heat_map", "original_image", "masked_image", "alpha_scaling")
SIGNS = ("all", "positive", "negative", "absolute_value")


# ---------------------------------------------------------------- text
def test_word_attributions_are_the_shares_on_a_scale_of_one(review):
    table, layout = review
    record = views.text_record(table, layout, scope="model:0")
    # not: -0.5 + 2/2 - 0.25/2 - 0.6/3; bad: -1 + 2/2 - 0.25/2 - 0.6/3; unfunny: -0.6/3
    share = {"not": 0.175, "bad": -0.325, "unfunny": -0.2}
    expected = [share.get(w, 0.0) / 0.325 for w in ("not", "a", "bad", "film", ",", "unfunny", ".")]
    assert record.raw_input_ids == ["not", "a", "bad", "film", ",", "unfunny", "."]
    torch.testing.assert_close(record.word_attributions, torch.tensor(expected))
    assert record.attr_score == pytest.approx(-0.35)
    assert record.attr_class == "positive · Teacher"


def test_a_player_at_two_places_has_its_share_divided():
    layout = TextLayout((("so", 0), (" ", -1), ("very", 1), (" ", -1), ("so", 0)))
    table = Interactions.from_terms(
        ("so", "very"),
        [Term((0,), "and", None, 1.0), Term((1,), "and", None, -1.0)],
        provenance=Provenance("m"),
    )
    assert views.text_record(table, layout).word_attributions.tolist() == [0.5, -1.0, 0.5]


def test_tokens_are_escaped_in_the_record_and_in_the_table(hostile):
    record = views.text_record(*hostile, prediction="<i>", truth="a & b")
    assert record.raw_input_ids[0] == "&lt;script&gt;alert(1)&lt;/script&gt;"
    html = views.text_html([record])
    assert "<script" not in html
    assert "<i>" not in html
    assert "&amp;lt;" not in html  # escaped once
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "[red]x" in html


def test_captums_own_view_is_safe_with_our_records(hostile, monkeypatch):
    monkeypatch.setattr(visualization, "HAS_IPYTHON", True)
    monkeypatch.setattr(visualization, "HTML", lambda text: SimpleNamespace(data=text), raising=False)
    monkeypatch.setattr(visualization, "display", lambda _: None, raising=False)
    html = visualization.visualize_text([views.text_record(*hostile)]).data
    assert "<script" not in html


def test_records_made_by_hand_are_escaped_too():
    record = visualization.VisualizationDataRecord(
        torch.tensor([1.0, math.nan], dtype=torch.bfloat16), 0.5, "<b>", "t", "a", 1.0, ["<unk>", "x"], 0.0
    )
    html = views.text_html([record], legend=False)
    assert "&lt;unk&gt;" in html
    assert "&lt;b&gt; (0.50)" in html
    assert "negative" not in html


def test_text_html_needs_no_ipython(review, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)  # not installed
    assert "unfunny" in views.text_html([views.text_record(*review, probability=0.9)])


def test_zero_shares_stay_zero(nothing):
    record = views.text_record(nothing)
    assert record.word_attributions.tolist() == [0.0, 0.0, 0.0]
    assert record.raw_input_ids == ["a", "b", "c"]


# ---------------------------------------------------------------- images
def note(figure) -> str:
    return figure._supxlabel.get_text() if figure._supxlabel else ""


def pixels(figure) -> np.ndarray:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values",
    [
        np.zeros(9),
        np.full(9, np.nan),
        np.array([np.inf, -np.inf, *[0.0] * 7]),
        -np.ones(9),
        np.ones(9),
        np.arange(9) * 1e-12,
        torch.randn(24, 24, dtype=torch.bfloat16, requires_grad=True),
        torch.randn(1, 3, 24, 24),
        torch.randn(24, 24, 3),
        torch.randn(1, 1, 4, 4),
        torch.arange(12).reshape(3, 4),
    ],
    ids=["zero", "nan", "inf", "negative", "positive", "tiny", "bf16", "nchw", "hwc", "small", "integers"],
)
def test_every_map_can_be_drawn_by_every_method(digit, values, method, sign):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(views.image_figure(values, digit[1], method=method, sign=sign)).size


@pytest.mark.parametrize(
    ("values", "sign", "said"),
    [
        (np.zeros(9), "all", "all values are zero"),
        (-np.ones(9), "positive", "no positive values"),
        (np.ones(9), "negative", "no negative values"),
        (np.full(9, np.nan), "all", "576 values that are not finite are drawn as zero; all values are zero"),
    ],
)
def test_a_neutral_picture_says_why(digit, values, sign, said):
    assert note(views.image_figure(values, digit[1], sign=sign)) == said


def test_player_values_fill_their_regions(digit):
    layout = digit[1]
    figure = views.image_figure(np.arange(9) - 4.0, layout, method="heat_map", outlier_perc=0)
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(drawn, (layout.mask.numpy() - 4) / 4)


def test_background_gets_no_value():
    layout = ImageLayout(torch.zeros(2, 2, 3), torch.tensor([[0, -1], [-1, 1]]))
    drawn = views.image_figure(np.array([1.0, -1.0]), layout, method="heat_map").axes[0].images[0].get_array()
    np.testing.assert_array_equal(drawn, [[1, 0], [0, -1]])


def test_a_small_map_covers_the_whole_image(digit):
    small = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    drawn = views.image_figure(small, digit[1], method="heat_map").axes[0].images[0].get_array()
    expected = np.kron(small.numpy(), np.ones((12, 12)))
    np.testing.assert_array_equal(drawn, expected)


def test_the_image_keeps_its_range(digit):
    layout = digit[1]
    figure = views.image_figure(np.ones(9), layout)
    under = figure.axes[0].images[0]
    assert under.get_clim() == (0, 255)  # a pale image stays pale
    np.testing.assert_allclose(under.get_array(), (layout.image[..., 0] * 255).round(), atol=0.5)


def test_a_black_image_stays_black(digit):
    black = ImageLayout(torch.full((24, 24, 3), 1 / 255), digit[1].mask)
    drawn = views.image_figure(np.ones(9), black, method="original_image").axes[0].images[0].get_array()
    assert np.asarray(drawn).max() == 1


@pytest.mark.parametrize(
    ("image", "top"),
    [
        (torch.full((24, 24), 0.5), 127.5),
        (torch.full((24, 24, 1), 0.5), 127.5),
        (torch.full((24, 24, 3), 200, dtype=torch.uint8), 200),
    ],
    ids=["grey", "one channel", "bytes"],
)
def test_other_images_are_understood(digit, image, top):
    figure = views.image_figure(np.ones(9), ImageLayout(image, digit[1].mask))
    assert np.asarray(figure.axes[0].images[0].get_array()).max() == pytest.approx(top, abs=0.6)


def test_a_normalised_image_is_stretched_and_the_figure_says_so(digit):
    image = torch.linspace(-2, 2.5, 24 * 24 * 3).reshape(24, 24, 3)
    figure = views.image_figure(np.ones(9), ImageLayout(image, digit[1].mask), method="original_image")
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert (drawn.min(), drawn.max()) == (0, 255)
    assert "stretched" in note(figure)


@pytest.mark.parametrize("method", ["heat_map", "blended_heat_map"])
def test_the_colour_bar_stands_inside_the_figure(digit, method):
    figure = views.image_figure(np.arange(9) - 4.0, digit[1], method=method, sign="negative")
    pixels(figure)
    bar = figure.axes[1]
    assert bar.get_xlabel() == "relative size of negative values (1: the strongest)"
    assert bar.get_tightbbox().y0 >= 0
    assert len(views.image_figure(np.ones(9), digit[1], method=method, show_colorbar=False).axes) == 1


def test_titles_are_literal_and_pyplot_stays_untouched(digit):
    from matplotlib import pyplot

    figure = views.image_figure(np.ones(9), digit[1], title="$\\frac$")
    assert pixels(figure).size
    assert figure.axes[0].get_title() == "$\\frac$"
    assert pyplot.get_fignums() == []


def test_wrong_arguments_say_what_was_expected(digit):
    with pytest.raises(InputError, match=r"one of .*heat_map.*, got 'heatmap'"):
        views.image_figure(np.ones(9), digit[1], method="heatmap")
    with pytest.raises(InputError, match="expected sign"):
        views.image_figure(np.ones(9), digit[1], sign="both")
    with pytest.raises(InputError, match="ImageLayout of the 8 players of the table, got one of 9"):
        views.image_figure(np.ones(8), digit[1])
    with pytest.raises(InputError, match=r"got shape \(2, 3, 4, 5\)"):
        views.image_figure(np.ones((2, 3, 4, 5)), digit[1])

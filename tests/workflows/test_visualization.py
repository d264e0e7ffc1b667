"""Captum's drawings of our attributions: the numbers that are drawn, by Captum's calls and by our views."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import visualization
from numpy.typing import NDArray
from torch import Tensor

import hoi_captum as hoi
from hoi_captum import views
from hoi_captum.core.example import ImageLayout
from hoi_captum.testing.cases import image_case
from tests.workflows.methods import ON_INPUTS, Ready

SIGNS = ("all", "positive", "negative", "absolute_value")
REVIEW = "not a bad film"


def drawn(axes: Any) -> list[NDArray[Any]]:
    """The arrays of all images in some axes, from the lowest."""
    return [np.ma.getdata(image.get_array()) for image in axes.images]


def scaled(attributions: Tensor, sign: str, outliers: float = 2.0) -> NDArray[Any]:
    """(H, W) in [-1, 1] of (C, H, W): the largest numbers that make up so many percent are cut off."""
    summed = attributions.sum(0).numpy()
    wanted = {
        "all": summed,
        "positive": summed.clip(min=0),
        "negative": summed.clip(max=0),
        "absolute_value": np.abs(summed),
    }[sign]
    sizes = sorted(np.abs(wanted).flatten().tolist())
    total, so_far, largest = sum(sizes), 0.0, 0.0
    for largest in sizes:
        so_far += largest
        if so_far >= total * (100 - outliers) / 100 * (1 - 1e-7):
            break
    return (wanted / largest * (-1 if sign == "negative" else 1)).clip(-1, 1)


def channels_last(images: Tensor) -> NDArray[Any]:
    """(H, W, C) of the first of (B, C, H, W), as Captum draws it."""
    array: NDArray[Any] = images[0].permute(1, 2, 0).numpy()
    return array


@pytest.mark.parametrize("name", ON_INPUTS)
def test_a_heat_map_shows_attributions_of_inputs(name: str) -> None:
    case = image_case()
    attributions = ON_INPUTS[name](case).attribute(case.inputs, **case.call)
    signs = SIGNS if bool((attributions[0] < 0).any()) else ("all", "positive", "absolute_value")
    assert (len(signs) == 4) is (name == "GeneralizableAndOr")  # the others are sizes
    for sign in signs:
        _, axes = visualization.visualize_image_attr(
            channels_last(attributions), None, "heat_map", sign, use_pyplot=False
        )
        np.testing.assert_allclose(drawn(axes)[0], scaled(attributions[0], sign), atol=1e-6)


@pytest.mark.parametrize("name", ["TaylorCAM", "SecondGlance", "LayerLocalCorEx", "GraphSpectral"])
def test_maps_of_a_layer_are_laid_over_the_image(name: str, ready: Ready) -> None:
    method, case = ready(f"{name}, at a layer", "images")
    found = method.interpolate(method.attribute(case.inputs, target=2), (8, 8))
    image = channels_last(case.inputs.sigmoid().expand(-1, 3, -1, -1))  # grey ones Captum cannot scale
    _, axes = visualization.visualize_image_attr_multiple(
        channels_last(found),
        image,
        ["original_image", "heat_map", "blended_heat_map", "masked_image", "alpha_scaling"],
        ["all", "all", "absolute_value", "absolute_value", "positive"],
        use_pyplot=False,
    )
    original, heat, blended, masked, alpha = map(drawn, axes)
    pixels = (image * 255).astype(int)
    np.testing.assert_array_equal(original[0], pixels)
    np.testing.assert_allclose(heat[0], scaled(found[0], "all"), atol=1e-6)
    np.testing.assert_allclose(blended[0], pixels.mean(2))
    np.testing.assert_allclose(blended[1], scaled(found[0], "absolute_value"), atol=1e-6)
    # brightness by size, cut to whole numbers
    expected = (pixels * scaled(found[0], "absolute_value")[..., None]).clip(0, 255)
    assert np.abs(masked[0] - expected).max() <= 1
    np.testing.assert_array_equal(alpha[0][..., :-1], pixels)
    assert np.abs(alpha[0][..., -1] - 255 * scaled(found[0], "positive")).max() <= 1


def test_our_figure_draws_what_captum_draws() -> None:
    case = image_case()
    attributions = hoi.GeneralizableAndOr(case.model).attribute(case.inputs, **case.call)[:1]
    mask = case.call["feature_mask"][0, 0]
    layout = ImageLayout(case.inputs[0].sigmoid().expand(3, -1, -1).permute(1, 2, 0), mask)
    image = layout.image.numpy()
    of_players = torch.stack([attributions[0, 0][mask == player][0] for player in range(4)])
    for sign in SIGNS:
        _, axes = visualization.visualize_image_attr(
            channels_last(attributions), image, "blended_heat_map", sign, use_pyplot=False
        )
        grey, expected = drawn(axes)
        for values in (attributions, attributions.double(), attributions[0], of_players):
            ours = drawn(views.image_figure(values, layout, sign=sign).axes[0])
            np.testing.assert_allclose(ours[1], expected, atol=1e-6)
            assert np.abs(ours[0] - grey).max() <= 1  # rounded where Captum cuts off


def test_our_figure_draws_what_captum_cannot() -> None:
    """Nothing at all, no number, another size: by Captum an exception, or a corner of the image."""
    layout = ImageLayout(
        torch.full((4, 4, 3), 0.5), torch.arange(4).view(2, 2).repeat_interleave(2, 0).repeat_interleave(2, 1)
    )
    nothing = torch.zeros(4)
    with pytest.raises(AssertionError, match="scale factor"):
        visualization.visualize_image_attr(np.zeros((4, 4, 1)), None, "heat_map", "all", use_pyplot=False)
    assert not drawn(views.image_figure(nothing, layout).axes[0])[1].any()
    unknown = torch.tensor([[1.0, torch.nan], [-0.5, 0.0]]).bfloat16()  # a coarser map, in half precision
    expected = np.array([[1.0, 0.0], [-0.5, 0.0]]).repeat(2, 0).repeat(2, 1)
    found = drawn(views.image_figure(unknown, layout, outlier_perc=0.0).axes[0])[1]
    np.testing.assert_allclose(found, expected, atol=1e-6)


# ---------------------------------------------------------------- text
@pytest.fixture
def html(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captum's text view without IPython, by whose HTML and display it is shown."""
    monkeypatch.setattr(visualization, "HAS_IPYTHON", True)
    monkeypatch.setattr(visualization, "HTML", lambda text: SimpleNamespace(data=text), raising=False)
    monkeypatch.setattr(visualization, "display", lambda _: None, raising=False)


def coloured(page: str) -> list[tuple[str, str]]:
    """Words and their colours."""
    found = re.findall(
        r"<mark style=\"background-color: (hsl\([^)]*\)).*?<font color=\"black\">\s*(\S+)", page, re.S
    )
    return [(word, colour) for colour, word in found]


def colour_of(value: float) -> str:
    """Green for what is above zero, red below; the lighter the smaller."""
    if value > 0:
        return f"hsl(120, 75%, {100 - int(50 * value)}%)"
    return f"hsl(0, 75%, {100 - int(-40 * value)}%)"


@pytest.mark.parametrize("name", ["GeneralizableAndOr", "TaylorCAM", "SecondGlance"])
def test_words_have_the_colours_of_their_attributions(name: str, html: None) -> None:
    model, tokenizer = hoi.zoo.load("sentiment-bert-a")
    adapter = hoi.adapt(model, tokenizer=tokenizer)
    example = adapter.example(REVIEW)
    attributions = getattr(hoi, name)(adapter.forward_func).attribute(**example, target=1)
    assert attributions.shape == example.inputs.shape
    assert bool((attributions == attributions[..., :1]).all())  # a word's number stands at all of its cells
    words = attributions[0].mean(-1)
    words = words / words.abs().max()
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(REVIEW)["input_ids"])
    assert tokens == ["[CLS]", *REVIEW.split(), "[SEP]"]
    record = visualization.VisualizationDataRecord(words, 0.9, "negative", "–", "negative", 1.0, tokens, 0.0)
    page = visualization.visualize_text([record], legend=False).data
    expected = [(token, colour_of(float(w))) for token, w in zip(tokens, words, strict=True)]
    assert coloured(page) == expected
    assert expected[0][1] == expected[-1][1] == "hsl(0, 75%, 100%)"  # white: they are no players
    assert len({colour for _, colour in expected[1:-1]}) > 2


def test_our_table_has_captums_colours(html: None) -> None:
    model, tokenizer = hoi.zoo.load("sentiment-bert-a")
    explanation = hoi.explain(model, REVIEW, tokenizer=tokenizer, target=1, error_bound=0.0)
    record = views.text_record(explanation.interactions, explanation.layout)
    ours = coloured(views.text_html([record], legend=False))
    assert ours == coloured(visualization.visualize_text([record], legend=False).data)
    # the terms, exact here, share out to the Shapley values that attribute() gives
    words = explanation.attributions[0, 1:-1, 0]
    words = words / words.abs().max()
    torch.testing.assert_close(record.word_attributions, words, rtol=0, atol=1e-3)
    lightness = [
        [int(re.findall(r"(\d+)%\)", c)[0]) for _, c in some]
        for some in (ours, [("", colour_of(float(w))) for w in words])
    ]
    assert np.abs(np.subtract(*lightness)).max() <= 1
    assert [word for word, _ in ours] == REVIEW.split()

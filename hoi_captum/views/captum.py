"""Captum's own drawings, made so that they can neither fail nor mislead.

Captum escapes no token, needs IPython to draw text, and stops at maps that are zero, hold a NaN, or lack the
wanted sign; maps of another size are drawn into a corner. Each of these is handled here, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hoi_captum.core.example import ImageLayout, TextLayout
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.views.labels import scope_titles, shorten
from hoi_captum.views.palette import INK, NEUTRAL, diverging, sequential
from hoi_captum.views.panels import DPI, only_scope
from hoi_captum.views.places import check_places
from hoi_captum.views.words import words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method = Literal["heat_map", "blended_heat_map", "original_image", "masked_image", "alpha_scaling"]
Sign = Literal["all", "positive", "negative", "absolute_value"]

_METHODS = ("heat_map", "blended_heat_map", "original_image", "masked_image", "alpha_scaling")
_SIGNS = ("all", "positive", "negative", "absolute_value")
_COLOURS = ("hsl(0, 75%, 60%)", "hsl(0, 75%, 100%)", "hsl(120, 75%, 50%)")  # Captum's, of words
_UNSIGNED = ("masked_image", "alpha_scaling")  # a brightness cannot show a sign


# ---------------------------------------------------------------- text
def text_record(
    interactions: Interactions,
    layout: TextLayout | None = None,
    *,
    scope: str | None = None,
    prediction: Any = "–",
    probability: float = math.nan,
    truth: Any = "–",
    target: Any = None,
    convergence: float = math.nan,
) -> Any:
    r"""Each word's share of the interactions, as a record for Captum's text view.

    Args:
        interactions: the table; each term is shared evenly among its players (the Shapley value for AND and
            OR terms). Without ``scope`` several scopes are averaged.
        layout: the text; without one the players' names are the words. A player that stands at several places
            has its share divided among them. Default: None
        scope: use this scope alone. Default: None
        prediction, probability: what the model predicted, and how surely. Default: –, NaN
        truth: the true class. Default: –
        target: the class that was explained; None takes the provenance's. Default: None
        convergence: convergence delta, if known. Default: NaN

    Returns:
        captum.attr.visualization.VisualizationDataRecord: ``word_attributions`` is (words,) float32, divided
        by its largest absolute value, so in [-1, 1]; ``attr_score`` is the sum before that, in the unit of
        the scores. Words and labels are escaped (``markupsafe.Markup``), so Captum's ``visualize_text`` is
        safe too.

    Raises:
        InputError: no such scope, or a text of other players.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> record = hoi.views.text_record(table)
        >>> record.raw_input_ids, record.word_attributions.round(decimals=2), record.attr_score
        ([Markup('not'), Markup('bad')], tensor([1.0000, 0.1400]), 2.0)
    """
    from captum.attr import visualization
    from markupsafe import escape

    check_places(len(interactions.players), layout)
    table = only_scope(interactions, scope)
    share = table.per_player()
    share = np.where(np.isfinite(share), share, 0.0)
    words = words_of(layout, interactions.players)
    times = np.bincount([p for _, p, _ in words if p >= 0], minlength=len(share))
    values = np.array([share[p] / times[p] if p >= 0 else 0.0 for _, p, _ in words])
    peak = np.abs(values).max(initial=0.0)
    if target is None:
        target = interactions.provenance.target
        if scope:
            titles = scope_titles(interactions, interactions.scope_names)
            target = f"{target} · {titles[interactions.scope_names.index(scope)]}"
    return visualization.VisualizationDataRecord(
        word_attributions=torch.tensor(values / peak if peak else values, dtype=torch.float32),
        pred_prob=float(probability),
        pred_class=escape(prediction),
        true_class=escape(truth),
        attr_class=escape(target or "–"),
        attr_score=float(share.sum()),
        raw_input_ids=[escape(text) for text, _, _ in words],
        convergence_score=float(convergence),
    )


def text_html(records: Iterable[Any], legend: bool = True) -> str:
    """Captum's table of coloured words as HTML, without IPython.

    Args:
        records: VisualizationDataRecords. Those of :func:`text_record` are escaped already; the strings of
            any other record are escaped here.
        legend: say what the colours mean. Default: True

    Returns:
        HTML of one ``<div>``.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["<not>", "bad"])
        >>> html = hoi.views.text_html([hoi.views.text_record(table)])
        >>> "&lt;not&gt;" in html, "<not>" in html
        (True, False)
    """
    from markupsafe import escape

    rows = []
    for record in records:
        probability = float(record.pred_prob)
        sure = "" if math.isnan(probability) else f" ({probability:.2f})"
        cells = [
            escape(record.true_class),
            escape(record.pred_class) + sure,
            escape(record.attr_class),
            escape(f"{float(record.attr_score):+.3f}"),
        ]
        rows.append((cells, record))
    heads = ("True", "Predicted", "Explained", "Score", "Words")
    return words_table(rows, heads, ("negative", "neutral", "positive") if legend else ())


def words_table(
    rows: Iterable[tuple[Sequence[str], Any]], heads: Sequence[str], key: Sequence[str] = ()
) -> str:
    """Captum's coloured words as an HTML table.

    Args:
        rows: for each row the cells before the words, and the record with the words; all is escaped here,
            but for ``markupsafe.Markup``.
        heads: of the columns.
        key: what red, white and green mean; empty for no key.
    """
    from captum.attr import visualization
    from markupsafe import escape

    head = "".join(f"<th style='text-align:left;padding:0 1em .3em 0'>{escape(name)}</th>" for name in heads)
    lines = []
    for cells, record in rows:
        words = [escape(word) for word in record.raw_input_ids]
        # bfloat16 and NaN, both legal in a record, are neither to Captum's colours
        values = np.nan_to_num(np.asarray(torch.as_tensor(record.word_attributions).detach().float().cpu()))
        row = "".join(
            f"<td style='padding:0 1em .3em 0;white-space:nowrap'><b>{escape(cell)}</b></td>"
            for cell in cells
        )
        # words are Markup, escaped; captum writes them into its <mark> tags as they are
        coloured = visualization.format_word_importances([str(w) for w in words], values)
        lines.append(f"<tr>{row}{coloured}</tr>")
    box = "display:inline-block;width:10px;height:10px;border:1px solid #888"
    spans = "".join(
        f"<span style='{box};background:{colour}'></span> {escape(name)} &nbsp; "
        for name, colour in zip(key, _COLOURS, strict=False)
    )
    above = f"<div style='margin:0 0 .6em'>{spans}</div>" if key else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<div class='hoi-captum-text'>{above}{table}</div>"


# ---------------------------------------------------------------- images
def image_figure(
    values: ArrayLike | Tensor,
    layout: ImageLayout,
    *,
    method: Method = "blended_heat_map",
    sign: Sign = "all",
    title: str | None = None,
    outlier_perc: float = 2.0,
    alpha_overlay: float = 0.5,
    show_colorbar: bool = True,
    fig_size: tuple[float, float] = (6.0, 6.0),
) -> Figure:
    r"""Captum's ``visualize_image_attr`` for any map, drawn without pyplot.

    What cannot be shown as asked is shown neutrally, and a line under the image says so: a map that is
    zero or lacks the wanted sign, values that are not finite (drawn as zero), a sign for a method that has
    none.

    Args:
        values: (n,) a value for each player of ``layout.mask``; or a map (H, W), (C, H, W) or (H, W, C),
            Tensor or array of any dtype, leading dimensions of 1 allowed; channels are summed. A map of
            another size than the image is resized by nearest neighbours.
        layout: the image and its players. An image outside [0, 1] is brought there for display.
        method, sign, outlier_perc, alpha_overlay, show_colorbar, fig_size: as in Captum; ``masked_image`` and
            ``alpha_scaling`` show the absolute value for sign "all".
        title: above the image. Default: None

    Returns:
        Figure.

    Raises:
        InputError: an unknown method or sign, or values of a shape that fits neither players nor image.

    Examples::

        >>> from hoi_captum.core.example import ImageLayout
        >>> layout = ImageLayout(torch.zeros(2, 4, 3), torch.tensor([[0, 0, 1, 1]]).expand(2, 4))
        >>> figure = hoi.views.image_figure([1.0, -0.5], layout, title="two halves")
        >>> figure.axes[0].get_title(), figure.axes[0].images[-1].get_array()[0].tolist()
        ('two halves', [1.0, 1.0, -0.5, -0.5])
    """
    from matplotlib.figure import Figure

    if method not in _METHODS:
        raise InputError(f"expected method to be one of {list(_METHODS)}, got {method!r}")
    if sign not in _SIGNS:
        raise InputError(f"expected sign to be one of {list(_SIGNS)}, got {sign!r}")
    figure = Figure(figsize=fig_size, dpi=DPI, layout="constrained")
    ax = figure.subplots()
    notes = draw_attribution(
        ax, values, layout, method=method, sign=sign, outlier_perc=outlier_perc, alpha_overlay=alpha_overlay
    )
    if show_colorbar and method in ("heat_map", "blended_heat_map"):
        # not Captum's own, whose numbers fall off the figure
        bar = figure.colorbar(ax.images[-1], ax=ax, orientation="horizontal", aspect=40, pad=0.02)
        what = {"negative": "size of negative values", "absolute_value": "absolute value"}.get(sign, "value")
        bar.set_label(f"relative {what} (1: the strongest)", fontsize=9)
        bar.outline.set_visible(False)
    if title:
        ax.set_title(shorten(title, 70), color=INK, parse_math=False)
    if notes:
        figure.supxlabel("; ".join(notes), fontsize=8, color=NEUTRAL, parse_math=False)
    return figure


def draw_attribution(
    ax: Axes,
    values: ArrayLike | Tensor,
    layout: ImageLayout,
    *,
    method: Method = "blended_heat_map",
    sign: Sign = "all",
    outlier_perc: float = 2.0,
    alpha_overlay: float = 0.5,
) -> list[str]:
    """What :func:`image_figure` draws, in axes that are there; gives notes on what could not be shown.

    The arguments are those of :func:`image_figure`.
    """
    from captum.attr import visualization

    image, notes = _image(layout)
    attribution = _map(values, layout)
    if not np.isfinite(attribution).all():
        notes.append(f"{int((~np.isfinite(attribution)).sum())} values that are not finite are drawn as zero")
        attribution = np.where(np.isfinite(attribution), attribution, 0.0)
    if method in _UNSIGNED and sign == "all":
        sign = "absolute_value"
        notes.append("absolute values: this method cannot show a sign")
    colours = diverging() if sign == "all" else sequential(sign)
    wanted = {"positive": attribution > 0, "negative": attribution < 0}.get(sign, attribution != 0)

    if wanted.any() or method == "original_image":
        visualization.visualize_image_attr(
            # Captum warns about small numbers, though it divides by their own scale next: divide first
            attribution / (np.abs(attribution).max() or 1.0) if wanted.any() else np.ones_like(attribution),
            # as floats: Captum multiplies what is at most 1 by 255, which would light up a black image of
            # integers; the quarter keeps its cut to whole numbers from losing one
            np.minimum((image + 0.25) / 255, 1.0),
            method=method,
            sign=sign if wanted.any() else "all",
            plt_fig_axis=(ax.figure, ax),
            # at exactly 0 Captum's own rounding can leave it without a threshold, at 100 the threshold is 0
            outlier_perc=float(np.clip(outlier_perc, 1e-6, 99.0)),
            cmap=colours,
            alpha_overlay=alpha_overlay,
            use_pyplot=False,
        )
    else:
        notes.append(f"no {sign} values" if sign in ("positive", "negative") else "all values are zero")
        _draw_neutral(ax, image, method, colours, (-1 if sign == "all" else 0, 1), alpha_overlay)
    if method == "blended_heat_map":
        ax.images[0].set_clim(0, 255)  # Captum stretches the greys of a pale image to black and white
    return notes


def _image(layout: ImageLayout) -> tuple[NDArray[np.int64], list[str]]:
    """The image as (H, W, 3) integers in 0..255, and what was done to it."""
    image = np.asarray(torch.as_tensor(layout.image).detach().double().cpu())
    notes = []
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] == 1:
        image = image.repeat(3, axis=-1)
    if not np.isfinite(image).all():
        notes.append("pixels that are not finite are black")
        image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    if image.min() < 0 or image.max() > 255:
        notes.append("the image, outside its range, was stretched to it")
        image = (image - image.min()) / (image.max() - image.min())
    elif image.max() > 1:
        image = image / 255
    return np.rint(image * 255).astype(np.int64), notes


def _map(values: ArrayLike | Tensor, layout: ImageLayout) -> NDArray[np.float64]:
    """Values as an (H, W) map of the image's size."""
    mask = np.asarray(layout.mask.detach().cpu())
    tensor = torch.as_tensor(values).detach().cpu().double()
    given = tuple(tensor.shape)
    size = tuple(layout.image.shape[:2])
    if tensor.dim() == 1:
        check_places(len(tensor), layout)
        return np.where(mask >= 0, tensor.numpy()[np.maximum(mask, 0)], 0.0)
    while tensor.dim() > 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.dim() == 3:
        # Captum's maps have channels first, its images last; the image's size tells which
        colours = tensor.shape[-1] in (1, 3) and tensor.shape[0] not in (1, 3)
        last = tuple(tensor.shape[:2]) == size or colours
        tensor = tensor.sum(-1 if last else 0)
    if tensor.dim() != 2 or not tensor.numel():
        raise InputError(
            f"expected values (players,), (H, W), (C, H, W) or (H, W, C) for an image of {size}, "
            f"got shape {given}"
        )
    if tuple(tensor.shape) != size:
        tensor = torch.nn.functional.interpolate(tensor[None, None], size=size, mode="nearest-exact")[0, 0]
    return tensor.numpy()


def _draw_neutral(
    ax: Any, image: NDArray[np.int64], method: str, colours: Any, limits: tuple[int, int], alpha: float
) -> None:
    """What the method shows of a map of zeros."""
    zeros = np.zeros(image.shape[:2])
    ax.set_axis_off()
    if method == "heat_map":
        ax.imshow(zeros, cmap=colours, vmin=limits[0], vmax=limits[1])
    elif method == "blended_heat_map":
        ax.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        ax.imshow(zeros, cmap=colours, vmin=limits[0], vmax=limits[1], alpha=alpha)
    elif method == "masked_image":
        ax.imshow(np.zeros_like(image))
    else:
        ax.imshow(np.concatenate([image, np.zeros_like(image[..., :1])], axis=2))

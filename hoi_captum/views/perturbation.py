"""What moving a factor does: decoded images, and the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoi_captum.errors import InputError
from hoi_captum.views.frames import plain_axes
from hoi_captum.views.labels import MINUS, shorten
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, SERIES
from hoi_captum.views.panels import DPI, finish, legend
from hoi_captum.views.strength import DASHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = 5  # outputs drawn of a row


def perturbation_plot(
    strengths: ArrayLike,
    *,
    decoded: ArrayLike | None = None,
    outputs: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    output_label: str = "output",
    title: str | None = None,
) -> Figure:
    r"""What moving a factor does: decoded images from strength to strength, and the outputs as curves.

    Args:
        strengths: of the moves, (S,), ascending; 0 is none.
        decoded: images (S, B, h, w), (S, B, h, w, c) or (S, B, c, h, w) with 1 or 3 channels; all on one
            scale, from the least to the largest value. Default: None
        outputs: (S, B, C) such as class probabilities. Default: None
        classes: names of the outputs, (C,). Default: None (0, 1, ...)
        rows: names of the B inputs or factors. Default: None
        output_label: what the outputs are. Default: output
        title: of the figure. Default: None

    Returns:
        Figure: a row for each of the B; curves of the five outputs that change most.

    Raises:
        InputError: neither decoded nor outputs, or shapes that do not fit.

    Examples::

        >>> outputs = np.array([[[0.2, 0.8]], [[0.5, 0.5]], [[0.9, 0.1]]])  # strengths, one input, classes
        >>> figure = hoi.views.perturbation_plot([-1.0, 0.0, 1.0], outputs=outputs, classes=["cat", "dog"])
        >>> figure.axes[0].lines[0].get_ydata()
        array([0.8, 0.5, 0.1])
    """
    moves = np.asarray(strengths, dtype=np.float64)
    if moves.ndim != 1 or not len(moves) or not np.isfinite(moves).all() or (np.diff(moves) <= 0).any():
        raise InputError(f"expected strengths (S,) finite and ascending, got {np.asarray(strengths)}")
    if decoded is None and outputs is None:
        raise InputError("expected decoded images or outputs, got neither")
    images = None if decoded is None else _images(decoded, len(moves))
    curves = None if outputs is None else np.asarray(outputs, dtype=np.float64)
    if curves is not None and (curves.ndim != 3 or len(curves) != len(moves) or 0 in curves.shape):
        raise InputError(f"expected outputs ({len(moves)}, B, C), got shape {curves.shape}")
    counts = {a.shape[1] for a in (images, curves) if a is not None}
    if len(counts) > 1:
        raise InputError(f"expected decoded and outputs of as many rows, got {sorted(counts)}")
    count = counts.pop()
    heads = [""] * count if rows is None else list(rows)
    if len(heads) != count:
        raise InputError(f"expected {count} rows, one name for each, got {len(heads)}")
    names = [] if curves is None else [str(c) for c in range(curves.shape[2])]
    if classes is not None and curves is not None:
        if len(classes) != curves.shape[2]:
            raise InputError(f"expected {curves.shape[2]} classes, one for each output, got {len(classes)}")
        names = list(map(str, classes))
    return _strips(moves, images, curves, names, heads, output_label, title)


def _images(decoded: ArrayLike, count: int) -> NDArray[np.float64]:
    """(S, B, h, w, c) within 0..1."""
    images = np.asarray(decoded, dtype=np.float64)
    given = images.shape
    if images.ndim == 4:
        images = images[..., None]
    elif images.ndim == 5 and images.shape[-1] not in (1, 3):
        images = np.moveaxis(images, 2, -1)
    if images.ndim != 5 or images.shape[0] != count or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"expected decoded images ({count}, B, h, w) with or without 1 or 3 channels, got shape {given}"
        )
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return np.nan_to_num((images - low) / ((high - low) or 1.0))


def _strips(
    moves: NDArray[np.float64],
    images: NDArray[np.float64] | None,
    curves: NDArray[np.float64] | None,
    names: list[str],
    heads: list[str],
    output_label: str,
    title: str | None,
) -> Figure:
    """A row of axes for each head: one for each image, and a wide one for the curves."""
    from matplotlib.figure import Figure

    count = len(heads)
    widths: list[float] = []
    if images is not None:
        widths += [1.05 * images.shape[3] / max(images.shape[2:4])] * len(moves)
    if curves is not None:
        widths.append(3.4)
    height = (1.55 if curves is not None else 1.2) * count + (0.9 if curves is not None else 0.4)
    figure = Figure(figsize=(max(sum(widths) + 0.4, 4.0), height), dpi=DPI, layout="constrained")
    axes: Any = figure.subplots(count, len(widths), squeeze=False, width_ratios=widths)
    if images is not None:
        _draw_images(axes, moves, images)
    for b, head in enumerate(heads):
        axes[b, 0].set_ylabel(shorten(head, 18) if head else "", fontsize=8.5, color=INK, parse_math=False)
    if curves is not None:
        own = [f"{head}: {output_label}" if head and images is None else output_label for head in heads]
        legend(figure, _draw_curves(axes[:, -1], moves, curves, names, own), columns=_CURVES)
    return finish(figure, title)


def _draw_images(axes: Any, moves: NDArray[np.float64], images: NDArray[np.float64]) -> None:
    for s, b in np.ndindex(images.shape[:2]):
        ax, image, here = axes[b, s], images[s, b], moves[s] == 0
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set(color=INK if here else FAINT, lw=1.6 if here else 0.8)
        if b == 0:
            said = f"{moves[s]:+g}".replace("-", MINUS) if moves[s] else "0"
            ax.set_title(said, fontsize=9, color=INK)


def _draw_curves(
    axes: Any,
    moves: NDArray[np.float64],
    curves: NDArray[np.float64],
    names: list[str],
    labels: list[str],
) -> list[Any]:
    """The outputs that change most, the same in all axes; the entries of their legend."""
    from matplotlib.lines import Line2D

    finite = curves[np.isfinite(curves)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    margin = 0.05 * (high - low) or 1.0
    shown = np.argsort(-np.nan_to_num(np.ptp(curves, axis=0)).max(0), kind="stable")[:_CURVES]
    styles = list(zip(shown, SERIES, DASHES, strict=False))
    for b, (ax, label) in enumerate(zip(axes, labels, strict=True)):
        for c, colour, dash in styles:
            ax.plot(moves, curves[:, b, c], color=colour, ls=dash, lw=1.7, marker="o" * (len(moves) == 1))
        ax.axvline(0, color=NEUTRAL, lw=0.8, ls=":")
        ax.set_ylim(low - margin, high + margin)
        plain_axes(ax, "strength" if b == len(axes) - 1 else "", label)
        ax.yaxis.label.set_size(8.5)
    return [
        Line2D([], [], color=colour, ls=dash, lw=1.7, label=shorten(names[c], 18))
        for c, colour, dash in styles
    ]

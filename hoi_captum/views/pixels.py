"""Factors of pixels as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hoi_captum.errors import InputError
from hoi_captum.views.labels import shorten
from hoi_captum.views.palette import FAINT, INK, sequential
from hoi_captum.views.panels import finish, grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pixel_map_plot(
    mi: ArrayLike,
    size: tuple[int, int],
    *,
    titles: Sequence[str] | None = None,
    columns: int = 5,
    own_scale: bool = False,
    outlier_perc: float = 1.0,
    title: str | None = None,
) -> Figure:
    r"""sqrt(MI) of each pixel with each factor, an image for each factor.

    The root, about the absolute correlation where that is small, shows faint pixels too (as in the paper).

    Args:
        mi: I(Y_j; X_i) in nats, (m, h * w) or (h * w,), pixels in the order of rows.
        size: (h, w).
        titles: of the images, (m,). Default: None (factor 0, factor 1, ...)
        columns: images in a row. Default: 5
        own_scale: each image from white to its own strongest pixel, not on one scale. Default: False
        outlier_perc: percent of the pixels, the strongest, that may lie beyond the scale, as in Captum: a
            factor may be all but one pixel, which would leave nothing else to see. Default: 1
        title: of the figure. Default: None

    Returns:
        Figure.

    Raises:
        InputError: shapes that do not fit, or values that are not finite.

    Examples::

        >>> figure = hoi.views.pixel_map_plot([0.25, 0.0, 0.0, 0.04], (2, 2), outlier_perc=0)
        >>> figure.axes[0].images[0].get_array().round(2).tolist()
        [[0.5, 0.0], [0.0, 0.2]]
    """
    table = np.atleast_2d(np.asarray(mi, dtype=np.float64))
    if len(size) != 2 or table.ndim != 2 or not len(table) or table.shape[1] != size[0] * size[1]:
        raise InputError(
            f"expected mutual information (m, {'·'.join(map(str, size))}) for images of size {tuple(size)}, "
            f"got shape {np.shape(mi)}"
        )
    if not np.isfinite(table).all():
        raise InputError("expected finite mutual information, got NaN or infinity")
    if not 0 <= outlier_perc < 100:
        raise InputError(f"expected outlier_perc in 0..100, got {outlier_perc!r}")
    heads = [f"factor {j}" for j in range(len(table))] if titles is None else list(titles)
    if len(heads) != len(table):
        raise InputError(f"expected {len(table)} titles, one for each factor, got {len(heads)}")
    images = np.sqrt(np.maximum(table, 0.0)).reshape(-1, *size)
    height = float(np.clip(1.5 * size[0] / size[1], 0.6, 3.0))
    figure, axes = grid(len(images), columns, 1.65, height + 0.25)
    drawn, beyond = None, False
    for image, head, ax in zip(images, heads, axes, strict=True):
        scaled = image if own_scale else images
        limit = float(np.quantile(scaled, 1 - outlier_perc / 100, method="higher")) or 1.0
        beyond |= bool((scaled > limit).any())
        drawn = ax.imshow(image, cmap=sequential("positive"), vmin=0.0, vmax=limit, interpolation="nearest")
        ax.set_title(shorten(head, 22), fontsize=9, color=INK, parse_math=False)
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_color(FAINT)
    if drawn is not None and not own_scale:
        extend = "max" if beyond else "neither"
        bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=30, pad=0.02, extend=extend)
        bar.set_label("√ mutual information, √nats", fontsize=8.5)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
    return finish(figure, title, "each image on its own scale" if own_scale else "")

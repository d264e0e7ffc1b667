"""What a change of the model does to its accuracy, cluster by cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hoi_captum.errors import InputError
from hoi_captum.views.frames import plain_axes
from hoi_captum.views.labels import MINUS, shorten
from hoi_captum.views.palette import INK, sign_colour
from hoi_captum.views.panels import finish, grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBERED = 30  # more clusters have no numbers at their bars


def accuracy_change_plot(
    before: ArrayLike,
    after: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    focus: int | None = None,
    title: str | None = None,
) -> Figure:
    r"""How much the accuracy in each cluster changes, in percentage points.

    Args:
        before, after: accuracy in each cluster, (k,) in 0..1; NaN for an empty one.
        clusters: their names or numbers, (k,). Default: None (0..k-1)
        sizes: rows of each, (k,). Default: None (not told)
        focus: position of the cluster that the change was aimed at: its name is bold. Default: None
        title: of the figure. Default: None

    Returns:
        Figure: bars from one zero line; under each the cluster, its accuracy before and its rows.

    Raises:
        InputError: arrays of different lengths, or accuracies outside 0..1.

    Examples::

        >>> figure = hoi.views.accuracy_change_plot([0.9, 0.8], [0.85, 0.8], clusters=["cats", "dogs"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['−5.0', '0']
    """
    first, last = (np.asarray(a, dtype=np.float64) for a in (before, after))
    k = len(first) if first.ndim == 1 else -1
    for name, values in (("before", first), ("after", last)):
        if values.shape != (k,) or not k or (values < 0).any() or (values > 1).any():
            raise InputError(
                f"expected {name} to be the accuracy of each cluster, one length and 0..1, got shape "
                f"{values.shape}{'' if values.size == 0 else f' up to {np.nanmax(values):g}'}"
            )
    names = [str(c) for c in (range(k) if clusters is None else np.asarray(clusters).tolist())]
    rows = None if sizes is None else np.asarray(sizes)
    for name, found in (("clusters", np.shape(names)), ("sizes", (k,) if rows is None else rows.shape)):
        if found != (k,):
            raise InputError(f"expected {k} {name}, one for each accuracy, got shape {found}")
    if focus is not None and not 0 <= focus < k:
        raise InputError(f"expected focus in 0..{k - 1}, got {focus}")
    change = 100 * (last - first)
    figure, (ax,) = grid(1, 1, float(np.clip(1.6 + 0.52 * k, 5.0, 13.0)), 3.9)
    ax.bar(range(k), np.nan_to_num(change), 0.7, color=[sign_colour(c) for c in change], lw=0)
    low, high = float(np.nanmin(change, initial=0.0)), float(np.nanmax(change, initial=0.0))
    margin = 0.12 * (high - low) or 1.0
    ax.set_ylim(low - margin if low else -0.4 * margin, high + margin if high else 0.4 * margin)
    ax.axhline(0, color=INK, lw=1)
    numbered = k <= _NUMBERED
    for i, value in enumerate(change if numbered else []):
        said = (
            "no rows" if np.isnan(value) else f"{value:+.1f}".replace("-", MINUS) if round(value, 1) else "0"
        )
        up = not value < 0
        ax.annotate(
            said,
            (i, 0.0 if np.isnan(value) else value),
            xytext=(0, 3 if up else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if up else "top",
            fontsize=8 if k <= 16 else 7,
            color=INK,
        )
    if numbered:
        told = [
            "\n".join(
                [
                    shorten(names[i], 10),
                    "–" if np.isnan(first[i]) else f"{100 * first[i]:.1f}",
                    *([] if rows is None else [f"n={rows[i]:,}"]),
                ]
            )
            for i in range(k)
        ]
        ax.set_xticks(range(k), told, fontsize=8 if k <= 16 else 6.5, parse_math=False)
        said = "cluster, its accuracy before in %" + ("" if rows is None else ", its rows")
    else:
        said = "cluster"
    if focus is not None and numbered:
        ax.get_xticklabels()[focus].set_fontweight("bold")
    if focus is not None:
        ax.axvspan(focus - 0.5, focus + 0.5, color="#eef1f5", lw=0, zorder=0)
    ax.set_xlim(-0.7, k - 0.3)
    plain_axes(ax, said, "change of accuracy, percentage points")
    return finish(figure, title, "" if focus is None else "shaded: the cluster that it was aimed at")

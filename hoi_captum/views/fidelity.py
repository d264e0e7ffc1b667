"""How well the strongest interactions rebuild the model's values, as curves over their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hoi_captum.errors import InputError
from hoi_captum.measures.fidelity import Faithfulness
from hoi_captum.views.labels import MINUS, shorten
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, SERIES
from hoi_captum.views.panels import draw_empty, finish, grid, legend
from hoi_captum.views.strength import DASHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REFERENCE = (0, (2, 2))
_FITTED_ON = {True: "others", False: "the same"}  # by whether the judged coalitions were held out
_FLAT = 0.002  # below the best: where a curve counts as flat


def faithfulness_plot(
    curves: Faithfulness | Mapping[str, Faithfulness],
    *,
    k: int | None = None,
    title: str | None = None,
) -> Figure:
    r"""R^2 over the number of terms for several tables, with the additive fit as the line to beat.

    Args:
        curves: what :func:`hoi_captum.measures.faithfulness` gives, by label; or one without. Tables of one
            game, judged by the same coalitions, have one reference; else each has its own, in its colour.
        k: terms drawn at most. Default: None (to where every curve has become flat)
        title: of the figure. Default: None

    Returns:
        Figure: from R^2 = 0; what is below (the mean does better) is cut. The legend tells the largest R^2
        drawn and its gain over the additive fit, and by how many coalitions the curves were judged: for each
        curve where they differ.

    Raises:
        InputError: no curves, or more than there are colours for.

    Examples::

        >>> v = torch.tensor([0.0, 0, 0, 4, 0, 0, 0, 4])  # players 1 and 2 act together, 0 does nothing
        >>> judged = hoi.measures.faithfulness(hoi.measures.k_sii(v))
        >>> figure = hoi.views.faithfulness_plot({"k-SII": judged})
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['k-SII: 1.000 (+0.400)', 'additive least-squares fit: 0.600']
    """
    from matplotlib.lines import Line2D

    named = {"": curves} if isinstance(curves, Faithfulness) else dict(curves)
    if not named or len(named) > len(SERIES):
        raise InputError(f"expected 1 to {len(SERIES)} curves, got {len(named)}")
    figure, (ax,) = grid(1, 1, 7.6, 4.4)
    references = {
        c.additive_r2: s for c, s in zip(named.values(), SERIES, strict=False) if np.isfinite(c.additive_r2)
    }
    if len(references) == 1:
        references = dict.fromkeys(references, NEUTRAL)
    most = max(_flat_from(c) for c in named.values()) if k is None else k
    handles = []
    for (label, curve), colour, dash in zip(named.items(), SERIES, DASHES, strict=False):
        shown = curve.k <= most
        # a table that has no more terms goes on as it is
        ks, r2 = np.append(curve.k[shown], most), np.append(curve.r2[shown], curve.r2[shown][-1:])
        ax.plot(ks, r2, color=colour, ls=dash, lw=2)
        said = f"{_number(r2[-1])} ({_number(r2[-1] - curve.additive_r2, sign=True)})"
        text = f"{shorten(label, 40)}: {said}" if label else said
        handles.append(Line2D([], [], color=colour, ls=dash, lw=2, label=text))
    for reference, colour in references.items():
        ax.axhline(reference, color=colour, lw=1.2, ls=_REFERENCE)
    if references:
        said = ", ".join(map(_number, references))
        text = f"additive least-squares fit: {said}"
        handles.append(Line2D([], [], color=NEUTRAL, lw=1.2, ls=_REFERENCE, label=text))
        ax.set_ylim(0, 1.03)
    else:
        draw_empty(ax, "the value is the same for all coalitions")
    ax.set_xlim(0, max(most, 1))
    ax.set_xlabel("number of terms, the strongest first")
    ax.set_ylabel("R² of the rebuilt values")
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    legend(figure, handles, columns=2)
    return finish(figure, title, f"{_basis(list(named.values()))}; in brackets: gain over it")


def _basis(curves: list[Faithfulness]) -> str:
    """What the curves were judged by and the fits were made on, for each curve where they differ."""
    judged, apart = [f"{c.judged:,}" for c in curves], [_FITTED_ON[c.held_out] for c in curves]
    same = len(set(judged)) == 1 and len(set(apart)) == 1
    counts, others = (x[:1] if len(set(x)) == 1 else x for x in (judged, apart))
    said = f"judged by {' / '.join(counts)} coalitions; the fit was made on {' / '.join(others)}"
    return said if same else f"{said} (in the order of the curves)"


def _flat_from(curve: Faithfulness) -> int:
    """The number of terms from which on R^2 stays within a hair of its last value, and some more."""
    away = np.nonzero(np.abs(curve.r2 - curve.r2[-1]) > _FLAT)[0]
    flat = int(away[-1]) + 1 if len(away) else 1
    return min(max(flat + flat // 10, 2), max(int(curve.k[-1]), 1))


def _number(value: float, *, sign: bool = False) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.3f}".replace("-", MINUS)

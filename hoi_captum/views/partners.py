"""What one player interacts with: maps over the image, or the words of the text, for some of the players."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hoi_captum.core.example import ImageLayout, Layout, TextLayout
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError
from hoi_captum.views.captum import Sign, draw_attribution, words_table
from hoi_captum.views.labels import decimals_for, format_score, joined, largest, shorten
from hoi_captum.views.lines import MARGIN, Line, arrange, draw_heading, draw_word
from hoi_captum.views.outlines import outlines, region_patch
from hoi_captum.views.pairs import pair_matrix, with_pairs
from hoi_captum.views.palette import FAINT, INK, NEUTRAL, diverging
from hoi_captum.views.panels import DPI, draw_empty, finish, grid, only_scope
from hoi_captum.views.places import check_places
from hoi_captum.views.wording import caution_of, score_label, sign_labels, wording_of
from hoi_captum.views.words import words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Anchors = Sequence[int | str]
_HEADING = 22.0  # points above a line of words
_SPACE = 12.0  # and below it


def partner_maps_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    anchors: Anchors | None = None,
    k: int = 4,
    scope: str | None = None,
    title: str | None = None,
) -> Figure:
    r"""What some players interact with: for each the signed scores of its pairs with all the others.

    Over an image these are maps by Captum's drawer (blended, sign "all"); of a text, and of players without a
    place, words in a line. The player itself is outlined. Each is on a scale of its own, from its strongest
    partner.

    Args:
        interactions: the table; pairs as :func:`pair_matrix` reads them.
        layout: where the players stand; without an image or a text their names are written in a line.
            Default: None
        anchors: ids or names of the players. Default: None (the k that interact most)
        k: number of players where ``anchors`` does not name them. Default: 4
        scope: of this scope alone. Default: None (the mean of all)
        title: of the figure. Default: None

    Returns:
        Figure: one axes for each player.

    Raises:
        InputError: an anchor that is no player, or a layout of other players.
        OptionError: k below 1.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> figure = hoi.views.partner_maps_plot(table, anchors=["not"])
        >>> figure.axes[0].texts[0].get_text()
        '“not”: 2.50 in all, +2.50 with “bad”'
    """
    check_places(len(interactions.players), layout)
    table = only_scope(interactions, scope)
    chosen = chosen_anchors(table, anchors, k)
    if not chosen:
        figure, (ax,) = grid(1, 1, 5.0, 2.4)
        ax.set_axis_off()
        draw_empty(ax)
        return finish(figure, title)
    if isinstance(layout, ImageLayout):
        return _maps(table, layout, chosen, title)
    return _lines(table, layout if isinstance(layout, TextLayout) else None, chosen, title)


def partner_records(
    interactions: Interactions,
    layout: TextLayout | None = None,
    anchors: Anchors | None = None,
    *,
    k: int = 4,
    scope: str | None = None,
) -> list[Any]:
    r"""What some words interact with, as records for Captum's text view.

    Args:
        interactions, anchors, k, scope: as in :func:`partner_maps_plot`.
        layout: the text; without one the players' names are the words. Default: None

    Returns:
        list of captum.attr.visualization.VisualizationDataRecord: one for each anchor. ``word_attributions``
        is (words,) float32, the scores of the anchor's pairs divided by the largest absolute one;
        ``attr_class`` is the anchor and ``attr_score`` the sum of the absolute scores of its pairs. The
        anchor itself stands between ▸ and ◂. All strings are escaped.

    Raises:
        InputError: an anchor that is no player, or a layout of other players.
        OptionError: k below 1.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> record = hoi.views.partner_records(table, anchors=["not"])[0]
        >>> record.word_attributions, record.attr_score
        (tensor([0., 1.]), 2.5)
    """
    from captum.attr import visualization
    from markupsafe import Markup, escape

    check_places(len(interactions.players), layout)
    table = only_scope(interactions, scope)
    pairs = pair_matrix(table)
    words = words_of(layout, table.players)
    records = []
    for anchor in chosen_anchors(table, anchors, k):
        row = relative(pairs[anchor])
        marked = [
            Markup("▸<b>{}</b>◂").format(text) if player == anchor else escape(text)
            for text, player, _ in words
        ]
        records.append(
            visualization.VisualizationDataRecord(
                word_attributions=torch.tensor(
                    [row[p] if p >= 0 else 0.0 for _, p, _ in words], dtype=torch.float32
                ),
                pred_prob=math.nan,
                pred_class="–",
                true_class="–",
                attr_class=escape(table.players[anchor]),
                attr_score=float(np.abs(pairs[anchor]).sum()),
                raw_input_ids=marked,
                convergence_score=math.nan,
            )
        )
    return records


def partner_html(
    interactions: Interactions,
    layout: TextLayout | None = None,
    anchors: Anchors | None = None,
    *,
    k: int = 4,
    scope: str | None = None,
    legend: bool = True,
) -> str:
    """The records of :func:`partner_records` as Captum's table of coloured words, without IPython.

    Args:
        interactions, layout, anchors, k, scope: as of :func:`partner_records`.
        legend: say what the colours mean. Default: True

    Returns:
        HTML of one ``<div>``.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "<bad>"])
        >>> html = hoi.views.partner_html(table, anchors=["not"])
        >>> "&lt;bad&gt;" in html, "<bad>" in html
        (True, False)
    """
    table = only_scope(interactions, scope)
    records = partner_records(table, layout, anchors, k=k)
    decimals = decimals_for(largest(np.array([r.attr_score for r in records])))
    rows = [([r.attr_class, format_score(r.attr_score, decimals).removeprefix("+")], r) for r in records]
    pairs = with_pairs(table)
    labels = dict(sign_labels(pairs))
    key = (labels.get(-1.0, "negative"), "none", labels.get(1.0, "positive")) if legend else ()
    return words_table(rows, ("Word", f"Interacts ({score_label(pairs)})", "With"), key)


def chosen_anchors(interactions: Interactions, anchors: Anchors | None, k: int) -> list[int]:
    """Ids of the anchors; where none are named, of the k players that interact most, the first first.

    Raises:
        InputError: an anchor that is no player.
        OptionError: k below 1.
    """
    check_count("k", k)
    players = interactions.players
    if anchors is None:
        total = np.abs(pair_matrix(interactions)).sum(axis=1)
        return [int(i) for i in np.argsort(-total, kind="stable")[:k] if total[i] > 0]
    found = []
    for anchor in anchors:
        if isinstance(anchor, str) and anchor in players:
            found.append(players.index(anchor))
        elif isinstance(anchor, int | np.integer) and 0 <= anchor < len(players):
            found.append(int(anchor))
        else:
            raise InputError(
                f"expected anchors to be names of players or ids in 0..{len(players) - 1}, got {anchor!r}; "
                f"the players are {', '.join(shorten(p, 20) for p in players[:12])}"
                + (", ..." if len(players) > 12 else "")
            )
    return found


def relative(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """A row of pairs on a scale from -1 to 1; of zeros, zeros."""
    return row / (largest(row) or 1.0)


def _says(interactions: Interactions, pairs: NDArray[np.float64], anchor: int) -> str:
    """How much a player interacts, and with whom most."""
    row, decimals = pairs[anchor], decimals_for(largest(pairs))
    if not largest(row):
        return "no partner"
    best = int(np.abs(row).argmax())
    total = format_score(float(np.abs(row).sum()), decimals).removeprefix("+")
    partner = shorten(interactions.players[best], 16)
    return f"{total} in all, {format_score(row[best], decimals)} with “{partner}”"


def _note(interactions: Interactions) -> str:
    pairs = with_pairs(interactions)
    numbers = score_label(pairs)
    return joined(
        f"numbers: {numbers}" if numbers != "score" else "",
        "colours are relative to each one’s strongest partner",
        caution_of(pairs),
    )


def _maps(table: Interactions, layout: ImageLayout, chosen: list[int], title: str | None) -> Figure:
    pairs = pair_matrix(table)
    loops = outlines(np.asarray(layout.mask.detach().cpu()))
    height, width = layout.image.shape[:2]
    # pale, so that the white of the colours is zero on dark images too
    pale = ImageLayout(0.55 + 0.45 * layout.image.detach().float().clamp(0, 1), layout.mask)
    columns = 2 if len(chosen) == 4 else 3
    words = wording_of(with_pairs(table))
    sign: Sign = "all" if words.signed else "positive"
    size = 3.4
    figure, axes = grid(len(chosen), columns, size, size * float(np.clip(height / width, 0.4, 2.0)) + 0.75)
    notes = [_note(table)]
    for anchor, ax in zip(chosen, axes, strict=True):
        # no outliers: a region is as large as it is, and its number is the point
        said = draw_attribution(ax, pairs[anchor], pale, sign=sign, outlier_perc=0.0, alpha_overlay=0.75)
        notes += [s for s in said if s not in notes]
        for drawn in ax.images:  # Captum puts the middle of a pixel, outlines its corner, at whole numbers
            drawn.set_extent((0, width, height, 0))
        if anchor in loops:
            ax.add_patch(region_patch(loops[anchor], INK))
        ax.set_title(
            f"{shorten(table.players[anchor], 30)}\n{_says(table, pairs, anchor)}",
            fontsize=9.5,
            color=INK,
            parse_math=False,
        )
    last = axes[0].images[-1]
    bar = figure.colorbar(last, ax=axes, location="bottom", shrink=0.6, aspect=40, ticks=[-1, 0, 1])
    bar.set_label(f"{words.quantity}, in parts of the strongest partner’s", fontsize=9)
    bar.outline.set_visible(False)
    return finish(figure, title, joined(*notes))


def _lines(table: Interactions, layout: TextLayout | None, chosen: list[int], title: str | None) -> Figure:
    from matplotlib.figure import Figure

    pairs = pair_matrix(table)
    line = arrange(words_of(layout, table.players))
    row_height = _HEADING + line.height + _SPACE
    top, bottom = (30.0 if title else 4.0), 34.0
    height = top + row_height * len(chosen) + bottom
    figure = Figure(figsize=(line.width / 72, height / 72), dpi=DPI)
    for i, anchor in enumerate(chosen):
        y = height - top - row_height * (i + 1)
        ax = figure.add_axes((0, y / height, 1, row_height / height))
        ax.set_xlim(0, line.width)
        ax.set_ylim(-_SPACE, line.height + _HEADING)
        ax.axis("off")
        said = f"“{shorten(table.players[anchor], 30)}”: {_says(table, pairs, anchor)}"
        left = min((w.x - w.width / 2 for w in line.words), default=MARGIN)
        ax.text(left, line.height + 4, said, fontsize=9, color=NEUTRAL, parse_math=False)
        _draw_words(ax, line, relative(pairs[anchor]), anchor)
    draw_heading(figure, title)
    return finish(figure, None, _note(table))


def _draw_words(ax: Axes, line: Line, row: NDArray[np.float64], anchor: int) -> None:
    for word in line.words:
        level = float(row[word.player]) if 0 <= word.player < len(row) else 0.0
        ink = "white" if abs(level) > 0.62 else INK
        edge, border = (INK, 2.0) if word.player == anchor else (FAINT, 0.7)
        draw_word(ax, line, word, diverging()(0.5 + 0.5 * level), ink=ink, edge=edge, border=border)

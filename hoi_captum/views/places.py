"""Whether a layout is that of a table: what does not fit would put scores on the wrong players."""

from __future__ import annotations

import math

import numpy as np

from hoi_captum.core.example import ImageLayout, Layout, TableLayout, TextLayout
from hoi_captum.errors import InputError

_WAYS_OUT = {
    ImageLayout: "image_example(..., players=(rows, columns)) makes one of as many players, and so does "
    "ImageLayout(image, mask) with ids 0..{last} in its mask",
    TextLayout: "take that of the explained text, or TextLayout(pieces) with ids 0..{last}",
    TableLayout: "take that of the explained row, or TableLayout(columns, values, players) with ids "
    "0..{last}",
}


def player_count(layout: Layout) -> int:
    """One more than the highest id of a layout; a player without a place may have an id below that."""
    match layout:
        case ImageLayout():
            ids = np.asarray(layout.mask.detach().cpu()).reshape(-1)
        case TextLayout():
            ids = np.array([player for _, player in layout.pieces], dtype=np.int64)
        case TableLayout():
            ids = np.array(layout.players, dtype=np.int64)
    return int(ids.max(initial=-1)) + 1


def check_places(players: int, layout: Layout | None) -> None:
    """Refuse a layout of more or of fewer players.

    Args:
        players: of the table that is drawn.
        layout: None fits any table.

    Raises:
        InputError: the numbers differ.
    """
    if layout is None or player_count(layout) == players:
        return
    way_out = _WAYS_OUT[type(layout)].format(last=players - 1)
    if isinstance(layout, ImageLayout) and (side := math.isqrt(players)) ** 2 == players:
        way_out = way_out.replace("(rows, columns)", f"({side}, {side})")
    raise InputError(
        f"expected the {type(layout).__name__} of the {players} players of the table, got one of "
        f"{player_count(layout)}; {way_out}"
    )

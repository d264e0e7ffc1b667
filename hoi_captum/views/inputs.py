"""The explained input for the page: its players, each shaded by its share of the interactions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hoi_captum.core.example import ImageLayout, Layout, TableLayout, TextLayout
from hoi_captum.views.labels import decimals_for, format_score, largest, shorten
from hoi_captum.views.outlines import centres, outlines
from hoi_captum.views.words import words_of

_NUMBERED_WORDS = 120  # in longer texts the numbers below the words would drown them
_NUMBERED_REGIONS = 49
_LISTED = 60
_LARGEST_SIDE = 1024  # pixels of the embedded image


@dataclass(frozen=True)
class Shade:
    """How a score looks: its sign as a class, its size from 0 to 1, and the number."""

    sign: str
    level: float
    text: str


def shades(values: NDArray[np.float64], scale: float, digits: int = 3, *, signed: bool = True) -> list[Shade]:
    """Scores (k,) on a common scale, written so that the largest shows ``digits`` digits.

    Where they are not ``signed`` the plus is left out.
    """
    decimals = decimals_for(scale * 10.0 ** (3 - digits))
    found = []
    for value in values.tolist():
        finite = bool(np.isfinite(value))
        sign = "pos" if finite and value > 0 else "neg" if finite and value < 0 else "zero"
        level = round(min(abs(value) / scale, 1.0), 3) if finite and scale else 0.0
        text = format_score(value, decimals)
        found.append(Shade(sign, level, text if signed else text.removeprefix("+")))
    return found


@dataclass(frozen=True)
class Item:
    """A player (or, with player -1, something that is always there) as the page shows it.

    Attributes:
        text: its name or word.
        player: id or -1.
        shade: None for what is no player.
        spaced: whether white space stands before it (texts).
        value: the column's value (tables).
        path, x, y, size: outline, place and size of the number (images), in pixels of the image.
    """

    text: str
    player: int
    shade: Shade | None
    spaced: bool = True
    value: str = ""
    path: str = ""
    x: float = 0.0
    y: float = 0.0
    size: float = 0.0


@dataclass(frozen=True)
class Picture:
    """The input as one scope sees it.

    Attributes:
        form: ``text``, ``image``, ``table`` or ``list``.
        title: the scope, or "".
        items: in reading order.
        numbered: whether there is room for the numbers.
        hidden: players left out.
        width, height: of the image.
    """

    form: str
    title: str
    items: tuple[Item, ...]
    numbered: bool = True
    hidden: int = 0
    width: int = 0
    height: int = 0


def pictures(
    players: tuple[str, ...],
    layout: Layout | None,
    titles: Sequence[str],
    shares: Sequence[NDArray[np.float64]],
    *,
    signed: bool = True,
) -> list[Picture]:
    """The input, once for each scope.

    Args:
        players: their names.
        layout: where they stand.
        titles: of the scopes.
        shares: for each scope the (n,) share of each player; all are shown on one scale.
        signed: whether a plus in front of a share tells anything.
    """
    scale = max((largest(s) for s in shares), default=0.0)
    drawn = []
    for title, share in zip(titles, shares, strict=True):
        # the letters on an image hide it: few of them
        shade = shades(share, scale, digits=2 if isinstance(layout, ImageLayout) else 3, signed=signed)
        match layout:
            case TextLayout():
                drawn.append(_text(players, layout, title, shade))
            case ImageLayout():
                drawn.append(_image(players, layout, title, shade))
            case TableLayout():
                drawn.append(_table(players, layout, title, shade))
            case _:
                drawn.append(_list(players, title, shade, shares))
    return drawn


def _shade(shade: list[Shade], player: int) -> Shade | None:
    return shade[player] if 0 <= player < len(shade) else None


def _text(players: tuple[str, ...], layout: TextLayout, title: str, shade: list[Shade]) -> Picture:
    words = words_of(layout, players)
    items = tuple(Item(w.text, w.player, _shade(shade, w.player), w.spaced) for w in words)
    return Picture("text", title, items, numbered=len(items) <= _NUMBERED_WORDS)


def _table(players: tuple[str, ...], layout: TableLayout, title: str, shade: list[Shade]) -> Picture:
    columns = zip(layout.columns, layout.values, layout.players, strict=True)
    items = (Item(c, p, _shade(shade, p), value=f"{v:.6g}".replace("-", "−")) for c, v, p in columns)
    return Picture("table", title, tuple(items))


def _list(
    players: tuple[str, ...], title: str, shade: list[Shade], shares: Sequence[NDArray[np.float64]]
) -> Picture:
    """The players with the largest shares in any scope: the same ones in each, in their own order."""
    strength = np.max([np.abs(np.nan_to_num(s)) for s in shares], axis=0)
    chosen = sorted(np.argsort(-strength, kind="stable")[:_LISTED].tolist())
    items = tuple(Item(players[i], i, shade[i]) for i in chosen)
    return Picture("list", title, items, hidden=len(players) - len(items))


def _image(players: tuple[str, ...], layout: ImageLayout, title: str, shade: list[Shade]) -> Picture:
    mask = np.asarray(layout.mask.detach().cpu())
    height, width = mask.shape
    middle = centres(mask)
    items = []
    for player, loops in outlines(mask).items():
        if player >= len(players):
            continue
        path = "".join("M" + "L".join(f"{x} {y}" for x, y in loop) + "Z" for loop in loops)
        rows, columns = np.nonzero(mask == player)
        # room for a sign, a digit, a point and two or three digits
        size = min(np.ptp(columns) + 1, 2.2 * (np.ptp(rows) + 1)) * 0.21
        x, y = middle[player]
        items.append(
            Item(
                shorten(players[player], 40),
                player,
                _shade(shade, player),
                path=path,
                x=x,
                y=y,
                size=round(float(min(size, height / 17)), 3),
            )
        )
    return Picture(
        "image", title, tuple(items), numbered=len(items) <= _NUMBERED_REGIONS, width=width, height=height
    )


def image_uri(layout: ImageLayout) -> str:
    """The image as a PNG data URI, at most 1024 pixels on a side; values outside [0, 1] are cut."""
    from PIL import Image

    pixels = torch.nan_to_num(layout.image.detach().cpu().float()).clamp(0, 1)
    image = Image.fromarray((pixels * 255).round().to(torch.uint8).numpy())
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

"""The words of a text on one line of a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoi_captum.views.labels import shorten
from hoi_captum.views.palette import FAINT, INK
from hoi_captum.views.words import Word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in points (1/72 inch), the unit of the axes too: what is computed cannot overlap
MARGIN = 14.0
_WIDTH = 720.0
_SIZES = (12.0, 11.0, 10.0, 9.0, 8.0)
_NOBODYS = "#8a919c"  # letters of what no player has


@dataclass(frozen=True)
class Placed:
    """A run of pieces of one player (or of none, -1), and where it stands."""

    text: str
    player: int
    x: float = 0.0
    width: float = 0.0


@dataclass(frozen=True)
class Line:
    """The words with their places, the font size, the turn of the letters and the height they take."""

    words: tuple[Placed, ...]
    size: float
    rotation: float
    height: float
    width: float


def arrange(words: list[Word]) -> Line:
    """Places for the words: in a line if they fit in some size, else each turned in a slot of its own."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    def extent(text: str, size: float) -> float:
        return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)[0])

    room = _WIDTH - 2 * MARGIN
    texts = [shorten(text, 22) for text, _, _ in words]
    for size in _SIZES:
        widths = [extent(t, size) + 8 for t in texts]
        gap = (room - sum(widths)) / max(len(words) - 1, 1)
        if gap >= 4:
            gap = min(gap, 26.0)
            x = (_WIDTH - sum(widths) - gap * (len(words) - 1)) / 2
            placed = []
            for text, (_, player, _), width in zip(texts, words, widths, strict=True):
                placed.append(Placed(text, player, x + width / 2, width))
                x += width + gap
            return Line(tuple(placed), size, 0.0, 24.0, _WIDTH)
    slot = max(room / len(words), 16.0)
    width = slot * len(words) + 2 * MARGIN
    turned = tuple(
        Placed(text, player, MARGIN + slot * (i + 0.5), 14.0)
        for i, (text, (_, player, _)) in enumerate(zip(texts, words, strict=True))
    )
    return Line(turned, 9.0, 90.0, max(extent(t, 9.0) for t in texts) + 12.0, width)


def draw_word(
    ax: Axes, line: Line, word: Placed, shade: Any, *, ink: str = INK, edge: str = FAINT, border: float = 0.7
) -> None:
    """One word in its place: in a box where a player has it, pale where none has.

    Args:
        shade, edge, border: colours of the box and its border, and the border's width.
        ink: colour of the letters.
    """
    from matplotlib.patches import FancyBboxPatch

    if word.player >= 0:
        ax.add_patch(
            FancyBboxPatch(
                (word.x - word.width / 2 + 1, 1),
                word.width - 2,
                line.height - 4,
                boxstyle="round,pad=0,rounding_size=3",
                facecolor=shade,
                edgecolor=edge,
                lw=border,
            )
        )
    ax.text(
        word.x,
        line.height / 2 - 1,
        word.text,
        ha="center",
        va="center",
        rotation=line.rotation,
        fontsize=line.size,
        color=ink if word.player >= 0 else _NOBODYS,
        parse_math=False,
    )


def draw_heading(figure: Figure, title: str | None) -> None:
    """The title at the top of a figure whose axes are placed by hand, upon which a suptitle would lie."""
    if not title:
        return
    height = figure.get_figheight() * 72
    figure.text(
        0.5,
        1 - 8 / height,
        shorten(title, 90),
        ha="center",
        va="top",
        fontsize=13,
        color=INK,
        parse_math=False,
    )

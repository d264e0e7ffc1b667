"""A text layout as words."""

from __future__ import annotations

from typing import NamedTuple

from hoi_captum.core.example import TextLayout


class Word(NamedTuple):
    """Adjoining pieces of one player, or a piece of none.

    Attributes:
        text: without white space around it.
        player: its id, or -1.
        spaced: whether white space stands before it.
    """

    text: str
    player: int
    spaced: bool


def words_of(layout: TextLayout | None, players: tuple[str, ...]) -> list[Word]:
    """The words of a text in reading order; without a layout, the players' names.

    Adjoining pieces of a player are one word, with the white space between them; other white space is left
    out.
    """
    if layout is None:
        return [Word(name, i, True) for i, name in enumerate(players)]
    words: list[Word] = []
    blank = ""  # white space since the last word
    for text, player in layout.pieces:
        if not text.strip():
            blank += text
            continue
        if words and player >= 0 and words[-1].player == player:
            words[-1] = words[-1]._replace(text=words[-1].text + blank + text)
        else:
            words.append(Word(text, player, bool(blank) or text[0].isspace()))
        # white space at the end of a piece belongs between this word and the next
        stripped = words[-1].text.rstrip()
        blank = words[-1].text[len(stripped) :]
        words[-1] = words[-1]._replace(text=stripped.lstrip())
    return words

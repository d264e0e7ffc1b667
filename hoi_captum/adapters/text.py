"""Players in a text: words, tokens or given spans."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from hoi_captum.core.example import TextLayout
from hoi_captum.errors import InputError, PlayerError


@cache
def _word() -> re.Pattern[str]:
    """Letters and digits of any script with their marks (accents, vowel signs); apostrophes, hyphens and
    invisible joiners inside.
    """
    # no mark stands below or between these, and re knows no class of marks
    planes = chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))
    marks = "".join(c for c in map(chr, planes) if unicodedata.category(c).startswith("M"))
    part = f"[^\\W_](?:[^\\W_]|[{marks}])*"
    return re.compile(f"{part}(?:['’\u200c\u200d\\-]{part})*")


class Span(NamedTuple):
    """A player's place in the text, characters start..end."""

    start: int
    end: int


class Slot(NamedTuple):
    """A text around which a prompt was put: the full text, and where the text itself stands in it."""

    text: str
    start: int
    end: int


def fill(template: str | None, text: str) -> Slot:
    """Put a text into a prompt at ``{}``; the prompt's own words are never players.

    Raises:
        InputError: no text, or a template without exactly one ``{}``.
    """
    if not isinstance(text, str):
        raise InputError(f"expected a text (str), got {type(text).__name__}")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(
            "expected a text, got one with half characters (lone surrogates); read it with its own encoding"
        )
    if not text.strip():
        raise InputError("expected a text, got an empty one; give a sentence to explain")
    if template is None:
        return Slot(text, 0, len(text))
    if template.count("{}") != 1:
        raise InputError(f"expected a template with one {{}} where the text goes, got {template!r}")
    before, after = template.split("{}")
    return Slot(before + text + after, len(before), len(before) + len(text))


def find_players(slot: Slot, players: Any, tokens: Sequence[Span]) -> list[Span]:
    """Where the players stand.

    Args:
        slot: the text.
        players: ``words``, ``tokens``, or a sequence of spans: (start, end) characters of the text, or
            strings to be found in it one after another.
        tokens: the tokens' places in the full text (empty spans: special tokens).

    Raises:
        PlayerError: none found, or a span that does not exist.
    """
    if players == "words":
        matches = _word().finditer(slot.text, slot.start, slot.end)
        spans = [Span(*m.span()) for m in matches]
    elif players == "tokens":
        spans = _merged([s for s in tokens if slot.start <= s.start < s.end <= slot.end])
    elif isinstance(players, str) or not isinstance(players, Sequence):
        raise PlayerError(f"expected players to be 'words', 'tokens' or a list of spans, got {players!r}")
    else:
        spans = _given_spans(slot, players)
    if not spans:
        raise PlayerError(
            f"the text {slot.text[slot.start : slot.end]!r} has no players: expected {players!s:.20} in it "
            "that can be masked"
        )
    return spans


def _merged(tokens: Sequence[Span]) -> list[Span]:
    """Tokens that share a character (the bytes of one letter) as one span."""
    spans: list[Span] = []
    for token in tokens:
        if spans and token.start < spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(spans[-1].end, token.end))
        else:
            spans.append(token)
    return spans


def _given_spans(slot: Slot, players: Sequence[Any]) -> list[Span]:
    spans, position = [], slot.start
    for player in players:
        if isinstance(player, str) and player:
            start = _find(player, slot, position)
            if start < 0:
                if _find(player, slot, slot.start) < 0:
                    raise PlayerError(f"the player {player!r} does not stand in the text; give words of it")
                raise PlayerError(
                    f"the player {player!r} does not stand in the text after the one before it; players "
                    "given as strings are looked up in reading order"
                )
            span = Span(start, start + len(player))
        elif isinstance(player, tuple | list) and len(player) == 2:
            span = Span(slot.start + int(player[0]), slot.start + int(player[1]))
        else:
            raise PlayerError(
                f"expected a player of a text to be a string or a (start, end) pair, got {player!r}; grids "
                "are for images"
            )
        if not position <= span.start < span.end <= slot.end:
            place = f"{span.start - slot.start}..{span.end - slot.start}"
            raise PlayerError(
                f"the player at characters {place} overlaps the one before it, or leaves the text of "
                f"{slot.end - slot.start} characters; give players in reading order"
            )
        spans.append(span)
        position = span.end
    return spans


def _find(player: str, slot: Slot, position: int) -> int:
    """Where a player stands: as whole words if it can be, "a" not inside "that"; -1 if nowhere."""
    whole = re.compile(rf"(?<!\w){re.escape(player)}(?!\w)").search(slot.text, position, slot.end)
    return whole.start() if whole else slot.text.find(player, position, slot.end)


def assign_tokens(tokens: Sequence[Span], players: Sequence[Span], text: str) -> list[int]:
    """The player of each token: the one it shares most characters with, or -1.

    Raises:
        PlayerError: a player without a token of its own.
    """
    ids = []
    for token in tokens:
        shared = [min(token.end, p.end) - max(token.start, p.start) for p in players]
        best = max(range(len(players)), key=shared.__getitem__)
        ids.append(best if shared[best] > 0 else -1)
    lost = sorted(set(range(len(players))) - set(ids))
    if lost:
        words = [text[players[i].start : players[i].end] for i in lost]
        raise PlayerError(
            f"the tokenizer gives no token of their own to {words}; merge them with their neighbours "
            "(players=[...]), or shorten the text if it was cut"
        )
    return ids


def owners_by_name(tokens: Sequence[Span], slot: Slot, names: Sequence[str]) -> list[int] | None:
    """The player of each token of another text, found by their names; None where none of them is there.

    Whole words, whatever their case; of players with one name the first gets the first place, and so on.

    Args:
        tokens: the tokens' places in the full text.
        slot: the text.
        names: of the players.
    """
    taken: list[tuple[Span, int]] = []
    # the longest first, so that a part of one is not taken for another
    for player in sorted(range(len(names)), key=lambda i: -len(names[i])):
        # apostrophes and hyphens are inside of words
        pattern = re.compile(rf"(?<!\w)(?<!\w['’\-]){re.escape(names[player])}(?!\w|['’\-]\w)", re.IGNORECASE)
        places = (Span(*m.span()) for m in pattern.finditer(slot.text, slot.start, slot.end))
        free = (p for p in places if all(p.end <= t.start or t.end <= p.start for t, _ in taken))
        if (place := next(free, None)) is not None:
            taken.append((place, player))
    owner = [-1] * len(tokens)
    for place, player in taken:
        for number, token in enumerate(tokens):
            if token.start < token.end and min(token.end, place.end) > max(token.start, place.start):
                owner[number] = player
    return owner if max(owner, default=-1) >= 0 else None


def lay_out(text: str, players: Sequence[Span]) -> TextLayout:
    """The text in pieces, each with its player."""
    pieces, position = [], 0
    for player, span in enumerate(players):
        if span.start > position:
            pieces.append((text[position : span.start], -1))
        pieces.append((text[span.start : span.end], player))
        position = span.end
    if position < len(text):
        pieces.append((text[position:], -1))
    return TextLayout(tuple(pieces))

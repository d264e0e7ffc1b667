"""Fenced blocks of Markdown, which tests run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest

FENCED = re.compile(r"^```(\w[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r'(?:save|savefig|save_page)\((?:[^()]*, )?"([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        language: what stands behind the fence: ``python``, ``sh``, ``python real``.
        code: its lines.
        line: of the page, where it begins.
        output: the ``text`` block right behind it, which shows what it prints; None where there is none.
    """

    language: str
    code: str
    line: int
    output: str | None

    @property
    def saved(self) -> list[str]:
        """The files that it says it writes, sorted."""
        return sorted(SAVED.findall(self.code))


def blocks(text: str, language: str | None = None) -> list[Block]:
    """The blocks of a page in their order; of one language if it is given."""
    found = list(FENCED.finditer(text))
    made = []
    for match, following in zip_longest(found, found[1:]):
        output = None
        if (
            following is not None
            and following[1] == "text"
            and not text[match.end() : following.start()].strip()
        ):
            output = following[2]
        made.append(Block(match[1].strip(), match[2], text[: match.start()].count("\n") + 1, output))
    return [block for block in made if language is None or block.language == language]


NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def same_but_for_the_last_digit(one: str, other: str) -> bool:
    """Whether two outputs have the same words, and decimals that differ by at most one in the last place.

    What is rounded for a page may be rounded to the neighbour on another machine; whole numbers may not.
    """
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
        places = len(b.partition(".")[2])
        if len(a.partition(".")[2]) != places or abs(float(a) - float(b)) > (
            1.01 * 10**-places if places else 0
        ):
            return False
    return True

"""Questions about a scene, relational and not, in words and as the vectors that the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from hoi_captum.errors import InputError, OptionError
from hoi_captum.zoo.scenes import COLOURS, OBJECTS, SHAPES, SIDE, Scene, Scenes, draw_scenes

WORDS = {
    "shape": "What shape is the {} object?",
    "left-right": "Is the {} object on the left or on the right?",
    "top-bottom": "Is the {} object at the top or at the bottom?",
    "closest": "What shape is the object closest to the {} one?",
    "furthest": "What shape is the object furthest from the {} one?",
    "count": "How many other objects have the shape of the {} one?",
    "closest-colour": "What colour is the object closest to the {} one?",
    "furthest-colour": "What colour is the object furthest from the {} one?",
}
KINDS = tuple(WORDS)
ANSWERS = (*SHAPES, "left", "right", "top", "bottom", *map(str, range(OBJECTS)), *COLOURS)
VECTOR = OBJECTS + len(KINDS)

_SIDEWAYS, _UPWARDS, _COUNTS, _NAMES = map(ANSWERS.index, ("left", "top", "0", COLOURS[0]))


@dataclass(frozen=True)
class Question:
    """One question about one scene.

    Attributes:
        kind: an entry of ``KINDS``.
        asked: the object that the question names, as its number in the scene.
        answer: the right one, an entry of ``ANSWERS``.
        partner: the object that decides the answer together with ``asked``: the closest or the furthest one;
            None for the other kinds, which concern one object or all.
        runner_up: the object that would be the partner without it: second closest or second furthest. A model
            has to compare the two, so that it interacts with ``asked`` as well.
    """

    kind: str
    asked: int
    answer: str
    partner: int | None
    runner_up: int | None

    @property
    def text(self) -> str:
        """The question in words, such as "What shape is the object closest to the red one?"."""
        return WORDS[self.kind].format(COLOURS[self.asked])

    @property
    def vector(self) -> Tensor:
        """What the network takes, float (12,): which colour (4), then which kind (8), one-hot each."""
        return encode(self.text)


@dataclass(frozen=True, eq=False)
class Questions:
    """A question for each of many scenes, as tensors.

    Attributes:
        kinds: long (n,), numbers in ``KINDS``.
        asked: long (n,), numbers of objects.
    """

    kinds: Tensor
    asked: Tensor

    def vectors(self) -> Tensor:
        """What the network takes, float (n, 12)."""
        colours = functional.one_hot(self.asked, OBJECTS)
        return torch.cat([colours, functional.one_hot(self.kinds, len(KINDS))], dim=1).float()

    def answers(self, scenes: Scenes) -> Tensor:
        """The right answers about ``scenes``, long (n,): numbers in ``ANSWERS``."""
        row = torch.arange(len(scenes))
        shape, (x, y) = scenes.shapes[row, self.asked], scenes.centres[row, self.asked].unbind(dim=1)
        others = scenes.by_distance()[row, self.asked]
        closest, furthest = others[:, 0], others[:, -1]
        of_each_kind = {
            "shape": shape,
            "left-right": _SIDEWAYS + (x >= SIDE // 2).long(),
            "top-bottom": _UPWARDS + (y >= SIDE // 2).long(),
            "closest": scenes.shapes[row, closest],
            "furthest": scenes.shapes[row, furthest],
            "count": _COUNTS + (scenes.shapes == shape.unsqueeze(1)).sum(dim=1) - 1,
            "closest-colour": _NAMES + closest,
            "furthest-colour": _NAMES + furthest,
        }
        return torch.stack([of_each_kind[kind] for kind in KINDS])[self.kinds, row]

    def singles(self, scenes: Scenes) -> list[Question]:
        """The questions one by one."""
        others = scenes.by_distance()[torch.arange(len(scenes)), self.asked]
        columns = (self.kinds, self.asked, self.answers(scenes), others)
        made = []
        for number, asked, answer, near in zip(*(column.tolist() for column in columns), strict=True):
            kind, partner, runner_up = KINDS[number], None, None
            if kind.startswith("closest"):
                partner, runner_up = near[0], near[1]
            elif kind.startswith("furthest"):
                partner, runner_up = near[2], near[1]
            made.append(Question(kind, asked, ANSWERS[answer], partner, runner_up))
        return made


def ask(scene: Scene, kind: str, colour: str) -> Question:
    """The question of that kind about the object of that colour.

    Raises:
        OptionError: no such kind or colour.
    """
    for given, known, what in ((kind, KINDS, "kind"), (colour, COLOURS, "colour")):
        if given not in known:
            raise OptionError(f"expected as {what} one of {', '.join(known)}, got {given!r}")
    questions = Questions(torch.tensor([KINDS.index(kind)]), torch.tensor([COLOURS.index(colour)]))
    return questions.singles(Scenes.of([scene]))[0]


def encode(text: str) -> Tensor:
    """The vector (12,) of a question in words; upper and lower case, and spaces around, do not matter.

    Raises:
        InputError: these are not the words of any question.
    """
    found = _known().get(text.strip().lower())
    if found is None:
        forms = "\n".join(f"  {words.format(COLOURS[0])}" for words in WORDS.values())
        raise InputError(
            f"no question known to the network reads {text!r}; expected one of these, with any of the "
            f"colours {', '.join(COLOURS)}:\n{forms}"
        )
    kind, asked = found
    return Questions(torch.tensor([kind]), torch.tensor([asked])).vectors()[0]


@cache
def _known() -> dict[str, tuple[int, int]]:
    """Kind and object of every question, by its words."""
    return {
        words.format(colour).lower(): (kind, asked)
        for kind, words in enumerate(WORDS.values())
        for asked, colour in enumerate(COLOURS)
    }


def draw_questions(
    n: int, generator: torch.Generator, kinds: Sequence[str] = KINDS
) -> list[tuple[Scene, Question]]:
    """``n`` random scenes, each with a question about a random object; the kinds take turns.

    Args:
        n: how many, 0 or more.
        generator: the same state of it draws the same questions.
        kinds: entries of ``KINDS``.

    Raises:
        OptionError: ``n`` is negative, or a kind is unknown.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise OptionError(f"expected kinds among {', '.join(KINDS)}, got {list(kinds)}")
    scenes = draw_scenes(n, generator)
    turns = torch.tensor([KINDS.index(kind) for kind in kinds])[torch.arange(n) % len(kinds)]
    questions = Questions(turns, torch.randint(OBJECTS, (n,), generator=generator))
    return list(zip(scenes.singles(), questions.singles(scenes), strict=True))

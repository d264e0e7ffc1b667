"""Scenes of four objects on a grey ground: the pictures of Sort-of-CLEVR, smaller.

The task is that of Santoro et al., "A simple neural network module for relational reasoning" (NeurIPS 2017),
section 3.2. Every scene holds one object of each colour, a square or a circle, so that an object is known by
its colour. Centres are uniform over all placements that keep objects apart and distances distinct.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from hoi_captum.errors import OptionError

SIDE = 32
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("square", "circle")
OBJECTS = len(COLOURS)

_HALF = 3  # pixels from an object's centre to its edge
_APART = 8  # the least Chebyshev distance of two centres
_CIRCLE = 3.3**2  # the square of the circles' radius
_GROUND = (128, 128, 128)
_PAINTS = ((220, 40, 40), (40, 170, 60), (50, 80, 220), (230, 210, 50))
_SURPLUS = 10  # candidates for each scene that is wanted: about one in seven keeps its objects apart


@dataclass(frozen=True)
class Scene:
    """One picture; object ``i`` has colour ``COLOURS[i]``.

    Attributes:
        centres: (x, y) of each object in pixels, from the upper left corner; integers from 3 to 28.
        shapes: each object's entry of ``SHAPES``.
    """

    centres: tuple[tuple[int, int], ...]
    shapes: tuple[str, ...]

    @property
    def colours(self) -> tuple[str, ...]:
        """The name of each object's colour."""
        return COLOURS

    @property
    def image(self) -> Tensor:
        """The picture, float (3, 32, 32) in [0, 1]; drawn anew each time."""
        return Scenes.of([self]).images()[0]

    @property
    def picture(self) -> Image.Image:
        """The picture as a PIL image (RGB, 32x32)."""
        return Image.fromarray((self.image * 255).round().byte().permute(1, 2, 0).numpy())

    @property
    def boxes(self) -> tuple[tuple[int, int, int, int], ...]:
        """(left, top, right, bottom) of each object in pixels; right and bottom are just outside."""
        return tuple((x - _HALF, y - _HALF, x + _HALF + 1, y + _HALF + 1) for x, y in self.centres)

    def by_distance(self, asked: int) -> tuple[int, ...]:
        """The other three objects, the one whose centre is closest to that of ``asked`` first."""
        return tuple(Scenes.of([self]).by_distance()[0, asked].tolist())


@dataclass(frozen=True, eq=False)
class Scenes:
    """Many scenes as tensors.

    Attributes:
        centres: long (n, 4, 2), x and y of the objects' centres in pixels.
        shapes: long (n, 4), numbers in ``SHAPES``.
    """

    centres: Tensor
    shapes: Tensor

    @classmethod
    def of(cls, scenes: list[Scene]) -> Scenes:
        """The tensors of single scenes."""
        return cls(
            torch.tensor([scene.centres for scene in scenes]),
            torch.tensor([[SHAPES.index(shape) for shape in scene.shapes] for scene in scenes]),
        )

    def __len__(self) -> int:
        return len(self.shapes)

    def repeat(self, times: int) -> Scenes:
        """All scenes once, then all of them again, ``times`` times."""
        return Scenes(self.centres.repeat(times, 1, 1), self.shapes.repeat(times, 1))

    def singles(self) -> list[Scene]:
        """The scenes one by one."""
        return [
            Scene(tuple((x, y) for x, y in centres), tuple(SHAPES[shape] for shape in shapes))
            for centres, shapes in zip(self.centres.tolist(), self.shapes.tolist(), strict=True)
        ]

    def distances(self) -> Tensor:
        """Squared Euclidean distances of the centres, long (n, 4, 4)."""
        return (self.centres.unsqueeze(2) - self.centres.unsqueeze(1)).square().sum(dim=-1)

    def by_distance(self) -> Tensor:
        """For each object the other three, the closest first; long (n, 4, 3)."""
        return self.distances().argsort(dim=-1)[..., 1:]  # an object is closest to itself

    def images(self) -> Tensor:
        """The pictures, float (n, 3, 32, 32) in [0, 1]."""
        offsets = torch.arange(SIDE) - self.centres.unsqueeze(-1)  # (n, 4, 2, 32)
        across, down = offsets[:, :, 0].unsqueeze(2), offsets[:, :, 1].unsqueeze(3)
        square = (across.abs() <= _HALF) & (down.abs() <= _HALF)
        circle = across.square() + down.square() <= _CIRCLE
        covered = torch.where(self.shapes[:, :, None, None] == 0, square, circle)
        ground, paints = torch.tensor(_GROUND) / 255, torch.tensor(_PAINTS) / 255
        # Objects never overlap, so that each adds its own difference from the ground.
        painted = torch.einsum("nohw,oc->nchw", covered.float(), paints - ground)
        return painted + ground[:, None, None]


def draw_scenes(n: int, generator: torch.Generator) -> Scenes:
    """``n`` random scenes, independent of each other; the same for the same state of ``generator``.

    Shapes are fair coins. Centres are drawn uniformly until all objects are at least 8 pixels apart in x or
    in y and no object has two others at the same distance.

    Raises:
        OptionError: ``n`` is negative.
    """
    if n < 0:
        raise OptionError(f"expected a number of scenes, 0 or more, got {n}")
    parts = [torch.empty(0, OBJECTS, 2, dtype=torch.long)]
    missing = n
    while missing > 0:
        # never few, so that the last scenes do not take many rounds
        count = _SURPLUS * max(missing, 16)
        candidates = torch.randint(_HALF, SIDE - _HALF, (count, OBJECTS, 2), generator=generator)
        parts.append(candidates[_allowed(candidates)][:missing])
        missing -= len(parts[-1])
    return Scenes(torch.cat(parts), torch.randint(len(SHAPES), (n, OBJECTS), generator=generator))


def _allowed(centres: Tensor) -> Tensor:
    """Which placements (n, 4, 2) keep their objects apart and have no ties in distance."""
    differences = centres.unsqueeze(2) - centres.unsqueeze(1)
    one, other = torch.triu_indices(OBJECTS, OBJECTS, offset=1)
    apart = (differences.abs().amax(dim=-1)[:, one, other] >= _APART).all(dim=1)
    ordered = differences.square().sum(dim=-1).sort(dim=-1).values
    return apart & (ordered.diff(dim=-1) > 0).flatten(1).all(dim=1)

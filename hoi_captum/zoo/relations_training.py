"""How the relation network is trained: on fresh scenes in every step, the simple questions first.

Without help it stays at naming the shape that most objects have, right three times in four, for hundreds of
thousands of questions. Two losses that fade away help it on: cells tell which object's centre they hold, and
the sum over pairs tells how far each object is from the one asked about.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from hoi_captum.zoo.questions import ANSWERS, KINDS, Questions
from hoi_captum.zoo.relations import GRID, STRIDE, RelationNetwork
from hoi_captum.zoo.scenes import OBJECTS, Scenes, draw_scenes

_SIMPLE = ("shape", "left-right", "top-bottom")
_OF_DISTANCE = ("closest", "furthest", "closest-colour", "furthest-colour")
_REPORT = 200  # steps between two lines of progress


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how the relation network is made, apart from the seed."""

    channels: int = 24
    products: int = 32
    entity_hidden: int = 128
    entity_size: int = 32
    hidden: int = 64
    steps: int = 5_000
    scenes: int = 64  # in a step
    questions: int = 2  # about each of them
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    simple_share: float = 0.08  # of the steps, at first, with questions about single objects only
    distance_weight: int = (
        3  # how much oftener than another kind the four about distances are asked afterwards
    )
    constant_share: float = 0.5  # of the steps, before the learning rate falls along a cosine
    detection: float = 1.0  # weight of the detection loss at first; it fades until the last step
    distance: float = 1.0  # weight of the distance loss at first
    distance_share: float = 0.5  # of the steps, until it has faded

    kind: ClassVar[str] = "relations"
    labels: ClassVar[Sequence[str]] = ANSWERS
    prompt: ClassVar[None] = None

    @property
    def config(self) -> dict[str, int]:
        """The arguments of the network."""
        return {
            key: value
            for key, value in asdict(self).items()
            if key in ("channels", "products", "entity_hidden", "entity_size", "hidden")
        }


RECIPES = {"sort-of-clevr": Recipe()}


class Detector(nn.Module):
    """Reads off each cell which object has its centre there: four colours, shape, place. Not stored."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(channels, OBJECTS + 3, 1)

    def loss(self, cells: Tensor, scenes: Scenes) -> Tensor:
        """Cross-entropy of the colours and of the shape, and the squared error of the place."""
        read = self.read(cells).flatten(2)
        cell = scenes.centres // STRIDE
        number = cell[..., 1] * GRID + cell[..., 0]
        row = torch.arange(len(number)).unsqueeze(1)
        present = torch.zeros_like(read[:, :OBJECTS])
        present[row, torch.arange(OBJECTS), number] = 1.0
        colour = functional.binary_cross_entropy_with_logits(read[:, :OBJECTS], present)
        found = read[row, OBJECTS:, number]  # (n, 4, 3): at most one centre is in a cell
        shape = functional.binary_cross_entropy_with_logits(found[..., 0], scenes.shapes.float())
        offset = (scenes.centres % STRIDE).float() * 2 / (STRIDE - 1) - 1
        return colour + shape + functional.mse_loss(found[..., 1:], offset)


class Ruler(nn.Module):
    """Reads off the sum over pairs how far each object is from the one asked about. Not stored."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read = nn.Linear(hidden, OBJECTS)

    def loss(self, pairs: Tensor, scenes: Scenes, questions: Questions) -> Tensor:
        """Squared error of the distances, in tens of pixels, for the questions about distances."""
        far = scenes.distances()[torch.arange(len(pairs)), questions.asked].float().sqrt() / 10
        needed = torch.tensor([kind in _OF_DISTANCE for kind in KINDS])[questions.kinds]
        return functional.mse_loss(self.read(pairs)[needed], far[needed])


class Pupil(nn.Module):
    """The network, with the two readers that help it to learn."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = RelationNetwork(**recipe.config)
        self.detector = Detector(recipe.channels)
        self.ruler = Ruler(recipe.hidden)

    def forward(self, scenes: Scenes, questions: Questions) -> tuple[Tensor, Tensor, Tensor]:
        """The logits, the detection loss and the distance loss; the questions go over the scenes in turn."""
        times = len(questions.kinds) // len(scenes)
        vectors = questions.vectors()
        with torch.autocast("cpu", torch.bfloat16):
            cells = self.network.cells(scenes.images())
            entities = self.network.entities(cells.repeat(times, 1, 1, 1), vectors)
            pairs = self.network.pairs(entities, vectors)
            logits = self.network.answer(pairs).float()
        detection = self.detector.loss(cells.float(), scenes)
        return logits, detection, self.ruler.loss(pairs.float(), scenes.repeat(times), questions)


def train(
    recipe: Recipe, seed: int, report: Callable[[str], None] = tqdm.write
) -> tuple[RelationNetwork, float]:
    """The network in eval mode, and the processor seconds it took; ``report`` is told the accuracies."""
    began = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pupil = Pupil(recipe)
    optimiser = torch.optim.AdamW(
        pupil.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _slope(recipe))
    right, asked = torch.zeros(len(KINDS)), torch.zeros(len(KINDS))
    for step in tqdm(range(recipe.steps), desc="relations", mininterval=5):
        scenes = draw_scenes(recipe.scenes, generator)
        questions = _draw(recipe, step, generator)
        answers = questions.answers(scenes.repeat(recipe.questions))
        logits, detection, distance = pupil(scenes, questions)
        loss = functional.cross_entropy(logits, answers)
        loss = loss + recipe.detection * (1 - step / recipe.steps) * detection
        if not _is_simple(recipe, step):
            fading = max(0.0, 1 - step / (recipe.distance_share * recipe.steps))
            loss = loss + recipe.distance * fading * distance
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        asked += torch.bincount(questions.kinds, minlength=len(KINDS))
        right += torch.bincount(questions.kinds[logits.argmax(dim=1) == answers], minlength=len(KINDS))
        if (step + 1) % _REPORT == 0:
            shares = [f"{kind} {share:.2f}" for kind, share in zip(KINDS, right / asked, strict=True)]
            report(f"step {step + 1}, {time.process_time() - began:.0f} s: {', '.join(shares)}")
            right, asked = torch.zeros_like(right), torch.zeros_like(asked)
    return pupil.network.eval(), time.process_time() - began


def _slope(recipe: Recipe) -> Callable[[int], float]:
    constant = recipe.constant_share * recipe.steps
    rest = recipe.steps - constant
    return lambda step: 0.5 * (1 + math.cos(math.pi * max(0.0, step - constant) / rest))


def _draw(recipe: Recipe, step: int, generator: torch.Generator) -> Questions:
    """Random questions of the kinds that are due at this step."""
    count = recipe.scenes * recipe.questions
    if _is_simple(recipe, step):
        weights = [float(kind in _SIMPLE) for kind in KINDS]
    else:
        weights = [float(recipe.distance_weight if kind in _OF_DISTANCE else 1) for kind in KINDS]
    kinds = torch.multinomial(torch.tensor(weights), count, replacement=True, generator=generator)
    return Questions(kinds, torch.randint(OBJECTS, (count,), generator=generator))


def _is_simple(recipe: Recipe, step: int) -> bool:
    return step < recipe.simple_share * recipe.steps

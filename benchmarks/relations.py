"""What links the asked object and its partner? Pairs of cells of the zoo's relation network.

    python -m benchmarks.relations

For each question that the network answers right ("What shape is the object closest to the red one?") the
pairs of its 16 cells are ranked, by several operators. A pair covers two objects if one of its cells overlaps
the box of the one and the other that of the other. Counted is how often the first pair (any of the first
three, five) covers the asked object and its partner, beside how often pairs in a random order do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor

import hoi_captum as hoi
from benchmarks.harness import single_threaded, table, write
from hoi_captum.zoo.questions import ANSWERS, Question, draw_questions
from hoi_captum.zoo.relations import GRID, STRIDE
from hoi_captum.zoo.scenes import SIDE, Scene

MODEL = "sort-of-clevr"
PAIRS = np.array(list(combinations(range(GRID * GRID), 2)))
RELATIONAL = ("closest", "furthest")
_SEED = 20_000  # no training uses it
_GREY = 128 / 255  # of the ground


@dataclass(frozen=True, eq=False)
class Study:
    """Questions that the network answers right.

    Attributes:
        model: the network.
        images, vectors, answers: its inputs, and the right answers' columns.
        drawn: scene and question of each.
        partner, runner_up: (n, 120) whether a pair covers the asked object and its partner, or the object
            that would be the partner without it.
        asked: (n, 120) whether a pair covers the asked object at all.
        accuracy: before the wrongly answered ones were left out.
    """

    model: Any
    images: Tensor
    vectors: Tensor
    answers: Tensor
    drawn: tuple[tuple[Scene, Question], ...]
    partner: np.ndarray
    runner_up: np.ndarray
    asked: np.ndarray
    accuracy: float

    @classmethod
    def of(cls, questions: int, kinds: Sequence[str] = RELATIONAL, seed: int = _SEED) -> Study:
        """Draw so many questions, and keep those that are answered right."""
        model, _ = hoi.zoo.load(MODEL)
        drawn = draw_questions(questions, torch.Generator().manual_seed(seed), kinds)
        images = torch.stack([scene.image for scene, _ in drawn])
        vectors = torch.stack([question.vector for _, question in drawn])
        answers = torch.tensor([ANSWERS.index(question.answer) for _, question in drawn])
        with torch.no_grad():
            right = model(images, vectors).argmax(1) == answers
        kept = right.nonzero()[:, 0]
        chosen = tuple(drawn[i] for i in kept.tolist())
        covered = [_covered(scene, question) for scene, question in chosen]
        partner, runner_up, asked = (np.stack(part) for part in zip(*covered, strict=True))
        accuracy = float(right.float().mean())
        return cls(
            model, images[kept], vectors[kept], answers[kept], chosen, partner, runner_up, asked, accuracy
        )

    def __len__(self) -> int:
        return len(self.drawn)

    def background(self) -> Tensor:
        """The entities of an empty picture, for each question: (n, 16, 32)."""
        empty = torch.full((len(self), 3, SIDE, SIDE), _GREY)
        with torch.no_grad():
            entities: Tensor = self.model.entities(self.model.cells(empty), self.vectors)
        return entities

    def sizes(self, layer: Any = None, *, layer_baselines: Any = None, **options: Any) -> np.ndarray:
        """The absolute scores of all pairs by TaylorCAM, (n, 120)."""
        method = hoi.TaylorCAM(
            self.model, self.model.entities if layer is None else layer, synergy=0, **options
        )
        tables = method.interact(
            self.images,
            target=self.answers,
            additional_forward_args=self.vectors,
            layer_baselines=layer_baselines,
        )
        pairs = np.stack([result.pairs for result in tables])
        return np.abs(pairs[:, PAIRS[:, 0], PAIRS[:, 1]])

    def grad_cam(self) -> np.ndarray:
        """Products of Grad-CAM's scores of two cells: the best that first-order scores can say of a pair."""
        cam = LayerGradCam(self.model, self.model.cells)
        scores = cam.attribute(
            self.images, target=self.answers, additional_forward_args=self.vectors
        ).flatten(1)
        sizes = scores.detach().abs().numpy()
        return sizes[:, PAIRS[:, 0]] * sizes[:, PAIRS[:, 1]]


def cells_of(box: tuple[int, int, int, int]) -> set[int]:
    """The cells that a box (left, top, right, bottom) overlaps."""
    left, top, right, bottom = box
    columns = range(left // STRIDE, (right - 1) // STRIDE + 1)
    rows = range(top // STRIDE, (bottom - 1) // STRIDE + 1)
    return {row * GRID + column for row in rows for column in columns}


def _covered(scene: Scene, question: Question) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = [cells_of(box) for box in scene.boxes]
    inside = np.array([[cell in box for cell in range(GRID * GRID)] for box in boxes])
    first, second = inside[:, PAIRS[:, 0]], inside[:, PAIRS[:, 1]]

    def both(one: int, other: int | None) -> np.ndarray:
        if other is None:
            return np.zeros(len(PAIRS), dtype=bool)
        return (first[one] & second[other]) | (first[other] & second[one])

    asked = question.asked
    return both(asked, question.partner), both(asked, question.runner_up), first[asked] | second[asked]


def among_first(covered: np.ndarray, sizes: np.ndarray, k: int) -> float:
    """The share of questions one of whose k largest pairs is covered."""
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(covered, order, axis=1).any(1).mean())


def by_chance(covered: np.ndarray, k: int) -> float:
    """The same for pairs in a random order, exactly (without replacement)."""
    pairs = covered.shape[1]
    none = np.ones(len(covered))
    for drawn in range(k):
        none *= np.clip(pairs - covered.sum(1) - drawn, 0, None) / (pairs - drawn)
    return float(1 - none.mean())


def _row(name: str, study: Study, sizes: np.ndarray) -> list[str]:
    kinds = np.array([question.kind for _, question in study.drawn])
    shares = [among_first(study.partner, sizes, k) for k in (1, 3, 5)]
    by_kind = [among_first(study.partner[kinds == kind], sizes[kinds == kind], 1) for kind in RELATIONAL]
    others = [among_first(study.runner_up, sizes, 1), among_first(study.asked, sizes, 1)]
    return [name, *(f"{share:.2f}" for share in (*shares, *by_kind, *others))]


def _operators(study: Study) -> list[list[str]]:
    empty = study.background()
    cells = study.model.cells
    runs: list[tuple[str, dict[str, Any]]] = [
        ("**cam, logit**", {"variant": "cam"}),
        ("taylor (exact), logit", {}),
        ("cam_basic, logit", {"variant": "cam_basic"}),
        ("cam, margin", {"variant": "cam", "output": "margin"}),
        ("taylor, margin", {"output": "margin"}),
        ("cam, log_prob", {"variant": "cam", "output": "log_prob"}),
        ("taylor, log_prob", {"output": "log_prob"}),
        ("gradient difference, logit", {"mode": "grad_diff"}),
        (
            "path, margin, from the empty picture",
            {"mode": "path", "output": "margin", "layer_baselines": empty},
        ),
        ("occlusion, logit", {"mode": "occlusion"}),
        ("occlusion, logit, by the empty picture", {"mode": "occlusion", "layer_baselines": empty}),
        (
            "occlusion, margin, by the empty picture",
            {"mode": "occlusion", "output": "margin", "layer_baselines": empty},
        ),
        ("cam, logit, at the map before the question", {"variant": "cam", "layer": cells}),
        ("taylor, logit, at the map before the question", {"layer": cells}),
    ]
    rows = [_row(name, study, study.sizes(**options)) for name, options in runs]
    rows.append(_row("product of Grad-CAM's two scores (first order)", study, study.grad_cam()))
    chance = [by_chance(study.partner, k) for k in (1, 3, 5)]
    kinds = np.array([question.kind for _, question in study.drawn])
    chance += [by_chance(study.partner[kinds == kind], 1) for kind in RELATIONAL]
    chance += [by_chance(study.runner_up, 1), by_chance(study.asked, 1)]
    rows.append(["pairs in a random order", *(f"{share:.2f}" for share in chance)])
    return rows


def _relational_or_not(questions: int) -> list[list[str]]:
    """How large, and how concentrated, interactions are by kind of question."""
    rows = []
    for kind in ("shape", "left-right", "top-bottom", "count", "closest", "furthest"):
        study = Study.of(questions, (kind,), seed=_SEED + 1)
        sizes = study.sizes(output="margin")
        ordered = -np.sort(-sizes, axis=1)
        largest, total = ordered[:, 0].mean(), sizes.sum(1).mean()
        touching = among_first(study.asked, sizes, 1)
        rows.append(
            [
                kind,
                len(study),
                f"{total:.1f}",
                f"{largest:.2f}",
                f"{(ordered[:, 0] / sizes.sum(1)).mean():.2f}",
                f"{touching:.2f}",
                f"{by_chance(study.asked, 1):.2f}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=500)
    options = parser.parse_args()
    single_threaded()
    study = Study.of(options.questions)
    columns = (
        "pairs of the 16 cells ranked by",
        "top 1",
        "in top 3",
        "in top 5",
        "closest, top 1",
        "furthest, top 1",
        "runner-up, top 1",
        "touches the asked one",
    )
    error = (0.25 / len(study)) ** 0.5
    text = (
        f"{len(study)} of {options.questions} questions for the shape of the closest or the furthest object "
        f"({study.accuracy:.1%} answered right); gates at the entities, where the question has entered and "
        f"no pair is formed, unless said otherwise. A share's standard error is at most {error:.3f}. "
        "“Runner-up”: the first pair covers the asked object and the one that would be the partner without "
        "the partner; the network has to compare the two, so that this is a true interaction as well."
    )
    kinds = (
        "question",
        "questions",
        "sum of all pairs",
        "largest pair",
        "its share of the sum",
        "touches the asked one",
        "by chance",
    )
    write(
        "relations",
        "Relational questions: which two objects are compared?",
        "python -m benchmarks.relations",
        [
            ("The asked object and its partner", text + "\n\n" + table(columns, _operators(study))),
            (
                "Relational and other questions",
                "Absolute cross derivatives of the margin (log-odds of the answer to its strongest rival's), "
                "means over the questions.\n\n" + table(kinds, _relational_or_not(options.questions // 2)),
            ),
        ],
    )


if __name__ == "__main__":
    main()

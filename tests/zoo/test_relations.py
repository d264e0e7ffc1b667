"""The relation network: its parts, its derivatives, and what the shipped weights can do."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hoi_captum import zoo
from hoi_captum.errors import InputError
from hoi_captum.zoo import cards
from hoi_captum.zoo.questions import ANSWERS, KINDS, Question, ask, draw_questions
from hoi_captum.zoo.relations import FIELD, GRID, STRIDE, RelationNetwork
from hoi_captum.zoo.scenes import SIDE, Scene

NAME = "sort-of-clevr"


@cache
def loaded() -> zoo.ZooModel:
    return zoo.load(NAME)


@cache
def fresh() -> list[tuple[Scene, Question]]:
    return draw_questions(2_000, torch.Generator().manual_seed(20_000))


def inputs(rows: list[tuple[Scene, Question]]) -> tuple[Tensor, Tensor]:
    images, vectors = zip(*(loaded().processor(*row) for row in rows), strict=True)
    return torch.stack(images), torch.stack(vectors)


@cache
def fresh_accuracy() -> dict[str, float]:
    with torch.no_grad():
        predicted = loaded().model(*inputs(fresh())).argmax(dim=1).tolist()
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for (_, question), number in zip(fresh(), predicted, strict=True):
        right[question.kind].append(ANSWERS[number] == question.answer)
    return {kind: sum(each) / len(each) for kind, each in right.items()}


# --- the shipped weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("shape", 0.98),
        ("left-right", 0.98),
        ("top-bottom", 0.98),
        ("closest", 0.88),
        ("furthest", 0.91),
        ("count", 0.97),
        ("closest-colour", 0.85),
        ("furthest-colour", 0.88),
    ],
)
def test_fresh_questions_are_answered(kind: str, least: float) -> None:
    assert fresh_accuracy()[kind] >= least


def test_fresh_accuracy_is_that_of_the_card() -> None:
    record = cards.read(zoo.path(NAME))
    assert isinstance(record, cards.RelationsRecord)
    assert record.held_out == sum(share.total for share in record.by_kind.values()) == 16_000
    assert record.by_kind["closest"].right >= 0.90
    assert record.by_kind["furthest"].right >= 0.93
    mean = sum(share.right for share in record.by_kind.values()) / len(record.by_kind)
    assert record.accuracy == pytest.approx(mean)
    for kind, accuracy in fresh_accuracy().items():
        share = record.by_kind[kind]
        # 250 fresh questions against 2,000
        error = cards.standard_error(min(share.right, 0.99), 250)
        assert accuracy == pytest.approx(share.right, abs=4 * error)
    for kind in ("closest", "furthest"):
        assert record.majority[kind].right == pytest.approx(0.75, abs=0.04)


def test_held_out_samples_are_answered_as_the_card_says() -> None:
    record = cards.read(zoo.path(NAME))
    samples = zoo.samples(NAME, 1_600)
    with torch.no_grad():
        predicted = loaded().model(*inputs([data for data, _ in samples])).argmax(dim=1).tolist()
    right = [record.labels[number] == answer for number, (_, answer) in zip(predicted, samples, strict=True)]
    assert sum(right) / 1_600 == pytest.approx(record.accuracy, abs=4 * cards.standard_error(0.97, 1_600))


def test_samples_are_the_same_every_time_and_not_those_of_a_training() -> None:
    (scene, question), answer = zoo.samples(NAME, 1)[0]
    assert answer == question.answer
    assert len(zoo.samples(NAME)) == 16_000
    assert zoo.samples(NAME, 5) == zoo.samples(NAME)[:5]
    kinds = [question.kind for (_, question), _ in zoo.samples(NAME, 16)]
    assert kinds == [*KINDS, *KINDS]
    assert isinstance(scene, Scene)
    assert list(cards.read(zoo.path(NAME)).labels) == list(ANSWERS)


# --- the parts ----------------------------------------------------------------------------------------------


def captured(model: RelationNetwork, images: Tensor, vectors: Tensor) -> dict[str, list[Tensor]]:
    """The outputs of the named parts in one forward pass."""
    seen: dict[str, list[Tensor]] = {"cells": [], "entities": [], "pairs": [], "answer": []}
    handles = [
        getattr(model, name).register_forward_hook(
            lambda _module, _inputs, out, name=name: seen[name].append(out)
        )
        for name in seen
    ]
    try:
        with torch.no_grad():
            model(images, vectors)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def test_the_parts_are_called_once_and_have_the_shapes_of_the_card() -> None:
    images, vectors = inputs(fresh()[:3])
    seen = captured(loaded().model, images, vectors)
    assert {name: [tuple(out.shape) for out in outs] for name, outs in seen.items()} == {
        "cells": [(3, 24, 4, 4)],
        "entities": [(3, 16, 32)],
        "pairs": [(3, 64)],
        "answer": [(3, 14)],
    }


def test_the_question_enters_at_the_entities() -> None:
    scene = fresh()[0][0]
    images, vectors = inputs([(scene, ask(scene, "closest", "red")), (scene, ask(scene, "count", "blue"))])
    seen = captured(loaded().model, images, vectors)
    (cells,), (entities,) = seen["cells"], seen["entities"]
    torch.testing.assert_close(cells[0], cells[1])
    assert (entities[0] - entities[1]).norm() > 0.1 * entities[0].norm()


@pytest.mark.parametrize(("row", "column"), [(1, 2), (2, 1), (0, 3), (3, 0)])
def test_a_cell_sees_its_field_and_position_p_is_row_4_plus_column(row: int, column: int) -> None:
    model = loaded().model
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).requires_grad_()
    cells = model.cells(image)
    (seen,) = torch.autograd.grad(cells[0, :, row, column].square().sum(), image, retain_graph=True)
    lines, places = seen[0].abs().sum(dim=0).nonzero().unbind(dim=1)
    for found, number in ((lines, row), (places, column)):
        first = STRIDE * number - FIELD // 2
        assert found.min() == max(first, 0)
        assert found.max() == min(first + FIELD - 1, SIDE - 1)
    entities = model.entities(cells, torch.eye(12)[:1] + torch.eye(12)[7:8])
    (by_cell,) = torch.autograd.grad(entities[0, GRID * row + column].square().sum(), cells)
    assert by_cell[0].abs().sum(dim=0).nonzero().tolist() == [[row, column]]


def test_pairs_are_a_sum_over_ordered_pairs() -> None:
    """Against two loops over the entities."""
    torch.manual_seed(0)
    model = RelationNetwork(channels=4, products=3, entity_hidden=8, entity_size=5, hidden=6).double().eval()
    entities = torch.randn(2, 16, 5, dtype=torch.float64)
    vectors = torch.rand(2, 12, dtype=torch.float64)
    pairs = model.pairs
    expected = torch.zeros(2, 6, dtype=torch.float64)
    for i in range(16):
        for j in range(16):
            x, y = (2 * (j % 4 - i % 4) / 3, 2 * (j // 4 - i // 4) / 3)
            far = (x**2 + y**2) ** 0.5
            # the network measures from j to i
            apart = torch.tensor([-x, -y, abs(x), abs(y), far, far**2, float(i == j)], dtype=torch.float64)
            one, other = entities[:, i], entities[:, j]
            first = pairs.left(one) + pairs.right(other) + pairs.left_factor(one) * pairs.right_factor(other)
            expected += pairs.rest(first + pairs.of_question(vectors) + pairs.of_distance(apart))
    torch.testing.assert_close(pairs(entities, vectors), 0.05 * expected, rtol=1e-6, atol=1e-6)


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    images, vectors = inputs(fresh()[:4])
    model = loaded().model
    with torch.no_grad():
        together = model(images, vectors)
        alone = torch.cat([model(images[i : i + 1], vectors[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


# --- derivatives --------------------------------------------------------------------------------------------


def gated(model: RelationNetwork, entities: Tensor, vectors: Tensor, gates: Tensor) -> Tensor:
    return model.answer(model.pairs(entities * gates.unsqueeze(-1), vectors))[0]


def test_a_mixed_second_derivative_is_that_of_finite_differences() -> None:
    model = zoo.load(NAME).model.double()
    images, vectors = (t.double() for t in inputs(fresh()[3:4]))
    entities = model.entities(model.cells(images), vectors).detach()
    gates = torch.ones(1, 16, dtype=torch.float64, requires_grad=True)
    chosen = int(gated(model, entities, vectors, gates).argmax())
    (first,) = torch.autograd.grad(gated(model, entities, vectors, gates)[chosen], gates, create_graph=True)
    rows = [torch.autograd.grad(first[0, i], gates, retain_graph=True)[0][0] for i in range(16)]
    hessian = torch.stack(rows)
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-8, atol=1e-10)
    largest = hessian.fill_diagonal_(0).abs().argmax().item()
    i, j = divmod(int(largest), 16)
    assert hessian[i, j].abs() > 1e-2  # a difference of zeros would prove nothing

    def moved(by_i: float, by_j: float) -> Tensor:
        at = torch.ones(1, 16, dtype=torch.float64)
        at[0, i] += by_i
        at[0, j] += by_j
        with torch.no_grad():
            return gated(model, entities, vectors, at)[chosen]

    step = 1e-4
    corners = moved(step, step) - moved(step, -step) - moved(-step, step) + moved(-step, -step)
    torch.testing.assert_close(corners / (4 * step**2), hessian[i, j], rtol=1e-5, atol=1e-6)


def test_third_derivatives_exist_down_to_the_picture() -> None:
    model = zoo.load(NAME).model
    images, vectors = inputs(fresh()[:1])
    along = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    place = torch.zeros((), requires_grad=True)
    value = model(images + place * along, vectors)[0, 0]
    for _ in range(3):
        (value,) = torch.autograd.grad(value, place, create_graph=True)
    assert value.isfinite()
    assert value.abs() > 1e-3


# --- the processor ------------------------------------------------------------------------------------------


def test_a_picture_and_words_are_the_same_as_a_scene_and_a_question() -> None:
    (scene, question) = fresh()[3]
    image, vector = loaded().processor(scene, question)
    assert (image.shape, image.dtype) == ((3, SIDE, SIDE), torch.float32)
    assert (vector.shape, vector.dtype) == ((12,), torch.float32)
    for given in (scene.picture, np.array(scene.picture), scene.picture.convert("RGBA")):
        again, words = loaded().processor(given, question.text)
        torch.testing.assert_close(again, image)
        assert torch.equal(words, vector)
    larger = scene.picture.resize((96, 96), Image.Resampling.NEAREST)
    assert loaded().processor(larger, question)[0].shape == (3, SIDE, SIDE)


def test_the_processor_says_what_it_takes() -> None:
    question = fresh()[0][1]
    with pytest.raises(InputError, match=r"a Scene, a PIL image or a uint8 array.*got Tensor"):
        loaded().processor(torch.zeros(3, 32, 32), question)
    with pytest.raises(InputError, match=r"float64 and shape \(32, 32, 3\)"):
        loaded().processor(np.zeros((32, 32, 3)), question)
    with pytest.raises(InputError, match="closest to the red one"):
        loaded().processor(fresh()[0][0], "Where is it?")

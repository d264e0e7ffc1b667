"""A trained relation network: the pair of cells that a question compares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.relations import PAIRS, Study, among_first, by_chance, cells_of


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.of(240)


def test_the_study_counts_what_it_says(study: Study) -> None:
    assert len(study) >= 200
    assert study.accuracy > 0.9
    assert cells_of((0, 0, 7, 7)) == {0}
    assert cells_of((6, 9, 13, 16)) == {4, 5}
    scene, question = study.drawn[0]
    assert question.partner is not None
    asked, partner = (cells_of(scene.boxes[i]) for i in (question.asked, question.partner))
    expected = [(i in asked and j in partner) or (j in asked and i in partner) for i, j in PAIRS.tolist()]
    assert study.partner[0].tolist() == expected
    assert among_first(np.array([[False, True]]), np.array([[2.0, 1.0]]), 1) == 0
    assert among_first(np.array([[False, True]]), np.array([[2.0, 1.0]]), 2) == 1
    drawn = np.random.default_rng(0).random((20_000, len(PAIRS)))
    assert by_chance(study.partner[:1], 5) == pytest.approx(
        among_first(np.repeat(study.partner[:1], 20_000, 0), drawn, 5), abs=0.01
    )


def test_the_first_pairs_are_the_asked_object_and_its_partner(study: Study) -> None:
    sizes = study.sizes(variant="cam")  # gates where the question has entered, of the answer's logit
    first, chance = among_first(study.partner, sizes, 1), by_chance(study.partner, 1)
    assert first >= 0.35
    assert first >= 3 * chance
    assert among_first(study.partner, sizes, 5) >= 0.75
    # the runner-up has to be compared with the partner: most other first pairs are of it
    either = among_first(study.partner | study.runner_up, sizes, 1)
    assert either >= 0.65
    assert among_first(study.asked, sizes, 1) >= 0.9
    # what first-order scores of two cells can say of their pair
    assert among_first(study.partner, study.grad_cam(), 1) < first / 2


def test_the_entities_of_another_question_give_other_pairs(study: Study) -> None:
    sizes = study.sizes(variant="cam")
    shifted = torch.arange(len(study)).roll(1).numpy()
    # the same pictures' pairs do not fit other questions' objects
    assert among_first(study.partner, sizes[shifted], 1) < 0.15

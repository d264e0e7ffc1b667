"""A pair in words: by its signs, over data by shares, and by the paper's table."""

from __future__ import annotations

import math
from itertools import product

import pytest

from hoi_captum.methods.second_glance.reading import AMPLIFIES, DAMPENS, NEITHER, PairReading

NAMES = ("age", "balance")


def read(first: float, second: float, hessian: float) -> PairReading:
    return PairReading.of(NAMES, (first, second), hessian)


@pytest.mark.parametrize(("first", "second", "hessian"), product((-2.0, 2.0), (-0.3, 0.3), (-1.0, 0.0, 1.0)))
def test_the_effect_is_what_a_small_step_does_to_the_size_of_a_derivative(first, second, hessian):
    def effect(of: float) -> str:
        change = abs(of + 0.01 * hessian) - abs(of)
        return AMPLIFIES if change > 0 else DAMPENS if change < 0 else NEITHER

    reading = read(first, second, hessian)
    assert reading.of_second == effect(second)  # the first grows, the second's derivative moves
    assert reading.of_first == effect(first)


@pytest.mark.parametrize(
    ("first", "second", "hessian", "of_second", "of_first"),
    [
        (1.0, 1.0, 1.0, "amplifies", "amplifies"),
        (-1.0, 1.0, 1.0, "amplifies", "dampens"),
        (1.0, -1.0, 1.0, "dampens", "amplifies"),
        (-1.0, -1.0, 1.0, "dampens", "dampens"),
        (1.0, 1.0, -1.0, "dampens", "dampens"),
        (-1.0, 1.0, -1.0, "dampens", "amplifies"),
        (1.0, -1.0, -1.0, "amplifies", "dampens"),
        (-1.0, -1.0, -1.0, "amplifies", "amplifies"),
        (1.0, 1.0, 0.0, "does not change", "does not change"),
        (0.0, 1.0, 1.0, "amplifies", "does not change"),
        (1.0, 0.0, -1.0, "does not change", "dampens"),
        (0.0, 0.0, 1.0, "does not change", "does not change"),
    ],
)
def test_all_signs_in_both_directions(first, second, hessian, of_second, of_first):
    reading = read(first, second, hessian)
    assert (reading.of_second, reading.of_first) == (of_second, of_first)
    turned = PairReading.of(NAMES[::-1], (second, first), hessian)
    assert (turned.of_second, turned.of_first) == (of_first, of_second)


@pytest.mark.parametrize("second", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(
    ("first", "hessian", "label"),
    [
        (0.2, 3.0, "amplified"),
        (0.2, -3.0, "dampened"),
        (-0.2, 3.0, "absence magnifies"),
        (-0.2, -3.0, "decreases with absence"),
        (0.0, 3.0, ""),
        (0.2, 0.0, ""),
    ],
)
def test_the_papers_labels(first, second, hessian, label):
    # its table does not look at the second derivative's own sign
    assert read(first, second, hessian).paper_label == label


def test_a_sentence():
    assert str(read(-0.5, 2.0, 0.12345)) == (
        "more of 'age' amplifies the influence of 'balance'; more of 'balance' dampens the influence of "
        "'age' (derivatives -0.5, +2, cross derivative +0.123)"
    )
    assert str(read(1.0, 0.0, -4e-5)) == (
        "more of 'age' does not change the influence of 'balance'; more of 'balance' dampens the influence "
        "of 'age' (derivatives +1, +0, cross derivative -4e-05)"
    )


def test_what_is_not_known_is_said():
    reading = read(math.nan, 1.0, math.nan)
    assert (reading.of_second, reading.of_first) == ("not known", "not known")
    assert reading.paper_label == ""
    assert str(reading).startswith("the data do not show how ")


@pytest.mark.parametrize(
    ("shares", "of_second", "of_first"),
    [
        (((0.9, 0.1), (0.2, 0.8)), AMPLIFIES, DAMPENS),
        (((0.49, 0.51), (0.51, 0.49)), DAMPENS, AMPLIFIES),
        (((0.5, 0.5), (1.0, 0.0)), NEITHER, AMPLIFIES),
        (((0.1, 0.0), (0.0, 0.0)), AMPLIFIES, NEITHER),  # in the other rows nothing changes
    ],
)
def test_over_data_what_happens_in_more_rows_decides(shares, of_second, of_first):
    # whatever the signs of the means are
    for hessian in (-1.0, 0.0, 1.0):
        reading = PairReading.of(NAMES, (1.0, -1.0), hessian, shares)
        assert (reading.of_second, reading.of_first) == (of_second, of_first)
        assert reading.shares == shares


def test_a_sentence_over_data():
    reading = PairReading.of(NAMES, (1.0, -1.0), -0.25, ((0.904, 0.05), (0.2, 0.0)))
    assert str(reading) == (
        "more of 'age' amplifies the influence of 'balance' in 90 % of the rows and dampens it in 5 %, and "
        "more of 'balance' amplifies that of 'age' in 20 % and dampens it in 0 % (mean cross "
        "derivative -0.25)"
    )


def test_a_reading_keeps_what_it_was_made_of():
    reading = read(-0.5, 2.0, 0.1)
    assert (reading.first, reading.second) == NAMES
    assert reading.gradients == (-0.5, 2.0)
    assert reading.hessian == 0.1
    assert reading.shares is None

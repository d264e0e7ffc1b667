"""Log-odds against decimal arithmetic of fifty digits, and labels."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_captum.adapters.outputs import OUTPUTS, as_output, find_label, log_odds, margin
from hoi_captum.errors import OptionError, TargetError


def exact(logits: list[float], column: int) -> float:
    with localcontext() as context:
        context.prec = 50
        rest = sum((Decimal(z).exp() for i, z in enumerate(logits) if i != column), Decimal(0))
        return float(Decimal(logits[column]) - rest.ln())


logit = st.floats(-80, 80, allow_nan=False, width=32)


@given(st.lists(logit, min_size=2, max_size=6))
@settings(max_examples=100, deadline=None)
def test_log_odds_are_exact(logits):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        given_logits = torch.tensor([logits], dtype=dtype)
        expected = torch.tensor(
            [[exact(given_logits[0].tolist(), c) for c in range(len(logits))]], dtype=dtype
        )
        torch.testing.assert_close(log_odds(given_logits), expected, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize(
    "logits", [[80.0, -80.0], [-80.0, 80.0, -80.0], [1e4, -1e4], [0.0, 0.0], [88.0, 0.0]]
)
def test_near_certainty_costs_no_digits(logits):
    odds = log_odds(torch.tensor([logits]))
    assert odds.isfinite().all()
    expected = torch.tensor([[exact(logits, c) for c in range(len(logits))]])
    torch.testing.assert_close(odds, expected, rtol=1e-6, atol=1e-6)


def test_log_odds_of_two_classes_are_the_difference_of_the_logits():
    logits = torch.randn(5, 2, dtype=torch.float64) * 30
    difference = logits[:, 0] - logits[:, 1]
    torch.testing.assert_close(
        log_odds(logits), torch.stack((difference, -difference), 1), rtol=1e-12, atol=1e-12
    )


def test_log_odds_have_the_right_gradient():
    logits = torch.tensor([[3.0, -1.0, 0.5], [60.0, -60.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    logits.requires_grad_()
    for column in range(3):
        (gradient,) = torch.autograd.grad(log_odds(logits)[:, column].sum(), logits)
        others = [c for c in range(3) if c != column]
        expected = torch.zeros_like(logits)
        expected[:, column] = 1
        expected[:, others] = -logits.detach()[:, others].softmax(-1)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


def test_outputs_of_several_classes():
    logits = torch.randn(4, 3, dtype=torch.float64)
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(OUTPUTS["prob"](logits), p)
    torch.testing.assert_close(OUTPUTS["log_prob"](logits), p.log())
    torch.testing.assert_close(OUTPUTS["log_odds"](logits), (p / (1 - p)).log())
    assert OUTPUTS["logit"](logits) is logits


def test_a_single_column_is_a_logistic_output():
    logits = torch.tensor([[0.0], [2.0], [-100.0]], dtype=torch.float64)
    p = 1 / (1 + (-logits).exp())
    torch.testing.assert_close(OUTPUTS["prob"](logits), p)
    torch.testing.assert_close(OUTPUTS["log_prob"](logits), p.log())
    assert torch.equal(OUTPUTS["log_odds"](logits), logits)


def test_a_margin_is_to_the_largest_of_the_others():
    logits = torch.tensor([[3.0, -1.0, 2.5], [0.0, 7.0, 7.0], [-4.0, -5.0, -9.0]], dtype=torch.float64)
    expected = torch.tensor([[0.5, -4.0, -0.5], [-7.0, 0.0, 0.0], [1.0, -1.0, -5.0]], dtype=torch.float64)
    torch.testing.assert_close(margin(logits), expected, rtol=0, atol=0)
    assert OUTPUTS["margin"] is margin
    assert torch.equal(margin(logits[:, :1]), logits[:, :1])  # a logistic output
    shaped = torch.randn(2, 3, 4, dtype=torch.float64)
    rows = margin(shaped).reshape(-1, 4)
    for row, scores in zip(rows, shaped.reshape(-1, 4), strict=True):
        for column in range(4):
            others = torch.cat((scores[:column], scores[column + 1 :]))
            assert row[column] == scores[column] - others.max()


def test_a_margin_has_the_gradient_of_a_difference():
    logits = torch.tensor([[3.0, -1.0, 2.5], [0.0, 8.0, 7.0]], dtype=torch.float64, requires_grad=True)
    expected = [
        [[1.0, 0, -1], [1, -1, 0]],
        [[-1.0, 1, 0], [0, 1, -1]],
        [[-1.0, 0, 1], [0, -1, 1]],
    ]
    for column in range(3):
        (gradient,) = torch.autograd.grad(margin(logits)[:, column].sum(), logits)
        assert gradient.tolist() == expected[column]


def test_output_options():
    assert as_output("log_odds") is log_odds
    own = lambda scores: scores[:, 0]  # noqa: E731
    assert as_output(own) is own
    with pytest.raises(OptionError, match="log_odds, logit, log_prob, prob, margin; got 'odds'"):
        as_output("odds")
    with pytest.raises(OptionError, match="name or a callable, got int"):
        as_output(3)


LABELS = ("negative", "Positive", "neutral")


@pytest.mark.parametrize(
    ("label", "column"),
    [("negative", 0), ("POSITIVE", 1), ("positive", 1), (2, 2), (np.int64(1), 1), (torch.tensor(2), 2)],
    ids=str,
)
def test_labels_are_found(label, column):
    found = find_label(label, LABELS)
    assert found == column
    assert type(found) is int


def test_labels_that_differ_by_case_only_are_told_apart():
    assert find_label("it", ("IT", "it")) == 1
    assert find_label("IT", ("it", "IT")) == 1


def test_numbers_are_names_where_there_are_no_others():
    assert find_label("7", ()) == 7
    assert find_label(7, ()) == 7
    assert find_label("7", ("1", "7")) == 1
    assert find_label("2", LABELS) == 2  # as on a command line
    assert find_label("1", ("3", "1", "2")) == 1  # a name goes first
    with pytest.raises(TargetError, match="no label is called '7'"):
        find_label("7", LABELS)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("positve", "positive"),
        ("xyz", "the labels are negative, Positive, neutral"),
        (3, r"0\.\.2, got 3"),
        (-1, r"0\.\.2, got -1"),
        (True, "got bool"),
        (1.0, "got float"),
        (torch.tensor(1.5), "got Tensor"),
        (torch.tensor([1, 2]), "got Tensor"),
        (None, "got NoneType"),
        ((0, 1), "got tuple"),
    ],
)
def test_labels_that_do_not_exist(label, says):
    with pytest.raises(TargetError, match=says):
        find_label(label, LABELS)


def test_a_suggestion_is_made():
    with pytest.raises(TargetError, match="did you mean 'positive'"):
        find_label("positve", LABELS)
    with pytest.raises(TargetError) as error:
        find_label("xyz", LABELS)
    assert "did you mean" not in str(error.value)


def test_without_labels_the_output_tells_later_what_exists():
    assert find_label(999, ()) == 999
    with pytest.raises(TargetError, match=r"0\.\.9, got 10"):
        find_label(10, (), 10)
    with pytest.raises(TargetError, match="their numbers"):
        find_label("cat", ())

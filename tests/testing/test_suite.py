"""How suites are made: waivers, checks that do not apply, and comparisons."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hoi_captum.testing import GameConformance, MethodConformance
from hoi_captum.testing.suite import Suite, assert_close, assert_same_scores, needs

pytest_plugins = ["pytester"]

FILE = """
from hoi_captum.testing.suite import Suite

class Own(Suite):
    def test_good(self):
        pass

    def test_bad(self):
        number = 2
        assert number == 3

class TestWaived(Own):
    waivers = {"test_bad": "numbers need not be equal"}

class TestInherited(TestWaived):
    pass

class TestNeedless(Own):
    waivers = {"test_good": "a reason that is none", "test_bad": "numbers need not be equal"}
"""


def test_waivers_are_strict_and_inherited(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_own=FILE)
    result = pytester.runpytest_inprocess("-rA", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, xfailed=3, failed=1)
    out = result.stdout.str()
    assert "XFAIL test_own.py::TestWaived::test_bad - numbers need not be equal" in out
    assert "PASSED test_own.py::TestWaived::test_good" in out
    assert "XFAIL test_own.py::TestInherited::test_bad - numbers need not be equal" in out
    assert "FAILED test_own.py::TestNeedless::test_good" in out
    assert "[XPASS(strict)] a reason that is none" in out
    assert "XFAIL test_own.py::TestNeedless::test_bad - numbers need not be equal" in out


def test_a_waiver_of_no_check_suggests_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'test_bert_is_explained'"):
        type("TestMine", (MethodConformance,), {"waivers": {"test_bert_is_explaned": "too small"}})
    with pytest.raises(TypeError, match=r"which is no check of it$"):
        type("TestMine", (MethodConformance,), {"waivers": {"zzz": "too small"}})
    with pytest.raises(TypeError, match="waives 'make', which is no check"):
        type("TestMine", (MethodConformance,), {"waivers": {"make": "made otherwise"}})


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_a_waiver_has_a_reason(reason: Any) -> None:
    with pytest.raises(TypeError, match="without a reason"):
        type("TestMine", (MethodConformance,), {"waivers": {"test_bert_is_explained": reason}})


def test_waiving_leaves_the_suite_alone() -> None:
    before = MethodConformance.test_bert_is_explained
    mine: Any = type("TestMine", (MethodConformance,), {"waivers": {"test_bert_is_explained": "no text"}})
    assert MethodConformance.test_bert_is_explained is before
    (mark,) = mine.test_bert_is_explained.pytestmark
    assert mark.name == "xfail"
    assert mark.kwargs == {"strict": True, "reason": "no text"}
    assert mine.test_bert_is_explained.__doc__ == before.__doc__


def test_checks_are_named() -> None:
    names = GameConformance.checks()
    assert names == sorted(names)
    assert set(MethodConformance.checks()) < set(names)
    assert not Suite.checks()


def test_checks_have_docstrings() -> None:
    assert all(getattr(GameConformance, name).__doc__ for name in GameConformance.checks())


def test_needs_skips_what_is_not_taken() -> None:
    def verb(inputs: Any, baselines: Any = None) -> None: ...

    needs(verb, "inputs", "baselines")
    with pytest.raises(pytest.skip.Exception, match=r"verb takes no feature_mask, show_progress"):
        needs(verb, "baselines", "feature_mask", "show_progress")


def test_scores_are_compared_in_parts_of_the_largest() -> None:
    pair, single = ((0, 1), "and", ""), ((2,), "and", "model:0")
    assert_same_scores({pair: 100.0, single: 0.05}, {pair: 100.0}, 1e-3, "what")
    with pytest.raises(
        AssertionError, match=r"what: expected 0 for and of players \(2,\) in model:0, got 0.2"
    ):
        assert_same_scores({pair: 100.0, single: 0.2}, {pair: 100.0}, 1e-3, "what")
    with pytest.raises(AssertionError, match=r"expected 100 for and of players \(0, 1\), got 0\n"):
        assert_same_scores({}, {pair: 100.0}, 1e-3, "what")
    with pytest.raises(AssertionError, match="nan"):
        assert_same_scores({pair: float("nan")}, {pair: 1.0}, 1e-3, "what")
    assert_same_scores({}, {}, 0.0, "what")


def test_tensors_are_compared_in_parts_of_the_largest() -> None:
    x = torch.tensor([100.0, 0.0])
    assert_close(x + 0.05, x, 1e-3, "what")
    assert_close((x, x.double()), (x, x), 0.0, "what")
    with pytest.raises(AssertionError, match=r"what: they differ by 0.2, the largest is 100"):
        assert_close(x + torch.tensor([0.0, 0.2]), x, 1e-3, "what")
    with pytest.raises(AssertionError, match="expected shape"):
        assert_close(x[None], x, 1e-3, "what")
    with pytest.raises(AssertionError, match="differ by nan"):
        assert_close(x * float("nan"), x, 1e-3, "what")
    with pytest.raises(ValueError, match="longer"):
        assert_close((x,), (x, x), 1e-3, "what")
    assert_close(x[:0], x[:0], 0.0, "nothing")

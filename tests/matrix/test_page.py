"""The page in docs/ tells of all tests that there are, and is written only if all of them have passed."""

from __future__ import annotations

import random

import pytest

import hoi_captum as hoi
from tests.matrix.modules import METHODS, MODULES
from tests.matrix.page import PAGE, Cell, Results, cells_of, render
from tests.matrix.routes import ROUTES
from tests.matrix.samples import FAMILIES

EVERY = [
    Cell.of(module.METHOD.__name__, family, route, module.FACTS[family], 1 / 3, -2 / 3)
    for module in MODULES
    for family in FAMILIES
    for route in ROUTES
]


def test_every_method_of_the_library_has_a_module() -> None:
    of_library = {cls for cls in hoi.methods().values() if cls.__module__.startswith("hoi_captum.")}
    assert {module.METHOD for module in MODULES} == of_library


def test_the_page_tells_of_all_cells_and_what_they_check() -> None:
    told = cells_of(PAGE.read_text("utf-8"))
    assert len(told) == 6 * 3 * 3
    # but for the numbers, which are those of a run
    assert [cell[:4] for cell in told] == [cell[:4] for cell in EVERY], (
        "python -m tests.matrix writes it anew"
    )
    for cell in told:
        assert float(cell.measured) == pytest.approx(float(cell.expected), rel=0.05), cell


def test_a_page_is_read_as_it_was_written_in_whatever_order_tests_ran() -> None:
    shuffled = random.Random(0).sample(EVERY, len(EVERY))
    page = render(shuffled, METHODS)
    assert page == render(EVERY, METHODS)
    assert cells_of(page) == EVERY
    assert (EVERY[0].expected, EVERY[0].measured) == ("0.333", "-0.667")


def test_there_is_no_page_of_a_part() -> None:
    first, *others = EVERY
    for cells, says in (
        (others, r"no result of GeneralizableAndOr on BERT by hoi\.explain"),
        ([*EVERY, first], "each cell once"),
        ([*EVERY, first._replace(method="Another")], "each cell once"),
        ([*EVERY, first._replace(route="telephone")], "each cell once"),
        (
            [first._replace(fact="another"), *others],
            "one number for all routes of GeneralizableAndOr on BERT",
        ),
        ([first._replace(expected="7"), *others], "one number for all routes of GeneralizableAndOr on BERT"),
    ):
        with pytest.raises(ValueError, match=says):
            render(cells, METHODS)


@pytest.mark.parametrize(
    ("outcome", "when", "counts"),
    [
        ("passed", "call", True),
        ("failed", "call", False),
        ("skipped", "call", False),
        ("passed", "setup", False),
    ],
)
def test_only_tests_that_passed_count(outcome: str, when: str, counts: bool) -> None:
    properties = [("matrix", list(EVERY[0])), ("another", 1)]
    results = Results()
    report = pytest.TestReport(
        "t.py::t", ("t.py", 0, "t"), {}, outcome, None, when, user_properties=properties
    )
    results.pytest_runtest_logreport(report)
    assert results.cells == ([EVERY[0]] if counts else [])

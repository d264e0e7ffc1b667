"""The page of the matrix: by which number each cell was checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.matrix.routes import ROUTES
from tests.matrix.samples import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"

Check = Callable[..., None]  # (expected, measured, rel=..., abs=...)

_HEAD = """\
# Methods, models and routes

Each method is asked about each family of models in three ways: by `hoi.explain`, by its class (a forward
function and Tensors, as of Captum's classes), and by `hoi-captum explain` on the command line. Each cell is a
test that compares a number with one that is computed without the library: by finite differences, by trying
all coalitions, or in closed form. BERT and LLaMA are HuggingFace's, the CNNs torchvision's ResNet and VGG;
all are small. Players are the four words of "not a bad film" or the four quarters of a digit; of the two
methods that explain a layer they are its neurons, 32 or 64.

Written by `python -m tests.matrix` from the results of the tests in `tests/matrix`.

"""


class Cell(NamedTuple):
    """What one test says; numbers are rounded, so that the page is the same after another run."""

    method: str
    family: str
    route: str
    fact: str
    expected: str
    measured: str

    @classmethod
    def of(cls, method: str, family: str, route: str, fact: str, expected: float, measured: float) -> Cell:
        return cls(method, family, route, fact, f"{expected:#.3g}", f"{measured:#.3g}")


class Results:
    """A plugin of pytest's that gathers the cells of the tests that passed."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.cells += [Cell(*value) for name, value in report.user_properties if name == "matrix"]


def render(cells: Iterable[Cell], methods: Iterable[str]) -> str:
    """The page, with a row for each of the methods and each family.

    Raises:
        ValueError: a cell is missing, stands twice or belongs to no row; or the routes of a row were not
            checked by the same number.
    """
    table: dict[tuple[str, str], dict[str, Cell]] = {(m, f): {} for m in methods for f in FAMILIES}
    for cell in cells:
        row = table.get((cell.method, cell.family))
        if row is None or cell.route in row or cell.route not in ROUTES:
            raise ValueError(f"expected each cell once, got {cell}")
        row[cell.route] = cell
    heading = ("method", "model", "what is checked", "expected", *ROUTES)
    lines = [_line(heading), _line("---" for _ in heading)]
    for (method, family), row in table.items():
        if missing := [route for route in ROUTES if route not in row]:
            raise ValueError(f"no result of {method} on {family} by {', '.join(missing)}")
        checked = {(cell.fact, cell.expected) for cell in row.values()}
        if len(checked) > 1:
            raise ValueError(f"expected one number for all routes of {method} on {family}, got {checked}")
        lines.append(_line((method, family, *checked.pop(), *(row[route].measured for route in ROUTES))))
    return _HEAD + "".join(lines)


def cells_of(page: str) -> list[Cell]:
    """The cells that a page tells of."""
    rows = [[column.strip() for column in line.strip("|").split("|")] for line in page.splitlines()]
    found = []
    for row in rows:
        if len(row) > 1 and row[1] in FAMILIES:
            method, family, fact, expected, *measured = row
            for route, number in zip(ROUTES, measured, strict=True):
                found.append(Cell(method, family, route, fact, expected, number))
    return found


def _line(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |\n"

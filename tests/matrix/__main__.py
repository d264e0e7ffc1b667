"""Run the matrix and write its page: ``python -m tests.matrix``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.matrix.page import PAGE, Results, render


def main() -> None:
    results, here = Results(), Path(__file__).parent
    # without the tests of the page, which fail on one that is out of date
    failed = pytest.main(["-q", f"--ignore={here / 'test_page.py'}", str(here)], plugins=[results])
    if failed:
        sys.exit(failed)
    # imported by now; earlier, pytest could not have rewritten their asserts
    from tests.matrix.modules import METHODS

    PAGE.write_text(render(results.cells, METHODS), "utf-8")
    print(f"wrote {PAGE.relative_to(PAGE.parents[1])}")


main()

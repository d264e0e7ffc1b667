"""The examples of the plugins' READMEs run as they stand, and print what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

READMES = sorted(Path(__file__).parent.glob("*/README.md"))
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```(?:text)?\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(code, told, id=f"{path.parent.name}-{number}")
    for path in READMES
    for number, (code, told) in enumerate(EXAMPLE.findall(path.read_text(encoding="utf-8")))
]


def test_every_plugin_has_an_example() -> None:
    assert {p.id.rpartition("-")[0] for p in EXAMPLES} == {path.parent.name for path in READMES}  # type: ignore[union-attr]


@pytest.mark.parametrize(("code", "told"), EXAMPLES)
def test_an_example_runs_and_prints_what_is_told(code: str, told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if told:
        assert _words(done.stdout) == _words(told)


def _words(text: str) -> list[str]:
    """Without the digits that another machine may round otherwise."""
    return re.sub(r"\d[\d.e+-]*", "#", text).split()

"""Blocks of the pages that are fenced ``python real`` run, and print what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.code_blocks import Block, blocks, same_but_for_the_last_digit
from tests.plugin_environment import ROOT

pytestmark = pytest.mark.real

DOCS = ROOT / "docs"
EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(DOCS).with_suffix('')}:{block.line}")
    for page in sorted(DOCS.rglob("*.md"))
    if "generated" not in page.relative_to(DOCS).parts
    for block in blocks(page.read_text(encoding="utf-8"), "python real")
]


def test_there_are_blocks() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("block", EXAMPLES)
def test_the_code_runs_and_prints_what_is_shown(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block.code, f"line {block.line}", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert block.output is not None, "a block of a real model shows what it found"
    assert same_but_for_the_last_digit(printed, block.output), printed
    for name in block.saved:
        assert (tmp_path / name).stat().st_size > 1000, name

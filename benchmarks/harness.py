"""Timing and writing of results, the same for all benchmarks."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hoi_captum.core.provenance import library_versions

RESULTS = Path(__file__).parent / "results"


def median_seconds(function: Callable[[], object], repeats: int = 5, warmups: int = 1) -> float:
    """Median wall time of a call after warm-up, one torch thread."""
    for _ in range(warmups):
        function()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def paired_ratio(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 7) -> float:
    """Median of ours / peer, run in turn, so that a drift of the machine's speed cancels."""
    ours(), peer()
    ratios = []
    for _ in range(repeats):
        a = median_seconds(ours, repeats=1, warmups=0)
        ratios.append(a / median_seconds(peer, repeats=1, warmups=0))
    return statistics.median(ratios)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write(name: str, title: str, command: str, sections: Sequence[tuple[str, str]]) -> None:
    """Write ``results/NAME.md``: the command, the machine, the sections."""
    versions = ", ".join(f"{k} {v}" for k, v in library_versions().items())
    head = (
        f"# {title}\n\n`{command}`, one thread, {platform.machine()}, Python {platform.python_version()}; "
        f"{versions}. Ratios are medians of runs in turn; absolute times are of one shared machine.\n"
    )
    body = "\n".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(head + body, encoding="utf-8")
    print(head + body)


def single_threaded() -> None:
    torch.set_num_threads(1)

"""How long the conformance suite takes for one method, on two cores.

python -m benchmarks.conformance
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import table, write

ROOT = Path(__file__).parents[1]
SUITES = ROOT / "tests" / "testing" / "test_built_in.py"
REPEATS = 3


def seconds_of(suite: str) -> tuple[float, str]:
    """Median wall time of a suite in a process of its own, imports and all, and pytest's last line."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
        f"{SUITES}::{suite}",
    ]
    times, last = [], ""
    for _ in range(REPEATS):
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(time.perf_counter() - started)
        last = done.stdout.strip().splitlines()[-1]
    return statistics.median(times), re.sub(r" in [\d.]+s.*", "", last)


def main() -> None:
    suites = re.findall(r"^class (Test\w+)", SUITES.read_text(encoding="utf-8"), re.MULTILINE)
    rows = []
    for suite in suites:
        seconds, told = seconds_of(suite)
        rows.append((suite.removeprefix("Test"), told, f"{seconds:.1f}"))
    text = f"Wall time of pytest with two workers, its start among it; median of {REPEATS}, one thread each."
    write(
        "conformance",
        "The conformance suite",
        "python -m benchmarks.conformance",
        [("Seconds for one method", text + "\n\n" + table(("method", "checks", "seconds"), rows))],
    )


if __name__ == "__main__":
    main()

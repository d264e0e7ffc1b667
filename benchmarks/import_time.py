"""What importing costs, against Captum: the package alone, and with all of its public names looked up.

python -m benchmarks.import_time
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.harness import table, write

RUNS = 9
PEER = "captum.attr"
IMPORTS = {
    PEER: "import captum.attr",
    "hoi_captum": "import hoi_captum",
    "hoi_captum, one method": "import hoi_captum; hoi_captum.GeneralizableAndOr",
    "hoi_captum, all methods": "import hoi_captum; hoi_captum.methods()",
    "hoi_captum, every public name": "import hoi_captum as hoi; [getattr(hoi, name) for name in hoi.__all__]",
}
HEAVY = ("transformers", "torchvision", "matplotlib", "phate", "sklearn", "pandas")
TIMED = """
import sys, time
started = time.perf_counter()
{code}
print(time.perf_counter() - started, *[m for m in {heavy!r} if m in sys.modules])
"""


def run(code: str) -> tuple[float, list[str]]:
    """Seconds of an import in a process of its own, and which heavy libraries it loaded."""
    command = [sys.executable, "-c", TIMED.format(code=code, heavy=HEAVY)]
    seconds, *loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), loaded


def main() -> None:
    """Run all in turn, and write the results."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    loaded = {}
    for number in range(RUNS + 1):
        for name, code in IMPORTS.items():
            took, loaded[name] = run(code)
            if number:  # the first run warms the file cache
                seconds[name].append(took)
    rows = []
    for name, took in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(took, seconds[PEER], strict=True))
        rows.append(
            (name, f"{statistics.median(took):.3f} s", f"{ratio:.3f}", ", ".join(loaded[name]) or "none")
        )
    columns = ("what is imported", "median", f"ratio to {PEER}", "heavy libraries that it loads")
    write(
        "import_time",
        "Import time",
        "python -m benchmarks.import_time",
        [("In new processes", table(columns, rows))],
    )


if __name__ == "__main__":
    main()

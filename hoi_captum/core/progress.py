"""Progress of long work, on stderr."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(label: str, total: int | None, unit: str, show: bool) -> tqdm[Any]:
    """A bar with rate and remaining time on stderr; as a context it is closed (and wiped) at the end."""
    # stderr is looked up now, so that a redirected one is used
    return tqdm(
        desc=label,
        total=total,
        unit=f" {unit}s",
        file=sys.stderr,
        leave=False,
        disable=not show,
        # a file keeps every line
        mininterval=0.1 if sys.stderr.isatty() else 10.0,
    )

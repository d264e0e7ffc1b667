"""The installed shapiq, and what it gets wrong.

Names are never looked for with ``hasattr(shapiq, ...)``: 1.4.1 has a module ``__getattr__`` that gives None
for any.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from hoi_captum.errors import OptionError

__all__ = ["check_gate", "shapiq_version"]

# k-SII is aggregated from SII a second time, so that single players are wrong by half of their pairs:
# in ProxySPEX before 1.8, in SPEX still in 1.8
_K_SII_RIGHT_FROM: dict[str, tuple[int, int] | None] = {"ProxySPEX": (1, 8), "SPEX": None}


@cache
def shapiq_version() -> str:
    """Of the installed shapiq; "" where there is none."""
    try:
        return version("shapiq")
    except PackageNotFoundError:
        return ""


def refused(approximator: str, index: str, installed: str) -> bool:
    """Whether an estimator of that version gives wrong values of the index."""
    if index != "k-SII" or approximator not in _K_SII_RIGHT_FROM:
        return False
    right_from = _K_SII_RIGHT_FROM[approximator]
    return right_from is None or _numbers(installed) < right_from


def check_gate(approximator: str, index: str, installed: str | None = None) -> None:
    """Refuse what is known to be wrong in the installed version.

    Raises:
        OptionError: such an estimator, with the ways out.
    """
    installed = shapiq_version() if installed is None else installed
    if not refused(approximator, index, installed):
        return
    right_from = _K_SII_RIGHT_FROM[approximator]
    newer = f", or shapiq>={right_from[0]}.{right_from[1]} (Python 3.12)" if right_from else ""
    raise OptionError(
        f"{approximator} of shapiq {installed} gives wrong k-SII values (aggregated twice: single players "
        f'are off by half of their pairs); take index="SII", "STII", "FSII" or "FBII"{newer}, or another '
        "approximator"
    )


def _numbers(installed: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", installed)
    return (int(found[1]), int(found[2])) if found else (0, 0)

"""Progress of long work, on stderr."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(label: str, total: int | None, unit: str, show: bool) -> tqdm[Any]:
    """A bar with rate and remaining time on stderr; as a context it is closed (and wiped) at the end.

    Args:
        label (str): in front of the bar.
        total (int or None): of the units; None where it is not known.
        unit (str): what is counted, in the singular.
        show (bool): False makes a bar that shows nothing.

    Returns:
        *tqdm*: ``update(n)`` it.

    Examples::

        >>> from hoi_captum.authoring import progress_bar
        >>> with progress_bar("passes", total=10, unit="row", show=False) as bar:
        ...     bar.update(10)
        >>> bar.disable
        True
    """
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

"""From a model's class scores to the value that is explained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hoi_captum.core.options import check_choice
from hoi_captum.errors import OptionError, TargetError

Output = str | Callable[[Tensor], Tensor]


def log_odds(logits: Tensor) -> Tensor:
    r"""Log-odds of each class: :math:`z_y - \log \sum_{c \ne y} e^{z_c}`, (..., C) -> (..., C).

    Exact also where the class is nearly certain: the largest class is left out of its own sum
    instead of being subtracted from it. A single column is a logistic output and is its own log-odds.
    """
    if logits.shape[-1] == 1:
        return logits
    total = logits.logsumexp(-1, keepdim=True)
    largest = logits.argmax(-1, keepdim=True)
    # p <= 1/2 for all but the largest class, so that 1 - p loses no digits
    odds = (logits - total) - torch.log1p(-(logits - total).exp().clamp(max=0.5))
    others = logits.scatter(-1, largest, -torch.inf).logsumexp(-1, keepdim=True)
    return odds.scatter(-1, largest, logits.gather(-1, largest) - others)


OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "log_odds": log_odds,
    "logit": lambda logits: logits,
    "log_prob": lambda logits: logits.log_softmax(-1),
    "prob": lambda logits: logits.softmax(-1),
}


def as_output(output: Output) -> Callable[[Tensor], Tensor]:
    """The function of an output option.

    Raises:
        OptionError: neither a known name nor a callable.
    """
    if callable(output):
        return output
    if not isinstance(output, str):
        raise OptionError(f"expected output to be a name or a callable, got {type(output).__name__}")
    return OUTPUTS[check_choice("output", output, OUTPUTS)]


def find_label(label: str | int, labels: Sequence[str], count: int | None = None) -> int:
    """The column of a label, given by name (case does not matter) or number.

    Args:
        label: as given.
        labels: the known names; without any, numbers count as names too.
        count: number of columns. Default: as many as labels, or unknown (the output tells later)

    Raises:
        TargetError: no such label or column.
    """
    count = count or len(labels) or None
    if isinstance(label, str) and not labels and label.isdecimal():
        label = int(label)
    if isinstance(label, int) and not isinstance(label, bool):
        if label < 0 or (count is not None and label >= count):
            raise TargetError(f"expected a target in 0..{'' if count is None else count - 1}, got {label}")
        return label
    if not isinstance(label, str):
        raise TargetError(f"expected a target to be a label or an int, got {type(label).__name__}")
    names = [name.lower() for name in labels]
    if label.lower() in names:
        return names.index(label.lower())
    close = difflib.get_close_matches(label.lower(), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise TargetError(f"no label is called {label!r}{hint}; the labels are {shown or 'their numbers'}")

"""From a model's class scores to the value that is explained."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Sequence
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional

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


def log_prob(logits: Tensor) -> Tensor:
    """Log-probability of each class; a single column is a logistic output."""
    return functional.logsigmoid(logits) if logits.shape[-1] == 1 else logits.log_softmax(-1)


def prob(logits: Tensor) -> Tensor:
    """Probability of each class; a single column is a logistic output."""
    return logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)


def margin(logits: Tensor) -> Tensor:
    """Each class's score less the largest of the others; a single column is its own margin."""
    if logits.shape[-1] == 1:
        return logits
    # gathered, which is no step that bends: which class is the runner-up is taken as given
    index = logits.argmax(-1, keepdim=True)
    second = logits.scatter(-1, index, -torch.inf).argmax(-1, keepdim=True)
    largest = logits.gather(-1, index).expand_as(logits)
    return logits - largest.scatter(-1, index, logits.gather(-1, second))


def columnwise(output: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A named output of models whose columns are logistic outputs of their own; others stay as they are."""
    if output not in OUTPUTS.values():
        return output

    @wraps(output)
    def each(logits: Tensor) -> Tensor:
        return output(logits.unsqueeze(-1)).squeeze(-1)

    return each


#: What an adapter may explain, by name: functions of class scores (..., C) -> (..., C).
OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "log_odds": log_odds,
    "logit": lambda logits: logits,
    "log_prob": log_prob,
    "prob": prob,
    "margin": margin,
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
        labels: the known names; a number that is none of them counts as that of a column.
        count: number of columns. Default: as many as labels, or unknown (the output tells later)

    Raises:
        TargetError: no such label or column.
    """
    count = count or len(labels) or None
    is_number = isinstance(label, str) and label not in labels and label.isdecimal()
    if is_number and (not labels or int(label) < len(labels)):
        label = int(label)
    if not isinstance(label, str):
        return _check_column(label, count)
    if label in labels:  # ahead of a label that differs from it by case only
        return labels.index(label)
    names = [name.lower() for name in labels]
    if label.lower() in names:
        return names.index(label.lower())
    close = difflib.get_close_matches(label.lower(), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise TargetError(f"no label is called {label!r}{hint}; the labels are {shown or 'their numbers'}")


def _check_column(label: object, count: int | None) -> int:
    try:
        if isinstance(label, bool):
            raise TypeError
        column = operator.index(label)  # type: ignore[arg-type]  # numpy's integers and 0-d tensors have it too
    except TypeError:
        raise TargetError(f"expected a target to be a label or an int, got {type(label).__name__}") from None
    if column < 0 or (count is not None and column >= count):
        raise TargetError(f"expected a target in 0..{'' if count is None else count - 1}, got {column}")
    return column

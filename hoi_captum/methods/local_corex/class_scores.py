"""Classes among the variables of a CorEx: which, what they are called, and their log-probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.options import check_count
from hoi_captum.errors import DataWarning, InputError, ModelOutputError, OptionError

_MOST = 1000  # classes that are all included when asked for: ImageNet's, not a vocabulary
_SUM = 1e-3  # by which sums of rounded probabilities miss 1


def log_probabilities(output: Any, columns: tuple[int, ...] | None = None) -> Tensor:
    """Log-softmax of (rows, classes) scores, float64 on the CPU; log-probabilities stay what they are.

    Rows that are not negative and sum to 1 are taken for probabilities, which is said (DataWarning).

    Args:
        output: logits or log-probabilities, (rows, classes).
        columns: the classes wanted. Default: all

    Raises:
        ModelOutputError: the output is no such matrix, or not finite.
        InputError: a class that the output does not have.
    """
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelOutputError(f"expected logits (rows, classes) of two classes or more, got {what}")
    if not bool(torch.isfinite(output).all()):
        raise ModelOutputError("expected finite logits, got NaN or infinity")
    if columns is not None and max(columns) >= output.shape[1]:
        raise InputError(f"expected classes in 0..{output.shape[1] - 1}, got {max(columns)}")
    scores = output.detach().cpu().double()
    if bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < _SUM).all()):
        warnings.warn(
            "the outputs are probabilities: their logarithms are taken, which lack those that round to 0; "
            "give the logits instead",
            DataWarning,
            stacklevel=2,
        )
        scores = scores.clamp(min=torch.finfo(output.dtype).tiny).log()
    logs = scores.log_softmax(1)
    return logs if columns is None else logs[:, list(columns)]


@dataclass(frozen=True)
class Classes:
    """The classes whose log-probabilities are included.

    Attributes:
        include: all (True), none (False), or these columns.
        names: of all columns, or a function of a column; None: their numbers.

    Raises:
        OptionError: neither True nor False nor a list of different columns.
    """

    include: bool | tuple[int, ...]
    names: tuple[str, ...] | Callable[[int], str] | None = None

    @classmethod
    def of(cls, include: Any, names: Any) -> Self:
        """From what a user gives."""
        if names is not None and not callable(names):
            names = tuple(map(str, names))
        if isinstance(include, bool):
            return cls(include, names)
        if not isinstance(include, Sequence) or isinstance(include, str) or not len(include):
            raise OptionError(
                f"expected include_logits to be True, False or a list of classes, got {include!r}"
            )
        columns = tuple(check_count("include_logits", c, low=0) for c in include)
        if len(set(columns)) < len(columns):
            raise OptionError(f"expected include_logits without repetition, got {include!r}")
        return cls(columns, names)

    def log_probabilities(self, output: Any) -> NDArray[np.float64]:
        """Those of the included classes, (rows, classes)."""
        columns = self.include if isinstance(self.include, tuple) else None
        logs: NDArray[np.float64] = log_probabilities(output, columns).numpy()
        if columns is None and logs.shape[1] > _MOST:
            raise OptionError(
                f"expected include_logits with the classes that matter, of {logs.shape[1]:,}: give their "
                "columns, such as include_logits=[3, 7] (hoi_captum.explain takes their names too)"
            )
        return logs

    def columns(self, count: int) -> tuple[int, ...]:
        """The columns of the classes that are included.

        Raises:
            OptionError: a class without a name where there are names.
        """
        columns = self.include if isinstance(self.include, tuple) else tuple(range(count))
        if isinstance(self.names, tuple) and max(columns) >= len(self.names):
            raise OptionError(
                f"expected class_names for the classes up to {max(columns)}, got {len(self.names)}"
            )
        return columns

    def named(self, columns: tuple[int, ...]) -> tuple[str, ...]:
        """Names of the variables: ``log p(positive)``."""
        if self.names is None:
            return tuple(f"log p(class {c})" for c in columns)
        name = self.names if callable(self.names) else self.names.__getitem__
        return tuple(f"log p({name(c)})" for c in columns)

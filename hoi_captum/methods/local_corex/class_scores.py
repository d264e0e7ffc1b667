"""A classifier's scores behind a forward function, as log-probabilities and probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hoi_captum.errors import DataWarning, InputError, ModelOutputError

_SUM = 1e-3  # by which sums of rounded probabilities miss 1


def scoring(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    """The function that gives a model's logits: ``forward_func.scores`` where it has one (as the adapters'
    forward functions do, whose own output may be log-odds), else the forward function itself.
    """
    scores = getattr(forward_func, "scores", None)
    return scores if callable(scores) else forward_func


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

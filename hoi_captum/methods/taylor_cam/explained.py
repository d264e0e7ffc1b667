"""What TaylorCAM explains of a forward function's scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hoi_captum.adapters.outputs import OUTPUTS
from hoi_captum.errors import ModelOutputError


def explained_output(forward_func: Callable[..., Any], output: str) -> Callable[..., Any]:
    """The forward function with an output function behind it; ``logit`` leaves it as it is."""
    if output == "logit":
        return forward_func
    transform = OUTPUTS[output]

    def transformed(*arguments: Any) -> Tensor:
        scores = forward_func(*arguments)
        if not isinstance(scores, Tensor) or scores.dim() != 2:
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ModelOutputError(
                f"expected scores (rows, classes) for output={output!r}, got {came}; use output='logit'"
            )
        return transform(scores)

    return transformed

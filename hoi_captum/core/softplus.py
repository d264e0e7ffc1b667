r"""ReLUs seen as softplus, without touching the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hoi_captum.core.rewriting import Rewriting

_RELUS = (functional.relu, torch.relu, Tensor.relu)
_IN_PLACE = (functional.relu_, torch.relu_, Tensor.relu_)


class SoftplusForReLU(Rewriting):
    r"""While active every ReLU is :math:`\ln(1 + e^{\beta x}) / \beta`, which has second derivatives.

    The model's outputs change too; how much has to be looked at.

    Args:
        beta: sharpness; the ReLU is its limit.

    Examples::

        >>> from hoi_captum.authoring import SoftplusForReLU
        >>> with SoftplusForReLU(beta=2.0):
        ...     torch.relu(torch.zeros(1))  # ln 2 / 2
        tensor([0.3466])
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self._beta = beta

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func not in _RELUS + _IN_PLACE:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        if func in _IN_PLACE or kwargs.get("inplace") or (len(args) > 1 and args[1]):
            return x.copy_(functional.softplus(x.clone(), beta=self._beta))
        return functional.softplus(x, beta=self._beta)

"""Layer norms by their formula, since PyTorch's third derivative of them is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hoi_captum.core.rewriting import Rewriting

_NORMS = (functional.layer_norm, torch.layer_norm)


class WrittenOutLayerNorm(Rewriting):
    """While active every layer norm is computed by its formula, step by step.

    The second derivative of PyTorch's own is right; the third is not (torch 2.14, without any warning),
    which a triple's derivative by its three units in another order shows.
    """

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        written = _layer_norm if func in _NORMS else func
        return written(*args, **kwargs)


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    centred = x - x.mean(axes, keepdim=True)
    scaled = (centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()).to(input.dtype)
    weighted = scaled if weight is None else scaled * weight
    return weighted if bias is None else weighted + bias

"""Attention seen and gated from outside, in whatever model does it.

PyTorch tells a ``TorchFunctionMode`` of every function that is called while it is active. Attention is
recognised by what it is, not by whose model it is in: a call of ``scaled_dot_product_attention``, or a
softmax over the last axis of scores (rows, heads, T, T).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.rewriting import Rewriting

_SOFTMAXES = (functional.softmax, torch.softmax, torch.special.softmax, Tensor.softmax)
_INVISIBLE = -1e3  # a score that is so far below another has the weight 0, in any dtype


@dataclass(frozen=True)
class AttentionProbe:
    """What one forward pass shows of a model's attention.

    Attributes:
        positions: T.
        calls: how often it attends.
        causal: whether no position sees a later one.
        last: (B,) the last position of each example that anything sees; behind it is padding. None: the last
    """

    positions: int
    calls: int
    causal: bool
    last: Tensor | None = field(default=None, compare=False)


def probe_attention(arguments: Arguments) -> AttentionProbe | None:
    """Run the model once and look; None where it does not attend over the positions of its first input."""
    x = arguments.inputs[0]
    if x.dim() not in (2, 3):
        return None
    rows = torch.arange(arguments.n_examples)
    watch = _Watch(len(rows), x.shape[1])
    with torch.no_grad(), watch:
        arguments.output(tuple(x.clone() for x in arguments.inputs), rows)
    return AttentionProbe(x.shape[1], watch.calls, watch.causal, watch.last) if watch.calls else None


class _Attention(Rewriting):
    """Hands each attention of ``rows`` texts over T positions to the hooks of a subclass."""

    def __init__(self, rows: int, positions: int) -> None:
        super().__init__()
        self._rows, self._positions = rows, positions
        self.calls = 0

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._fused(func, *args, **kwargs)
        if func in _SOFTMAXES:
            return self._weights(func, args, kwargs)
        return func(*args, **kwargs)

    def _fused(
        self,
        func: Callable[..., Tensor],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **others: Any,
    ) -> Tensor:
        if query.dim() != 4 or not self._is_ours(query.shape[0], query.shape[2], key.shape[2]):
            return func(query, key, value, attn_mask, dropout_p, is_causal, **others)
        self.calls += 1
        mask = _additive(attn_mask, is_causal, query)
        mask, value = self._change(mask, value)
        return func(query, key, value, mask, dropout_p, False, **others)

    def _weights(
        self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor:
        named = dict(kwargs)
        scores, *others = (named.pop("input"), *args) if "input" in named else args
        dim = others[0] if others else named.get("dim")
        last = scores.dim() == 4 and dim in (-1, 3)
        if not last or not self._is_ours(scores.shape[0], scores.shape[2], scores.shape[3]):
            return func(*args, **kwargs)
        self.calls += 1
        return self._reweighted(scores, lambda changed: func(changed, *others, **named))

    def _is_ours(self, rows: int, queries: int, keys: int) -> bool:
        return rows == self._rows and queries == keys == self._positions

    def _change(self, mask: Tensor | None, value: Tensor) -> tuple[Tensor | None, Tensor]:
        raise NotImplementedError

    def _reweighted(self, scores: Tensor, softmax: Callable[[Tensor], Tensor]) -> Tensor:
        raise NotImplementedError


class _Watch(_Attention):
    """Changes nothing; sees whether attention is causal, and where each text ends."""

    def __init__(self, rows: int, positions: int) -> None:
        super().__init__(rows, positions)
        self.causal = True
        self.last = torch.full((rows,), positions - 1)

    def _see(self, mask: Tensor | None) -> None:
        above = torch.ones(self._positions, self._positions, dtype=torch.bool).triu(1)
        if mask is None:
            self.causal = False
            return
        # rows of padding see nothing: all of theirs are a dtype's smallest number
        nothing = mask < torch.finfo(mask.dtype).min / 2
        hidden = nothing | (mask - mask.amax(-1, keepdim=True) < _INVISIBLE)
        hidden = hidden.expand(torch.broadcast_shapes(hidden.shape, above.shape))
        self.causal = self.causal and bool(hidden[..., above.to(mask.device)].all())
        if self.calls == 1:
            self._look_for_the_end(hidden)

    def _look_for_the_end(self, hidden: Tensor) -> None:
        seen = (~hidden).any(-2)  # by any query, (..., T)
        seen = seen.flatten(1, -2).any(1) if seen.dim() > 2 else seen.reshape(-1, self._positions)
        behind = seen.flip(-1).int().argmax(-1)
        self.last = (self._positions - 1 - behind).expand(self._rows).cpu()

    def _change(self, mask: Tensor | None, value: Tensor) -> tuple[Tensor | None, Tensor]:
        self._see(mask)
        return mask, value

    def _reweighted(self, scores: Tensor, softmax: Callable[[Tensor], Tensor]) -> Tensor:
        self._see(scores)
        return softmax(scores)


class GatedAttention(_Attention):
    """Puts gates on all attention while it is active.

    Args:
        gates: (m, T) of the positions, above 0 unless ``values``.
        attention: what the model does.
        rows: (m,) which example is gated. Default: each of the batch
        values: gate the value vectors of the first attention instead of all scores.
    """

    def __init__(
        self,
        gates: Tensor,
        attention: AttentionProbe,
        rows: Tensor | None = None,
        *,
        values: bool = False,
    ) -> None:
        super().__init__(len(gates), attention.positions)
        self._gates = gates
        # (m, 1, T, T): what is added to the score of query i and key j
        self._bias = None if values else self._added(attention, rows)

    def _added(self, attention: AttentionProbe, rows: Tensor | None) -> Tensor:
        gates = self._gates
        counted = ~torch.eye(attention.positions, dtype=torch.bool).expand(len(gates), -1, -1).contiguous()
        if attention.causal:  # nothing else looks at the last position
            ends = torch.full((len(gates),), attention.positions - 1)
            if attention.last is not None:
                ends = attention.last if rows is None else attention.last[rows.cpu()]
            counted[torch.arange(len(gates)), ends, ends] = True
        return torch.where(counted.to(gates.device), gates.log()[:, None, :], 0.0).unsqueeze(1)

    def _change(self, mask: Tensor | None, value: Tensor) -> tuple[Tensor | None, Tensor]:
        if self._bias is None:
            first = self.calls == 1
            return mask, value * self._gates[:, None, :, None].to(value.dtype) if first else value
        bias = self._bias.to(value.dtype)
        return bias if mask is None else mask + bias, value

    def _reweighted(self, scores: Tensor, softmax: Callable[[Tensor], Tensor]) -> Tensor:
        if self._bias is not None:
            return softmax(scores + self._bias.to(scores.dtype))
        weights = softmax(scores)
        # attended values times a gate are weights times a gate
        return weights * self._gates[:, None, None, :].to(weights.dtype) if self.calls == 1 else weights


def _additive(mask: Tensor | None, is_causal: bool, query: Tensor) -> Tensor | None:
    """The mask of an attention as numbers to add to its scores; None where all see all."""
    if is_causal:
        size = query.shape[2]
        above = torch.ones(size, size, dtype=torch.bool, device=query.device).triu(1)
        return torch.zeros(size, size, dtype=query.dtype, device=query.device).masked_fill(above, -torch.inf)
    if mask is not None and mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill(~mask, -torch.inf)
    return mask

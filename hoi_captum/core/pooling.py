"""From what a layer gives to one row of neurons for each input, and back to the layer's shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hoi_captum.core.options import check_choice
from hoi_captum.errors import InputError, OptionError

POOLINGS = ("mean", "last", "none", "each")


def token_mask(additional: Sequence[Any], rows: int, tokens: int) -> Tensor | None:
    """The attention mask among the additional arguments: (rows, tokens) of 0 and 1; None without one."""
    for value in additional:
        if not isinstance(value, Tensor) or value.dim() != 2:
            continue
        fits = value.shape[0] in (1, rows) and value.shape[1] == tokens
        # token types are 0 and 1 too, but mostly 0 throughout, as no mask is
        if fits and bool(((value == 0) | (value == 1)).all()) and bool(value.bool().any(1).all()):
            return value.bool().expand(rows, tokens)
    return None


@dataclass(frozen=True, eq=False)
class Samples:
    """What a layer gave, sample by sample.

    Attributes:
        values: (rows, m, neurons): m samples of each row.
        kept: (rows, m) bool: False where an attention mask leaves a token out.
    """

    values: Tensor
    kept: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the kept samples of each row: (rows, m, k) -> (rows, k)."""
        weights = self.kept.to(values) / self.kept.sum(1, keepdim=True).clamp(min=1).to(values)
        return (values * weights.unsqueeze(-1)).sum(1)


@dataclass(frozen=True)
class Pooling:
    """How a layer's cells become neurons.

    A layer gives (rows, neurons), (rows, tokens, neurons), or (rows, channels, height, width) and the like.
    ``mean`` averages over tokens (those that an attention mask among the additional arguments leaves) or
    over positions; ``last`` takes the last token; ``none`` makes every cell a neuron of its own; ``each``
    makes every token or position a sample of its own (:meth:`samples`; their mean in :meth:`reduce`). Of
    several tensors the neurons are put one after another.

    Attributes:
        kind: ``mean``, ``last``, ``none`` or ``each``.
        neuron_dim: the dimension of the neurons. Default: None (the last of three, otherwise the first
            behind the rows)

    Raises:
        OptionError: another kind, or a dimension that is no int or is 0 (the rows).
    """

    kind: str = "mean"
    neuron_dim: int | None = None

    def __post_init__(self) -> None:
        check_choice("pooling", self.kind, POOLINGS)
        dim = self.neuron_dim
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim == 0):
            raise OptionError(f"expected neuron_dim to be an int other than 0 (the rows), got {dim!r}")

    def reduce(self, tensors: tuple[Tensor, ...], additional: Sequence[Any] = ()) -> Tensor:
        """One row of neurons for each input, (rows, neurons), float32 or float64.

        Args:
            tensors: what the layer gave, (rows, ...) each.
            additional: the additional forward arguments, among which an attention mask is looked for.

        Raises:
            InputError: tensors without rows, of different rows, or that the pooling does not fit.
        """
        rows = tensors[0].shape[0] if tensors[0].dim() else 0
        if any(t.dim() == 0 or t.shape[0] != rows for t in tensors):
            shapes = [tuple(t.shape) for t in tensors]
            raise InputError(f"expected layer tensors (rows, ...) with the same rows, got shapes {shapes}")
        floats = [t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]
        pieces = [self._reduce(t, additional) for t in floats]
        return torch.cat(pieces, dim=1)

    def samples(self, tensors: tuple[Tensor, ...], additional: Sequence[Any] = ()) -> Samples:
        """The samples of each input: its tokens or positions with ``each``, else the one of :meth:`reduce`.

        Args:
            tensors, additional: as of :meth:`reduce`. Gradients flow on.

        Raises:
            InputError: as :meth:`reduce`; several tensors with ``each``.
        """
        if self.kind != "each" or all(t.dim() <= 2 for t in tensors):
            values = self.reduce(tensors, additional).unsqueeze(1)
            return Samples(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
        if len(tensors) > 1:
            raise InputError(
                f"expected a layer of one tensor with pooling='each', got {len(tensors)}; use pooling='mean'"
            )
        tensor = tensors[0].to(torch.promote_types(tensors[0].dtype, torch.float32))
        values = tensor.movedim(self._axis(tensor.shape), -1).flatten(1, -2)
        kept = token_mask(additional, len(values), values.shape[1]) if tensor.dim() == 3 else None
        if kept is None:
            kept = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        return Samples(values, kept.to(values.device))

    def spread_samples(self, values: Tensor, shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
        """Values of samples on the layer's cells; the way back from :meth:`samples`.

        Args:
            values: (rows, m, neurons).
            shapes: of the layer's tensors, (rows, ...) each.
        """
        if self.kind != "each" or all(len(shape) <= 2 for shape in shapes):
            return self.spread(values.squeeze(1), shapes)
        shape, axis = shapes[0], self._axis(shapes[0])
        cells = [n for i, n in enumerate(shape) if i not in (0, axis)]
        return (values.reshape(len(values), *cells, shape[axis]).movedim(-1, axis),)

    def spread(self, neurons: Tensor, shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
        """Values of neurons given to the layer's cells: every token or position of a neuron gets its value.

        Args:
            neurons: (rows, neurons).
            shapes: of the layer's tensors, (rows, ...) each.
        """
        counts = [self._neurons(shape) for shape in shapes]
        pieces = neurons.split(counts, dim=1)
        return tuple(self._spread(p, shape) for p, shape in zip(pieces, shapes, strict=True))

    def names(self, shapes: Sequence[torch.Size]) -> tuple[str, ...]:
        """A name for each neuron: ``neuron 3``, ``channel 3``, ``neuron 3 at 0,5``."""
        names: list[str] = []
        for i, shape in enumerate(shapes):
            before = f"tensor {i} " if len(shapes) > 1 else ""
            names += [before + name for name in self._names(shape)]
        return tuple(names)

    def _axis(self, shape: torch.Size) -> int:
        dim = (len(shape) - 1 if len(shape) == 3 else 1) if self.neuron_dim is None else self.neuron_dim
        if not -len(shape) < dim < len(shape):
            raise InputError(f"the layer's shape {tuple(shape)} has no dimension {dim} for neuron_dim")
        return dim % len(shape)

    def _neurons(self, shape: torch.Size) -> int:
        if len(shape) <= 2 or self.kind == "none":
            return math.prod(shape[1:])
        return int(shape[self._axis(shape)])

    def _reduce(self, tensor: Tensor, additional: Sequence[Any]) -> Tensor:
        if tensor.dim() <= 2 or self.kind == "none":
            return tensor.reshape(len(tensor), -1)
        cells = tensor.movedim(self._axis(tensor.shape), -1).flatten(1, -2)  # (rows, cells, neurons)
        mask = token_mask(additional, len(tensor), cells.shape[1]) if tensor.dim() == 3 else None
        if self.kind == "last":
            if tensor.dim() != 3:
                raise InputError(
                    f"expected (rows, tokens, neurons) for pooling 'last', got {tuple(tensor.shape)}"
                )
            if mask is None:
                return cells[:, -1]
            places = torch.arange(mask.shape[1], device=mask.device)
            last = torch.where(mask, places, 0).amax(1)
            return cells[torch.arange(len(cells), device=cells.device), last.to(cells.device)]
        if mask is None:
            return cells.mean(1)
        weights = mask.to(cells) / mask.sum(1, keepdim=True).clamp(min=1).to(cells)
        return (cells * weights.unsqueeze(-1)).sum(1)

    def _spread(self, neurons: Tensor, shape: torch.Size) -> Tensor:
        if len(shape) <= 2 or self.kind == "none":
            return neurons.reshape(shape)
        axis = self._axis(shape)
        view = [n if i in (0, axis) else 1 for i, n in enumerate(shape)]
        return neurons.reshape(view).expand(shape).clone()

    def _names(self, shape: torch.Size) -> list[str]:
        kind = "channel" if len(shape) > 3 and self._axis(shape) == 1 else "neuron"
        if len(shape) <= 2:
            return [f"{kind} {i}" for i in range(math.prod(shape[1:]))]
        axis = self._axis(shape)
        if self.kind != "none":
            return [f"{kind} {i}" for i in range(shape[axis])]
        names = []
        for place in torch.cartesian_prod(*[torch.arange(n) for n in shape[1:]]).tolist():
            neuron = place.pop(axis - 1)
            names.append(f"{kind} {neuron} at {','.join(map(str, place))}")
        return names

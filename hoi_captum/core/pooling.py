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
    """The attention mask among the additional arguments: (rows, tokens) bool; None without one.

    Each row is judged alone, so that its neighbours do not matter: its mask is the first tensor, (rows or 1,
    tokens), that has only 0 and 1 there, and some 1. A row without such a one keeps all of its tokens.
    """
    kept: Tensor | None = None
    undecided = torch.ones(rows, dtype=torch.bool)
    for value in additional:
        if not isinstance(value, Tensor) or value.dim() != 2 or value.is_complex():
            continue
        if value.shape[0] not in (1, rows) or value.shape[1] != tokens:
            continue
        ones = value.bool()
        # token types are 0 and 1 too, but mostly 0 throughout, as no mask is
        fits = (((value == 0) | (value == 1)).all(1) & ones.any(1)).expand(rows).cpu() & undecided
        if bool(fits.any()):
            kept = torch.ones(rows, tokens, dtype=torch.bool, device=value.device) if kept is None else kept
            kept = torch.where(fits.to(kept.device).unsqueeze(1), ones.to(kept.device), kept)
            undecided = undecided & ~fits
    return kept


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
        mask: which additional argument is the attention mask (1 keeps a token): its place, counted from 0;
            None where none of them is; or ``auto``, which goes by shape and by 0 and 1 (:func:`token_mask`)
            and takes token types without a mask, or before it, for one. Default: auto

    Raises:
        OptionError: another kind, a dimension that is no int or is 0 (the rows), or a place that is none.
    """

    kind: str = "mean"
    neuron_dim: int | None = None
    mask: int | str | None = "auto"

    def __post_init__(self) -> None:
        check_choice("pooling", self.kind, POOLINGS)
        dim = self.neuron_dim
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim == 0):
            raise OptionError(f"expected neuron_dim to be an int other than 0 (the rows), got {dim!r}")
        place = self.mask
        if isinstance(place, bool) or (isinstance(place, int) and place < 0):
            raise OptionError(f"expected mask to be 'auto', None or a place from 0 on, got {place!r}")
        if place is not None and not isinstance(place, int):
            check_choice("mask", place, ("auto",))

    def reduce(self, tensors: tuple[Tensor, ...], additional: Sequence[Any] = ()) -> Tensor:
        """One row of neurons for each input, (rows, neurons), float32 or float64.

        Args:
            tensors: what the layer gave, (rows, ...) each.
            additional: the additional forward arguments, among which an attention mask is looked for.

        Raises:
            InputError: tensors without rows, of different rows, or that the pooling does not fit; no mask
                where ``mask`` says that there is one.
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
        kept = self._tokens_read(tensor, additional)
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

    def add(
        self, tensors: tuple[Tensor, ...], change: Tensor, additional: Sequence[Any] = ()
    ) -> tuple[Tensor, ...]:
        """The layer's tensors with a change of their samples, in the cells that these were read from.

        That moves a sample by its change, and leaves alone what it does not see: tokens before the ``last``
        one, and those that a mask leaves out.

        Args:
            tensors, additional: as of :meth:`reduce`.
            change: (rows, m, neurons), of the samples of :meth:`samples`. Gradients flow on.
        """
        moved = []
        spread = self.spread_samples(change, [t.shape for t in tensors])
        for t, c in zip(tensors, spread, strict=True):
            kept, new = self._tokens_read(t, additional), (t + c.to(t)).to(t.dtype)
            moved.append(
                new if kept is None else torch.where(kept.to(t.device).unsqueeze(self._axis(t.shape)), new, t)
            )
        return tuple(moved)

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
        if self.kind == "last" and tensor.dim() != 3:
            raise InputError(
                f"expected (rows, tokens, neurons) for pooling 'last', got {tuple(tensor.shape)}"
            )
        kept = self._tokens_read(tensor, additional)
        if kept is None:
            return cells.mean(1)
        if self.kind == "last":
            return cells[kept.to(cells.device)]  # one of each row
        weights = kept.to(cells) / kept.sum(1, keepdim=True).to(cells)
        return (cells * weights.unsqueeze(-1)).sum(1)

    def _tokens_read(self, tensor: Tensor, additional: Sequence[Any]) -> Tensor | None:
        """The tokens that a row's neurons come from, (rows, tokens) bool; None: all cells."""
        if tensor.dim() != 3 or self.kind == "none":
            return None
        rows, tokens = len(tensor), tensor.shape[3 - self._axis(tensor.shape)]
        mask = self._mask(additional, rows, tokens)
        if self.kind != "last":
            return mask
        places = torch.arange(tokens, device=tensor.device if mask is None else mask.device)
        last = places[-1:] if mask is None else torch.where(mask, places, 0).amax(1, keepdim=True)
        return (places == last).expand(rows, tokens)

    def _mask(self, additional: Sequence[Any], rows: int, tokens: int) -> Tensor | None:
        if self.mask is None:
            return None
        if not isinstance(self.mask, int):
            return token_mask(additional, rows, tokens)
        value = additional[self.mask] if self.mask < len(additional) else None
        fits = isinstance(value, Tensor) and value.dim() == 2 and value.shape[0] in (1, rows)
        if not isinstance(value, Tensor) or not fits or value.shape[1] != tokens:
            came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"expected an attention mask ({rows} or 1, {tokens}) as additional argument {self.mask}, got "
                f"{came}; give its place as Pooling(mask=...), or mask=None where there is none"
            )
        if not bool(((value == 0) | (value == 1)).all()):
            raise InputError(
                f"expected an attention mask of 0 and 1 as additional argument {self.mask}, got other numbers"
            )
        return token_mask((value,), rows, tokens)

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

"""One input under Captum's argument names, with what is needed to name and draw its players."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from hoi_captum.errors import InputError

T = TypeVar("T")


class PerModel(Sequence[T], Generic[T]):
    """Something that differs between models: ``PerModel(for_f, for_g)``.

    Bare lists and tuples keep Captum's meaning (targets per row, several input tensors), hence a
    type of its own. Immutable.

    Args:
        items: one for each model, at least one.

    Raises:
        InputError: no item.

    Examples::

        >>> f, g = (lambda x: x[:, 0] * x[:, 1]), (lambda x: x[:, 0] + x[:, 1])
        >>> inputs = hoi.PerModel(torch.tensor([[2.0, 3.0]]), torch.tensor([[4.0, 1.0]]))
        >>> hoi.GeneralizableAndOr([f, g]).attribute(inputs)
        PerModel(tensor([[3., 3.]]), tensor([[4., 1.]]))
    """

    __slots__ = ("_items",)

    def __init__(self, *items: T) -> None:
        if not items:
            raise InputError("PerModel expects one item for each model, got none: PerModel(for_f, for_g)")
        self._items = items

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"PerModel({', '.join(map(repr, self._items))})"


@dataclass(frozen=True)
class TextLayout:
    """Where the players stand in a text: pieces in reading order, each with its player's id or -1.

    The pieces joined give the text back, white space included.

    Attributes:
        pieces: (text, player id or -1) each.

    Examples::

        >>> from hoi_captum.core.example import TextLayout
        >>> layout = TextLayout((("not", 0), (" ", -1), ("bad", 1)))
        >>> "".join(piece for piece, _ in layout.pieces)
        'not bad'
    """

    pieces: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class ImageLayout:
    """Where the players stand in an image.

    Attributes:
        image: (H, W, 3) float32 in [0, 1], un-normalised, as a person would see it.
        mask: (H, W) int64, player ids or -1.

    Examples::

        >>> from hoi_captum.core.example import ImageLayout
        >>> layout = ImageLayout(torch.zeros(2, 4, 3), torch.tensor([[0, 0, 1, 1]]).expand(2, 4))
        >>> (layout.mask == 1).sum(1)  # pixels of player 1 in each row of the image
        tensor([2, 2])
    """

    image: Tensor
    mask: Tensor


@dataclass(frozen=True)
class TableLayout:
    """The row of a table that is explained: one value for each column, and each column's player.

    Attributes:
        columns: names, (c,).
        values: of the row, (c,) float.
        players: (c,) ids of each column's player, or -1.

    Examples::

        >>> example = hoi.tabular_example(torch.nn.Linear(2, 1), {"age": 30.0, "height": 1.5})
        >>> example.layout
        TableLayout(columns=('age', 'height'), values=(30.0, 1.5), players=(0, 1))
    """

    columns: tuple[str, ...]
    values: tuple[float, ...]
    players: tuple[int, ...]


Layout = TextLayout | ImageLayout | TableLayout

_KEYS = ("inputs", "baselines", "additional_forward_args", "feature_mask")


@dataclass(frozen=True, eq=False)
class Example(Mapping[str, Any]):
    """One input: a frozen mapping from Captum's argument names.

    ``method.attribute(**example, target=1)`` works for our classes and for Captum's own. Where two
    or more models are explained together the values are :class:`PerModel`.

    Attributes:
        inputs: Tensor or tuple of Tensors, (1, ...), or PerModel of these.
        baselines: like ``inputs``; the masked state.
        feature_mask: integer tensor(s) broadcastable to the inputs: player ids, -1 = never absent.
        additional_forward_args: as in Captum.
        names: one name for each player.
        layout: what is needed to draw the players; None where nothing is known.
        notes: how the example was made (baseline chosen, tokens kept, ...), for the provenance.

    Examples::

        >>> example = hoi.Example(torch.tensor([[2.0, 3.0]]), baselines=1.0, names=("age", "height"))
        >>> sorted(example)
        ['additional_forward_args', 'baselines', 'feature_mask', 'inputs']
        >>> from captum.attr import ShapleyValues  # Captum's classes take it too
        >>> ShapleyValues(lambda x: x[:, 0] * x[:, 1]).attribute(**example)
        tensor([[2., 3.]])
    """

    inputs: Any
    baselines: Any = None
    feature_mask: Any = None
    additional_forward_args: Any = None
    names: tuple[str, ...] = ()
    layout: Layout | None = None
    notes: Mapping[str, Any] | None = None

    def __getitem__(self, key: str) -> Any:
        if key not in _KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    # a mapping compares its values, and tensors compare cell by cell: an example is equal to itself only
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @classmethod
    def combine(cls, examples: Sequence[Example]) -> Example:
        """The same players seen by several models: values become :class:`PerModel`.

        Raises:
            InputError: the examples do not have the same players.
        """
        first = examples[0]
        for i, other in enumerate(examples[1:], start=1):
            if other.names != first.names:
                raise InputError(
                    f"the models must have the same players: model 0 has {len(first.names)} "
                    f"{list(first.names)}, model {i} has {len(other.names)} {list(other.names)}; "
                    "name those that all have (players=[...])"
                )
        if len(examples) == 1:
            return first
        return cls(
            **{key: PerModel(*(e[key] for e in examples)) for key in _KEYS},
            names=first.names,
            layout=first.layout,
            notes={f"model:{i}": dict(e.notes or {}) for i, e in enumerate(examples)},
        )


def as_tensors(value: Tensor | tuple[Tensor, ...], what: str = "inputs") -> tuple[Tensor, ...]:
    """Captum's rule: a Tensor or a tuple of Tensors, here always as a tuple.

    Raises:
        InputError: anything else, no tensor, or tensors whose first dimensions differ.
    """
    tensors = value if isinstance(value, tuple) else (value,)
    if not tensors or not all(isinstance(t, torch.Tensor) for t in tensors):
        raise InputError(f"expected {what} to be a Tensor or a tuple of Tensors, got {type(value).__name__}")
    if any(t.dim() == 0 for t in tensors) or len({t.shape[0] for t in tensors}) != 1:
        shapes = [tuple(t.shape) for t in tensors]
        raise InputError(f"expected {what} with the same batch in dimension 0, got shapes {shapes}")
    return tensors

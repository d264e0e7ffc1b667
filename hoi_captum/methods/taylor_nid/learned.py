"""What TaylorNID keeps of its data: the rows that stand for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hoi_captum.core.arguments import Arguments, as_additional
from hoi_captum.errors import InputError
from hoi_captum.methods.taylor_nid.representatives import Data, nearest_rows
from hoi_captum.methods.taylor_nid.settings import Settings


@dataclass(frozen=True, eq=False)
class Learned:
    """The rows that stand for the data.

    Attributes:
        data: the distinct ones among them; with ``pairwise`` all rows.
        place: (r,) where each representative is in ``data``; None with ``pairwise``.
        rows: the number of each representative in the data given, by name.
        count: rows of the data given.
    """

    data: Data
    place: Tensor | None
    rows: dict[str, int]
    count: int

    @classmethod
    def of(cls, data: Data, settings: Settings) -> Learned:
        """Choose the rows.

        Raises:
            InputError: no floating point inputs, where these are differentiated or rows have to be near.
        """
        if settings.pairwise or settings.gate == "input":
            data.cells()  # refuses integers
        if settings.pairwise:
            return cls(data, None, {}, len(data))
        rows = nearest_rows(data, settings.representatives, settings.seed)
        distinct, place = rows.unique(return_inverse=True)
        numbers = dict(zip(settings.representatives, rows.tolist(), strict=True))
        return cls(data.take(distinct), place, numbers, len(data))

    @property
    def representatives(self) -> tuple[Tensor, ...]:
        """The rows by name, (r, ...) each; with ``pairwise`` all of the data."""
        return (self.data if self.place is None else self.data.take(self.place)).inputs

    def check_shapes(self, arguments: Arguments) -> None:
        """Refuse inputs that are not like the data.

        Raises:
            InputError: other shapes.
        """
        given = [tuple(x.shape[1:]) for x in arguments.inputs]
        fitted = [tuple(x.shape[1:]) for x in self.data.inputs]
        if given != fitted:
            raise InputError(
                f"expected inputs shaped like the rows of the data, {fitted}, got {given}: players mean the "
                "same in all rows only where the rows are alike; fit on inputs of this shape"
            )


def given_rows(arguments: Arguments, additional_forward_args: Any) -> Data:
    """The explained rows as data, each with its own additional arguments."""
    b = arguments.n_examples
    inputs = tuple(x.detach() for x in arguments.inputs)
    additional = as_additional(additional_forward_args)
    if not additional:
        return Data(inputs)
    own = tuple(isinstance(a, Tensor) and a.dim() > 0 and len(a) in (1, b) for a in additional)
    rows = [a.expand(b, *a.shape[1:]) if o else a for a, o in zip(additional, own, strict=True)]
    return Data(inputs, tuple(rows), own)

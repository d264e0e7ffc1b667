"""Units that are numbers of the inputs: features, means of regions, patterns of regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.batches import Batch
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import as_tensors
from hoi_captum.core.gates import copies_of
from hoi_captum.core.gating import plain
from hoi_captum.errors import InputError, PlayerError
from hoi_captum.methods.second_glance.spaces import Measured, UnitSpace, cells_of, gradients_by

_ONE_MASK = (
    "expected one feature_mask for all rows, got one for each: units mean the same in all rows; for words "
    "that come and go use units='presence'"
)


class InputDirections(UnitSpace):
    r"""Units of the inputs' cells: a feature, a region's mean, or how much a region shows its own pattern.

    With a pattern v on the cells of a unit, :math:`z = v^T x / v^T v` and :math:`g = v^T \nabla_x f`, the
    derivative by adding v. For a mean v is 1 throughout; for ``pca`` it is the leading principal component of
    the unit's cells over the data, of length 1.

    Args:
        players: with masks that all rows share.
        pattern: (cells,) v, over the cells of all input tensors.
        shapes: of the input tensors, without the rows.
        summary: ``mean`` or ``pca``.
    """

    kind = "inputs"

    def __init__(
        self, players: Players, pattern: Tensor, shapes: Sequence[tuple[int, ...]], summary: str
    ) -> None:
        self.players, self.pattern, self.shapes, self.summary = players, pattern, tuple(shapes), summary
        self._owner = _owners(players, self.shapes)
        norms = pattern.new_zeros(players.count + 1).index_add(0, self._owner, pattern.square())
        self._norms = norms[:-1]

    @classmethod
    def learn(cls, batches: Sequence[Batch], summary: str) -> InputDirections:
        """The units of some rows.

        Args:
            batches: with one mask for all rows.
            summary: ``auto``, ``mean`` or ``pca``; ``auto`` is the cell itself where all units have one, else
                ``pca``.

        Raises:
            InputError: no floating point inputs.
            PlayerError: masks that do not fit.
        """
        shapes = [tuple(x.shape[1:]) for x in batches[0].inputs]
        for batch in batches:
            _check_shapes(batch.inputs, shapes)
        inputs = tuple(torch.cat(x) for x in zip(*(plain(b.inputs) for b in batches), strict=True))
        masks = None if batches[0].feature_mask is None else _one_for_all(batches[0].feature_mask)
        players = Players.from_feature_mask(tuple(x[:1] for x in inputs), masks)
        for x, mask in zip(inputs, players.masks, strict=True):
            if not x.is_floating_point() and bool((mask >= 0).any()):
                raise InputError(
                    f"expected floating point inputs, got {x.dtype}: there are no derivatives by integers; "
                    "give embeddings, or of token ids a feature_mask of words with units='presence'"
                )
        owner = _owners(players, shapes)
        sizes = torch.bincount(owner, minlength=players.count + 1)[:-1]
        if summary == "auto":
            summary = "mean" if int(sizes.max()) == 1 else "pca"
        cells = cells_of(inputs)
        pattern = torch.ones(cells.shape[1], dtype=torch.float64)
        if summary == "pca":
            for unit in range(players.count):
                own = owner == unit
                pattern[own] = _leading(cells[:, own])
        return cls(players, pattern, shapes, summary)

    def measure(self, forward_func: Callable[..., Any], batch: Batch, target: Any) -> Measured:
        inputs = tuple(x.clone() for x in plain(batch.inputs))
        _check_shapes(inputs, self.shapes)
        if batch.feature_mask is not None and not self._is_own(batch.feature_mask):
            raise PlayerError(_ONE_MASK)
        arguments = Arguments(forward_func, inputs, None, target, batch.additional)
        for x in inputs:
            x.requires_grad_(x.is_floating_point())
        rows = torch.arange(arguments.n_examples)
        # the model gets copies, since it may write into what it is given, which leaves forbid
        gradients = gradients_by(arguments, inputs, lambda: arguments.run(copies_of(inputs, rows), rows))
        z = self._along(cells_of(inputs)) / self._norms
        if not bool(z.isfinite().all()):
            raise InputError("expected finite inputs, got NaN or infinity; leave such rows out")
        return Measured(
            z, self._along(gradients), lambda v: self.players.spread(v, inputs), len(rows), len(rows)
        )

    @property
    def count(self) -> int:
        return self.players.count

    def check_call(self, feature_mask: Any, at_input: bool) -> None:
        if feature_mask is not None and not self._is_own(feature_mask):
            raise PlayerError(
                f"expected the feature_mask that fit() had, of {self.count} units, got another one; leave it "
                "out, or fit with this one"
            )

    def pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays = {f"mask.{i}": m.cpu().numpy() for i, m in enumerate(self.players.masks)}
        described = {"shapes": self.shapes, "summary": self.summary, "count": self.players.count}
        return arrays | {"pattern": self.pattern.numpy()}, described

    @classmethod
    def unpack(cls, arrays: dict[str, NDArray[Any]], described: dict[str, Any]) -> InputDirections:
        """The inverse of :meth:`pack`."""
        masks = tuple(torch.from_numpy(arrays[f"mask.{i}"]) for i in range(len(described["shapes"])))
        shapes = [tuple(s) for s in described["shapes"]]
        pattern = torch.from_numpy(arrays["pattern"])
        return cls(Players(masks, described["count"]), pattern, shapes, described["summary"])

    def _is_own(self, feature_mask: Any) -> bool:
        """Whether a mask is the one that was learned, in every row."""
        masks = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
        return len(masks) == len(self.players.masks) and all(
            isinstance(given, Tensor) and _same(given, own)
            for given, own in zip(masks, self.players.masks, strict=True)
        )

    def _along(self, cells: Tensor) -> Tensor:
        """Sums over each unit's cells, weighted by the pattern, (m, k)."""
        sums = cells.new_zeros(len(cells), self.players.count + 1)
        return sums.index_add_(1, self._owner, cells * self.pattern)[:, :-1]


def _one_for_all(feature_mask: Any) -> tuple[Tensor, ...]:
    """One mask of masks that may stand there once for each row."""
    masks = as_tensors(feature_mask, "feature_mask")
    if any(bool((mask != mask[:1]).any()) for mask in masks):
        raise PlayerError(_ONE_MASK)
    return tuple(mask[:1] for mask in masks)


def _same(given: Tensor, own: Tensor) -> bool:
    """Whether every row of a mask is the one mask that was learned."""
    if given.dim() != own.dim():
        return False
    try:
        both = torch.broadcast_tensors(given.to(own), own)
    except RuntimeError:
        return False
    return torch.equal(*both)


def _check_shapes(inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    given = [tuple(x.shape[1:]) for x in inputs]
    if any(x.dim() < 2 for x in inputs):
        came = [tuple(x.shape) for x in inputs]
        raise InputError(
            f"expected rows of inputs, (rows, ...), got shapes {came}; x[:1] keeps one row a row"
        )
    if given != list(shapes):
        texts = all(x.dim() == 3 for x in inputs)
        hint = "; for texts give a feature_mask of words (units='presence')" if texts else ""
        raise InputError(
            f"expected inputs shaped like the first rows that fit() saw, {list(shapes)}, got {given}: units "
            f"mean the same in all rows only where the rows are alike{hint}"
        )


def _owners(players: Players, shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """The unit of each cell, (cells,); k of cells that are nobody's."""
    masks = [
        mask[0].expand(shape).reshape(-1).cpu() for mask, shape in zip(players.masks, shapes, strict=True)
    ]
    owners: Tensor = torch.cat(masks) % (players.count + 1)
    return owners


def _leading(cells: Tensor) -> Tensor:
    """The leading principal component of cells over rows, of length 1 and with a sum that is not below 0."""
    centred = cells - cells.mean(0)
    if not bool(centred.any()):
        return torch.full((cells.shape[1],), cells.shape[1] ** -0.5, dtype=torch.float64)
    vector: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    total = float(vector.sum())
    # where a pattern has no mean its first large cell decides, so that like patterns have like signs
    large = int((vector.abs() > vector.abs().max() / 2).int().argmax())
    side = total if abs(total) > 1e-6 else float(vector[large])
    return vector if side >= 0 else -vector

"""Data for methods that learn, as batches under Captum's names, whatever they came as."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hoi_captum.core.arguments import as_additional
from hoi_captum.core.example import Example, as_tensors
from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError

DEFAULT_BATCH = 64
_HINT = (
    "; torch.as_tensor(array) makes a Tensor, and hoi_captum.adapt(model, ...).examples(raws) reads texts, "
    "images and tables"
)
NAMING = (
    'a list of two is [inputs, labels], other lists and tuples of Tensors are inputs, and {"inputs": (ids, '
    'mask), "additional_forward_args": ..., "labels": y} names them'
)
_KEYS = ("inputs", "additional_forward_args", "labels", "feature_mask", "baselines")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of the data.

    Attributes:
        inputs: (rows, ...) each.
        additional: the additional forward arguments.
        labels: (rows,) integers, where the data have them.
        feature_mask, baselines: as in Captum, where the data have them.
    """

    inputs: tuple[Tensor, ...]
    additional: tuple[Any, ...] = ()
    labels: Tensor | None = None
    feature_mask: Any = None
    baselines: Any = None

    def __len__(self) -> int:
        return len(self.inputs[0])


def batches(
    data: Any,
    *,
    labels: Any = None,
    additional_forward_args: Any = None,
    feature_mask: Any = None,
    baselines: Any = None,
    batch_size: int | None = None,
) -> Iterator[Batch]:
    """The data, batch by batch.

    Args:
        data: all of it (a Tensor, or a tuple of Tensors for a model of several inputs), which is cut into
            batches; a ``torch.utils.data.Dataset``; or an iterable of batches such as a ``DataLoader``.
            A batch is a Tensor, a tuple of Tensors (several inputs), a list ``[inputs, labels]`` as a
            ``DataLoader`` gives it (a list of three Tensors or more is several inputs), or a mapping with
            ``inputs`` and, if it likes, ``additional_forward_args``, ``labels``, ``feature_mask`` and
            ``baselines`` (an :class:`~hoi_captum.Example` is one).
        labels: (rows,) integers, of data given whole.
        additional_forward_args: as in Captum; of data given whole, tensors with one entry for each row are
            cut with it; every batch of an iterable gets all of it, unless it brings its own.
        feature_mask, baselines: as in Captum, and for the batches as ``additional_forward_args`` are.
        batch_size: rows of a batch, of data given whole and of a Dataset. Default: 64

    Raises:
        InputError: data of another kind, or labels that do not match.
    """
    size = DEFAULT_BATCH if batch_size is None else check_count("internal_batch_size", batch_size)
    shared = Batch((), as_additional(additional_forward_args), None, feature_mask, baselines)
    if isinstance(data, Example):
        data = [data]
    if isinstance(data, Tensor) or (isinstance(data, tuple) and data and isinstance(data[0], Tensor)):
        yield from _cut(as_tensors(data, "data"), shared, labels, size)
        return
    if labels is not None:
        raise InputError("expected labels only with data given as Tensors; let each batch bring its labels")
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=size)
    is_array = hasattr(data, "to_numpy") or hasattr(data, "__array__")
    if is_array or isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise InputError(
            f"expected data as a Tensor, a tuple of Tensors, a Dataset or an iterable of batches, got "
            f"{type(data).__name__}{_HINT}"
        )
    for item in data:
        yield _as_batch(item, shared)


def check_inputs(forward_func: Any, inputs: Any, additional: Any) -> None:
    """Refuse another number of inputs and additional arguments than the model takes, as far as that is known.

    Raises:
        InputError: too many of them, or too few.
    """
    given = (*as_tensors(inputs), *as_additional(additional))
    try:
        signature = inspect.signature(getattr(forward_func, "forward", forward_func))
    except (TypeError, ValueError):  # builtins do not say
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        raise InputError(
            f"expected as many inputs and additional arguments as the model takes, got {len(given)} "
            f"({error}); in batches {NAMING}"
        ) from error


def _cut(inputs: tuple[Tensor, ...], shared: Batch, labels: Any, size: int) -> Iterator[Batch]:
    rows = len(inputs[0])
    own = None if labels is None else _as_labels(labels, rows)
    for start in range(0, rows, size):
        part = slice(start, start + size)
        yield Batch(
            tuple(x[part] for x in inputs),
            _rows(shared.additional, part, rows),
            None if own is None else own[part],
            _rows(shared.feature_mask, part, rows),
            _rows(shared.baselines, part, rows),
        )


def _rows(value: Any, part: slice, rows: int) -> Any:
    """The part of a Tensor, or of those in a tuple, that has one entry for each row; all of anything else."""
    if isinstance(value, tuple):
        return tuple(_rows(v, part, rows) for v in value)
    own = isinstance(value, Tensor) and value.dim() > 0 and len(value) == rows
    return value[part] if own else value


def _as_batch(item: Any, shared: Batch) -> Batch:
    given: Mapping[str, Any] = {}
    labels = None
    if isinstance(item, Mapping):
        if "inputs" not in item:
            raise InputError(f"expected a batch with {', '.join(_KEYS)}, got a mapping of {', '.join(item)}")
        given = {key: item[key] for key in _KEYS if item.get(key) is not None}
        inputs, labels = item["inputs"], item.get("labels")
    elif isinstance(item, list) and len(item) in (1, 2):
        inputs, labels = item[0], item[1] if len(item) == 2 else None
    else:
        inputs = item
    if isinstance(inputs, list):  # as a DataLoader collates what a Dataset gives as a tuple
        inputs = tuple(inputs)
    if isinstance(inputs, str):
        raise InputError(f"expected a batch to be a Tensor or a tuple of Tensors, got a str{_HINT}")
    tensors = as_tensors(inputs, "a batch")
    if not len(tensors[0]):
        raise InputError("expected at least one row in a batch, got an empty one")
    own = given.get("additional_forward_args")
    return Batch(
        tensors,
        shared.additional if own is None else as_additional(own),
        None if labels is None else _as_labels(labels, len(tensors[0])),
        given.get("feature_mask", shared.feature_mask),
        given.get("baselines", shared.baselines),
    )


def _as_labels(labels: Any, rows: int) -> Tensor:
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected labels as integers, one for each row: {error}") from error
    if tuple(tensor.shape) != (rows,) or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise InputError(
            f"expected labels as {rows} integers, one for each row, got {tensor.dtype} of shape "
            f"{tuple(tensor.shape)}; {NAMING}"
        )
    return tensor.cpu().long()

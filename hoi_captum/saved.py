"""What the file of an explanation may be called, and how it holds what the table of interactions does not."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hoi_captum.core.example import ImageLayout, Layout, TableLayout, TextLayout
from hoi_captum.errors import FileError, OptionError

FIGURES = (".png", ".svg", ".pdf")
_ENDINGS = (".html", ".json", ".safetensors", *FIGURES)


def check_destination(path: Path) -> str:
    """The ending of a file, in lower case, unless :meth:`Explanation.save` cannot write it.

    Raises:
        OptionError: another ending.
        FileError: the directory does not exist or cannot be written, or the path is a directory.
    """
    suffix = path.suffix.lower()
    if suffix not in _ENDINGS:
        raise OptionError(f"expected a file that ends in one of {', '.join(_ENDINGS)}; got {path.name!r}")
    if not path.parent.is_dir():
        raise FileError(f"cannot write {path}: there is no directory {path.parent}; make it first")
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a directory; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"cannot write {path}: no permission to write in {path.parent}; name another place")
    return suffix


def pack_layout(layout: Layout | None) -> tuple[dict[str, Any] | None, dict[str, NDArray[Any]]]:
    """A layout as JSON data and arrays."""
    match layout:
        case TextLayout():
            return {"kind": "text", "pieces": layout.pieces}, {}
        case TableLayout():
            return {
                "kind": "table",
                "columns": layout.columns,
                "values": layout.values,
                "players": layout.players,
            }, {}
        case ImageLayout():
            return {"kind": "image"}, {
                "layout.image": layout.image.numpy(),
                "layout.mask": layout.mask.numpy(),
            }
        case None:
            return None, {}


def unpack_layout(packed: dict[str, Any] | None, arrays: Mapping[str, NDArray[Any]]) -> Layout | None:
    """The inverse of :func:`pack_layout`."""
    if packed is None:
        return None
    match packed["kind"]:
        case "text":
            return TextLayout(tuple((text, player) for text, player in packed["pieces"]))
        case "table":
            return TableLayout(tuple(packed["columns"]), tuple(packed["values"]), tuple(packed["players"]))
        case "image":
            image, mask = (torch.from_numpy(np.array(arrays[f"layout.{k}"])) for k in ("image", "mask"))
            return ImageLayout(image, mask)
        case other:
            raise ValueError(f"unknown layout {other!r}")


def finite(value: Any) -> Any:
    """The same data with null for numbers that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value

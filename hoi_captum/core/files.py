"""Files that are either whole or absent: atomic writes, and safetensors with JSON metadata."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hoi_captum.errors import FileError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it on success and vanishes on failure.

    Raises:
        FileError: the directory does not exist or cannot be written, or ``path`` is a directory itself.
    """
    final = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.", suffix=final.suffix)
    except OSError as error:
        raise FileError(f"cannot write {final}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result should be as readable as any other file of the user
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        try:
            temporary.replace(final)
        except OSError as error:
            raise FileError(f"cannot write {final}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_safetensors(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> Path:
    """Write arrays and metadata to a new file beside ``path``, then put it in place.

    Args:
        path (path): ends in ``.safetensors``, or has no ending.
        arrays (Mapping[str, ndarray]): by name, of any shapes.
        metadata (Mapping[str, str]): with a ``format``, by which :func:`read_safetensors` knows the file.

    Returns:
        *Path*: the path.

    Raises:
        FileError: the path ends like a file of another kind, or cannot be written.

    Examples::

        >>> from hoi_captum.authoring import write_safetensors
        >>> write_safetensors("table.json", {}, {})
        Traceback (most recent call last):
            ...
        hoi_captum.errors.FileError: expected a path that ends in .safetensors, got 'table.json'
    """
    if Path(path).suffix not in ("", ".safetensors"):
        raise FileError(f"expected a path that ends in .safetensors, got {os.fspath(path)!r}")
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata=dict(metadata))
    return Path(path)


def read_safetensors(
    path: str | os.PathLike[str], expected_format: str
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a file whose ``format`` entry is the expected one.

    Args:
        path (path): of the file.
        expected_format (str): the ``format`` entry of its metadata.

    Returns:
        *tuple* of a dict of arrays by name, and of the metadata, a dict of strings.

    Raises:
        FileError: the file cannot be read, or has another format.

    Examples::

        >>> from hoi_captum.authoring import read_safetensors, write_safetensors
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = write_safetensors(f"{folder}/x", {"x": np.ones(2)}, {"format": "mine/1"})
        ...     read_safetensors(path, "mine/1")
        ({'x': array([1., 1.])}, {'format': 'mine/1'})
    """
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != expected_format:
                raise FileError(
                    f"{path}: expected a file of format {expected_format!r}, got {metadata.get('format')!r}"
                )
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot read {path}: {error}") from error

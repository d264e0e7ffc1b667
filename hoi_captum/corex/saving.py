"""Local CorEx models as files: arrays in safetensors, the rest as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.corex.bio import BioCorEx
from hoi_captum.corex.embedding import PhateEmbedding
from hoi_captum.corex.linear import LinearCorEx
from hoi_captum.corex.partition import PHATE
from hoi_captum.errors import FileError

FORMAT = "hoi_captum.local_corex/1"
_ESTIMATORS = {"LinearCorEx": LinearCorEx, "BioCorEx": BioCorEx}  # what a file may hold
_PLAIN = (bool, int, float, str, type(None))
Arrays = dict[str, NDArray[Any]]
Local = TypeVar("Local", bound=BaseEstimator)


def save_local(local: Any, path: str | os.PathLike[str]) -> Path:
    """Write a fitted LocalCorEx.

    Raises:
        FileError: see :meth:`hoi_captum.corex.LocalCorEx.save`.
    """
    arrays, content = pack_local(local)
    return write_safetensors(path, arrays, {"format": FORMAT, "content": content})


def pack_local(local: Any) -> tuple[Arrays, str]:
    """A fitted LocalCorEx as arrays and JSON.

    Raises:
        FileError: it holds something that a file cannot.
    """
    placed = local.space == "embedding" and local.embedder_ is not None
    if placed and local.embedder != PHATE:
        raise FileError(
            f"cannot save {type(local.embedder_).__name__}, which predict needs with space='embedding'; fit "
            "with space='input', embedder='phate' or embedder=None"
        )
    arrays: Arrays = {}
    if placed:
        arrays["phate"] = local.embedder_.landmarks_
    learned = {k: v for k, v in _learned(local).items() if k not in ("models_", "embedder_")}
    content = {
        "params": _params(local),
        "estimator": None if local.estimator is None else _described(local.estimator),
        "learned": _pack("local", learned, arrays),
        "models": [
            None if m is None else _described(m) | {"learned": _pack(f"models.{k}", _learned(m), arrays)}
            for k, m in enumerate(local.models_)
        ],
    }
    return arrays, json.dumps(content)


def load_local(cls: type[Local], path: str | os.PathLike[str]) -> Local:
    """Read a fitted LocalCorEx.

    Raises:
        FileError: see :meth:`hoi_captum.corex.LocalCorEx.load`.
    """
    arrays, metadata = read_safetensors(path, FORMAT)
    try:
        return unpack_local(cls, arrays, metadata["content"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is damaged ({error!r}); write it anew") from error


def unpack_local(cls: type[Local], arrays: Arrays, packed: str) -> Local:
    """The inverse of :func:`pack_local`; anything may be raised where these are not what it gave."""
    content = json.loads(packed)
    described = content["estimator"]
    local: Any = cls(**content["params"], estimator=None if described is None else _estimator(described))
    vars(local).update(_unpack(content["learned"], arrays))
    local.models_ = tuple(None if m is None else _model(m, arrays) for m in content["models"])
    local.embedder_ = None
    if "phate" in arrays:
        placed = PhateEmbedding(arrays["phate"].shape[1], random_state=local._seed_used)
        local.embedder_ = placed.restore(local.partition_data_, arrays["phate"])
    return local  # type: ignore[no-any-return]


def _learned(estimator: Any) -> dict[str, Any]:
    """What ``fit`` left on an estimator."""
    params = estimator.get_params(deep=False)
    return {k: v for k, v in vars(estimator).items() if k not in params}


def _params(estimator: Any) -> dict[str, Any]:
    """Constructor options; an object by its description, which ``fit`` refuses with a clear message."""
    options = estimator.get_params(deep=False)
    return {
        k: v.item() if isinstance(v, np.generic) else v if isinstance(v, _PLAIN) else repr(v)
        for k, v in options.items()
        if k != "estimator"
    }


def _described(estimator: Any) -> dict[str, Any]:
    name = type(estimator).__name__
    if type(estimator) is not _ESTIMATORS.get(name):
        raise FileError(f"cannot save a {name}; models of {' and '.join(_ESTIMATORS)} can be saved")
    return {"class": name, "params": _params(estimator)}


def _estimator(described: Mapping[str, Any]) -> Any:
    return _ESTIMATORS[described["class"]](**described["params"])


def _model(described: Mapping[str, Any], arrays: Arrays) -> Any:
    model = _estimator(described)
    vars(model).update(_unpack(described["learned"], arrays))
    return model


def _pack(prefix: str, values: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Values as JSON; numeric arrays go to ``arrays`` and leave their key."""
    packed: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            arrays[f"{prefix}.{name}"] = value
            packed[name] = {"array": f"{prefix}.{name}"}
        elif isinstance(value, np.ndarray) and all(isinstance(v, str) for v in value.flat):
            packed[name] = {"names": value.tolist()}
        elif isinstance(value, np.generic):
            packed[name] = value.item()
        elif isinstance(value, _PLAIN):
            packed[name] = value
        else:
            raise FileError(f"cannot save {name}, a {type(value).__name__}: only numbers, names and arrays")
    return packed


def _unpack(packed: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in packed.items():
        if not isinstance(value, dict):
            values[name] = value
        else:
            values[name] = (
                arrays[value["array"]] if "array" in value else np.array(value["names"], dtype=object)
            )
    return values

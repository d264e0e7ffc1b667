"""What LayerLocalCorEx learned, as a file; the model is not in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.core.pooling import Pooling
from hoi_captum.corex import LocalCorEx
from hoi_captum.corex.saving import pack_local, unpack_local
from hoi_captum.errors import FileError

if TYPE_CHECKING:
    from hoi_captum.methods.local_corex.regions import LayerRegions

FORMAT = "hoi_captum.layer_local_corex/1"
# constructor options that a file keeps beside those of the regions
_OPTIONS = (
    "n_factors",
    "n_clusters",
    "partition",
    "factor",
    "threshold",
    "min_rows",
)
_LEARNED = (
    "class_columns_",
    "class_names_",
    "neuron_names_",
    "layer_name_",
    "fit_rows_",
    "fit_seconds_",
    "_at_input",
)
_TUPLES = ("include_logits", "class_columns_", "class_names_", "neuron_names_")
_MEANS = "layer.means"

Fitted = TypeVar("Fitted", bound="LayerRegions")


def write_fitted(method: LayerRegions, path: str | os.PathLike[str]) -> Path:
    """Write a fitted method.

    Raises:
        FileError: the file cannot be written, or the regions' estimators are none of ours.
    """
    arrays, local = pack_local(method.local_)
    options = {name: getattr(method, name) for name in _OPTIONS} | {
        "include_logits": method.classes.include,
        "pooling": asdict(method.pooling),
        "random_state": method.random_state,
    }
    # an estimator of one's own comes back with the regions'
    options["own_estimator"] = method.estimator is not None
    content = {"options": options, "learned": {name: getattr(method, name) for name in _LEARNED}}
    metadata = {"format": FORMAT, "content": json.dumps(content), "local": local}
    return write_safetensors(path, arrays | {_MEANS: method.means_}, metadata)


def read_fitted(
    cls: type[Fitted],
    path: str | os.PathLike[str],
    forward_func: Callable[..., Any],
    layer: nn.Module,
    device_ids: list[int] | None,
) -> Fitted:
    """Read a file of :func:`write_fitted`.

    Raises:
        FileError: the file cannot be read, is none of ours, or is damaged.
    """
    arrays, metadata = read_safetensors(path, FORMAT)
    try:
        content = json.loads(metadata["content"])
        options = _with_tuples(content["options"])
        own_estimator = options.pop("own_estimator")
        pooling = options.pop("pooling")
        # earlier files have its kind, and neuron_dim beside it
        options["pooling"] = Pooling(**pooling) if isinstance(pooling, dict) else pooling
        local = unpack_local(LocalCorEx, arrays, metadata["local"])
        method = cls(
            forward_func,
            layer,
            device_ids,
            estimator=local.estimator if own_estimator else None,
            # what is no text is kept as its description, which a further fit() refuses
            embedder=local.embedder,
            clusterer=local.clusterer,
            **options,
        )
        for name, value in _with_tuples(content["learned"]).items():
            setattr(method, name, value)
        method.means_ = arrays[_MEANS]
        method.local_ = local
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is damaged ({error!r}); write it anew") from error
    return method


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {k: tuple(v) if k in _TUPLES and isinstance(v, list) else v for k, v in values.items()}

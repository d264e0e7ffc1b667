"""What GraphSpectral learned, as a file; the model is not in it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn

from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.core.pooling import Pooling
from hoi_captum.core.state import module_behind
from hoi_captum.errors import DataWarning, FileError
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.graphs.predefined import is_learned
from hoi_captum.methods.graph_spectral.results import MapQuality
from hoi_captum.methods.graph_spectral.units import LayoutUnits, ProbeUnits, Units

if TYPE_CHECKING:
    from hoi_captum.methods.graph_spectral.learning import LayerMap

FORMAT = "hoi_captum.graph_spectral/1"
_UNITS: dict[str, type[Units]] = {"probe": ProbeUnits, "layout": LayoutUnits}
_WEIGHTS = 32
_ARRAYS = ("groups_", "membership_", "unit_mean_", "unit_std_")

Fitted = TypeVar("Fitted", bound="LayerMap")


def write_fitted(method: LayerMap, path: str | os.PathLike[str]) -> Path:
    """Write a fitted method.

    Raises:
        FileError: the file cannot be written.
    """
    options, learned = method._parts()
    graph = method.graph_
    arrays = {f"units.{f.name}": getattr(method.units_, f.name).numpy() for f in fields(method.units_)}
    arrays |= {name: getattr(method, name) for name in _ARRAYS} | {"graph.adjacency": graph.adjacency}
    if graph.positions is not None:
        arrays["graph.positions"] = graph.positions
    given = method.graph if isinstance(method.graph, str | tuple) else None
    content = {
        "options": options,
        "learned": learned,
        "quality": asdict(method.quality_),
        "graph": {"given": given, "name": graph.name, "shape": graph.shape},
    }
    return write_safetensors(path, arrays, {"format": FORMAT, "content": json.dumps(content)})


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
        said, shape = content["graph"], content["graph"]["shape"]
        graph = NeuronGraph(
            arrays["graph.adjacency"],
            said["name"],
            None if shape is None else (shape[0], shape[1]),
            arrays.get("graph.positions"),
        )
        given: Any = said["given"]
        given = graph if given is None else tuple(given) if isinstance(given, list) else given
        options = dict(content["options"])
        options["pooling"] = Pooling(**options["pooling"])
        if not is_learned(given):  # which earlier files named all the same
            options["affinity"] = None
        if options["method"] == "probe" or is_learned(given):
            options["n_swaps"] = None
        method = cls(forward_func, layer, device_ids, graph=given, **options)
        kind = _UNITS[method.method]
        units = {f.name: torch.as_tensor(arrays[f"units.{f.name}"]) for f in fields(kind)}
        method.units_, method.graph_ = kind(**units), graph
        method.quality_ = MapQuality(**content["quality"])
        for name in _ARRAYS:
            setattr(method, name, arrays[name])
        for name, value in content["learned"].items():
            setattr(method, name, value)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is damaged ({error!r}); write it anew") from error
    now = some_weights(forward_func)
    if None not in (now, method._weights) and not _alike(now, method._weights):
        warnings.warn(
            f"{path} was learned of a model with other weights: its map says nothing of this one, unless it "
            "differs behind the layer alone; fit it anew",
            DataWarning,
            stacklevel=4,
        )
    return method


def some_weights(forward_func: Callable[..., Any]) -> list[float] | None:
    """The middle weight of 32 parameters at most, which tell a model; None where it is not seen."""
    model = module_behind(forward_func)
    if model is None:
        return None
    parameters = [p for p in model.parameters() if p.numel()]
    chosen = np.unique(np.linspace(0, len(parameters) - 1, min(_WEIGHTS, len(parameters))).astype(int))
    return [float(parameters[i].detach().flatten()[parameters[i].numel() // 2]) for i in chosen]


def _alike(now: Any, then: Any) -> bool:
    """Whether these are the same weights, in half precision perhaps."""
    return len(now) == len(then) and np.allclose(now, then, rtol=0.02, atol=1e-4)

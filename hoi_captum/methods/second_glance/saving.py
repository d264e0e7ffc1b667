"""What SecondGlance learned, as a file; the model is not in it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.errors import FileError, OptionError
from hoi_captum.methods.second_glance.directions import InputDirections
from hoi_captum.methods.second_glance.factors import LayerFactors
from hoi_captum.methods.second_glance.judging import OverData, Quality
from hoi_captum.methods.second_glance.learned import Key, Learned, OneTarget
from hoi_captum.methods.second_glance.networks import PotentialGradient
from hoi_captum.methods.second_glance.presence import Presence
from hoi_captum.methods.second_glance.scaling import Scaling
from hoi_captum.methods.second_glance.settings import LearnSettings
from hoi_captum.methods.second_glance.spaces import UnitSpace
from hoi_captum.methods.second_glance.surrogates import (
    NetworkSurrogate,
    RidgeSurrogate,
    Surrogate,
    new_network,
)
from hoi_captum.methods.second_glance.training import Score

if TYPE_CHECKING:
    from hoi_captum.methods.second_glance.method import SecondGlance

FORMAT = "hoi_captum.second_glance/2"
OWN = "own"
Arrays = dict[str, NDArray[Any]]


def write_fitted(method: SecondGlance, learned: Learned, path: str | os.PathLike[str]) -> Path:
    """Write a fitted method.

    Raises:
        FileError: the file cannot be written.
    """
    arrays: Arrays = {}
    space_arrays, described = learned.space.pack()
    arrays |= {f"space.{name}": value for name, value in space_arrays.items()}
    targets = []
    for number, (target, one) in enumerate(learned.targets.items()):
        targets.append({"target": target} | _pack_target(f"target.{number}.", one, arrays))
    content = {
        "options": method.options() | {"seed": method.seed},
        "space": {"kind": learned.space.kind} | described,
        "names": learned.names,
        "seconds": learned.seconds,
        "targets": targets,
    }
    return write_safetensors(
        path, arrays, {"format": FORMAT, "content": json.dumps(content, default=_number)}
    )


def read_fitted(
    cls: type[SecondGlance],
    path: str | os.PathLike[str],
    forward_func: Callable[..., Any],
    layer: nn.Module | None,
    device_ids: list[int] | None,
    surrogate: nn.Module | None,
) -> tuple[SecondGlance, Learned]:
    """Read a file of :func:`write_fitted`.

    Raises:
        FileError: the file cannot be read, is none of ours, or is damaged.
        OptionError: a layer, or a surrogate module, that the file was not made with, or the lack of one.
    """
    arrays, metadata = read_safetensors(path, FORMAT)
    try:
        content = json.loads(metadata["content"])
        options = content["options"]
        of_layer = content["space"]["kind"] == LayerFactors.kind
        _check_given("layer", of_layer, layer is not None, path)
        _check_given("surrogate", options["surrogate"] == OWN, surrogate is not None, path)
        if surrogate is not None:
            options["surrogate"] = surrogate
        method = cls(forward_func, layer, device_ids, **options)
        space = _unpack_space(content["space"], _below("space.", arrays), layer, device_ids)
        targets: dict[Key, OneTarget] = {}
        for number, described in enumerate(content["targets"]):
            target = described["target"]
            key = tuple(target) if isinstance(target, list) else target
            own = _below(f"target.{number}.", arrays)
            targets[key] = _unpack_target(described, own, method.fit_kind, method.learning)
        learned = Learned(space, tuple(content["names"]), targets, content["seconds"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, OptionError):
            raise
        raise FileError(f"{path} is damaged ({error!r}); write it anew") from error
    return method, learned


def _number(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item()


def _check_given(what: str, wanted: bool, given: bool, path: str | os.PathLike[str]) -> None:
    if wanted and not given:
        raise OptionError(f"{path} was learned with a {what} of your own: give load(..., {what}=...)")
    if given and not wanted:
        raise OptionError(f"{path} was learned without a {what} of your own: leave {what} out")


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _unpack_space(
    described: dict[str, Any], arrays: Arrays, layer: nn.Module | None, device_ids: Sequence[int] | None
) -> UnitSpace:
    if layer is not None:
        return LayerFactors.unpack(arrays, described, layer, device_ids)
    kinds: dict[str, type[InputDirections] | type[Presence]] = {
        InputDirections.kind: InputDirections,
        Presence.kind: Presence,
    }
    return kinds[described["kind"]].unpack(arrays, described)


def _pack_target(prefix: str, one: OneTarget, arrays: Arrays) -> dict[str, Any]:
    surrogate = one.surrogate
    scaling = surrogate.scaling
    own: Arrays = {
        f"scaling.{f.name}": getattr(scaling, f.name).numpy() for f in fields(scaling) if f.name != "size"
    }
    own["quality.r2"] = one.quality.r2
    own |= {f"over.{k}": v for k, v in asdict(one.over_data).items() if v is not None}
    quality = {k: v for k, v in asdict(one.quality).items() if k != "r2"}
    # JSON has no NaN
    quality = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in quality.items()}
    if surrogate.together is not None:
        own["together"] = surrogate.together.numpy()
    described: dict[str, Any] = {"size": scaling.size, "quality": quality, "kind": "ridge"}
    if isinstance(surrogate, NetworkSurrogate):
        described["kind"] = "network"
        described["third"] = surrogate.third_network is not None
        described["symmetry"] = "potential" if isinstance(surrogate.network, PotentialGradient) else "average"
        for name, network in (("network", surrogate.network), ("third", surrogate.third_network)):
            state = {} if network is None else network.state_dict()
            own |= {f"{name}.{key}": value.numpy() for key, value in state.items()}
    elif isinstance(surrogate, RidgeSurrogate):
        own["linear"] = surrogate.linear.numpy()
        if surrogate.quadratic is not None:
            own["quadratic"] = surrogate.quadratic.numpy()
    arrays |= {prefix + name: value for name, value in own.items()}
    return described


def _unpack_target(
    described: dict[str, Any], arrays: Arrays, kind: str | nn.Module, settings: LearnSettings
) -> OneTarget:
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    parts = {f.name: tensors[f"scaling.{f.name}"] for f in fields(Scaling) if f.name != "size"}
    scaling = Scaling(size=described["size"], **parts)
    quality: dict[str, Any] = {k: math.nan if v is None else v for k, v in described["quality"].items()}
    kept = Quality(r2=arrays["quality.r2"], **quality)
    means = {f.name: arrays[f"over.{f.name}"] for f in fields(OverData) if f.name != "third"}
    over = OverData(third=arrays.get("over.third"), **means)
    score = Score(torch.from_numpy(np.array(kept.r2)), kept.pooled_r2, kept.held_out)
    third_score = None if math.isnan(kept.third_r2) else Score(torch.empty(0), kept.third_r2, kept.held_out)
    common = (scaling, score, kept.steps, third_score, tensors.get("together"))
    surrogate: Surrogate
    if described["kind"] == "ridge":
        surrogate = RidgeSurrogate(*common, tensors["linear"], tensors.get("quadratic"))
    else:
        k = len(scaling.mean)
        network = new_network(kind, k, k, replace(settings, symmetry=described["symmetry"]))
        third = new_network("softplus", k, k * (k + 1) // 2, settings) if described["third"] else None
        for name, module in (("network", network), ("third", third)):
            if module is not None:
                own_state = {
                    key.removeprefix(f"{name}."): value
                    for key, value in tensors.items()
                    if key.startswith(f"{name}.")
                }
                module.load_state_dict(own_state)
                module.eval().requires_grad_(False)
        surrogate = NetworkSurrogate(*common, network, third)
    return OneTarget(surrogate, kept, over)

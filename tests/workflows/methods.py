"""The six methods, each ready to explain a case of ``hoi_captum.testing``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.testing import Case
from hoi_captum.testing.models import noise
from hoi_captum.testing.suite import as_tuple

Ready = Callable[[str, str], tuple[Any, Case]]  # a method and a case by their names
# attributions shaped like the inputs
ON_INPUTS: Mapping[str, Callable[[Case], Any]] = {
    "GeneralizableAndOr": lambda case: hoi.GeneralizableAndOr(case.model),
    "TaylorCAM": lambda case: hoi.TaylorCAM(case.model),
    "TaylorNID": lambda case: hoi.TaylorNID(case.model).fit(case.background),
    "SecondGlance": lambda case: hoi.SecondGlance(case.model),
}
# attributions shaped like what the case's layer gives
AT_A_LAYER: Mapping[str, Callable[[Case], Any]] = {
    "TaylorCAM": lambda case: hoi.TaylorCAM(case.model, case.layer),
    "SecondGlance": lambda case: hoi.SecondGlance(case.model, case.layer),
    "LayerLocalCorEx": lambda case: hoi.LayerLocalCorEx(
        case.model, case.layer, n_factors=2, n_clusters=2, min_rows=10
    ).fit(case.background),
    "GraphSpectral": lambda case: hoi.GraphSpectral(
        case.model, case.layer, n_nodes=16, alpha=1e-3, max_steps=400
    ).fit(case.background),
}
ALL: Mapping[str, Callable[[Case], Any]] = ON_INPUTS | {
    f"{name}, at a layer": build for name, build in AT_A_LAYER.items()
}


def features() -> Case:
    """Four features, and a layer behind which its eight neurons interact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = (nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
        net = nn.Sequential(*steps).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 2  # bent enough for pairs to stand out
    return Case(net, noise(3, 4, seed=1), net[1], {"target": 1}, noise(64, 4, seed=2))


def strided_cnn() -> nn.Sequential:
    """(B, 1, 8, 8) -> (B, 3), smooth; ``[0]`` gives maps of 4 x 4 positions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = (nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(64, 6))
        return nn.Sequential(*steps, nn.Tanh(), nn.Linear(6, 3)).eval()


def images() -> Case:
    """Images of 8 x 8 pixels, and a layer of 4 x 4 positions."""
    net = strided_cnn()
    return Case(net, noise(2, 1, 8, 8, seed=1), net[0], {"target": 2}, noise(64, 1, 8, 8, seed=2))


def close(found: Any, expected: Any, tolerance: float, size: Any = None) -> None:
    """Attributions that are the same, in parts of the largest number (of ``size``, where it is given)."""
    sizes = expected if size is None else size
    for one, other, of in zip(
        *(map(Tensor.detach, as_tuple(x)) for x in (found, expected, sizes)), strict=True
    ):
        assert one.shape == other.shape
        torch.testing.assert_close(
            one.double(), other.double(), rtol=0, atol=tolerance * float(of.double().abs().max())
        )


def rows_of(inputs: Any, row: int) -> Any:
    """One row of the inputs, as a batch."""
    return tuple(x[row : row + 1] for x in inputs) if isinstance(inputs, tuple) else inputs[row : row + 1]


def quadratic(a: Tensor, b: Tensor) -> Callable[[Tensor], Tensor]:
    """x' A x / 2 + b' x."""
    return lambda x: 0.5 * torch.einsum("ni,ij,nj->n", x, a, x) + x @ b

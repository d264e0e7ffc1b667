"""Models of double and of half precision: as many digits as the model has, and no fewer on the way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import hoi_captum as hoi
from hoi_captum.testing import Case
from hoi_captum.testing.models import noise
from tests.workflows.methods import ALL, close, features, quadratic

CORED = "LayerLocalCorEx, at a layer"
BUILD: Mapping[str, Callable[[Case], Any]] = ALL | {
    # of one region: where regions end is decided by the last digits
    CORED: lambda case: hoi.LayerLocalCorEx(case.model, case.layer, n_factors=2, n_clusters=1).fit(
        case.background
    )
}


def at(dtype: torch.dtype) -> Case:
    """A case of numbers that all dtypes hold exactly."""
    case = features()
    net = copy.deepcopy(case.model).bfloat16().to(dtype)
    inputs, background = (x.bfloat16().to(dtype) for x in (case.inputs, case.background))
    return Case(net, inputs, net[1], case.call, background)


def explained(name: str, dtype: torch.dtype) -> Tensor:
    case = at(dtype)
    found: Tensor = BUILD[name](case).attribute(case.inputs, **case.call)
    if name == CORED:
        # the share of a neuron's variance that the factor tells: where that is nearly all of it, the nats
        # themselves, which have no upper end, are a matter of when the fit stops
        return 1 - (-2 * found).exp()
    return found


@pytest.fixture(scope="module")
def in_double() -> Mapping[str, Tensor]:
    return {name: explained(name, torch.float64) for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_float32_and_float64_are_the_same_to_seven_digits(name: str, in_double: Mapping[str, Tensor]) -> None:
    single = explained(name, torch.float32)
    assert (single.dtype, in_double[name].dtype) == (torch.float32, torch.float64)
    close(single, in_double[name], 1e-3 if name == CORED else 1e-6)  # two fits, each to its own tolerance


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_is_the_same_to_two_digits(name: str, in_double: Mapping[str, Tensor]) -> None:
    half = explained(name, torch.bfloat16)
    assert half.dtype == torch.float32  # differences of numbers with eight bits have more than eight
    close(half, in_double[name], 0.01)


def slope(answer: Callable[[float], Tensor], step: float) -> Tensor:
    return (answer(step) - answer(-step)) / (2 * step)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("TaylorNID", CORED)])
def test_double_precision_goes_all_the_way(name: str) -> None:
    """Inputs moved by 1e-9, which float32 does not see, move the answer as they should, to six digits."""
    case = at(torch.float64)
    method, along = BUILD[name](case), noise(3, 4, seed=3).double()

    def answer(step: float) -> Tensor:
        found: Tensor = method.attribute(case.inputs + step * along, **case.call)
        return found

    expected = slope(answer, 1e-4)
    assert float(expected.abs().max()) > 0.1
    close(slope(answer, 1e-9), expected, 1e-6)


def test_double_precision_goes_all_the_way_to_the_data_that_teach() -> None:
    """What TaylorNID says depends on the data that it was fitted on, a factor's value on the row."""
    case = at(torch.float64)
    along = noise(64, 4, seed=3).double()

    def derivatives(step: float) -> Tensor:
        method = hoi.TaylorNID(case.model).fit(case.background + step * along)
        found: Tensor = method.attribute(case.inputs, target=1)
        return found

    method = BUILD[CORED](case)

    def factor_values(step: float) -> Tensor:
        tables = method.interact(case.inputs + step * along[:3])
        return torch.stack([torch.from_numpy(table.arrays["factor_values"].copy()) for table in tables])

    for answer in (derivatives, factor_values):
        expected = slope(answer, 1e-4)
        assert float(expected.abs().max()) > 0.01
        close(slope(answer, 1e-9), expected, 1e-6)


def test_double_precision_of_closed_forms() -> None:
    """Of x' A x / 2, to twelve digits: Shapley values, second derivatives by gates and by features."""
    a = torch.tensor([[1.0, 2.0, 0.1], [2.0, 0.0, -3.0], [0.1, -3.0, 0.5]], dtype=torch.float64) / 3
    x = noise(2, 3, seed=8).double() / 7
    model, off = quadratic(a, torch.zeros(3).double()), a - a.diagonal().diag()
    close(hoi.GeneralizableAndOr(model).attribute(x), 0.5 * x * (x @ a), 1e-12)
    close(hoi.TaylorCAM(model).attribute(x), x.abs() * (x.abs() @ off.abs()), 1e-12)
    close(hoi.TaylorNID(model).fit(x).attribute(x), off.abs().sum(1).expand(2, 3) / 2, 1e-12)

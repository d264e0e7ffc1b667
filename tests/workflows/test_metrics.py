"""Captum's infidelity and sensitivity of each method's attributions, against their formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max
from torch import Tensor

import hoi_captum as hoi
from hoi_captum.testing.models import noise
from hoi_captum.testing.suite import as_tuple
from tests.workflows.methods import ALL, AT_A_LAYER, ON_INPUTS, Ready, quadratic, rows_of

SAMPLES, RADIUS = 6, 0.3
TARGETS = [2, 0, 1]


def steps(rows: Tensor) -> Tensor:
    """What a perturbation takes away from the rows of all samples, those of a row together."""
    return RADIUS * noise(*rows.shape, seed=4).to(rows)


def away(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """A perturbation in Captum's form: what is taken away, and what is left."""
    return steps(inputs), inputs - steps(inputs)


@infidelity_perturb_func_decorator(multiply_by_inputs=True)
def in_parts(inputs: Tensor) -> Tensor:
    """The same, for attributions that are multiplied by the inputs."""
    return inputs - steps(inputs)


def unfaithful(model: Any, inputs: Tensor, attributions: Tensor, targets: list[int]) -> Tensor:
    """E[(delta' a - (f(x) - f(x - delta)))^2] of each row, sample by sample."""
    repeated = inputs.repeat_interleave(SAMPLES, 0)
    found = []
    for row, target in enumerate(targets):
        errors = []
        for delta in steps(repeated).unflatten(0, (-1, SAMPLES))[row]:
            with torch.no_grad():
                change = model(inputs[row : row + 1]) - model(inputs[row : row + 1] - delta)
            errors.append(float((delta * attributions[row]).sum() - change[0, target]) ** 2)
        found.append(sum(errors) / SAMPLES)
    return torch.tensor(found)


# ---------------------------------------------------------------- infidelity
@pytest.mark.parametrize("name", ON_INPUTS)
def test_infidelity_is_its_formula(name: str, ready: Ready) -> None:
    method, case = ready(name, "features")
    attributions = method.attribute(case.inputs, target=TARGETS)
    call = {"target": TARGETS, "n_perturb_samples": SAMPLES}
    found = infidelity(case.model, away, case.inputs, attributions, **call)
    expected = unfaithful(case.model, case.inputs, attributions, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert bool((found > 1e-3).all())


@pytest.mark.parametrize("name", AT_A_LAYER)
def test_infidelity_at_a_layer_is_that_of_the_model_behind_it(name: str, ready: Ready) -> None:
    """The layer's values are the inputs of what follows; attributions have their shape."""
    method, case = ready(f"{name}, at a layer", "features")
    with torch.no_grad():
        values = case.model[:2](case.inputs)
    attributions = method.attribute(case.inputs, target=TARGETS)
    behind = case.model[2:]
    found = infidelity(behind, away, values, attributions, target=TARGETS, n_perturb_samples=SAMPLES)
    torch.testing.assert_close(found, unfaithful(behind, values, attributions, TARGETS), rtol=1e-4, atol=1e-6)


def test_exact_attributions_of_a_linear_model_are_faithful_and_worse_ones_are_less_so() -> None:
    """c times the right attributions miss by (c - 1) w' delta."""
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0])
    x = noise(3, 4, seed=1)

    def model(v: Tensor) -> Tensor:
        return v @ weight

    method = hoi.GeneralizableAndOr(model)
    attributions = method.attribute(x)
    torch.testing.assert_close(attributions, weight * x)
    moved = (steps(x.repeat_interleave(SAMPLES, 0)) @ weight).square().view(3, SAMPLES).mean(1)
    for factor in (1.0, 1.5, -1.0):
        found = infidelity(model, in_parts, x, factor * attributions, n_perturb_samples=SAMPLES)
        torch.testing.assert_close(found, (factor - 1) ** 2 * moved, rtol=1e-3, atol=1e-6)


def test_what_interacts_is_shared_right_where_all_of_it_is_taken_away() -> None:
    """Shapley values add up to what all features do together; gradient times input adds up to twice that."""
    x = torch.tensor([[2.0, 3.0], [-1.0, 0.5]])

    def model(v: Tensor) -> Tensor:
        return v.prod(1)

    @infidelity_perturb_func_decorator(multiply_by_inputs=True)
    def nothing_left(inputs: Tensor) -> Tensor:
        return torch.zeros_like(inputs)

    shapley = hoi.GeneralizableAndOr(model).attribute(x)
    torch.testing.assert_close(infidelity(model, nothing_left, x, shapley), torch.zeros(2))
    torch.testing.assert_close(infidelity(model, nothing_left, x, 2 * shapley), model(x).square())


# ---------------------------------------------------------------- sensitivity
def shaken(inputs: Tensor, radius: float) -> Tensor:
    return inputs + radius * noise(*inputs.shape, seed=5).to(inputs)


def most_moved(method: Any, inputs: Tensor, targets: list[int]) -> Tensor:
    """The largest change of each row's attributions, in parts of their size."""
    moved = shaken(inputs.repeat_interleave(SAMPLES, 0), RADIUS).unflatten(0, (-1, SAMPLES))
    found = []
    for row, target in enumerate(targets):
        plain = method.attribute(rows_of(inputs, row), target=target).double()
        changes = [
            (method.attribute(x.unsqueeze(0), target=target).double() - plain).norm() / plain.norm()
            for x in moved[row]
        ]
        found.append(max(changes))
    return torch.stack(found)


@pytest.mark.parametrize("name", ALL)
def test_sensitivity_is_its_formula(name: str, ready: Ready) -> None:
    method, case = ready(name, "features")

    def in_a_tuple(inputs: Any, **call: Any) -> tuple[Tensor, ...]:
        given = inputs[0] if isinstance(inputs, tuple) else inputs
        return as_tuple(method.attribute(given, **call))

    found = sensitivity_max(
        in_a_tuple if "layer" in name else method.attribute,
        case.inputs,
        perturb_func=shaken,
        perturb_radius=RADIUS,
        n_perturb_samples=SAMPLES,
        target=TARGETS,
    )
    expected = most_moved(method, case.inputs, TARGETS)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)
    assert bool(found.any()) is (name != "TaylorNID")  # which says the same of all inputs


def test_a_layers_tensor_has_to_be_put_in_a_tuple(ready: Ready) -> None:
    """sensitivity_max hands over a tuple, and takes a Tensor that comes back for a tuple of its rows."""
    method, case = ready("TaylorCAM, at a layer", "features")
    with pytest.raises(RuntimeError):
        sensitivity_max(method.attribute, case.inputs, target=TARGETS)


def test_what_does_not_depend_on_the_input_has_no_sensitivity() -> None:
    """Second derivatives of a quadratic model, and what neurons of one region know of a factor."""
    data = 2 * torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) - 1
    a, b = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, -1.0], [0.0, -1.0, 0.0]]), torch.zeros(3)
    model = quadratic(a, b)
    hessians = hoi.SecondGlance(model, surrogate="ridge").fit(data)
    expected = a.abs().sum(1).expand(2, 3)
    torch.testing.assert_close(hessians.attribute(data[:2]), expected, rtol=0, atol=1e-3)
    assert float(sensitivity_max(hessians.attribute, data[:2]).max()) < 1e-5
    derivatives = hoi.TaylorNID(model).fit(data)
    torch.testing.assert_close(derivatives.attribute(data[:2]), expected / 2)
    assert not sensitivity_max(derivatives.attribute, data[:2]).any()
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    factors = hoi.LayerLocalCorEx(net, net[1], n_factors=2, n_clusters=1).fit(data)
    assert not sensitivity_max(lambda x: (factors.attribute(x),), data[:2]).any()


def test_sensitivity_of_a_linear_model_and_of_a_product() -> None:
    """|w e| / |w x| of Shapley values; | |x0' x1'| - |x0 x1| | / |x0 x1| of the pair's two sums."""
    weight, x = torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 1.0], [1.0, -3.0]])
    moved = shaken(x.repeat_interleave(SAMPLES, 0), RADIUS).unflatten(0, (2, SAMPLES))
    call = {"perturb_func": shaken, "perturb_radius": RADIUS, "n_perturb_samples": SAMPLES}
    linear = hoi.GeneralizableAndOr(lambda v: v @ weight)
    expected = ((moved - x.unsqueeze(1)) * weight).norm(dim=2).amax(1) / (weight * x).norm(dim=1)
    torch.testing.assert_close(sensitivity_max(linear.attribute, x, **call), expected)
    product = hoi.TaylorCAM(lambda v: v.prod(1))
    pair = x.prod(1).abs()
    expected = (moved.prod(2).abs() - pair.unsqueeze(1)).abs().amax(1) / pair
    torch.testing.assert_close(sensitivity_max(product.attribute, x, **call), expected)

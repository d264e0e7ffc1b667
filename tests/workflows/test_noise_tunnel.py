"""Captum's NoiseTunnel around each method: what it gives is the mean over the very same noisy inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import Tensor

import hoi_captum as hoi
from hoi_captum.errors import InputError
from hoi_captum.testing.models import noise, smooth_net
from hoi_captum.testing.suite import as_tuple
from tests.workflows.methods import ALL, ON_INPUTS, Ready, close, quadratic, rows_of

SEED, SAMPLES = 7, 5
TARGETS = [2, 0, 1]
ROUNDING = {"smoothgrad": 1e-4, "smoothgrad_sq": 2e-4, "vargrad": 2e-4}  # sums of float32 in another order


def noisy(inputs: tuple[Tensor, ...], stdevs: tuple[float, ...], parts: Sequence[int]) -> list[Any]:
    """The samples that NoiseTunnel draws after ``torch.manual_seed(SEED)``: tuples, all rows in each."""
    torch.manual_seed(SEED)
    samples: list[Any] = []
    for count in parts:
        drawn = [
            x.unsqueeze(1)
            + torch.normal(0, torch.full((len(x) * count, *x.shape[1:]), s)).unflatten(0, (-1, count))
            for x, s in zip(inputs, stdevs, strict=True)
        ]
        samples += [tuple(x[:, i] for x in drawn) for i in range(count)]
    return samples


def by_hand(method: Any, inputs: Any, targets: list[int], samples: list[Any], **call: Any) -> list[Any]:
    """The mean, the mean square and the variance of each row's attributions, each asked for alone."""
    found = []
    for sample in samples:
        given = sample if isinstance(inputs, tuple) else sample[0]
        rows = [
            as_tuple(
                method.attribute(
                    rows_of(given, row), target=target, **{k: rows_of(v, row) for k, v in call.items()}
                )
            )
            for row, target in enumerate(targets)
        ]
        found.append([torch.cat(parts).double() for parts in zip(*rows, strict=True)])
    stacked = [torch.stack(parts) for parts in zip(*found, strict=True)]
    return [
        {"smoothgrad": x.mean(0), "smoothgrad_sq": x.square().mean(0), "vargrad": x.var(0, correction=0)}
        for x in stacked
    ]


def tunnelled(method: Any, inputs: Any, nt_type: str, **call: Any) -> Any:
    torch.manual_seed(SEED)
    return NoiseTunnel(method).attribute(inputs, nt_type=nt_type, nt_samples=SAMPLES, **call)


@pytest.mark.parametrize(("size", "parts"), [(None, [5]), (2, [2, 2, 1])])
@pytest.mark.parametrize("name", ALL)
def test_it_is_the_mean_over_noisy_inputs(
    name: str, size: int | None, parts: list[int], ready: Ready
) -> None:
    method, case = ready(name, "features")
    expected = by_hand(method, case.inputs, TARGETS, noisy((case.inputs,), (0.4,), parts))[0]
    for nt_type, rounding in ROUNDING.items():
        found = tunnelled(
            method, case.inputs, nt_type, stdevs=0.4, nt_samples_batch_size=size, target=TARGETS
        )
        # a variance is as exact as the squares that it is a difference of
        close(
            found, expected[nt_type], rounding, expected[{"vargrad": "smoothgrad_sq"}.get(nt_type, nt_type)]
        )
    assert bool(expected["vargrad"].any()) is (name != "TaylorNID")  # the noise did something


@pytest.mark.parametrize("name", ALL)
def test_without_noise_it_is_the_method_itself(name: str, ready: Ready) -> None:
    method, case = ready(name, "features")
    plain = method.attribute(case.inputs, target=TARGETS)
    close(tunnelled(method, case.inputs, "smoothgrad", stdevs=0.0, target=TARGETS), plain, 1e-5)
    close(tunnelled(method, case.inputs, "smoothgrad_sq", stdevs=0.0, target=TARGETS), plain.square(), 1e-5)
    variance = tunnelled(method, case.inputs, "vargrad", stdevs=0.0, target=TARGETS)
    assert float(variance.abs().max()) < 1e-5 * float(plain.square().max())


@pytest.mark.parametrize("name", [*ON_INPUTS, "LayerLocalCorEx, at a layer"])
def test_several_tensors_have_noise_of_their_own(name: str, ready: Ready) -> None:
    method, case = ready(name, "two tensors")
    targets = [1, 0, 1]
    samples = noisy(case.inputs, (0.1, 0.6), [SAMPLES])
    expected = by_hand(method, case.inputs, targets, samples)
    found = tunnelled(method, case.inputs, "smoothgrad", stdevs=(0.1, 0.6), target=targets)
    assert isinstance(found, tuple) is (name in ON_INPUTS)
    assert len(as_tuple(found)) == len(expected)
    close(found, tuple(x["smoothgrad"] for x in expected), 1e-4)


@pytest.mark.parametrize("name", ["GeneralizableAndOr", "TaylorCAM", "SecondGlance"])
def test_baselines_masks_and_additional_arguments_go_with_their_rows(name: str) -> None:
    net = smooth_net()
    method = getattr(hoi, name)(net)
    inputs = noise(3, 4, seed=1)
    call = {
        "baselines": noise(3, 4, seed=2),
        "feature_mask": torch.tensor([[0, 1, 1, 2], [2, 0, 1, 1], [1, 1, 0, 2]]),
        "additional_forward_args": noise(3, 4, seed=3),
    }
    expected = by_hand(method, inputs, TARGETS, noisy((inputs,), (0.4,), [SAMPLES]), **call)[0]
    found = tunnelled(method, inputs, "smoothgrad", stdevs=0.4, target=TARGETS, **call)
    close(found, expected["smoothgrad"], 1e-4)


# ---------------------------------------------------------------- closed forms
A = torch.tensor([[0.5, 2.0, 0.0], [2.0, -1.0, -3.0], [0.0, -3.0, 0.0]], dtype=torch.float64)
B = torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64)
X = torch.tensor([[1.0, -0.5, 2.0], [0.3, 1.5, -1.0]], dtype=torch.float64)


def test_shapley_values_of_a_quadratic_model() -> None:
    """b_i x_i + A_ii x_i^2 / 2 + sum_j A_ij x_i x_j / 2, whose mean over noise has A_ii s^2 / 2 more."""

    def shapley(x: Tensor) -> Tensor:
        return x * (B + 0.5 * x @ A)

    method = hoi.GeneralizableAndOr(quadratic(A, B))
    close(method.attribute(X), shapley(X), 1e-12)
    samples = torch.stack([sample[0] for sample in noisy((X,), (0.5,), [SAMPLES])])
    close(tunnelled(method, X, "smoothgrad", stdevs=0.5), shapley(samples).mean(0), 1e-12)
    close(tunnelled(method, X, "vargrad", stdevs=0.5), shapley(samples).var(0, correction=0), 1e-10)
    torch.manual_seed(SEED)
    many = NoiseTunnel(method).attribute(X, nt_type="smoothgrad", nt_samples=4000, stdevs=0.5)
    spread = shapley(X.unsqueeze(1) + 0.5 * noise(1, 4000, 3, seed=9).double()).std(1) / 4000**0.5
    assert bool(((many - shapley(X) - 0.125 * A.diagonal()).abs() < 5 * spread).all())


@pytest.mark.parametrize(
    ("method", "tolerance"),
    [(hoi.TaylorCAM, 1e-12), (hoi.SecondGlance, 3e-4)],  # of its ridge
    ids=["TaylorCAM", "SecondGlance"],
)
def test_interactions_of_a_quadratic_model(method: type, tolerance: float) -> None:
    """A unit's sum of sizes is |x_i| sum_j |A_ij x_j| over the others."""

    def strengths(x: Tensor) -> Tensor:
        return x.abs() * (x.abs() @ (A - A.diagonal().diag()).abs())

    samples = torch.stack([sample[0] for sample in noisy((X,), (0.5,), [SAMPLES])])
    for nt_type, expected in (
        ("smoothgrad", strengths(samples).mean(0)),
        ("smoothgrad_sq", strengths(samples).square().mean(0)),
        ("vargrad", strengths(samples).var(0, correction=0)),
    ):
        close(tunnelled(method(quadratic(A, B)), X, nt_type, stdevs=0.5), expected, 3 * tolerance)


def test_what_is_learned_from_data_is_no_matter_of_the_noise(ready: Ready) -> None:
    """A fitted TaylorNID says the same of every row of a target."""
    method, case = ready("TaylorNID", "features")
    plain = method.attribute(case.inputs, target=TARGETS)
    close(tunnelled(method, case.inputs, "smoothgrad", stdevs=2.0, target=TARGETS), plain, 1e-6)
    variance = tunnelled(method, case.inputs, "vargrad", stdevs=2.0, target=TARGETS)
    assert float(variance.abs().max()) < 1e-6 * float(plain.square().max())


def test_a_model_in_half_precision_gets_noise_of_float32_and_says_so() -> None:
    """Captum draws its noise in float32, which adds up to inputs of float32."""
    method = hoi.TaylorCAM(smooth_net().bfloat16())
    with pytest.raises(InputError, match=r"parameters are torch\.bfloat16 and an input is torch\.float32"):
        NoiseTunnel(method).attribute(noise(3, 4).bfloat16(), stdevs=0.1, target=0)

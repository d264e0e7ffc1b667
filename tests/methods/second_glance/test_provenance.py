"""What SecondGlance says of its numbers around one input: R², standard errors, warnings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from hoi_captum.errors import CostWarning, FidelityWarning
from hoi_captum.methods.second_glance import SecondGlance
from hoi_captum.views import interaction_table
from tests.methods.second_glance.models import SHRUNK, drawn, quadratic, relu_net


def test_the_same_seed_gives_the_same_and_another_one_others():
    net, x = relu_net(), drawn(1, 4) + 2
    first, again, other = (SecondGlance(net, seed=s).interact(x, target=0)[0] for s in (3, 3, 4))
    assert first == again
    assert not np.allclose(first.pairs, other.pairs, rtol=1e-3)
    assert (first.provenance.seed, other.provenance.seed) == (3, 4)


@pytest.mark.parametrize(("sampling", "width"), [("uniform", 0.5), ("gaussian", 0.3), ("bernoulli", 0.5)])
def test_standard_errors_are_the_spread_over_seeds(sampling, width):
    net, x = relu_net(), drawn(1, 4) + 2
    runs = [
        SecondGlance(net, sampling=sampling, width=width, seed=s).interact(x, target=0)[0] for s in range(60)
    ]
    upper = np.triu_indices(4, 1)
    spread = np.array([t.pairs[upper] for t in runs]).std(0, ddof=1)
    said = np.sqrt(np.mean([t.stderr[upper] ** 2 for t in runs], 0))
    assert (spread / said).mean() == pytest.approx(1, abs=0.15)
    np.testing.assert_array_equal(runs[0].stderr, runs[0].stderr.T)


def test_terms_have_their_standard_errors_in_frames_and_tables():
    x = drawn(20, 4) + 2
    (table,) = SecondGlance(relu_net()).interact(x[:1], target=0)
    frame = table.to_dataframe()
    assert len(frame) == 6
    for term, (i, j), error in zip(table, frame["members"], frame["stderr"], strict=True):
        assert table.standard_error(term) == error == table.stderr[i, j] > 0
    headers = [str(column.header) for column in interaction_table(table).columns]
    assert "±" in headers
    (triples,) = SecondGlance(lambda v: v[:, :3].prod(1), order=3).interact(x[:1])
    (learned,) = SecondGlance(quadratic, surrogate="ridge").fit(x).interact(x[:1])
    for other in (triples, learned):
        assert other.to_dataframe()["stderr"].isna().all()
        assert "±" not in [str(column.header) for column in interaction_table(other).columns]


def test_the_provenance_says_what_the_numbers_are_worth():
    net, x, rows = relu_net(), drawn(2, 4) + 2, []

    def counted(v: Tensor) -> Tensor:
        rows.append(len(v))
        return net(v)

    found = SecondGlance(counted, n_samples=201).interact(x, target=0)
    for table in found:
        provenance, details = table.provenance, table.provenance.details
        assert provenance.method == "second-glance"
        assert provenance.forward_passes == sum(rows) // 2
        assert details["n_samples"] == 202  # opposite draws come in pairs
        assert provenance.backward_passes == 203  # and one at the row itself
        difference = np.linalg.norm(table.jacobian - table.jacobian.T)
        assert details["asymmetry"] == pytest.approx(difference / np.linalg.norm(table.jacobian))
        np.testing.assert_allclose(
            table.pairs[0, 1:], (table.jacobian[0, 1:] + table.jacobian[1:, 0]) / 2, rtol=1e-12
        )
        assert 0 < details["r2"] < 1
        assert details["zero_fraction"] == 0
        assert "202 gradients at uniform gates on the inputs" in details["how"]
        assert provenance.options["n_samples"] == 201
    (exact,) = SecondGlance(quadratic).interact(x[:1])
    assert exact.provenance.details["r2"] == pytest.approx(1, abs=1e-6)
    assert exact.stderr.max() < SHRUNK * np.abs(exact.pairs).max()


def test_r2_is_that_of_gradients_left_out_one_by_one():
    # the gradient of sin has an odd part that is not linear; every pair of draws is left out in turn
    x = torch.tensor([[0.4, 1.3]], dtype=torch.float64)

    def f(v: Tensor) -> Tensor:
        return (3 * v[:, 0] * v[:, 1]).sin()

    (table,) = SecondGlance(f, n_samples=40, seed=2).interact(x)
    generator = torch.Generator().manual_seed(2)
    steps = 0.5 * (2 * torch.rand(20, 2, generator=generator, dtype=torch.float64) - 1)
    gates = torch.cat([1 + steps, 1 - steps]).requires_grad_()
    gradients = torch.autograd.grad(f(gates * x).sum(), gates)[0]
    odd, even = (gradients[:20] - gradients[20:]) / 2, (gradients[:20] + gradients[20:]) / 2
    missed = 0.0
    for left in range(20):
        kept = [i for i in range(20) if i != left]
        slopes = torch.linalg.lstsq(steps[kept], odd[kept]).solution
        missed += float((odd[left] - steps[left] @ slopes).square().sum())
    even = even - even.mean(0)
    missed += float(even.square().sum())
    total = float(odd.square().sum() + even.square().sum())
    assert 1 - table.provenance.details["r2"] == pytest.approx(missed / total, rel=1e-3)


def test_rows_in_which_nothing_stands_out_are_warned_of():
    # a sum has no pairs, though its gradients vary
    x, weight = drawn(2, 4) + 2, torch.tensor([0.0, 100.0], dtype=torch.float64)

    def f(v: Tensor, by: Tensor) -> Tensor:
        return (9 * v).sin().sum(1) + by * v[:, 0] * v[:, 1]

    with pytest.warns(FidelityWarning, match="in 1 of 2 rows no pair stands out of the noise of 128 drawn"):
        SecondGlance(f).interact(x, additional_forward_args=weight)
    with pytest.warns(FidelityWarning, match="in 2 of 2 rows"):
        SecondGlance(f).interact(x, additional_forward_args=0 * weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SecondGlance(f).interact(x[1:], additional_forward_args=weight[1:])


def test_a_row_without_second_derivatives_is_no_row_of_noise():
    # more draws, which the warning of noise advises, would not find any either
    x, weight = drawn(2, 4) + 2, torch.tensor([0.0, 1.0], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FidelityWarning)
        found = SecondGlance(lambda v, by: v.sum(1) + by * v[:, 0] * v[:, 1]).interact(
            x, additional_forward_args=weight
        )
    assert [len(t) > 0 for t in found] == [False, True]


def test_many_units_are_warned_of_and_few_draws_are_enough():
    x = drawn(1, 70) + 2
    with pytest.warns(CostWarning, match="70 units, mode 'ridge': about 1,680 forward passes for each row"):
        (table,) = SecondGlance(lambda v: v[:, 3] * v[:, 40]).interact(x)
    assert table.provenance.details["n_samples"] == 560
    assert table.pairs[3, 40] == pytest.approx(float(x[0, 3] * x[0, 40]), rel=1e-2)

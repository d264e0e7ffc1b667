"""Some rows of gates are what they are in all of them."""

from __future__ import annotations

import torch

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import gradient, grow, hessian
from hoi_captum.core.differences import gradient_differences, occlusion
from hoi_captum.core.gate_rows import RowsOfGates
from hoi_captum.core.gates import InputGates


def test_derivatives_of_some_rows_are_those_of_all():
    x = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    masks = (torch.tensor([[0], [1], [2]]).expand(4, -1, -1).clone(),)
    seen: list[int] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x.sum(2).prod(1) + x.sin().sum((1, 2))

    arguments = Arguments(f, x, additional_forward_args=None)
    gates = InputGates(arguments, Players.from_feature_mask(arguments.inputs, masks))
    rows = torch.tensor([3, 1])
    part = RowsOfGates(gates, rows)
    assert (part.n_examples, part.n_units, part.n_channels) == (2, 3, 2)
    pairs = torch.tensor([[0, 1], [1, 2]])
    for taken in (
        gradient,
        hessian,
        gradient_differences,
        lambda g: occlusion(g, pairs),
        lambda g: grow(g, pairs),
        lambda g: hessian(g, wrt=("shift", "channels")),
        lambda g: g.sums(),
    ):
        torch.testing.assert_close(taken(part), taken(gates)[rows], rtol=1e-12, atol=1e-12)
    before, seen[:] = gates.forward_passes, []
    hessian(part)
    assert seen == [2]
    assert gates.forward_passes == before + 2
    assert part.backward_passes > 0

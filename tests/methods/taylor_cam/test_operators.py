"""Each way to take cross derivatives, by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import grow, hessian
from hoi_captum.core.differences import path_weights
from hoi_captum.core.gates import Gates, InputGates
from hoi_captum.core.passes import PassSize
from hoi_captum.methods.taylor_cam.modes import MODES, Settings, operator_of
from hoi_captum.methods.taylor_cam.operators import (
    AlongPath,
    Exact,
    Occlusion,
    RowByRow,
    Softplus,
    Stein,
)

EXACT = {"rtol": 0, "atol": 1e-10}
X = torch.tensor([[0.7, -1.2, 0.5], [1.1, 0.3, -0.4], [0.2, 0.9, 0.6]], dtype=torch.float64)
SETTINGS = Settings(mode="auto", h=0.25, n_samples=32, stdev=0.2, beta=4.0, seed=5)
PAIRS = torch.tensor([[0, 1], [0, 2], [1, 2]]).expand(3, -1, -1)


def gates_of(f, x: Tensor = X) -> InputGates:
    arguments = Arguments(f, x)
    return InputGates(arguments, Players.from_feature_mask(arguments.inputs, None))


def product(x: Tensor) -> Tensor:
    return x.prod(1)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_exact_derivatives_in_chunks(rows):
    done: list[int] = []
    gates, f = gates_of(product), product
    taken = Exact(PassSize(rows), on_rows=done.append)
    torch.testing.assert_close(taken.second(gates), hessian(gates_of(f)), **EXACT)
    assert done == [*range(rows, 3, rows), 3]
    torch.testing.assert_close(taken.third(gates, PAIRS), grow(gates_of(f), PAIRS), **EXACT)
    assert [chunk.tolist() for chunk in taken.chunks(gates)] == [
        list(range(start, min(start + rows, 3))) for start in range(0, 3, rows)
    ]


@pytest.mark.parametrize("points", [3, 9])
def test_along_the_path_all_scales_move_together(points):
    # f = x0 x1 x2: T_ij(u) = u f, and the third derivative is f everywhere
    taken, gates = AlongPath(PassSize(2), points), gates_of(product)
    u, weights = path_weights(2, points)
    expected = float((weights * u).sum()) * X.prod(1)
    torch.testing.assert_close(taken.second(gates)[:, 0, 1], expected, **EXACT)
    _, weights = path_weights(3, points)
    expected = float(weights.sum()) * X.prod(1)
    torch.testing.assert_close(taken.third(gates, PAIRS)[:, 0, 2], expected, **EXACT)
    assert float(path_weights(3, 9)[1].sum()) == pytest.approx(1 / 27, rel=0.01)


def test_softplus_is_the_model_with_softplus():
    torch.manual_seed(0)
    first, last = nn.Linear(3, 8).double(), nn.Linear(8, 1).double()
    gates = gates_of(lambda x: last(first(x).relu()))
    swapped = gates_of(lambda x: last(nn.functional.softplus(first(x), beta=4.0)))
    taken = Softplus(PassSize(2), beta=4.0)
    assert not hessian(gates).any()
    torch.testing.assert_close(taken.second(gates), hessian(swapped), **EXACT)
    torch.testing.assert_close(taken.third(gates, PAIRS), grow(swapped, PAIRS), **EXACT)
    rows = torch.arange(3)
    with torch.no_grad():
        error = (swapped.run(rows) - gates.run(rows)).abs() / gates.run(rows).abs()
    assert taken.swap_error(gates) == pytest.approx(error.tolist())
    assert Exact(PassSize(2)).swap_error(gates) is None


def test_third_smoothed_derivatives_do_not_depend_on_the_pair_that_leads_there():
    taken, gates = Stein(PassSize(64), 64, 0.3), gates_of(lambda x: x.tanh().prod(1))
    found = taken.third(gates, PAIRS)
    torch.testing.assert_close(found[:, 0, 2], found[:, 1, 1], **EXACT)
    torch.testing.assert_close(found[:, 0, 2], found[:, 2, 0], **EXACT)


def test_occlusion_of_pairs_and_triples():
    taken, gates = Occlusion(PassSize(5)), gates_of(lambda x: product(x) + x[:, 0] * x[:, 1])
    second = taken.second(gates)
    expected = torch.zeros(3, 3, 3, dtype=torch.float64)
    expected += X.prod(1).view(3, 1, 1)
    expected[:, 0, 1] += X[:, 0] * X[:, 1]
    expected[:, 1, 0] += X[:, 0] * X[:, 1]
    expected *= 1 - torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(second, expected, **EXACT)
    third = taken.third(gates, PAIRS)
    for index, last in enumerate((2, 1, 0)):
        torch.testing.assert_close(third[:, index, last], X.prod(1), **EXACT)


@pytest.mark.parametrize("mode", MODES[1:])
def test_costs_are_those_of_the_passes(mode):
    """Forward passes as they are, and a gradient as three; reverse passes through its graph as five."""
    gates: Gates = gates_of(lambda x: x.tanh().prod(1), X[:1])
    taken = operator_of((mode,), SETTINGS, PassSize(4), lambda rows: None)
    taken.second(gates)
    k, points = gates.n_units, 9
    if mode in ("exact", "softplus", "path"):
        times = points if mode == "path" else 1
        assert (gates.forward_passes, gates.backward_passes) == (times, times * (1 + k))
        assert taken.cost(k) == times * (3 + 5 * k)
    elif mode == "occlusion":
        assert (gates.forward_passes, gates.backward_passes) == (1 + k + k * (k - 1) // 2, 0)
        assert taken.cost(k) == gates.forward_passes
    else:
        assert gates.forward_passes == gates.backward_passes
        assert taken.cost(k) == 3 * gates.forward_passes


def test_rows_may_have_operators_of_their_own():
    gates, size = gates_of(product), PassSize(8)
    chosen = torch.tensor([False, True, False])
    taken = RowByRow(size, Exact(size), Occlusion(size), chosen)
    exact, switched = Exact(size), Occlusion(size)
    second, third = taken.second(gates), taken.third(gates, PAIRS)
    for row, own in enumerate((exact, switched, exact)):
        torch.testing.assert_close(second[row], own.second(gates)[row], **EXACT)
        torch.testing.assert_close(third[row], own.third(gates, PAIRS)[row], **EXACT)
    assert taken.cost(3) == max(exact.cost(3), switched.cost(3))

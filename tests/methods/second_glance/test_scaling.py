"""Units and gradients on one scale: a gradient stays one, and its Jacobian comes back in the units' own."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import functional

from hoi_captum.errors import InputError
from hoi_captum.methods.second_glance.scaling import (
    Scaling,
    asymmetry,
    symmetric,
    symmetric_third,
    unknown_pairs,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}
SCALES = st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3)
SEEDS = st.integers(0, 10**6)
A = torch.tensor([[2.0, -1.0, 0.5], [-1.0, 0.0, 3.0], [0.5, 3.0, -4.0]], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.3], dtype=torch.float64)
NAN = math.nan


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_cubic(z: Tensor) -> Tensor:
    """The gradient of z'Az/2 + b'z + z0 z1 z2 + z0^3 / 3, (..., 3)."""
    x, y, w = z.unbind(-1)
    return z @ A + B + torch.stack([y * w + x.square(), x * w, x * y], -1)


THIRD = torch.zeros(3, 3, 3, dtype=torch.float64)
for order in permutations(range(3)):
    THIRD[order] = 1.0
THIRD[0, 0, 0] = 2.0


# ---------------------------------------------------------------- there and back
@pytest.mark.parametrize("bounded", [False, True])
def test_scaled_data_have_the_promised_moments(bounded):
    z = drawn(50, 3) * torch.tensor([1.0, 100.0, 0.01]) + 5
    g = of_cubic(z)
    scaling = Scaling.of(z, g, bounded=bounded)
    units, gradients = scaling.units(z), scaling.gradients(g)
    torch.testing.assert_close(units.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(units.std(0), torch.ones(3, dtype=torch.float64), **EXACT)
    if bounded:
        assert float(gradients.abs().max()) == pytest.approx(1)
        torch.testing.assert_close(gradients, g * z.std(0) / (g * z.std(0)).abs().max(), **EXACT)
    else:
        torch.testing.assert_close(gradients.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-10)
        assert float(gradients.square().mean()) == pytest.approx(1)
    torch.testing.assert_close(units * scaling.std + scaling.mean, z, **EXACT)
    torch.testing.assert_close((gradients * scaling.size + scaling.shift) / scaling.std, g, **EXACT)


@given(scales=SCALES, seed=SEEDS, bounded=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_scaled_gradient_is_conservative_and_its_derivatives_come_back(scales, seed, bounded):
    z = drawn(20, 3, seed=seed) * torch.tensor(scales, dtype=torch.float64)
    scaling = Scaling.of(z, of_cubic(z), bounded=bounded)

    def seen(own: Tensor) -> Tensor:
        """What a surrogate is to learn: scaled gradients as a function of scaled units."""
        return scaling.gradients(of_cubic(own * scaling.std + scaling.mean))

    own = scaling.units(z[0])
    jacobian = functional.jacobian(seen, own)
    torch.testing.assert_close(jacobian, jacobian.T, rtol=1e-10, atol=1e-12)
    x, y, w = z[0]
    expected = A + torch.tensor([[2 * x, w, y], [w, 0, x], [y, x, 0]])
    torch.testing.assert_close(scaling.of_jacobian(jacobian), expected, rtol=1e-8, atol=1e-8)
    third = torch.stack([functional.hessian(lambda v, j=j: seen(v)[j], own) for j in range(3)])
    torch.testing.assert_close(scaling.of_third(third), THIRD, rtol=1e-8, atol=1e-8)
    both = torch.stack([third, 2 * third])
    torch.testing.assert_close(scaling.of_third(both), torch.stack([THIRD, 2 * THIRD]), rtol=1e-8, atol=1e-8)


def test_derivatives_that_are_not_symmetric_keep_their_places():
    # row j of a Jacobian belongs to gradient j, which has the scale of unit j, its column to unit i
    std = torch.tensor([2.0, 10.0], dtype=torch.float64)
    known = torch.ones(2, 2, dtype=torch.bool)
    values = torch.full((2, 2), torch.nan)
    scaling = Scaling(torch.zeros(2), std, torch.tensor([7.0, 9.0]), 3.0, known, values)
    found = scaling.of_jacobian(torch.tensor([[0.0, 20.0], [40.0, 100.0]], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([[0.0, 3.0], [6.0, 3.0]], dtype=torch.float64), **EXACT)
    third = torch.zeros(2, 2, 2, dtype=torch.float64)
    third[0, 1, 0], third[1, 1, 0] = 40.0, 200.0
    found = scaling.of_third(third)
    assert found[0, 1, 0] == pytest.approx(40 * 3 / (2 * 10 * 2))
    assert found[1, 1, 0] == pytest.approx(200 * 3 / (10 * 10 * 2))
    assert found.count_nonzero() == 2


# ---------------------------------------------------------------- what is not there, and what does not vary
def test_gradients_that_are_not_there_do_not_count():
    z, g = drawn(40, 3), of_cubic(drawn(40, 3))
    there = torch.rand(40, 3, generator=torch.Generator().manual_seed(1)) < 0.6
    scaling = Scaling.of(z, torch.where(there, g, NAN))
    scaled = g * z.std(0)
    shift = torch.stack([scaled[there[:, j], j].mean() for j in range(3)])
    torch.testing.assert_close(scaling.shift, shift, **EXACT)
    assert scaling.size == pytest.approx(float((scaled - shift)[there].square().mean().sqrt()))
    gradients = scaling.gradients(torch.where(there, g, NAN))
    assert torch.equal(gradients.isnan(), ~there)
    bounded = Scaling.of(z, torch.where(there, g, NAN), bounded=True)
    assert bounded.size == pytest.approx(float(scaled[there].abs().max()))


def test_a_unit_that_never_varies_is_left_in_its_own_scale():
    z = drawn(30, 3)
    z[:, 1] = 0.1
    scaling = Scaling.of(z, of_cubic(z))
    assert scaling.std[1] == 1
    assert scaling.mean[1] == pytest.approx(0.1)
    torch.testing.assert_close(scaling.units(z)[:, 1], torch.zeros(30, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("g", [torch.zeros(20, 3), torch.tensor([1.0, -3.0, 1e6]).expand(20, 3)])
@pytest.mark.parametrize("bounded", [False, True])
def test_constant_gradients_are_refused(g, bounded):
    g = g.double() * (1 + 1e-13 * drawn(20, 3))
    with pytest.raises(InputError, match="expected gradients that differ between the rows, got the same"):
        Scaling.of(drawn(20, 3), g, bounded=bounded)


def test_small_gradients_are_not_taken_for_constant():
    z = drawn(20, 3)
    g = 1e-30 * of_cubic(z)
    torch.testing.assert_close(Scaling.of(z, g).gradients(g), Scaling.of(z, 1e30 * g).gradients(1e30 * g))


# ---------------------------------------------------------------- what the data show
def known_of(z: Tensor, g: Tensor | None = None) -> list[list[int]]:
    g = drawn(*z.shape) if g is None else g
    return Scaling.of(z.double(), g.double()).known.int().tolist()


def test_units_that_vary_are_known_and_those_that_do_not_are_not():
    z = drawn(20, 3)
    assert known_of(z) == [[1, 1, 1]] * 3
    z[:, 1] = 4.0
    assert known_of(z) == [[1, 0, 1]] * 3  # gradient 1 is there, and says how it depends on the others


@pytest.mark.parametrize("usual", [0.0, 1.0])
@pytest.mark.parametrize(("rows", "known"), [(0, 0), (4, 0), (5, 1), (15, 1), (16, 0), (20, 0)])
def test_a_unit_of_two_values_is_known_by_five_rows_of_each(usual, rows, known):
    z = drawn(20, 2)
    z[:, 1] = usual
    z[:rows, 1] = 1 - usual
    assert known_of(z) == [[1, known]] * 2


@pytest.mark.parametrize(("others", "known"), [(4, 0), (5, 1), (18, 1)])
def test_a_unit_of_many_values_is_known_by_five_rows_that_are_not_as_usual(others, known):
    z = torch.zeros(20, 2, dtype=torch.float64)
    z[:, 0] = drawn(20)
    z[:others, 1] = torch.arange(1.0, others + 1)
    assert known_of(z) == [[1, known]] * 2


def test_words_are_known_by_the_texts_that_have_them_together_and_apart():
    # words 0 and 1 are in 5 texts together and in 5 each alone; 2 is in 4 with 0, in 7 alone; 3 is nowhere
    texts = [(0, 1)] * 5 + [(0,)] * 5 + [(1,)] * 5 + [(0, 2)] * 4 + [(2,)] * 7
    z = torch.zeros(len(texts), 4)
    for row, words in enumerate(texts):
        z[row, list(words)] = 1
    g = torch.where(z > 0, drawn(len(texts), 4).float(), NAN)
    assert known_of(z, g) == [
        [0, 1, 0, 0],  # a word's gradient is there only where the word is: nothing about itself
        [1, 0, 0, 0],  # 2 is never with 1
        [0, 0, 0, 0],  # 0 is with 2 in four texts only
        [0, 0, 0, 0],
    ]
    z[4, 2], g[4, 2] = 1, 0.5
    # now in five with 0, and in one with 1
    assert known_of(z, g) == [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_a_pair_may_be_known_one_way_only():
    # 1 is in all texts that have 0 (but not the other way round): gradient 0 never saw 1 gone
    texts = [(0, 1)] * 10 + [(1,)] * 10 + [()] * 5
    z = torch.zeros(25, 2)
    for row, words in enumerate(texts):
        z[row, list(words)] = 1
    assert known_of(z, torch.where(z > 0, drawn(25, 2).float(), NAN)) == [[0, 0], [1, 0]]


# ---------------------------------------------------------------- symmetry
def test_matrices_by_hand():
    jacobian = torch.tensor([[1.0, 2.0, 8.0], [4.0, 5.0, 6.0], [7.0, 9.0, 3.0]])
    known = torch.tensor([[True, True, False], [True, False, False], [True, False, True]])
    expected = torch.tensor([[1.0, 3.0, 7.0], [3.0, 0.0, 0.0], [7.0, 0.0, 3.0]])
    assert symmetric(jacobian, known).tolist() == expected.tolist()
    assert symmetric(torch.stack([jacobian, -jacobian]), known)[1].tolist() == (-expected).tolist()
    # both ways are known 1, 2, 4 and 3; 2 - 4 and 4 - 2 are off
    assert float(asymmetry(jacobian, known)) == pytest.approx(math.sqrt(8 / (1 + 4 + 16 + 9)))
    everything = torch.ones(3, 3, dtype=torch.bool)
    squares = sum(n * n for n in range(1, 10))
    assert float(asymmetry(jacobian, everything)) == pytest.approx(math.sqrt(2 * (4 + 1 + 9) / squares))


def test_pairs_are_unknown_where_neither_gradient_shows_them():
    known = torch.tensor([[False, True, False], [False, True, False], [False, False, True]])
    assert unknown_pairs(known).int().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_what_is_unknown_may_be_anything():
    jacobian = torch.tensor([[1.0, NAN], [2.0, math.inf]])
    known = torch.tensor([[True, False], [True, False]])
    assert symmetric(jacobian, known).tolist() == [[1.0, 2.0], [2.0, 0.0]]
    assert float(asymmetry(jacobian, known)) == 0


def test_asymmetry_of_the_extremes():
    known = torch.ones(2, 2, dtype=torch.bool)
    matrices = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert asymmetry(matrices, known).tolist() == [2.0, 0.0, 0.0]
    assert asymmetry(1e-30 * matrices.double(), known).tolist() == [2.0, 0.0, 0.0]


@given(seed=SEEDS, k=st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_what_is_symmetrised_is_symmetric(seed, k):
    jacobian = drawn(2, k, k, seed=seed)
    known = torch.rand(k, k, generator=torch.Generator().manual_seed(seed)) < 0.6
    found = symmetric(jacobian, known)
    assert torch.equal(found, found.transpose(1, 2))
    assert not found[:, ~(known | known.T)].any()
    everything = torch.ones(k, k, dtype=torch.bool)
    torch.testing.assert_close(
        symmetric(jacobian, everything), (jacobian + jacobian.transpose(1, 2)) / 2, **EXACT
    )
    both = symmetric(jacobian, everything)
    torch.testing.assert_close(symmetric(both, known), torch.where(known | known.T, both, 0.0), **EXACT)
    assert not asymmetry(both, known).any()
    even = asymmetry(jacobian, known)
    assert bool(((even >= 0) & (even <= 2 + 1e-12)).all())


def test_third_derivatives_are_the_mean_of_the_orders_that_the_data_show():
    third = torch.arange(27.0).double().reshape(3, 3, 3)
    known = torch.ones(3, 3, 3, dtype=torch.bool)
    found = symmetric_third(third, known)
    assert float(found[0, 1, 2]) == pytest.approx((5 + 7 + 11 + 15 + 19 + 21) / 6)
    assert float(found[0, 0, 1]) == pytest.approx((1 + 3 + 9) / 3)
    known[0, 1, 2] = known[0, 2, 1] = known[2, 2, 2] = False
    found = symmetric_third(third.where(known, torch.nan), known)
    assert float(found[2, 0, 1]) == pytest.approx((11 + 15 + 19 + 21) / 4)
    assert float(found[2, 2, 2]) == 0
    assert not symmetric_third(third, torch.zeros_like(known)).any()


@given(seed=SEEDS, k=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_third_derivatives_come_out_the_same_in_all_orders(seed, k):
    third = drawn(2, k, k, k, seed=seed)
    known = torch.rand(k, k, k, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = symmetric_third(third, known)
    everywhere = sum(known.int().permute(order) for order in permutations(range(3))) > 0
    assert not found[:, ~everywhere].any()
    for order in permutations((1, 2, 3)):
        torch.testing.assert_close(found.permute(0, *order), found, **EXACT)
    again = symmetric_third(found, known)
    torch.testing.assert_close(again, found, **EXACT)
    torch.testing.assert_close(symmetric_third(third[0], known), found[0], **EXACT)

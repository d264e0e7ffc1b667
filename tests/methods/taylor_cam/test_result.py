"""The table of TaylorCAM: partners, summaries and signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.errors import OptionError, PlayerError
from hoi_captum.methods.taylor_cam import TaylorCAM, TaylorInteractions


def drawn(k: int = 8, kind: str = "taylor", seed: int = 0) -> TaylorInteractions:
    """A table with a random symmetric matrix."""
    values = np.random.default_rng(seed).normal(size=(k, k))
    pairs = values + values.T
    np.fill_diagonal(pairs, 0)
    members = np.array([(i, j) for i in range(k) for j in range(i + 1, k)])
    return TaylorInteractions.from_terms(
        [f"unit {i}" for i in range(k)],
        [Term((i, j), kind, None, pairs[i, j]) for i, j in members.tolist()],
        provenance=Provenance(method="taylor-cam"),
        arrays={
            "pairs": pairs,
            "main": np.arange(float(k)),
            "curvature": -np.arange(float(k)),
            "synergy_members": members[:3],
            "synergy": np.array([0.5, -0.25, 0.0]),
        },
    )


def test_arrays_have_names():
    table = drawn()
    assert table.main.tolist() == list(range(8))
    assert table.curvature.tolist() == [-float(i) for i in range(8)]
    np.testing.assert_array_equal(table.matrix(), table.pairs)
    with pytest.raises(ValueError, match="read-only"):
        table.pairs[0, 1] = 3


def test_partners_are_a_row_of_the_matrix():
    table = drawn()
    for unit in (0, 5, 7):
        np.testing.assert_array_equal(table.partners(unit), table.pairs[unit])
        np.testing.assert_array_equal(table.partners(f"unit {unit}"), table.pairs[unit])
    assert table.partners(3)[3] == 0


@pytest.mark.parametrize("unit", [8, -1, "unit 9"])
def test_partners_of_nobody(unit):
    with pytest.raises(PlayerError, match=rf"expected a unit in 0..7 or one of unit 0, .*; got {unit!r}"):
        drawn().partners(unit)


def test_node_scores_are_sums_of_sizes():
    table = drawn()
    np.testing.assert_allclose(table.node_scores(), np.abs(table.pairs).sum(1), rtol=1e-12)
    some = table.top(4)
    expected = np.zeros(8)
    for term in some:
        for i in term.members:
            expected[i] += abs(term.score)
    np.testing.assert_allclose(some.node_scores(), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 5, 28, 100])
def test_amis_takes_the_largest_away_one_by_one(n):
    table = drawn()
    left, maxima = np.abs(np.triu(table.pairs, 1)), []
    for _ in range(min(n, 28)):
        maxima.append(left.max())
        left[np.unravel_index(left.argmax(), left.shape)] = 0
    assert table.amis(n) == pytest.approx(np.mean(maxima))
    whole = np.abs(np.triu(table.pairs, 1)).sum()
    assert table.amis(n, normalized=True) == pytest.approx(np.mean(maxima) / whole)


def test_amis_of_a_scaled_output():
    x = torch.rand(1, 5, dtype=torch.float64)
    one, ten = (
        TaylorCAM(lambda v, c=c: c * v.sum(1).exp(), variant="cam").interact(x)[0] for c in (1.0, 10.0)
    )
    assert ten.amis() == pytest.approx(100 * one.amis())
    assert ten.amis(3, normalized=True) == pytest.approx(one.amis(3, normalized=True))


def test_amis_of_nothing_and_of_no_number():
    empty = drawn().top(0)
    assert empty.amis() == 0.0
    assert empty.amis(normalized=True) == 0.0
    with pytest.raises(OptionError, match="expected n to be an int >= 1, got 0"):
        drawn().amis(0)


def test_synergy_of_what_was_measured():
    table = drawn()
    found = [table.synergy(term) for term in list(table)[:3]]
    assert found == [0.5, -0.25, 0.0]
    assert math.isnan(table.synergy(table[10]))
    assert math.isnan(table.synergy(Term((0, 1, 2), "taylor", None, 1.0)))


@pytest.mark.parametrize("order", [2, 3])
def test_synergy_is_measured_for_the_strongest(order):
    x = torch.tensor([[0.5, 1.0, 1.5, 2.0], [2.0, 0.1, 1.0, 0.7]], dtype=torch.float64)

    def f(v: torch.Tensor) -> torch.Tensor:
        return v.prod(1) + (v[:, 0] * v[:, 1]).sin()

    for most in (0, 1, 3, 50):
        for row, table in enumerate(TaylorCAM(f, order=order, synergy=most).interact(x)):
            terms = list(table.top(len(table)))
            for term in terms[:most]:
                expected = 0.0
                for off in range(1 << order):
                    cells = x[row].clone()
                    gone = [m for bit, m in enumerate(term.members) if off >> bit & 1]
                    cells[gone] = 0
                    expected += (-1) ** len(gone) * float(f(cells.unsqueeze(0)))
                assert table.synergy(term) == pytest.approx(expected, abs=1e-12)
            assert all(math.isnan(table.synergy(term)) for term in terms[most:])


def test_the_sign_of_a_saturated_and_is_not_its_synergy():
    # both must be there; far above the threshold one more of either does less
    x = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    table = TaylorCAM(lambda v: (8 * v.sum(1) - 12).sigmoid()).interact(x)[0]
    (pair,) = table
    assert pair.score < -0.5
    assert table.synergy(pair) > 0.9

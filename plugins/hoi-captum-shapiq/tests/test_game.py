"""A masked model as a game of shapiq."""

from __future__ import annotations

import numpy as np
import pytest
import shapiq
import torch
from hoi_captum_shapiq import TableGame

from hoi_captum.authoring import RowGame
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import InputError

X = torch.tensor([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 0.0, 1.0]], dtype=torch.float64)


def f(x):
    return 1 + x[:, 0] * x[:, 1] + x[:, 2] + x[:, 3]


def test_one_and_two_dimensions():
    game = TableGame(MaskedGame(f, X))
    present = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(game(present), [2, 4, 0])
    np.testing.assert_array_equal(game(present.astype(bool)), [2, 4, 0])
    np.testing.assert_array_equal(game(present[0]), [2])
    np.testing.assert_array_equal(game.value_function(present[0]), [3])
    np.testing.assert_array_equal(game([(0, 1), (3,), ()]), [2, 4, 0])
    assert game(present).dtype == np.float64
    assert game.normalization_value == 1
    assert TableGame(MaskedGame(f, X), normalize=False)(present[2]).tolist() == [1]


def test_rows_and_names():
    game = TableGame(MaskedGame(f, X), row=1, names=["a", "b", "c", "d"])
    assert game([("a", "b"), ("d",)]).tolist() == [2, 1]
    assert TableGame(RowGame(MaskedGame(f, X), 1))([(0, 1)]).tolist() == [2]


def test_each_coalition_is_computed_once_and_in_batches():
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return f(x)

    game = TableGame(MaskedGame(counted, X))
    first = game.exact_values("k-SII", 2)
    assert sum(sizes) == game.forward_passes == 16
    assert len(sizes) <= 3
    game.exact_values("STII", 2)
    game.precompute()
    np.testing.assert_array_equal(game(np.ones(4, dtype=bool)), [9])
    assert sum(sizes) == 16
    assert first[(0, 1)] == pytest.approx(2)


def test_no_bar_and_no_single_passes_ever(capfd):
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return f(x)

    game = TableGame(MaskedGame(counted, X))
    game.verbose = True
    assert game.verbose is False
    game(np.eye(4, dtype=bool), verbose=True)
    assert sizes == [1, 4]  # the empty coalition, and four at once
    out, err = capfd.readouterr()
    assert out == err == ""


@pytest.mark.parametrize(
    "name", ["PermutationSamplingSII", "PermutationSamplingSTII", "SHAPIQ", "SVARMIQ", "KernelSHAPIQ"]
)
def test_estimators_take_it(name):
    game = TableGame(MaskedGame(f, X))
    found = getattr(shapiq, name)(n=4, max_order=2, random_state=0).approximate(
        100 if "Permutation" in name else 16, game
    )
    assert found[(0, 1)] == pytest.approx(2, abs=1e-5)


def test_bad_input():
    with pytest.raises(InputError, match="RowGame"):
        TableGame(f)
    with pytest.raises(InputError, match="row"):
        TableGame(MaskedGame(f, X), row=2)
    with pytest.raises(InputError, match="4 names"):
        TableGame(MaskedGame(f, X), names=["a"])

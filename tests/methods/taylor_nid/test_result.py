"""The table: its parts line up with its terms, however it is narrowed, saved or scored anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hoi_captum as hoi
from hoi_captum.errors import OptionError
from hoi_captum.methods.taylor_nid import TaylorNIDInteractions

NAMES = ("mean", "max", "random")


@pytest.fixture(scope="module")
def data():
    return torch.rand(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5


def model(x):
    """Derivatives differ between rows and orders, and are known: by (0, 1, 2) it is 6 x2, by (3, 4) 2 x3."""
    return 3 * x[:, 0] * x[:, 1] * x[:, 2] ** 2 + x[:, 3] ** 2 * x[:, 4]


@pytest.fixture(scope="module")
def method(data):
    return hoi.TaylorNID(model, order=3, representatives=NAMES).fit(data)


@pytest.fixture(scope="module")
def table(method, data):
    return method.interact(data[:1])[0]


def known(members, x):
    x = x.tolist()
    return {
        (0, 1): 3 * x[2] ** 2,
        (0, 2): 6 * x[1] * x[2],
        (1, 2): 6 * x[0] * x[2],
        (3, 4): 2 * x[3],
        (0, 1, 2): 6 * x[2],
    }.get(members, 0.0)


def test_derivatives_of_each_term_at_each_row(table, method, data):
    assert isinstance(table, TaylorNIDInteractions)
    assert table.representatives == NAMES
    rows = [data[method.rows_[name]] for name in NAMES]
    assert torch.equal(torch.stack(rows), method.representatives_[0])
    for narrowed in (table, table.top(4), table.where(order=3), table.where(players=[2]).top(3)):
        for term, found in zip(narrowed, narrowed.derivatives, strict=True):
            expected = [known(term.members, row) for row in rows]
            assert found.tolist() == pytest.approx(expected, abs=1e-12)
            assert term.score == pytest.approx(np.mean(np.abs(expected)), abs=1e-12)


def test_scored_anew(table, method, data):
    again = table.top(3).aggregated(["max", "mean"], "max")
    for term in again:
        rows = [data[method.rows_[name]] for name in ("max", "mean")]
        assert term.score == pytest.approx(max(abs(known(term.members, r)) for r in rows))
    assert again.provenance.options["aggregate"] == "max"
    assert again.provenance.details["aggregated"] == ["max", "mean"]
    assert again.aggregated(aggregate="mean").scores.tolist() == pytest.approx(table.top(3).scores.tolist())
    single = table.aggregated("random")
    assert single.scores.tolist() == pytest.approx(np.abs(table.derivatives[:, 2]).tolist())
    assert table.aggregated() == table


def test_names_that_are_none(table):
    with pytest.raises(OptionError, match="representatives to be one of mean, max, random; got 'median'"):
        table.aggregated("median")
    with pytest.raises(OptionError, match="aggregate to be one of"):
        table.aggregated(aggregate="sum")
    with pytest.raises(OptionError, match="or more, got none"):
        table.aggregated([])


def test_pruned(table):
    kept = table.pruned(2)
    assert len(kept) == 2
    assert kept[0].members == table.top(1)[0].members
    assert kept.derivatives.shape == (2, 3)


def test_saved_and_loaded(table, tmp_path):
    path = table.top(6).save(tmp_path / "table.safetensors")
    loaded = TaylorNIDInteractions.load(path)
    assert loaded == table.top(6)
    assert np.array_equal(loaded.derivatives, table.top(6).derivatives)
    assert loaded.aggregated("max") == table.top(6).aggregated("max")


def test_an_empty_selection(table):
    none = table.where(order=5)
    assert none.derivatives.shape == (0, 3)
    assert len(none.aggregated("max")) == len(none.pruned()) == 0

"""Members of factors, and factors as interactions."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from hoi_captum.core.interactions import Interactions
from hoi_captum.corex import LinearCorEx
from hoi_captum.corex.factors import (
    factor_interactions,
    factor_members,
    informational_correlation,
    member_threshold,
    noise_floor,
    otsu,
)
from hoi_captum.errors import InputError, NotFittedError, OptionError


def fitted(mi, tcs, **more):
    return SimpleNamespace(
        mi_=np.asarray(mi, float),
        tcs_=np.asarray(tcs, float),
        n_features_in_=np.shape(mi)[1],
        get_params=lambda deep=True: {"n_factors": len(tcs), "random_state": 7, "device": object},
        **more,
    )


def test_otsu_is_the_best_of_all_splits():
    rng = np.random.default_rng(0)
    for size in (2, 3, 8, 25):
        values = rng.gamma(1.0, size=size)
        ordered = np.sort(values)

        def within(at, x=ordered):
            return at * x[:at].var() + (len(x) - at) * x[at:].var()

        best = min(range(1, size), key=within)
        assert otsu(values) == pytest.approx((ordered[best - 1] + ordered[best]) / 2)


def test_otsu_never_parts_equal_numbers():
    assert otsu([1.0, 1.0, 1.0, 5.0, 5.0]) == 3.0
    assert otsu([2.0, 2.0]) == 2.0
    assert otsu([]) == 0.0


def test_the_noise_floor_holds_what_it_promises():
    """One of twenty variables exceeds it in about 5 % of samples of independent normal columns."""
    rng = np.random.default_rng(1)
    n, p, trials = 200, 20, 2000
    y, x = rng.normal(size=(trials, n)), rng.normal(size=(trials, n, p))
    y -= y.mean(1, keepdims=True)
    x -= x.mean(1, keepdims=True)
    rho = np.einsum("tn,tnp->tp", y, x) / np.sqrt((y**2).sum(1)[:, None] * (x**2).sum(1))
    exceeded = (-0.5 * np.log1p(-(rho**2))).max(1) > noise_floor(n, p)
    assert 0.035 < exceeded.mean() < 0.07  # 0.05; three standard errors are 0.015


def test_members_are_split_by_correlation_and_lie_above_the_floor():
    rho = np.array([0.9, 0.8, 0.2, 0.1, 0.0, 0.7])
    mi = -0.5 * np.log1p(-(rho**2))
    np.testing.assert_allclose(informational_correlation(mi), rho, atol=1e-12)
    assert factor_members(mi, None, 1000).tolist() == [0, 1, 5]
    assert member_threshold(mi, 1000) == pytest.approx(-0.5 * np.log1p(-(0.45**2)))
    assert factor_members(mi / 1000, None, 1000).tolist() == []  # all below what chance does
    assert member_threshold(mi / 1000, 1000) == noise_floor(1000, 6)


def test_a_copy_of_the_factor_is_no_group_of_its_own():
    mi = np.array([15.0, 0.6, 0.5, 0.55, 0.01, 0.005, 0.0])
    assert factor_members(mi, None, 1000).tolist() == [0, 1, 2, 3]
    assert factor_members([40.0, 40.0], None, 1000).tolist() == [0, 1]  # correlations of 1 to the last bit


def test_a_factor_of_all_variables_has_them_all():
    assert factor_members([0.5, 0.52, 0.48, 0.5], None, 1000).tolist() == [0, 1, 2, 3]


def test_a_threshold_is_a_number_of_nats():
    mi = np.array([0.81, 0.64, 0.04])
    assert factor_members(mi, 0.64, 10).tolist() == [0]  # more than, not as much as
    assert factor_members(mi, 0.0, 10).tolist() == [0, 1, 2]
    with pytest.raises(OptionError, match="threshold"):
        factor_members(mi, -0.1, 10)
    with pytest.raises(InputError, match="one factor"):
        factor_members(mi[None], None, 10)
    with pytest.raises(InputError, match="one factor"):
        factor_members([np.nan, 1.0], None, 10)


def test_factors_are_terms_of_their_total_correlation():
    model = fitted([[0.5, 0.0, 0.6, 0.001], [0.0, 0.4, 0.0, 0.0], [1e-5] * 4], [1.1, 0.4, 0.0])
    table = factor_interactions(model, ["a", "b", "c", "d"], n_rows=500, scope="cluster:2")
    assert [(t.members, t.kind, t.scope, t.score, t.weights) for t in table] == [
        ((0, 2), "corex", "cluster:2", 1.1, (0.5, 0.6)),
        ((1,), "corex", "cluster:2", 0.4, (0.4,)),
    ]
    assert table.players == ("a", "b", "c", "d")
    assert table.provenance.details["unit"] == "nats"
    assert table.provenance.seed == 7
    assert table.provenance.options["n_factors"] == 3
    assert len(factor_interactions(model, n_rows=500, threshold=0.0)) == 3
    every = factor_interactions(model, n_rows=500, threshold=0.0)
    assert every.players == ("x0", "x1", "x2", "x3")


def test_names_are_those_of_the_data_unless_given():
    named = fitted([[0.5, 0.6]], [1.0], feature_names_in_=np.array(["u", "v"], dtype=object))
    assert factor_interactions(named, n_rows=50).players == ("u", "v")
    with pytest.raises(InputError, match="expected 2 names"):
        factor_interactions(named, ["only"], n_rows=50)


def test_before_fit():
    with pytest.raises(NotFittedError, match="this LinearCorEx instance is not fitted yet; call fit"):
        factor_interactions(LinearCorEx(2), n_rows=50)


def test_no_factor_gives_an_empty_table_that_can_be_kept(tmp_path):
    table = factor_interactions(fitted([[1e-6, 1e-6]], [0.0]), n_rows=50)
    assert len(table) == 0
    assert table.players == ("x0", "x1")
    assert Interactions.load(table.save(tmp_path / "none.safetensors")) == table


def test_a_table_can_be_kept(tmp_path):
    table = factor_interactions(fitted([[0.5, 0.0, 0.6]], [1.1]), n_rows=500)
    assert Interactions.load(table.save(tmp_path / "t.safetensors")) == table


def test_members_do_not_depend_on_the_order_of_the_variables():
    rng = np.random.default_rng(3)
    mi = rng.gamma(0.5, size=12)
    members = set(factor_members(mi, None, 100).tolist())
    for order in itertools.islice(itertools.permutations(range(12)), 0, 2000, 500):
        found = factor_members(mi[list(order)], None, 100)
        assert {order[i] for i in found} == members

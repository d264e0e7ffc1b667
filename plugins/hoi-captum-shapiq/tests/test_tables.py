"""Tables as shapiq's values and back: exactly, OR terms included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapiq
import torch
from hoi_captum_shapiq import ShapiqInteractions, exact_interactions, from_shapiq, to_shapiq

# not `from shapiq import MoebiusConverter`, which is None in 1.4.1
from shapiq.game_theory.moebius_converter import MoebiusConverter

import hoi_captum as hoi
from hoi_captum.authoring import Interactions, Provenance, Term
from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.mobius import moebius_transform
from hoi_captum.errors import InputError, OptionError


def table(*terms, n=4, base=0.5, **more):
    made = [Term(members, kind, None, score) for members, kind, score in terms]
    return Interactions.from_terms(
        [f"p{i}" for i in range(n)], made, base=base, provenance=Provenance("made"), **more
    )


def random_game(n, seed=0):
    return torch.randn(1 << n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dividends(values):
    n = len(values).bit_length() - 1
    found = moebius_transform(values)
    return Interactions.from_table(
        [str(i) for i in range(n)], [("and", "", found)], base=float(values[0]), provenance=Provenance("made")
    )


def rebuilt(values):
    """What Moebius coefficients give to all coalitions."""
    coalitions = all_coalitions(values.n_players).numpy()
    return sum(score * coalitions[:, list(key)].all(1) for key, score in values.dict_values.items())


def test_moebius_matches_the_exact_computer():
    values = random_game(6)
    converted = to_shapiq(dividends(values))
    powers = 2 ** np.arange(6)[::-1]
    computer = shapiq.ExactComputer(lambda c: values.numpy()[np.atleast_2d(c).astype(int) @ powers], 6)
    expected = computer("Moebius", 6).dict_values
    assert max(abs(converted.dict_values[key] - expected[key]) for key in expected) < 1e-13
    for index in ("k-SII", "STII", "SII"):
        found, wanted = MoebiusConverter(converted)(index, 2), computer(index, 2)
        assert max(abs(found[key] - wanted[key]) for key in wanted.dict_values if key) < 1e-13


def test_keys_and_fields():
    found = to_shapiq(table(((0,), "and", 1.0), ((3, 1), "and", -2.0)))
    assert found.dict_values == {(): 0.5, (0,): 1.0, (1, 3): -2.0}
    assert all(type(key) is tuple and all(type(i) is int for i in key) for key in found.dict_values)
    assert all(type(score) is float for score in found.dict_values.values())
    assert (found.index, found.n_players, found.min_order, found.max_order) == ("Moebius", 4, 0, 2)
    assert (found.baseline_value, found.estimated, found.estimation_budget) == (0.5, False, None)


def test_round_trip_from_here_is_exact():
    mine = dividends(random_game(5))
    back = from_shapiq(to_shapiq(mine), players=mine.players)
    assert {t.members: t.score for t in back} == {t.members: t.score for t in mine}
    assert set(back.kinds.tolist()) == {"and"}
    assert (back.base, back.players) == (mine.base, mine.players)
    again = to_shapiq(back)
    assert again.dict_values == to_shapiq(mine).dict_values


@pytest.mark.parametrize("index", ["k-SII", "SII", "STII", "FSII", "FBII", "BII", "SV", "BV", "Moebius"])
def test_round_trip_from_shapiq_is_exact(index, tmp_path):
    values = random_game(5, 3).numpy()
    powers = 2 ** np.arange(5)[::-1]
    computer = shapiq.ExactComputer(lambda c: values[np.atleast_2d(c).astype(int) @ powers], 5)
    theirs = computer(index, 1 if index in ("SV", "BV") else 3)
    mine = from_shapiq(theirs)
    saved = Interactions.load(mine.save(tmp_path / "x.safetensors"))  # details go through JSON
    back = to_shapiq(saved)
    assert back.dict_values == theirs.dict_values
    for name in ("index", "n_players", "min_order", "max_order", "estimated", "estimation_budget"):
        assert getattr(back, name) == getattr(theirs, name), name
    assert back.baseline_value == theirs.baseline_value
    assert set(mine.kinds.tolist()) == {"and" if index == "Moebius" else index.lower()}


@pytest.mark.parametrize("index", ["k-SII", "SII", "STII", "FSII", "FBII", "BII"])
def test_the_empty_set_of_the_methods_tables(index):
    def f(x):
        return x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] * x[:, 4] + x[:, 5] + 3

    x = torch.randn(1, 6, dtype=torch.float64)
    found = to_shapiq(ShapiqInteractions(f, index=index).interact(x)[0])
    computer = shapiq.ExactComputer(lambda c: f(x * torch.from_numpy(np.atleast_2d(c)).double()).numpy(), 6)
    expected = computer(index, 2).dict_values
    assert found.dict_values[()] == pytest.approx(expected[()], abs=1e-12)
    assert (found.min_order, found.baseline_value) == (0, pytest.approx(3))


@pytest.mark.parametrize(
    ("index", "lowest"), [("k-SII", 0), ("FSII", 0), ("SII", 1), ("BII", 1), ("FBII", 1)]
)
def test_the_empty_set_of_estimates(index, lowest):
    method = ShapiqInteractions(lambda x: x.tanh().sum(1) + 3, index=index, budget=400)
    found = to_shapiq(method.interact(torch.ones(1, 15).double())[0])
    assert found.min_order == lowest
    assert found.dict_values.get(()) == (None if lowest else pytest.approx(3))


def test_a_part_of_a_table_does_not_claim_to_be_all():
    table = ShapiqInteractions(lambda x: x.prod(1) + 3).interact(torch.ones(1, 5))[0]
    found = to_shapiq(table.where(order=2))
    assert (found.index, found.min_order, found.max_order) == ("k-SII", 2, 2)
    assert min(map(len, found.dict_values)) == 2
    assert to_shapiq(table).min_order == 0


def test_json_round_trip(tmp_path):
    mine = to_shapiq(dividends(random_game(5)))
    path = Path(tmp_path) / "x.json"
    mine.to_json_file(path)
    loaded = shapiq.InteractionValues.from_json_file(path)
    assert loaded.dict_values == mine.dict_values
    assert to_shapiq(from_shapiq(loaded)).dict_values == mine.dict_values


def test_numpy_integers_as_keys():
    theirs = shapiq.InteractionValues(
        {(np.int64(2), np.int64(0)): 1.5, (np.int64(1),): np.float64(2)},
        index="FBII",
        max_order=2,
        n_players=3,
        min_order=1,
        estimation_budget=np.int64(7),
        baseline_value=np.float64(0.25),
    )
    mine = from_shapiq(theirs)
    assert {t.members: t.score for t in mine} == {(0, 2): 1.5, (1,): 2.0}
    assert all(type(i) is int for t in mine for i in t.members)
    assert mine.provenance.details["shapiq"]["estimation_budget"] == 7
    back = to_shapiq(mine)
    assert (back.min_order, back.estimated, back.estimation_budget) == (1, True, 7)
    assert all(type(i) is int for key in back.dict_values for i in key)


# ---------------------------------------------------------------- OR terms
def test_or_terms_are_the_same_function():
    generator = np.random.default_rng(0)
    terms = [(tuple(sorted(generator.choice(6, k, replace=False).tolist())), kind, generator.normal())
             for k in (1, 2, 3, 4, 6) for kind in ("and", "or")]  # fmt: skip
    mine = table(*terms, n=6)
    found = to_shapiq(mine)
    present = all_coalitions(6).numpy()
    expected = np.full(64, 0.5)
    for members, kind, score in terms:
        of = present[:, list(members)]
        expected += score * (of.all(1) if kind == "and" else of.any(1))
    np.testing.assert_allclose(rebuilt(found), expected, atol=1e-14)
    np.testing.assert_allclose(hoi.measures.rebuild(mine, present), expected, atol=1e-14)


def test_one_or_of_two():
    found = to_shapiq(table(((0, 2), "or", 3.0)))
    assert found.dict_values == {(): 0.5, (0,): 3.0, (2,): 3.0, (0, 2): -3.0}


def test_tables_of_generalizable_and_or():
    method = hoi.GeneralizableAndOr(lambda x: x[:, 0] * x[:, 1] + torch.clamp(x[:, 2] + x[:, 3], max=1))
    mine = method.interact(torch.ones(1, 4))[0]
    assert set(mine.kinds.tolist()) == {"and", "or"}
    np.testing.assert_allclose(
        rebuilt(to_shapiq(mine)), hoi.measures.rebuild(mine, all_coalitions(4)), atol=1e-14
    )


def test_large_or_terms_are_refused():
    wide = table((tuple(range(13)), "or", 1.0), n=13)
    with pytest.raises(InputError, match="8,191 AND terms"):
        to_shapiq(wide)
    assert len(to_shapiq(wide, max_or_order=13).dict_values) == 1 << 13


# ---------------------------------------------------------------- bad input
def test_scopes():
    made = [Term((0,), "and", "model:0", 1.0), Term((0, 1), "and", "model:1", 2.0)]
    base = {"model:0": 0.1, "model:1": 0.2}
    both = Interactions.from_terms(["a", "b"], made, base=base, provenance=Provenance("made"))
    assert to_shapiq(both, scope="model:1").dict_values == {(): 0.2, (0, 1): 2.0}
    with pytest.raises(InputError, match="several scopes"):
        to_shapiq(both)
    with pytest.raises(InputError, match="model:2"):
        to_shapiq(both, scope="model:2")


def test_what_has_no_index_is_refused():
    with pytest.raises(InputError, match="hessian"):
        to_shapiq(table(((0, 1), "hessian", 1.0)))
    assert to_shapiq(table(((0, 1), "hessian", 1.0)), index="SII").index == "SII"
    with pytest.raises(InputError, match="sii"):
        to_shapiq(table(((0, 1), "and", 1.0), ((0, 1), "sii", 1.0)))
    for kind, index in (("and", "k-SII"), ("k-sii", "FSII"), ("sii", "Moebius")):
        with pytest.raises(InputError, match=f"kind {kind} are no {index}"):
            to_shapiq(table(((0, 1), kind, 1.0)), index=index)
    with pytest.raises(InputError, match="leave index out"):
        to_shapiq(table(((0, 1), "or", 1.0)), index="k-SII")
    with pytest.raises(InputError, match="finite"):
        to_shapiq(table(((0, 1), "and", float("nan"))))
    with pytest.raises(InputError, match="finite"):
        to_shapiq(table(((0, 1), "and", 1.0), base=float("inf")))
    with pytest.raises(OptionError):
        to_shapiq(table(((0,), "and", 1.0)), max_or_order=0)
    soft = Interactions.from_terms(
        ["a", "b"], [Term((0, 1), "and", None, 1.0, (0.5, 1.0))], provenance=Provenance("made")
    )
    with pytest.raises(InputError, match="soft"):
        to_shapiq(soft)
    with pytest.raises(InputError, match="4 names"):
        from_shapiq(to_shapiq(table(((0,), "and", 1.0))), players=["a"])


def test_an_empty_table():
    found = to_shapiq(table())
    assert found.dict_values == {(): 0.5}
    assert len(from_shapiq(found)) == 0


def test_our_index_and_shapiqs_plots_agree_on_players():
    values = random_game(4)
    found = MoebiusConverter(to_shapiq(dividends(values)))("k-SII", 2)
    mine = exact_interactions(values, "k-SII", 2)
    assert found[(0,)] == pytest.approx(float(mine[8]))  # player 0 is the most significant bit
    assert found[(2, 3)] == pytest.approx(float(mine[3]))

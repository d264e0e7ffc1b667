"""The table of interactions against lists of terms."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.interactions import FORMAT, Interactions, Term
from hoi_captum.core.mobius import moebius_transform, shapley_values
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import FileError, InputError

SOURCE = Provenance(method="some-method")
NAMES = ("not", "a", "bad", "film")


def table(terms, players=NAMES, **more) -> Interactions:
    return Interactions.from_terms(players, terms, provenance=SOURCE, **more)


@st.composite
def term_lists(draw: st.DrawFn) -> list[Term]:
    subsets = st.frozensets(st.integers(0, 3), max_size=4).map(sorted).map(tuple)
    score = st.one_of(st.sampled_from([-1.0, 1.0, 2.0]), st.floats(-9, 9, allow_nan=False))
    term = st.builds(
        Term,
        subsets,
        st.sampled_from(["and", "or", "hessian"]),
        st.sampled_from([None, "model:0", "β"]),
        score,
    )
    return draw(st.lists(term, max_size=12))


@given(term_lists())
@settings(max_examples=50, deadline=None)
def test_terms_go_in_and_come_out(terms):
    t = table(terms)
    assert list(t) == terms
    assert len(t) == len(terms)
    assert [t[i] for i in range(-len(terms), 0)] == terms
    assert t.orders.tolist() == [x.order for x in terms]
    assert t.scores.dtype == np.float64
    for index in (len(terms), -len(terms) - 1):
        with pytest.raises(IndexError):
            t[index]


@given(term_lists(), st.integers(0, 14))
@settings(max_examples=50, deadline=None)
def test_top_sorts_by_size_then_order_then_place(terms, k):
    expected = sorted(terms, key=lambda t: (-abs(t.score), t.order))[:k]
    assert list(table(terms).top(k)) == expected


@given(
    term_lists(),
    st.sampled_from([None, "and", "or", "none such"]),
    st.sampled_from([None, 0, 1, 2, (1, 3), {2, 3}, range(2, 5), [], np.int64(2)]),
    st.sampled_from([None, "", "model:0", "β"]),
    st.sampled_from([None, (), (0,), [1, 2], (3, 9)]),
)
@settings(max_examples=150, deadline=None)
def test_where_is_a_filter(terms, kind, order, scope, players):
    orders = None if order is None else {int(order)} if isinstance(order, int | np.integer) else set(order)
    expected = [
        t
        for t in terms
        if (kind is None or t.kind == kind)
        and (orders is None or t.order in orders)
        and (scope is None or (t.scope or "") == scope)
        and set(players or ()) <= set(t.members)
    ]
    assert list(table(terms).where(kind=kind, order=order, scope=scope, players=players)) == expected


@given(term_lists(), st.data())
@settings(max_examples=50, deadline=None)
def test_take_gives_the_rows_in_that_order(terms, data):
    index = data.draw(st.lists(st.integers(-len(terms), len(terms) - 1), max_size=8)) if terms else []
    assert list(table(terms).take(index)) == [terms[i] for i in index]


@given(term_lists(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_matrix_adds_up_pairs_and_singles(terms, spread):
    expected = np.zeros((4, 4))
    for t in terms:
        if t.order == 1:
            expected[t.members[0], t.members[0]] += t.score
        elif t.order == 2 or (t.order > 2 and spread):
            for i, j in itertools.permutations(t.members, 2):
                expected[i, j] += t.score / math.comb(t.order, 2)
    scopes = {t.scope for t in terms} or {None}
    result = table(terms).matrix(spread=spread)
    np.testing.assert_allclose(result, expected / len(scopes), atol=1e-12)
    assert np.array_equal(result, result.T)


def test_a_spread_matrix_keeps_the_sum_of_the_scores():
    t = table(
        [
            Term((0, 1, 2), "and", None, 3.0),
            Term((0, 1, 2, 3), "or", None, -6.0),
            Term((1,), "and", None, 5.0),
        ]
    )
    assert np.triu(t.matrix(spread=True)).sum() == pytest.approx(2.0)
    assert t.matrix().sum() == pytest.approx(5.0)


@given(term_lists())
@settings(max_examples=50, deadline=None)
def test_per_player_shares_evenly_and_averages_scopes(terms):
    expected = np.zeros(4)
    for t in terms:
        for i in t.members:
            expected[i] += t.score / t.order
    scopes = {t.scope for t in terms} or {None}
    np.testing.assert_allclose(table(terms).per_player(), expected / len(scopes), atol=1e-12)


def test_per_player_of_and_terms_is_the_shapley_value():
    v = torch.randn(16, dtype=torch.float64)
    t = Interactions.from_table(NAMES, [("and", "", moebius_transform(v))], provenance=SOURCE)
    np.testing.assert_allclose(t.per_player(), shapley_values(v).numpy(), atol=1e-12)


def test_a_table_and_its_terms_are_the_same():
    first = torch.tensor([9.0, 1, -2, 0, 3, -0.0, 0.5, 7])
    second = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, -4])
    blocks = [("and", "model:0", first), ("or", "", second)]
    terms = [
        Term(tuple(np.flatnonzero(members).tolist()), kind, scope or None, float(score))
        for kind, scope, values in blocks
        for members, score in zip(all_coalitions(3).numpy(), values, strict=True)
        if members.any() and score != 0
    ]
    made = Interactions.from_table("abc", blocks, base=1.5, provenance=SOURCE)
    assert list(made) == terms
    assert made == table(terms, "abc", base=1.5)
    assert made.scope_names == ("", "model:0")


def test_a_table_may_come_from_any_tensor():
    values = torch.tensor([0.0, 1, 2, 3], requires_grad=True, dtype=torch.bfloat16)
    made = Interactions.from_table("ab", [("and", "", values)], provenance=SOURCE)
    assert made.scores.tolist() == [1, 2, 3]


@pytest.mark.parametrize("shape", [(16,), (4,), (1, 8), (8, 1)])
def test_values_for_another_number_of_players_are_refused(shape):
    with pytest.raises(InputError, match="expected 8 values for 3 players"):
        Interactions.from_table("abc", [("and", "", torch.ones(shape))], provenance=SOURCE)


def test_a_table_of_zeros_is_empty_and_everything_still_works(tmp_path):
    for t in (
        Interactions.from_table("ab", [("and", "", torch.zeros(4))], provenance=SOURCE),
        table([], "ab"),
    ):
        assert len(t) == 0
        assert list(t.top(3)) == list(t.where(order=2)) == list(t.where(players=[0])) == []
        assert t.matrix().tolist() == [[0, 0], [0, 0]]
        assert t.per_player().tolist() == [0, 0]
        assert t.scope_names == ("",)
        assert len(t.to_dataframe()) == 0
        assert Interactions.load(t.save(tmp_path / "x")) == t
        assert "0 terms" in repr(t)


def test_a_table_of_2_to_the_16_terms(tmp_path):
    values = torch.randn(1 << 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = Interactions.from_table([str(i) for i in range(16)], [("and", "", values)], provenance=SOURCE)
    assert len(t) == (1 << 16) - 1
    best = t.top(1)[0]
    assert abs(best.score) == values[1:].abs().max()
    row = sum(1 << (15 - i) for i in best.members)
    assert values[row] == best.score
    assert np.array_equal(np.abs(t.top(len(t)).scores), np.sort(np.abs(t.scores))[::-1])
    assert len(t.where(order=8)) == math.comb(16, 8)
    assert Interactions.load(t.save(tmp_path / "x")) == t
    np.testing.assert_allclose(t.per_player(), shapley_values(_game(values)).numpy(), atol=1e-9)


def _game(dividends: torch.Tensor) -> torch.Tensor:
    from hoi_captum.core.mobius import zeta_transform

    return zeta_transform(dividends)


def test_weights_stay_with_their_members():
    t = table([Term((2, 0, 1), "corex", None, 1.0, (0.2, 0.0, 0.1)), Term((3,), "corex", None, 2.0)])
    assert t[0] == Term((0, 1, 2), "corex", None, 1.0, (0.0, 0.1, 0.2))
    assert t[1].weights == (1.0,)
    assert t.top(1)[0].weights == (1.0,)
    assert t.take([1, 0])[1].weights == (0.0, 0.1, 0.2)


def test_another_number_of_weights_is_refused():
    terms = [Term((0, 1), "corex", None, 1.0, (0.5,)), Term((2,), "corex", None, 1.0, (0.5, 0.5))]
    with pytest.raises(InputError, match="expected 2 weights"):
        table(terms)


def test_the_data_frame_has_a_row_for_each_term():
    frame = table(
        [Term((0, 2), "and", "model:1", 2.5), Term((), "or", None, 1.0), Term((3,), "or", None, -1.0)]
    )
    frame = frame.to_dataframe()
    assert frame.to_dict("list") == {
        "players": [("not", "bad"), (), ("film",)],
        "members": [(0, 2), (), (3,)],
        "kind": ["and", "or", "or"],
        "scope": ["model:1", "", ""],
        "order": [2, 0, 1],
        "score": [2.5, 1.0, -1.0],
    }
    frame.loc[0, "score"] = 9.0  # the frame is the user's own


def test_labels_and_repr_name_the_players():
    t = table([Term((0, 2), "and", None, 2.5), Term((3,), "or", None, -1.0)])
    assert t.label(t[0]) == "not · bad"
    assert repr(t) == "Interactions(2 terms, 4 players; top: not · bad (and) +2.5, film (or) -1)"


# ------------------------------------------------------------------------------ read-only


def full() -> Interactions:
    terms = [Term((0, 2), "and", "model:0", 2.5, (0.25, 0.5)), Term((1,), "or", "ü", -1.5, (1.0,))]
    arrays = {"values": np.arange(6.0).reshape(2, 3), "number": np.array(2.5), "flags": np.array([True])}
    return table(
        terms, ("nicht", "naïve 🎬", 'quo"te', "\ud800"), base={"model:0": 0.1, "ü": -3.0}, arrays=arrays
    )


def test_columns_and_arrays_are_read_only():
    t = full()
    columns = [t.scores, t.members, t.offsets, t.kinds, t.scopes, t.weights, *t.arrays.values()]
    for column in columns:
        with pytest.raises(ValueError, match="read-only"):
            column[...] = column
    with pytest.raises(AttributeError):
        t.scores = t.scores


def test_what_the_maker_does_to_his_arrays_later_does_not_matter():
    values, scores = torch.ones(4, dtype=torch.float64), np.array([1.0])
    t = Interactions.from_table(
        "ab", [("and", "", values)], provenance=SOURCE, arrays={"values": values.numpy()}
    )
    values.zero_()
    assert t.arrays["values"].tolist() == [1, 1, 1, 1]
    assert t.scores.tolist() == [1, 1, 1]
    columns = {"members": np.array([0]), "offsets": np.array([0, 1]), "kinds": np.array(["and"])}
    t = Interactions(("a",), scores, scopes=np.array([""]), base=0.0, provenance=SOURCE, **columns)
    scores[0] = 5
    assert t[0].score == 1
    assert scores.flags.writeable  # and his arrays stay his


def test_arrays_keep_their_shape():
    t = full()
    assert t.arrays["number"].shape == ()
    assert t.arrays["values"].shape == (2, 3)
    turned = table([], arrays={"x": np.arange(6).reshape(2, 3).T}).arrays["x"]
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_equality_is_by_content_and_provenance_does_not_matter():
    assert full() == full()
    assert full() == full().with_provenance(seconds=9.0, target="other")
    assert full() == copy.deepcopy(full()) == pickle.loads(pickle.dumps(full()))  # noqa: S301
    changes = [
        full().with_players("abcd"),
        full().take([1, 0]),
        full().top(1),
        table(list(full()), base=0.5, arrays=full().arrays),
        table(list(full()), full().players, base=full().base),
    ]
    for other in changes:
        assert full() != other
    assert full() != "a table"

    class Richer(Interactions):
        pass

    assert Richer.from_terms("a", [], provenance=SOURCE) != table([], "a")
    with pytest.raises(TypeError, match="unhashable"):
        hash(full())


def test_other_names_and_provenance_leave_the_original():
    t = full()
    assert t.with_players("abcd").players == tuple("abcd")
    assert t.with_provenance(target="x").provenance.target == "x"
    assert t.players[0] == "nicht"
    assert t.provenance.target == ""
    with pytest.raises(InputError, match="expected 4 names"):
        t.with_players("abc")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"kinds": np.array(["and"])}, "expected 2 entries in kinds, got 1"),
        ({"scopes": np.array([])}, "scopes"),
        ({"offsets": np.array([0, 3])}, "expected 3 entries in offsets"),
        ({"members": np.array([0, 1])}, "expected 3 entries in members"),
        ({"members": np.array([0, 2, 4])}, r"members in 0\.\.3"),
        ({"members": np.array([0, 2, -1])}, r"members in 0\.\.3"),
        ({"weights": np.ones(2)}, "weights"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changed, says):
    t = full()
    columns = {n: getattr(t, n) for n in ("scores", "members", "offsets", "kinds", "scopes", "weights")}
    with pytest.raises(InputError, match=says):
        Interactions(t.players, **(columns | changed), base=0.0, provenance=SOURCE)


# ------------------------------------------------------------------------------ files


def test_a_file_gives_the_table_back_bit_for_bit(tmp_path):
    t = full().with_provenance(details={"gap": 0.25}, options={"a": None}, model=("X", "Y"), seed=3)
    path = t.save(tmp_path / "ü.safetensors")
    back = Interactions.load(str(path))
    assert back == t
    assert back.provenance == t.provenance
    assert list(back) == list(t)
    assert back.base == t.base
    for name, array in t.arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert back.arrays[name].tobytes() == array.tobytes()
    assert back.scores.tobytes() == t.scores.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        back.arrays["values"][0, 0] = 1


@given(term_lists(), st.lists(st.text(), min_size=4, max_size=4), st.floats(allow_nan=False))
@settings(max_examples=25, deadline=None)
def test_any_table_survives_packing(terms, names, base):
    t = table(terms, names, base=base)
    back = Interactions.unpack(*t.pack())
    assert list(back) == list(t)
    assert back.players == t.players
    assert back.base == t.base


def test_scores_that_are_not_numbers_survive(tmp_path):
    t = table([Term((0,), "and", None, math.nan), Term((1,), "and", None, -math.inf)], base=math.nan)
    back = Interactions.load(t.save(tmp_path / "x"))
    assert back.scores.tobytes() == t.scores.tobytes()
    assert math.isnan(back.base)


def damaged(tmp_path, change):
    path = full().save(tmp_path / "good")
    with safe_open(path, framework="numpy") as file:
        metadata, arrays = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(arrays, metadata)
    save_file(arrays, tmp_path / "bad", metadata=metadata)
    return tmp_path / "bad"


CHANGES = {
    "no column": lambda a, m: a.pop("scores"),
    "no players": lambda a, m: m.pop("players"),
    "no provenance": lambda a, m: m.pop("provenance"),
    "broken JSON": lambda a, m: m.update(players="["),
    "wrong JSON": lambda a, m: m.update(provenance=json.dumps({"method": "x", "model": [], "new": 1})),
    "wrong kind of JSON": lambda a, m: m.update(provenance="[]"),
    "codes out of range": lambda a, m: a.update(kind_codes=np.array([0, 7], dtype=np.int32)),
    "columns that do not fit": lambda a, m: a.update(members=np.array([0], dtype=np.int32)),
    "no offsets": lambda a, m: a.update(offsets=np.zeros(0, dtype=np.int64)),
    "fewer players": lambda a, m: m.update(players='["a"]'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_file_says_so(tmp_path, change):
    path = damaged(tmp_path, CHANGES[change])
    with pytest.raises(FileError, match="bad is damaged"):
        Interactions.load(path)


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "x").write_text("players,score\n")
    with pytest.raises(FileError, match="cannot read"):
        Interactions.load(tmp_path / "x")
    with pytest.raises(FileError, match=f"expected a file of format '{FORMAT}'"):
        Interactions.load(damaged(tmp_path, lambda a, m: m.update(format="other")))
    with pytest.raises(FileError):
        Interactions.load(tmp_path / "missing")


def test_a_scope_that_lost_its_terms_still_counts_in_the_average():
    terms = [Term((0,), "and", "model:0", 4.0), Term((0,), "and", "model:1", 1.0)]
    table = Interactions.from_terms(
        ("a", "b"), terms, base={"model:0": 0.5, "model:1": 0.0}, provenance=Provenance("m")
    )
    assert table.per_player()[0] == 2.5
    assert table.top(1).per_player()[0] == 2.0
    one = table.where(scope="model:0")
    assert one.per_player()[0] == 4.0
    assert one.base == {"model:0": 0.5}


def test_a_term_is_shared_by_its_members_weights():
    source = Provenance("test")
    terms = [Term((0, 2), "corex", None, 3.0, (2.0, 1.0)), Term((1,), "corex", None, -1.0, (0.0,))]
    table = Interactions.from_terms("abc", terms, provenance=source)
    np.testing.assert_allclose(table.per_player(), [2.0, 0.0, 1.0])
    even = Interactions.from_terms("abc", [Term((0, 2), "and", None, 3.0)], provenance=source)
    np.testing.assert_allclose(even.per_player(), [1.5, 0.0, 1.5])


def test_the_members_of_a_term_are_named_strongest_first():
    term = Term((0, 1, 2), "corex", None, 1.0, (0.1, 0.9, 0.5))
    table = Interactions.from_terms("abc", [term], provenance=Provenance("test"))
    assert term.ranked == (1, 2, 0)
    assert table.label(table[0]) == "b · c · a"
    assert Term((0, 2), "and", None, 1.0).ranked == (0, 2)


def test_what_was_not_measured_is_equal_to_itself():
    def table(value: float) -> Interactions:
        return Interactions.from_terms(
            ["a"], [], provenance=Provenance("m"), arrays={"x": np.array([np.nan, value])}
        )

    assert table(1.0) == table(1.0)
    assert table(1.0) != table(2.0)
    assert table(np.nan) != table(1.0)

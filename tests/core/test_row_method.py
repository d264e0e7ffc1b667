"""Methods that answer row by row: arguments, what a row's game counts, what a table says of itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hoi_captum.authoring import (
    Answer,
    CoalitionMethod,
    DerivativeMethod,
    InputGates,
    PassSize,
    RowGame,
    Term,
    hessian,
)
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.mobius import moebius_transform
from hoi_captum.errors import InputError, ModelOutputError, PlayerError, PluginError
from hoi_captum.registry import check_method
from hoi_captum.views.wording import heading_of, unit_of, wording_of


class Pairs(CoalitionMethod):
    """Second differences from nobody."""

    name = "pairs"
    kinds = ("pair",)
    orders = (2, 2)
    summary = "for the tests"
    wording = {"quantity": "second difference", "signs": ("synergy", "redundancy")}

    def __init__(self, forward_func: Callable[..., Any], *, factor: float = 1.0, seed: int = 4) -> None:
        super().__init__(forward_func)
        self.factor, self.seed = factor, seed

    def _passes(self, n_players: int) -> int:
        return 2 + n_players + n_players * (n_players - 1) // 2

    def _explain(self, game: RowGame) -> Answer:
        n = game.n_players
        base = game.all_masked()
        eye = torch.eye(n, dtype=torch.bool)
        alone = game.values(eye)
        terms = []
        for i, j in combinations(range(n), 2):
            score = game.value(eye[i] | eye[j]) - float(alone[i] + alone[j]) + base
            terms.append(Term((i, j), "pair", None, self.factor * score))
        shares = Answer.shared_evenly(terms, n)
        return Answer(terms, shares, game.all_present() - base, base, details={"alone": alone.tolist()})


class Crossed(DerivativeMethod):
    """Cross derivatives by the players' gates."""

    name = "crossed"
    kinds = ("pair",)
    orders = (2, 2)
    summary = "for the tests"
    complete = False

    def _explain(self, gates: InputGates, size: PassSize, show_progress: bool) -> list[Answer]:
        found = hessian(gates)
        return [
            Answer([Term((0, 1), "pair", None, float(h[0, 1]))], h.sum(1), arrays={"matrix": h.numpy()})
            for h in found
        ]


def product(x: Tensor) -> Tensor:
    return x[:, 0] * x[:, 1] + x[:, 2]


X = torch.tensor([[2.0, 3.0, 1.0], [1.0, -1.0, 0.5]], dtype=torch.float64)


def test_terms_shares_and_delta_are_those_of_the_answer() -> None:
    method = Pairs(product)
    tables = method.interact(X)
    assert [{t.members: t.score for t in table} for table in tables] == [
        {(0, 1): 6.0, (0, 2): 0.0, (1, 2): 0.0},
        {(0, 1): -1.0, (0, 2): 0.0, (1, 2): 0.0},
    ]
    attributions, delta = method.attribute(X, return_convergence_delta=True)
    assert attributions.tolist() == [[3.0, 3.0, 0.0], [-0.5, -0.5, 0.0]]
    assert delta.tolist() == [6.0 - 7.0, -1.0 + 0.5]
    both = method.attribute_and_interact(X)
    assert torch.equal(both[0], attributions)
    assert [t.score for t in both[1][1]] == [t.score for t in tables[1]]


def test_a_table_says_where_it_comes_from() -> None:
    net = nn.Linear(3, 2)
    table = Pairs(net, factor=2.0).interact(X.float(), target=[0, 1])[1]
    source = table.provenance
    assert (source.method, source.target, source.model, source.seed) == ("pairs", "1", ("Linear",), 4)
    assert source.options == {"factor": 2.0, "seed": 4}
    assert source.forward_passes == 2 + 3 + 3
    assert source.details["alone"] == pytest.approx(
        [net(X[1].float() * e)[1].item() for e in torch.eye(3)], rel=1e-5
    )
    assert table.base == pytest.approx(float(net.bias[1]))


def test_derivative_methods_have_no_options_of_captums() -> None:
    source = Crossed(product).interact(X)[0].provenance
    assert source.options == {}
    assert Crossed(product).interact(X)[1].arrays["matrix"][0, 1] == pytest.approx(-1.0)


def test_a_delta_is_what_is_missing_also_where_the_method_did_not_look() -> None:
    shares, delta = Crossed(product).attribute(X, X * 0 + 0.5, return_convergence_delta=True)
    effects = product(X) - product(X * 0 + 0.5)
    torch.testing.assert_close(delta, shares.sum(1) - effects)
    assert Crossed(product).has_convergence_delta()


def test_words_of_the_class_reach_the_drawings_and_survive_a_file(tmp_path: Any) -> None:
    table = Pairs(product).interact(X)[0]
    again = type(table).load(table.save(tmp_path / "t.safetensors"))
    for one in (table, again):
        words = wording_of(one)
        assert (words.quantity, words.signs) == ("second difference", ("synergy", "redundancy"))
    assert wording_of(Crossed(product).interact(X)[0]).quantity == "score"


@pytest.mark.parametrize(
    ("told", "quantity", "signs"),
    [
        ({"quantity": 3, "signs": ["one"]}, "score", ()),
        ({"quantity": "effect", "unknown": 1, "signs": ["a", 2]}, "effect", ()),
        ({"signs": ["up", "down"], "signed": False}, "score", ("up", "down")),
        ({"signs": ("only",)}, "score", ()),
        ({"signs": (1, 2)}, "score", ()),
    ],
)
def test_words_that_make_no_sense_are_passed_over(told: Any, quantity: str, signs: Any) -> None:
    table = Pairs(product).interact(X)[0].with_provenance(details={"wording": told})
    words = wording_of(table)
    assert (words.quantity, words.signs) == (quantity, signs)


@pytest.mark.parametrize("text", ["{1}", "{", "{name}", "{:>200000000}", "{0.__class__.__mro__}"])
def test_words_of_a_file_are_not_evaluated(text: str) -> None:
    table = Pairs(product).interact(X, target=None)[0]
    table = table.with_provenance(
        target="t", details={"wording": {"heading": text, "unit": text}, "unit": "u"}
    )
    assert heading_of(table) == text
    assert unit_of(table) == text


# ---------------------------------------------------------------- the game of a row
def test_a_coalition_is_computed_once() -> None:
    seen: list[int] = []

    def counted(x: Tensor) -> Tensor:
        seen.append(len(x))
        return product(x)

    rows: list[int] = []
    game = RowGame(MaskedGame(counted, X, internal_batch_size=100), 1, rows.append)
    every = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 1]], dtype=torch.bool)
    values = game.values(every)
    assert values.tolist() == [-0.5, 0.0, -0.5, 0.5]
    assert values.dtype == torch.float64
    assert torch.equal(game.values(every), values)
    assert (game.all_present(), game.all_masked()) == (-0.5, 0.0)
    assert game.forward_passes == sum(seen) == sum(rows) == 3


def test_many_players_are_told_apart() -> None:
    n = 70
    game = RowGame(MaskedGame(lambda x: x.sum(1), torch.arange(1.0, n + 1).unsqueeze(0)), 0)
    assert game.values(torch.eye(n, dtype=torch.bool)).tolist() == list(range(1, n + 1))


def test_all_values_give_the_dividends() -> None:
    game = RowGame(MaskedGame(product, X), 0)
    table = torch.cartesian_prod(*[torch.tensor([False, True])] * 3)
    assert moebius_transform(game.values(table)).tolist() == [0, 1, 0, 0, 0, 0, 6, 0]


@pytest.mark.parametrize("bad", [torch.ones(3, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool), X])
def test_coalitions_of_another_shape_are_refused(bad: Tensor) -> None:
    with pytest.raises(PlayerError, match=r"expected coalitions as a \(m, 3\) bool tensor"):
        RowGame(MaskedGame(product, X), 0).values(bad)


def test_values_of_one_row_are_those_of_all() -> None:
    game = MaskedGame(product, X)
    coalitions = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    whole = game.values(coalitions)
    for row in range(2):
        assert torch.equal(game.values(coalitions, row=row), whole[row : row + 1])


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize("cls", [Pairs, Crossed])
def test_what_cannot_be_explained_is_said(cls: type) -> None:
    with pytest.raises(InputError, match="forward_func to be a callable, got int"):
        cls(3)
    with pytest.raises(InputError, match="got an empty batch"):
        cls(product).interact(X[:0])
    with pytest.raises(InputError, match="internal_batch_size"):
        cls(product).interact(X, internal_batch_size=0)
    with pytest.raises(ModelOutputError):
        cls(lambda x: product(x) * float("nan")).interact(X)


def test_progress_counts_the_rows_that_are_expected(capsys: pytest.CaptureFixture[str]) -> None:
    Pairs(product).interact(X, show_progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "pairs: masked passes" in err
    assert "/16" in err  # two rows of eight


class Faulty(Pairs):
    """Gives what it is told to."""

    def __init__(self, forward_func: Callable[..., Any], *, answer: Answer) -> None:
        CoalitionMethod.__init__(self, forward_func)
        self.answer = answer

    def options(self) -> dict[str, Any]:
        return {}

    def _explain(self, game: RowGame) -> Answer:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        Answer([], torch.zeros(2)),
        Answer([], torch.tensor([0.0, float("nan"), 0.0])),
        Answer([Term((0,), "pair", None, float("inf"))], torch.zeros(3)),
    ],
)
def test_answers_that_only_a_fault_gives_are_refused(answer: Answer) -> None:
    with pytest.raises(PluginError, match="Faulty is to give 2 answers with finite scores"):
        Faulty(product, answer=answer).interact(X)


def test_an_option_that_is_kept_elsewhere_is_told() -> None:
    class Hides(Pairs):
        def __init__(self, forward_func: Callable[..., Any], *, alpha: float = 1.0) -> None:
            super().__init__(forward_func)
            self._alpha = alpha

    with pytest.raises(PluginError, match=r"Hides takes alpha .* set self.alpha"):
        Hides(product).interact(X)


def test_a_seed_is_recorded_where_it_was_used() -> None:
    drawn = Faulty(product, answer=Answer([], torch.zeros(3), drawn=True))
    idle = Faulty(product, answer=Answer([], torch.zeros(3), drawn=False))
    for method, seed in ((drawn, 7), (idle, None)):
        method.seed = 7
        assert method.interact(X)[0].provenance.seed == seed


def test_a_method_that_says_nothing_cannot_be_made() -> None:
    class Silent(CoalitionMethod):
        name, kinds, orders, summary = "silent", ("x",), (1, 1), "nothing"

    with pytest.raises(TypeError, match="_explain"):
        Silent(product)  # type: ignore[abstract]
    with pytest.raises(PluginError, match="lacks _explain"):
        check_method("silent", Silent)
    with pytest.raises(PluginError, match="calls itself 'pairs'; set name = 'other'"):
        check_method("other", Pairs)
    check_method("pairs", Pairs)


@pytest.mark.parametrize("cls", [Pairs, Crossed])
def test_what_was_made_in_inference_mode_is_taken(cls: Any) -> None:
    expected = cls(product).interact(X, X * 0 + 0.5, None, None, torch.tensor([[0, 1, 1]]))
    with torch.inference_mode():
        x, baselines, mask = X.clone(), X * 0 + 0.5, torch.tensor([[0, 1, 1]])
        found = cls(product).interact(x, baselines, None, None, mask)
    outside = cls(product).interact(x, baselines, None, None, mask)
    for tables in (found, outside):
        assert [[t.score for t in one] for one in tables] == [[t.score for t in one] for one in expected]


@pytest.mark.parametrize("cls", [Pairs, Crossed])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_model_may_write_into_what_it_is_given(cls: Any, rows: int) -> None:
    embeddings = torch.arange(20.0, dtype=torch.float64).view(10, 2)

    def f(x: Tensor, ids: Tensor) -> Tensor:
        ids += 1
        return product(x) * embeddings[ids].sum((1, 2))

    x, ids = X[:rows].clone(), torch.tensor([[1, 2], [3, 4]])[:rows]
    mask = (torch.tensor([[0, 1, 2]]), torch.tensor([[-1, -1]]))
    first = cls(f).interact((x, ids), feature_mask=mask)
    again = cls(f).interact((x, ids), feature_mask=mask)
    assert ids.tolist() == [[1, 2], [3, 4]][:rows]
    assert torch.equal(x, X[:rows])
    assert [t.score for t in first[0]] == [t.score for t in again[0]]


def test_a_row_that_there_is_not_is_refused() -> None:
    game = MaskedGame(product, X)
    for row in (2, -1):
        with pytest.raises(InputError, match=rf"expected row in 0\.\.1, got {row}"):
            game.values(torch.ones(1, 3, dtype=torch.bool), row=row)

"""What an explanation would cost is told before it is spent, and is what it then costs."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.authoring import Answer, CoalitionMethod, Cost, Term
from hoi_captum.errors import InputError, OptionError, TooManyPlayersError

BERT, LLAMA, RESNET = "zoo:sentiment-bert-a", "zoo:sentiment-llama-a", "zoo:digits-resnet"
TEXT = "not a bad film at all"
# model, input, and what else there is to say
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"model": BERT, "data": TEXT, "target": "positive"},
    "llama": {
        "model": LLAMA,
        "data": "a film full of charm and wit",
        "target": "good",
        "template": "review : {} sentiment :",
    },
    "resnet": {"model": RESNET, "data": hoi.zoo.samples("digits-resnet", 1)[0][0], "players": (3, 3)},
}


def rows_spent(interactions: Any) -> tuple[int, int]:
    source = interactions.provenance
    return source.forward_passes, source.backward_passes


@pytest.mark.parametrize("family", FAMILIES)
def test_coalitions_are_counted_exactly(family: str) -> None:
    told = hoi.estimate(**FAMILIES[family])
    spent, none = rows_spent(hoi.explain(**FAMILIES[family]).interactions)
    assert (told.cost.total, none) == (spent, 0)
    changing = {"bert": 6, "llama": 7, "resnet": 4}[family]  # five patches of the digit's nine are blank
    assert told.cost.passes == 2**changing
    assert f"{spent:,} forward passes for each row" in str(told)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("method", "options"),
    [("taylor-cam", {}), ("taylor-cam", {"synergy": 0}), ("second-glance", {"n_samples": 64})],
)
@pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")  # so few samples are noise
def test_derivatives_are_counted_roughly(family: str, method: str, options: dict[str, Any]) -> None:
    """By passes of the model, of which a reverse one counts two to five; a few more choose the mode."""
    asked = FAMILIES[family] | options
    told = hoi.estimate(method=method, **asked).cost.total
    forward, backward = rows_spent(hoi.explain(method=method, **asked).interactions)
    assert told is not None
    assert 0.75 * (forward + backward) <= told <= 1.1 * forward + 6 * backward


def test_several_models_and_masked_players() -> None:
    both = hoi.estimate([BERT, "zoo:sentiment-bert-b"], TEXT)
    assert both.cost.total == 2 * hoi.estimate(BERT, TEXT).cost.total == 128
    # a player that is its own baseline changes nothing, and is not run
    model = nn.Linear(3, 1)
    cost = hoi.GeneralizableAndOr(model).cost(torch.tensor([[1.0, 0.0, 2.0]]))
    assert (cost.passes, cost.rows, cost.total) == (4, 1, 4)


def test_rows_of_a_batch() -> None:
    method = hoi.GeneralizableAndOr(lambda x: x.prod(1))
    assert method.cost(torch.ones(5, 4)).total == 5 * 16
    nid = hoi.TaylorNID(lambda x: x.prod(1), representatives="mean")
    assert nid.cost(torch.ones(5, 4)).total == 3 + 5 * 4  # rows that ask the same ask once
    two = nid.cost(torch.ones(3, 4), feature_mask=torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1]]))
    assert (two.rows, two.total) == (2, 2 * (3 + 5 * 2))
    of_classes = hoi.TaylorNID(nn.Linear(4, 3), representatives="mean")
    assert of_classes.cost(torch.ones(4, 4), target=[0, 1, 2, 0]).rows == 3


def test_long_solving_is_told() -> None:
    def besides(players: int) -> str:
        return hoi.GeneralizableAndOr(lambda x: x.sum(1), max_players=20).cost(torch.ones(1, players)).besides

    assert besides(11) == ""
    assert besides(12) == "some seconds of solving for each row"
    assert besides(16) == "a minute or two of solving for each row"


class Counting(nn.Module):
    """A network that counts the rows it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 8), nn.Linear(8, 2)
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return self.out(torch.tanh(self.hidden(x)))


def test_what_is_learned_from_is_counted() -> None:
    torch.manual_seed(0)
    model, data = Counting(), torch.randn(300, 4)
    asked: dict[str, Any] = {
        "method": "layer-local-corex",
        "layer": "hidden",
        "background": data,
        "n_clusters": 1,
    }
    told = hoi.estimate(model, data[0], target=0, **asked)
    assert model.rows < 200, "only what it takes to time a pass"
    assert (told.cost.learning, told.cost.passes, told.cost.total) == (300, 2, 302)  # both verbs
    assert "a CorEx" in str(told)
    before = model.rows
    hoi.LayerLocalCorEx(model, model.hidden, n_clusters=1).fit(data)
    assert model.rows - before == 300


def test_a_surrogate_is_counted_with_and_without_a_fit() -> None:
    model, data = Counting(), torch.randn(300, 4)
    around = hoi.estimate(model, data[0], "second-glance", target=0)
    learned = hoi.estimate(model, data[0], "second-glance", target=0, background=data)
    assert around.cost.total == 3 * 128
    assert learned.cost.total == 3 * 300 + 3
    assert learned.cost.besides == "teaching the surrogate"
    assert "about 3 forward passes" in str(learned), "a gradient is three passes, roughly"
    method = hoi.SecondGlance(lambda x: x[:, 0] * x[:, 1], surrogate="ridge").fit(data)
    assert method.cost(data[:7]).total == 3 * 7


def test_what_the_units_of_a_map_will_cost_is_not_known_before_the_fit() -> None:
    model = Counting()
    method = hoi.GraphSpectral(model, model.hidden, terms="pairs")
    assert method.fit_cost(100).total is None
    assert "not known beforehand" in str(method.fit_cost(100))
    assert hoi.GraphSpectral(model, model.hidden).fit_cost(100).total == 101


class Untold(CoalitionMethod):
    """A method that does not say how many coalitions it will ask for."""

    name, kinds, orders, summary = "untold", ("single",), (1, 1), "one player"

    def _explain(self, game: Any) -> Answer:
        shares = torch.zeros(game.n_players)
        return Answer([Term((0,), "single", None, 0.0)], shares)


def test_a_method_that_cannot_tell() -> None:
    told = hoi.estimate(BERT, TEXT, Untold)
    assert (told.cost.total, told.seconds, told.method) == (None, None, "untold")
    assert "6 players: forward passes not known beforehand" in str(told)
    assert told.to_dict()["seconds"] is None


def test_a_class_without_any_cost() -> None:
    class Foreign:
        name = "foreign"

        def __init__(self, forward_func: Any) -> None: ...

        def interact(self, inputs: Any) -> list[Any]:
            raise AssertionError("nothing is to be explained")

    assert hoi.estimate(BERT, TEXT, Foreign).cost == Cost("6 players", None)


def test_seconds_are_passes_times_a_pass() -> None:
    told = hoi.estimate(BERT, TEXT)
    assert told.seconds == 64 * told.seconds_per_pass > 0


@pytest.mark.parametrize(("pause", "most"), [(0.03, 4), (0.6, 2)])
def test_timing_a_slow_model_takes_no_more_than_a_few_passes(pause: float, most: int) -> None:
    class Slow(Counting):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(pause * len(x))
            return super().forward(x)

    model = Slow()
    assert hoi.estimate(model, torch.ones(4)).seconds_per_pass >= pause
    assert model.rows <= most  # one of them tells what it predicts


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (0.9999, "1000 ms"),
        (1.4, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (9000, "2 h"),
    ],
)
def test_times_are_spoken(seconds: float, said: str) -> None:
    told = hoi.Estimate("m", ("a",), Cost("1 player", 1), seconds)
    assert f"about {said}: 1 forward pass, in batches (one takes {said})" in str(told)


def test_too_much_is_refused_with_its_cost() -> None:
    with pytest.raises(TooManyPlayersError, match=r"18 players need 2\^18 = 262,144 model passes"):
        hoi.estimate(BERT, " ".join([TEXT] * 3))
    with pytest.raises(TooManyPlayersError, match="9 units, mode 'grad_diff': about 78 forward passes"):
        hoi.estimate(method="taylor-cam", max_players=8, **FAMILIES["resnet"])


def test_bad_input_is_that_of_explain() -> None:
    with pytest.raises(InputError, match="learns from data before it explains: give background"):
        hoi.estimate(BERT, TEXT, "layer-local-corex")
    with pytest.raises(InputError, match="learns from data before it explains: give background"):
        hoi.estimate(BERT, TEXT, "taylor-nid")  # which learns without a pass of the model
    with pytest.raises(InputError, match="expected background with a length, got a stream"):
        hoi.estimate(BERT, TEXT, "layer-local-corex", background=iter([TEXT]))
    with pytest.raises(OptionError, match="has no option depth"):
        hoi.estimate(BERT, TEXT, depth=3)


def test_model_and_random_numbers_are_left_as_they_were() -> None:
    model, row = Counting().train(), torch.randn(4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    hoi.estimate(model, row, "second-glance", target=0)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)

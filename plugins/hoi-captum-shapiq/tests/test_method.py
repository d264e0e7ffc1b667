"""The method: exact where it can be, planted pairs where it cannot, gates, seeds, models of each family."""

from __future__ import annotations

import os
import random
from importlib.metadata import EntryPoint
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from captum.attr import ShapleyValues
from hoi_captum_shapiq import ShapiqInteractions, TableGame, exact_interactions, to_shapiq
from hoi_captum_shapiq.exact import INDICES
from hoi_captum_shapiq.versions import check_gate, refused, shapiq_version
from torch import nn

import hoi_captum as hoi
from hoi_captum.authoring import Interactions
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.mobius import moebius_transform
from hoi_captum.errors import FidelityWarning, InputError, ModelOutputError, OptionError, TooManyPlayersError
from hoi_captum.registry import Registry

PLANTED = {(1, 5): 2.0, (7, 19): -1.5, (3, 22): 1.2}
MAINS = torch.linspace(-0.5, 0.5, 24, dtype=torch.float64)


def planted(x):
    return 3 + x @ MAINS[: x.shape[1]] + sum(w * x[:, i] * x[:, j] for (i, j), w in PLANTED.items())


def random_function(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, 8, generator=generator).double()
    second = torch.randn(8, generator=generator).double()
    return lambda x: 1 + torch.tanh(x @ first) @ second + x.prod(1)


def ones(n, rows=1):
    return torch.ones(rows, n, dtype=torch.float64)


def scores(table):
    return {term.members: term.score for term in table}


def exact(f, n, index, order=2):
    """By our transforms, of all coalitions."""
    found = exact_interactions(MaskedGame(f, ones(n)).table()[0], index, order).numpy()
    return {
        key: found[sum(1 << (n - 1 - i) for i in key)]
        for key in scores(ShapiqInteractions(f, index=index, max_order=order).interact(ones(n))[0])
    }


# ---------------------------------------------------------------- exact
@pytest.mark.parametrize("index", INDICES)
def test_few_players_are_exact(index):
    f = random_function(6)
    table = ShapiqInteractions(f, index=index).interact(ones(6))[0]
    expected = exact(f, 6, index)
    assert len(expected) == 21
    assert scores(table) == pytest.approx(expected, abs=1e-12)
    details = table.provenance.details
    assert details["approximator"] == "exact"
    assert not details["shapiq"]["estimated"]
    assert table.provenance.forward_passes == 64
    assert set(table.kinds.tolist()) == {index.lower()}


@pytest.mark.parametrize(
    ("approximator", "index", "within"),
    [
        ("KernelSHAPIQ", "k-SII", 1e-5),
        ("KernelSHAPIQ", "SII", 1e-5),
        ("SHAPIQ", "k-SII", 1e-12),
        ("SVARMIQ", "k-SII", 1e-12),
        ("SHAPIQ", "STII", 1e-12),
        ("SVARMIQ", "STII", 1e-12),
        ("SHAPIQ", "BII", 1e-12),
        ("RegressionFSII", "FSII", 1e-4),
        ("RegressionFBII", "FBII", 1e-10),
    ],
)
def test_agreement_at_full_budget(approximator, index, within):
    f = random_function(8)
    method = ShapiqInteractions(f, approximator=approximator, index=index, budget=256)
    table = method.interact(ones(8))[0]
    assert scores(table) == pytest.approx(exact(f, 8, index), abs=within)
    assert table.provenance.forward_passes == 256
    if index in ("k-SII", "STII", "FSII"):
        assert abs(table.provenance.details["residual"]) < 1e-6


def test_the_highest_order_is_the_moebius_transform():
    f, n = random_function(5), 5
    dividends = moebius_transform(MaskedGame(f, ones(n)).table()[0])
    for index in ("k-SII", "STII", "FSII", "FBII"):
        for term in ShapiqInteractions(f, index=index, max_order=n).interact(ones(n))[0]:
            row = sum(1 << (n - 1 - i) for i in term.members)
            assert term.score == pytest.approx(float(dividends[row]), abs=1e-12)


@pytest.mark.parametrize("index", ["k-SII", "SII"])
def test_attributions_are_captums_shapley_values(index):
    f, x = random_function(5), torch.randn(2, 5).double()
    found, delta = ShapiqInteractions(f, index=index).attribute(x, return_convergence_delta=True)
    torch.testing.assert_close(found, ShapleyValues(f).attribute(x).double(), rtol=1e-5, atol=1e-5)
    assert delta.abs().max() < 1e-12


@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII"])
def test_efficiency(index):
    table = ShapiqInteractions(planted, index=index).interact(ones(24))[0]
    effect = float(planted(ones(24)) - 3)
    assert table.scores.sum() == pytest.approx(effect, abs=1e-6)
    assert table.base == pytest.approx(3)
    assert ShapiqInteractions(planted, index=index).has_convergence_delta()


# ---------------------------------------------------------------- estimates
CASES = [
    ("KernelSHAPIQ", "k-SII", 0.2),
    ("InconsistentKernelSHAPIQ", "k-SII", 1e-6),
    ("RegressionFSII", "FSII", 1e-4),
    ("RegressionFBII", "FBII", 1e-6),
    ("PermutationSamplingSTII", "STII", 1e-6),
    ("SHAPIQ", "k-SII", 0.9),
]


@pytest.mark.parametrize(("approximator", "index", "within"), CASES)
def test_planted_pairs_among_24_players(approximator, index, within):
    method = ShapiqInteractions(planted, approximator=approximator, index=index, budget=2048, seed=1)
    table = method.interact(ones(24))[0]
    pairs = table.where(order=2)
    assert {term.members for term in pairs.top(3)} == set(PLANTED)
    assert max(abs(term.score - PLANTED.get(term.members, 0)) for term in pairs) < within
    assert table.provenance.forward_passes <= 2048 + 2
    assert table.provenance.details["shapiq"]["estimated"]


@pytest.mark.skipif(not find_spec("lightgbm"), reason="lightgbm is not installed")
def test_planted_pairs_by_proxy_spex():
    method = ShapiqInteractions(planted, approximator="ProxySPEX", index="FBII", budget=500, seed=1)
    table = method.interact(ones(24))[0]
    assert {term.members for term in table.where(order=2).top(3)} == set(PLANTED)
    assert table.provenance.forward_passes <= 502
    assert table.base == pytest.approx(3)  # v(empty), not the estimator's constant


@pytest.mark.parametrize(
    ("players", "options", "expected"),
    [
        (14, {}, "exact"),
        (15, {}, "KernelSHAPIQ"),
        (15, {"budget": 1 << 15}, "exact"),
        (20, {"budget": 1 << 20, "index": "SII"}, "exact"),
        (20, {}, "KernelSHAPIQ"),
        (21, {"budget": 1 << 22}, "KernelSHAPIQ"),
        (40, {"index": "FSII"}, "RegressionFSII"),
        (40, {"index": "FBII"}, "RegressionFBII"),
        (40, {"index": "STII"}, "PermutationSamplingSTII"),
        (40, {"index": "BII"}, "RegressionFBII"),
        (40, {"max_order": 1}, "KernelSHAP"),
        (80, {"index": "BII"}, "RegressionFBII"),
    ],
)
def test_policy(players, options, expected):
    assert ShapiqInteractions(planted, **options).chosen(players) == expected


def test_policy_for_many_players(monkeypatch):
    method = ShapiqInteractions(planted, index="FBII")
    for lightgbm, expected in ((True, "ProxySPEX"), (False, "SPEX")):
        there = {"lightgbm": lightgbm, "galois": True, "sparse_transform": True}
        monkeypatch.setattr("hoi_captum_shapiq.method.find_spec", there.get)
        assert method.chosen(80) == expected
    monkeypatch.setattr("hoi_captum_shapiq.method.find_spec", lambda name: None)
    assert method.chosen(80) == "RegressionFBII"
    assert ShapiqInteractions(planted, index="STII").chosen(80) == "SHAPIQ"
    with pytest.raises(OptionError, match=r"hoi-captum-shapiq\[proxy\]"):
        ShapiqInteractions(planted, index="FBII", approximator="ProxySPEX")


@pytest.mark.parametrize("lightgbm", [True, False])
def test_the_default_is_fitted_to_many_players_with_a_warning(lightgbm, monkeypatch):
    there = {"lightgbm": lightgbm, "galois": True, "sparse_transform": True}
    monkeypatch.setattr("hoi_captum_shapiq.method.find_spec", there.get)
    monkeypatch.setattr("hoi_captum_shapiq.versions.shapiq_version", lambda: "1.4.1")
    method = ShapiqInteractions(lambda x: x.sum(1), budget=300)
    with pytest.warns(FidelityWarning, match=r"1,081 interactions of 46 players to 300.*budget=4324 or more"):
        table = method.interact(ones(46))[0]
    assert table.provenance.details["approximator"] == "KernelSHAPIQ"


# ---------------------------------------------------------------- how good an estimate is
def noise_of(method, f, x):
    """Root mean square error of pairs, as a part of their size; and what the method tells of it."""
    exactly = scores(
        ShapiqInteractions(f, approximator="exact", index=method.index).interact(x)[0].where(order=2)
    )
    table = method.interact(x)[0]
    found = scores(table.where(order=2))
    error = np.mean([(found[key] - score) ** 2 for key, score in exactly.items()])
    size = np.mean([score**2 for score in exactly.values()])
    return float((error / size) ** 0.5), table.provenance


def smooth(n=15):
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(n, 16, generator=generator).double(),
        torch.randn(16, generator=generator).double(),
    )
    return lambda x: torch.tanh(x @ first / n**0.5) @ second, torch.randn(1, n, generator=generator).double()


def test_banzhaf_indices_are_those_of_the_regression():
    f, x = smooth()
    noise, provenance = noise_of(ShapiqInteractions(f, index="BII"), f, x)
    assert provenance.details["approximator"] == "RegressionFBII"
    assert noise < 0.3  # by SHAPIQ it is 10


@pytest.mark.parametrize("order", [1, 2, 3])
def test_banzhaf_indices_follow_from_faithful_ones(order):
    f = random_function(8)
    method = ShapiqInteractions(f, approximator="RegressionFBII", index="BII", max_order=order, budget=256)
    assert scores(method.interact(ones(8))[0]) == pytest.approx(exact(f, 8, "BII", order), abs=1e-10)


def test_stii_spends_its_budget_and_tells_its_error():
    f, x = smooth()
    noise, provenance = noise_of(ShapiqInteractions(f, index="STII"), f, x)
    assert 0.9 * 2048 < provenance.forward_passes <= 2048
    assert provenance.details["relative_stderr"] == pytest.approx(noise, rel=0.4)
    with pytest.warns(FidelityWarning, match="one round"):
        ShapiqInteractions(f, index="STII", budget=130).interact(x)


@pytest.mark.parametrize(("approximator", "index"), [("SHAPIQ", "BII"), ("SVARMIQ", "STII")])
def test_noise_is_said(approximator, index):
    f, x = smooth()
    method = ShapiqInteractions(f, approximator=approximator, index=index, budget=500)
    with pytest.warns(FidelityWarning, match=rf"standard errors of {approximator}'s {index} of order 2"):
        noise, provenance = noise_of(method, f, x)
    assert noise > 1
    assert provenance.details["relative_stderr"] > 0.5
    assert provenance.forward_passes <= 502


def test_there_is_no_seed_where_nothing_is_drawn():
    for budget, seed in ((300, 3), (1 << 15, None)):
        table = ShapiqInteractions(random_function(15), budget=budget, seed=3).interact(ones(15))[0]
        assert table.provenance.seed == seed
        assert table.provenance.options["seed"] == 3


# ---------------------------------------------------------------- gates
@pytest.mark.parametrize(
    ("name", "version", "wrong"),
    [("ProxySPEX", "1.4.1", True), ("ProxySPEX", "1.7.9", True), ("ProxySPEX", "1.8.0", False),
     ("ProxySPEX", "1.10", False), ("SPEX", "1.4.1", True), ("SPEX", "1.8.0", True),
     ("KernelSHAPIQ", "1.4.1", False)],
)  # fmt: skip
def test_gates_by_version(name, version, wrong):
    assert refused(name, "k-SII", version) is wrong
    assert not refused(name, "FBII", version)
    if wrong:
        with pytest.raises(OptionError, match="aggregated twice"):
            check_gate(name, "k-SII", version)


def test_the_installed_version_is_known():
    assert shapiq_version().startswith("1.")


def test_spex_is_refused_for_k_sii():
    with pytest.raises(OptionError, match='index="SII"'):
        ShapiqInteractions(planted, approximator="SPEX")


@pytest.mark.skipif(not shapiq_version().startswith("1.4"), reason="the error of another version")
@pytest.mark.skipif(not find_spec("lightgbm"), reason="lightgbm is not installed")
def test_what_the_gate_is_for():
    from shapiq import ProxySPEX

    game = TableGame(MaskedGame(lambda x: 2 * x[:, 0] * x[:, 1] + x[:, 2], ones(10)))
    found = ProxySPEX(n=10, index="k-SII", max_order=2, random_state=0).approximate(300, game)
    assert found[(0,)] == pytest.approx(-1, abs=0.1)  # k-SII is 0: half of the pair is taken off twice
    assert found[(0, 1)] == pytest.approx(2, abs=0.1)


@pytest.mark.skipif("HOI_CAPTUM_SLOW_TESTS" not in os.environ, reason="20 seconds of compilation")
def test_planted_pairs_by_spex():
    method = ShapiqInteractions(planted, approximator="SPEX", index="SII", seed=1)
    pairs = method.interact(ones(24))[0].where(order=2)
    assert scores(pairs.top(3)) == pytest.approx(PLANTED, abs=1e-3)
    again = method.interact(ones(24))[0].where(order=2)
    np.testing.assert_array_equal(again.scores, pairs.scores)


# ---------------------------------------------------------------- seeds, state, files
def test_rows_and_seeds():
    f = random_function(16)
    x = torch.randn(3, 16).double()
    make = lambda seed: ShapiqInteractions(f, budget=300, seed=seed)  # noqa: E731
    together = make(5).interact(x)
    alone = make(5).interact(x[1:2], internal_batch_size=7)[0]
    np.testing.assert_allclose(alone.scores, together[1].scores, atol=1e-9)
    np.testing.assert_array_equal(make(5).interact(x)[1].scores, together[1].scores)
    assert np.abs(make(6).interact(x[1:2])[0].scores - alone.scores).max() > 1e-3
    assert together[0].provenance.seed == 5


def test_random_states_and_the_model_are_left_as_they_were(tmp_path, capfd):
    net = nn.Sequential(nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    states = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    method = ShapiqInteractions(net, index="SII", budget=300)
    table = method.interact(torch.randn(1, 16, generator=torch.Generator().manual_seed(0)), target=1)[0]
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert random.getstate() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert Interactions.load(table.save(tmp_path / "x.safetensors")) == table
    assert set(table.provenance.options) == {"approximator", "index", "max_order", "budget", "seed"}
    back = to_shapiq(table)
    assert (back.index, back.max_order, back.estimation_budget) == ("SII", 2, 300)
    assert back.baseline_value == table.base
    out, err = capfd.readouterr()
    assert out == err == ""


def test_masks_tuples_and_targets():
    f = random_function(4)
    a, b = torch.randn(2, 2).double(), torch.randn(2, 2, 2).double()

    def forward(a, b):
        return f(torch.cat((a, b.sum(2)), 1))

    mask = (torch.tensor([[0, 1]]), torch.tensor([[[2, 2], [-1, -1]]]))
    attributions, tables = ShapiqInteractions(forward).attribute_and_interact((a, b), feature_mask=mask)
    assert [part.shape for part in attributions] == [a.shape, b.shape]
    assert len(tables[0].players) == 3
    assert attributions[1][:, 1].abs().max() == 0


@pytest.mark.parametrize(
    "options",
    [
        {"approximator": "kernel"},
        {"index": "k-sii"},
        {"index": "SV"},
        {"max_order": 0},
        {"budget": 3},
        {"budget": 2048.0},
        {"seed": -1},
        {"seed": 1 << 32},
        {"approximator": "KernelSHAPIQ", "index": "STII"},
        {"approximator": "SHAPIQ", "index": "FSII"},
        {"approximator": "KernelSHAP"},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError):
        ShapiqInteractions(planted, **options)


def test_bad_input_is_refused():
    with pytest.raises(InputError):
        ShapiqInteractions(None)
    with pytest.raises(TooManyPlayersError, match="24 players"):
        ShapiqInteractions(planted, approximator="exact").interact(ones(24))
    with pytest.raises(ModelOutputError):
        ShapiqInteractions(lambda x: x.sum(1) / 0, budget=300).interact(ones(16))
    with pytest.warns(FidelityWarning, match="too few"):
        ShapiqInteractions(planted, approximator="KernelSHAPIQ", budget=200).interact(ones(24))
    method = ShapiqInteractions(planted, approximator="PermutationSamplingSTII", index="STII", budget=300)
    with pytest.raises(OptionError, match="requires 301"):  # zeros, were it not refused
        method.interact(ones(24))


def test_it_registers():
    found = Registry([EntryPoint("shapiq", "hoi_captum_shapiq", "hoi_captum")])
    assert found.plugins[-1].status == "ok"
    assert found.method("shapiq") is ShapiqInteractions


# ---------------------------------------------------------------- models
def test_bert_is_exact():
    explanation = hoi.explain("zoo:sentiment-bert-a", "not a bad film", method=ShapiqInteractions)
    table = explanation.interactions
    assert table.provenance.details["approximator"] == "exact"
    assert table.provenance.details["residual"] == pytest.approx(0, abs=1e-9)
    assert len(table) == 10


def test_a_long_sentence_on_llama():
    model, tokenizer = hoi.zoo.load("sentiment-llama-a")
    text = "the plot is thin and the jokes are old but the cast is so good that you will not mind"
    explanation = hoi.explain(
        model,
        text,
        tokenizer=tokenizer,
        template="review : {} sentiment :",
        target=("good", "bad"),
        method=ShapiqInteractions,
        budget=600,
    )
    table = explanation.interactions
    assert len(table.players) == 20
    assert table.provenance.details["approximator"] == "KernelSHAPIQ"
    assert table.provenance.forward_passes == 600
    assert abs(table.provenance.details["residual"]) < 1e-4 * abs(table.provenance.details["effect"])


def test_resnet():
    model, transforms = hoi.zoo.load("digits-resnet")
    image, _ = hoi.zoo.samples("digits-resnet", 1)[0]
    explanation = hoi.explain(
        model,
        image,
        method=ShapiqInteractions,
        transforms=transforms,
        players=(4, 4),
        index="FSII",
        budget=600,
    )
    table = explanation.interactions
    assert table.provenance.details["approximator"] == "RegressionFSII"
    assert abs(table.provenance.details["residual"]) < 1e-4

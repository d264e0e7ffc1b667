"""Planted sets, all pairs against their definition, phi against direct evaluation, models of each family."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from captum.attr import ShapleyValueSampling
from hoi_captum_archipelago import Archipelago
from torch import nn

import hoi_captum as hoi
from hoi_captum.errors import CostWarning, InputError, ModelOutputError, OptionError
from hoi_captum.registry import Registry

WEIGHTS = torch.linspace(-1, 1, 14, dtype=torch.float64)


def planted(x):
    return x @ WEIGHTS + 2 * x[:, 1] * x[:, 5] + 1.5 * x[:, 3] * x[:, 7] * x[:, 9]


def ones(n, rows=1):
    return torch.ones(rows, n, dtype=torch.float64)


def random_function(n, seed):
    """A smooth function with interactions of all orders."""
    torch.manual_seed(seed)
    first, second = torch.randn(n, 8).double(), torch.randn(8).double()
    return lambda x: torch.tanh(x @ first) @ second + x.prod(1)


def by_definition(f, x, baseline, context):
    """Second differences of all pairs, one pair and one context at a time."""
    n = x.shape[1]
    around, other = (x, baseline) if context == "input" else (baseline, x)
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            value = 0.0
            for switched, sign in (((), 1), ((i,), -1), ((j,), -1), ((i, j), 1)):
                row = around.clone()
                row[:, list(switched)] = other[:, list(switched)]
                value += sign * float(f(row))
            found[i, j] = value
    return found


# ---------------------------------------------------------------- planted sets
def test_planted_sets_are_found():
    table = Archipelago(planted, top_k=4).interact(ones(14))[0]
    strengths = table.arrays["strengths"]
    assert strengths[1, 5] == pytest.approx(4, abs=1e-12)
    for pair in ((3, 7), (3, 9), (7, 9)):
        assert strengths[pair] == pytest.approx(1.125, abs=1e-12)
        assert table.arrays["differences_input"][pair] == pytest.approx(1.5, abs=1e-12)
        assert table.arrays["differences_baseline"][pair] == pytest.approx(0, abs=1e-12)
    sets = {term.members: term.score for term in table if term.order > 1}
    assert set(sets) == {(1, 5), (3, 7, 9)}
    assert sets[1, 5] == pytest.approx(2 + float(WEIGHTS[[1, 5]].sum()), abs=1e-12)
    assert sets[3, 7, 9] == pytest.approx(1.5 + float(WEIGHTS[[3, 7, 9]].sum()), abs=1e-12)
    details = table.provenance.details
    assert details["residual"] == pytest.approx(0, abs=1e-12)  # the sets are additively disjoint
    assert details["pairs_above_tolerance"] == 4
    assert details["pairs"] == 91
    assert details["pairs_merged"] == [[1, 5], [3, 7], [3, 9], [7, 9]]
    mains = {term.members[0]: term.score for term in table if term.order == 1}
    assert mains == pytest.approx({i: float(WEIGHTS[i]) for i in range(14) if i not in (1, 3, 5, 7, 9)})


def test_rows_are_as_many_as_the_formula_says():
    rows = []

    def counted(x):
        rows.append(len(x))
        return planted(x)

    table = Archipelago(counted, top_k=0).interact(ones(14))[0]
    assert table.provenance.forward_passes == sum(rows) == 2 * (1 + 14 + 91) == 212
    assert (
        Archipelago(planted, top_k=4).interact(ones(14))[0].provenance.forward_passes == 213
    )  # and one triple


@pytest.mark.parametrize("contexts", ["both", "input", "baseline"])
def test_no_more_rows_than_announced(contexts):
    for n in (1, 2, 3, 5, 9):
        method = Archipelago(random_function(n, n), contexts=contexts)
        spent = method.interact(ones(n))[0].provenance.forward_passes
        assert 0.6 * method._passes(n) <= spent <= method._passes(n)


def test_more_pairs_than_there_are_change_nothing():
    few, many = (Archipelago(planted, top_k=k).interact(ones(14))[0] for k in (4, 90))
    assert [(t.members, t.score) for t in few] == [(t.members, t.score) for t in many]


# ---------------------------------------------------------------- against the definitions
@pytest.mark.parametrize("seed", range(4))
def test_all_pairs_of_random_functions(seed):
    n = 6
    f, x, baseline = random_function(n, seed), torch.randn(1, n).double(), torch.randn(1, n).double()
    table = Archipelago(f, weights=(0.3, 0.7)).interact(x, baseline)[0]
    expected = {c: by_definition(f, x, baseline, c) for c in ("input", "baseline")}
    for context, matrix in expected.items():
        np.testing.assert_allclose(table.arrays[f"differences_{context}"], matrix, atol=1e-12)
    strengths = 0.3 * expected["input"] ** 2 + 0.7 * expected["baseline"] ** 2
    np.testing.assert_allclose(table.arrays["strengths"], strengths, atol=1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_phi_is_what_the_set_does_alone(seed):
    n = 7
    f, x, baseline = random_function(n, seed), torch.randn(1, n).double(), torch.randn(1, n).double()
    table = Archipelago(f, top_k=3).interact(x, baseline)[0]
    for term in table:
        row = baseline.clone()
        row[:, list(term.members)] = x[:, list(term.members)]
        assert term.score == pytest.approx(float(f(row) - f(baseline)), abs=1e-12)
    members = sorted(i for term in table for i in term.members)
    assert members == list(range(n))  # each player once
    residual = float(f(x) - f(baseline)) - table.scores.sum()
    assert table.provenance.details["residual"] == pytest.approx(residual, abs=1e-12)
    assert table.base == pytest.approx(float(f(baseline)))


def test_single_contexts_have_whole_squares_and_one_array():
    both = Archipelago(planted).interact(ones(14))[0].arrays
    for context in ("input", "baseline"):
        arrays = Archipelago(planted, contexts=context).interact(ones(14))[0].arrays
        assert set(arrays) == {"strengths", f"differences_{context}"}
        np.testing.assert_allclose(arrays["strengths"], both[f"differences_{context}"] ** 2, atol=1e-12)


def test_additive_functions_have_mains_alone_as_captum_says():
    def additive(x):
        return x @ WEIGHTS

    x = torch.randn(2, 14).double()
    attributions = Archipelago(additive).attribute(x)
    torch.testing.assert_close(
        attributions, ShapleyValueSampling(additive).attribute(x, n_samples=1).double(), rtol=1e-5, atol=1e-6
    )
    assert all(table.orders.max() == 1 for table in Archipelago(additive).interact(x))


def test_a_pair_is_shared_evenly_and_the_rest_is_the_residual():
    method = Archipelago(lambda x: 3 * x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2] + x[:, 2], top_k=1)
    attributions = method.attribute(ones(3))
    torch.testing.assert_close(attributions, torch.tensor([[1.5, 1.5, 1.0]]).double())
    assert method.interact(ones(3))[0].provenance.details["residual"] == pytest.approx(1.0)
    assert method.attribute(ones(3), return_convergence_delta=True)[1].tolist() == pytest.approx([-1.0])


# ---------------------------------------------------------------- zeros and rounding
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_functions_without_interactions_merge_nothing(offset):
    table = Archipelago(lambda x: 0 * x[:, 0] + offset).interact(ones(5))[0]
    assert table.orders.tolist() == [1] * 5
    assert np.abs(table.scores).max() == 0
    assert np.isfinite(table.arrays["strengths"]).all()
    assert table.provenance.details["pairs_above_tolerance"] == 0


def test_a_baseline_of_value_zero_hides_no_pair():
    table = Archipelago(lambda x: 1e-3 * x[:, 0] * x[:, 1]).interact(ones(4))[0]  # all but v(N) may be zero
    assert table.top(1)[0].members == (0, 1)


def test_rounding_is_not_merged():
    weights = torch.randn(10, generator=torch.Generator().manual_seed(0))
    table = Archipelago(lambda x: x @ weights + 100).interact(torch.ones(1, 10))[0]  # float32
    assert np.abs(table.arrays["differences_input"]).max() > 0
    assert table.provenance.details["pairs_above_tolerance"] == 0
    assert (
        Archipelago(lambda x: x @ weights + 100, tolerance=0).interact(torch.ones(1, 10))[0].orders.max() > 1
    )


def test_differences_at_the_tolerance_are_not_merged():
    def f(x):
        return x[:, 0] * x[:, 1] + 2 * x[:, 2] * x[:, 3]

    at = Archipelago(f, absolute_tolerance=1.0).interact(ones(4))[0]
    assert [term.members for term in at if term.order > 1] == [(2, 3)]
    below = Archipelago(f, absolute_tolerance=0.999).interact(ones(4))[0]
    assert [term.members for term in below if term.order > 1] == [(0, 1), (2, 3)]


# ---------------------------------------------------------------- Captum's arguments
def test_tuples_masks_targets_and_batches():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)).double()

    def forward(a, b):
        return net(torch.cat((a, b.flatten(1)), 1))

    a, b = torch.randn(3, 3).double(), torch.randn(3, 2, 2).double()
    mask = (torch.tensor([[0, 0, 1]]), torch.tensor([[[2, 3], [3, -1]]]))
    method, targets = Archipelago(forward), torch.tensor([0, 2, 1])
    attributions, tables = method.attribute_and_interact((a, b), target=targets, feature_mask=mask)
    assert [part.shape for part in attributions] == [a.shape, b.shape]
    assert attributions[1][:, 1, 1].abs().max() == 0  # never masked
    for row in range(3):
        own = (a[row : row + 1], b[row : row + 1])
        alone = method.interact(own, target=int(targets[row]), feature_mask=mask, internal_batch_size=2)[0]
        np.testing.assert_allclose(alone.scores, tables[row].scores, atol=1e-12)
        np.testing.assert_allclose(alone.arrays["strengths"], tables[row].arrays["strengths"], atol=1e-12)


def test_tables_are_saved_and_the_model_is_left_as_it_was(tmp_path):
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)).eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    table = Archipelago(net).interact(torch.randn(1, 4), target=0)[0]
    assert hoi.Interactions.load(table.save(tmp_path / "x.safetensors")) == table
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    options = {"top_k", "contexts", "weights", "tolerance", "absolute_tolerance"}
    assert set(table.provenance.options) == options


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": -1},
        {"top_k": 2.0},
        {"contexts": "neither"},
        {"weights": (0.5,)},
        {"weights": (0, 0)},
        {"weights": (-1, 2)},
        {"weights": (float("nan"), 1)},
        {"weights": (float("inf"), 1)},
        {"tolerance": float("nan")},
        {"tolerance": -1},
        {"absolute_tolerance": float("inf")},
        {"absolute_tolerance": -1},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError):
        Archipelago(planted, **options)


def test_bad_input_is_refused():
    with pytest.raises(InputError):
        Archipelago("model")
    with pytest.raises(ModelOutputError):
        Archipelago(lambda x: x.sum(1) / 0).interact(ones(3))


def test_many_players_are_warned_of():
    method = Archipelago(lambda x: x.sum(1))
    with pytest.warns(CostWarning, match="150 players: about 22,"):
        method.interact(torch.ones(1, 150))


def test_it_registers():
    point = EntryPoint("archipelago", "hoi_captum_archipelago", "hoi_captum")
    found = Registry([point])
    assert found.plugins[-1].status == "ok"
    assert found.method("archipelago") is Archipelago


# ---------------------------------------------------------------- models
def test_bert_and_llama():
    for name in ("zoo:sentiment-bert-a", "zoo:sentiment-llama-a"):
        model, tokenizer = hoi.zoo.load(name.removeprefix("zoo:"))
        text = "not a bad film"
        if "llama" in name:
            template, target = "review : {} sentiment :", ("good", "bad")
            explanation = hoi.explain(
                model,
                text,
                tokenizer=tokenizer,
                template=template,
                target=target,
                method=Archipelago,
            )
        else:
            explanation = hoi.explain(model, text, tokenizer=tokenizer, method=Archipelago)
        table = explanation.interactions
        members = sorted(i for term in table for i in term.members)
        assert members == list(range(len(table.players)))
        assert table.orders.max() > 1
        total = table.scores.sum() + table.provenance.details["residual"]
        assert total == pytest.approx(table.provenance.details["effect"])


def test_resnet():
    model, transforms = hoi.zoo.load("digits-resnet")
    image, _ = hoi.zoo.samples("digits-resnet", 1)[0]
    explanation = hoi.explain(model, image, method=Archipelago, transforms=transforms, players=(3, 3))
    table = explanation.interactions
    assert table.arrays["strengths"].shape == (9, 9)
    assert table.orders.max() > 1

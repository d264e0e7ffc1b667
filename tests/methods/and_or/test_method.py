"""The class: what it gives for known games, on all three families, inside Captum."""

from __future__ import annotations

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, NoiseTunnel, ShapleyValues
from captum.metrics import infidelity, sensitivity_max
from torch import nn

import hoi_captum as hoi
from hoi_captum.errors import (
    ConvergenceWarning,
    InputError,
    ModelOutputError,
    OptionError,
    RoughnessWarning,
    TooManyPlayersError,
)
from hoi_captum.methods.and_or import AndOrInteractions, GeneralizableAndOr
from tests.methods.and_or.oracles import matched, shapley

ONES = torch.ones(1, 4, dtype=torch.float64)


def logical_and(x):
    """Players 1 and 2 together, and a little of player 0."""
    return 3.0 * x[:, 1] * x[:, 2] + 0.5 * x[:, 0]


def logical_or(x):
    """Player 1 or 3, and a little of player 0."""
    return 3.0 * (1 - (1 - x[:, 1]) * (1 - x[:, 3])) + 0.5 * x[:, 0]


class Mixture(nn.Module):
    def __init__(self, seed: int, n: int = 5):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(n, 8, generator=g, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(8, 3, generator=g, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(x @ self.first) @ self.second


@pytest.fixture
def mixture():
    return Mixture(0)


@pytest.fixture
def rows():
    return torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def quiet(method, *args, **kwargs):
    """Random networks are rough, which is not what these tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoughnessWarning)
        return method(*args, **kwargs)


# ---------------------------------------------------------------- known games
def test_a_planted_and_is_the_top_term():
    top = GeneralizableAndOr(logical_and).interact(ONES)[0].top(1)[0]
    assert (top.members, top.kind) == ((1, 2), "and")
    assert top.score == pytest.approx(3.0, abs=0.1)


def test_a_planted_or_is_the_top_term():
    top = GeneralizableAndOr(logical_or).interact(ONES)[0].top(1)[0]
    assert (top.members, top.kind) == ((1, 3), "or")
    assert top.score == pytest.approx(3.0, abs=0.1)


def test_without_an_error_bound_planted_effects_are_exact():
    table = GeneralizableAndOr(logical_and, error_bound=0.0, tolerance=1e-6).interact(ONES)[0]
    found = {(t.members, t.kind): t.score for t in table if abs(t.score) > 1e-3}
    assert found.keys() == {((1, 2), "and"), ((0,), "and")}
    assert found[(1, 2), "and"] == pytest.approx(3.0, abs=1e-3)


def test_shared_effects_are_told_from_the_models_own():
    def first(x):
        return logical_and(x) + 1.0 * x[:, 2] * x[:, 3]

    table = GeneralizableAndOr([first, logical_and], error_bound=0.0).interact(ONES)[0]
    shared = {(t.members, t.kind) for t in table.shared()}
    own = {(t.members, t.kind, t.scope) for t in table.salient()} - {
        (t.members, t.kind, t.scope) for t in table.shared()
    }
    assert ((1, 2), "and") in shared
    assert own == {((2, 3), "and", "model:0")}
    s_and, s_or = table.transferability()
    assert s_and.tolist() == pytest.approx([2 / 3, 1.0])
    assert np.isnan(s_or).all()


def test_scores_add_up_in_the_result(mixture, rows):
    for table, row in zip(quiet(GeneralizableAndOr(mixture).interact, rows, target=1), rows, strict=True):
        c = torch.zeros(2, 32, dtype=torch.float64)
        for term, index in zip(table, table.sets, strict=True):
            c[("and", "or").index(term.kind), index] = term.score
        for t in range(32):
            present = torch.tensor([t >> (4 - i) & 1 for i in range(5)])
            v = float(mixture((row * present).unsqueeze(0))[0, 1].detach())
            total = table.base + matched(c, t, 5) + table.error[0, t]
            assert total == pytest.approx(v, abs=1e-9)
            assert table.values[0, t] == pytest.approx(v, abs=1e-12)


# ---------------------------------------------------------------- attribution
def test_attributions_are_shapley_values(mixture, rows):
    attributions, delta = GeneralizableAndOr(mixture).attribute(rows, target=2, return_convergence_delta=True)
    for row, phi in zip(rows, attributions, strict=True):
        present = (torch.arange(32).unsqueeze(1) >> torch.arange(4, -1, -1)) & 1
        v = mixture(row * present)[:, 2]
        np.testing.assert_allclose(phi.numpy(), shapley(v.detach(), 5), atol=1e-12)
    total = mixture(rows)[:, 2] - mixture(torch.zeros(1, 5, dtype=torch.float64))[:, 2]
    torch.testing.assert_close(attributions.sum(1), total.detach(), atol=1e-12, rtol=0)
    assert delta.shape == (3,)
    assert float(delta.abs().max()) < 1e-12


def test_attributions_equal_captums_exact_shapley_values(mixture, rows):
    mask = torch.tensor([[0, 1, 1, 2, 3]])
    baselines = 0.3 * torch.ones(1, 5, dtype=torch.float64)
    ours = GeneralizableAndOr(mixture).attribute(rows, baselines, target=0, feature_mask=mask)
    theirs = ShapleyValues(mixture).attribute(rows, baselines, target=0, feature_mask=mask)
    torch.testing.assert_close(ours, theirs.double(), atol=1e-6, rtol=0)


def test_terms_and_error_share_out_to_the_attributions(mixture, rows):
    attributions, tables = quiet(GeneralizableAndOr(mixture).attribute_and_interact, rows, target=0)
    for phi, table in zip(attributions, tables, strict=True):
        left = shapley(torch.from_numpy(np.array(table.error[0])), 5)
        np.testing.assert_allclose(table.per_player() + left, phi.numpy(), atol=1e-9)


def test_both_at_once_equals_one_after_the_other(mixture, rows):
    method = GeneralizableAndOr(mixture)
    attributions, tables = quiet(method.attribute_and_interact, rows, target=0)
    torch.testing.assert_close(attributions, method.attribute(rows, target=0))
    assert tables == quiet(method.interact, rows, target=0)


def test_several_models_with_inputs_of_their_own():
    """Two models see the same players in different embeddings."""
    g = torch.Generator().manual_seed(3)
    first, second = torch.randn(1, 3, 4, generator=g), torch.randn(1, 3, 6, generator=g)
    mask = torch.tensor([[[0], [1], [2]]])

    def model(x):
        return x.sum((1, 2))

    method = GeneralizableAndOr([model, model])
    attributions = method.attribute(hoi.PerModel(first, second), feature_mask=mask)
    assert isinstance(attributions, hoi.PerModel)
    assert [a.shape for a in attributions] == [first.shape, second.shape]
    torch.testing.assert_close(attributions[1][0, :, 0], second[0].sum(-1))
    table = quiet(method.interact, hoi.PerModel(first, second), feature_mask=mask)[0]
    assert table.scope_names == ("model:0", "model:1")
    assert set(table.base) == {"model:0", "model:1"}


# ---------------------------------------------------------------- the three families
@pytest.mark.parametrize(("name", "prompt"), [("sentiment-bert-a", None), ("sentiment-llama-a", "zoo")])
@pytest.mark.parametrize("rule", ["and", "or"])
def test_planted_words_on_language_models(name, prompt, rule):
    """A rule on two words is added to a real model's scores, through its embeddings."""
    adapter = hoi.adapt(f"zoo:{name}")
    template = hoi.zoo.prompt(name) if prompt else None
    example = adapter.example("quite a pleasant film with sharp ideas", template=template)
    x, b = example.inputs, example.baselines
    owner = example.feature_mask[0, :, 0]
    places = [int((owner == player).nonzero()[0]) for player in (2, 5)]  # "pleasant" and "sharp"

    def planted(inputs):
        present = [(inputs[:, p] - b[:, p]).norm(dim=-1) / (x[:, p] - b[:, p]).norm(dim=-1) for p in places]
        together = present[0] * present[1] if rule == "and" else 1 - (1 - present[0]) * (1 - present[1])
        scores = adapter.scores(inputs)
        return 0.05 * scores[:, 0] + 4.0 * together

    top = GeneralizableAndOr(planted).interact(**example)[0].top(1)[0]
    assert (top.members, top.kind) == ((2, 5), rule)
    assert top.score == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("rule", ["and", "or"])
@pytest.mark.parametrize("name", ["digits-resnet", "digits-vgg"])
def test_planted_patches_on_image_models(name, rule):
    adapter = hoi.adapt(f"zoo:{name}")
    image, _ = hoi.zoo.samples(name, 1)[0]
    example = adapter.example(image, players=(2, 3), baseline="mean")
    x, b, mask = example.inputs, example.baselines, example.feature_mask

    def planted(inputs):
        present = []
        for player in (1, 3):
            here = (mask == player).expand_as(x)
            moved = ((inputs - b) * here).flatten(1).norm(dim=1)
            present.append(moved / ((x - b) * here).norm())
        together = present[0] * present[1] if rule == "and" else 1 - (1 - present[0]) * (1 - present[1])
        return 0.05 * adapter.scores(inputs)[:, 0] + 4.0 * together

    top = GeneralizableAndOr(planted).interact(**example)[0].top(1)[0]
    assert (top.members, top.kind) == ((1, 3), rule)
    assert top.score == pytest.approx(4.0, rel=0.1)


class WordRule(nn.Module):
    """Hand-made text model: an embedding of two detectors and a head that joins them."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, embeddings):
        first, second = embeddings[..., 0].amax(1), embeddings[..., 1].amax(1)
        joined = first * second if self.rule == "and" else torch.maximum(first, second)
        return torch.stack((-joined, joined), dim=1) + 0.1 * embeddings[..., 2].sum(1, keepdim=True)


@pytest.mark.parametrize("rule", ["and", "or"])
def test_planted_words_in_a_hand_made_model(rule):
    words = torch.zeros(1, 5, 3)
    words[0, 1, 0] = words[0, 3, 1] = 1.0
    words[0, :, 2] = torch.tensor([0.5, 1.0, -1.0, 0.2, 0.3])
    mask = torch.arange(5).view(1, 5, 1)
    top = GeneralizableAndOr(WordRule(rule)).interact(words, target=1, feature_mask=mask)[0].top(1)[0]
    assert (top.members, top.kind) == ((1, 3), rule)


# ---------------------------------------------------------------- inside Captum
def test_noise_tunnel(mixture, rows):
    method = GeneralizableAndOr(mixture)
    plain = method.attribute(rows, target=[0, 1, 2])
    none = NoiseTunnel(method).attribute(rows, nt_samples=3, stdevs=0.0, target=[0, 1, 2])
    torch.testing.assert_close(none.double(), plain, atol=1e-6, rtol=0)
    torch.manual_seed(0)
    some = NoiseTunnel(method).attribute(rows, nt_samples=8, stdevs=0.2, target=[0, 1, 2])
    assert some.shape == rows.shape
    assert not torch.allclose(some.double(), plain, atol=1e-3)


def test_metrics(mixture, rows):
    method = GeneralizableAndOr(mixture)

    def perturb(x):
        noise = 0.01 * torch.randn_like(x)
        return noise, x - noise

    attributions = method.attribute(rows, target=0)
    torch.manual_seed(0)
    assert torch.isfinite(infidelity(mixture, perturb, rows, attributions, target=0)).all()
    assert torch.isfinite(sensitivity_max(method.attribute, rows.float().double(), target=0)).all()


def test_feature_ablation_takes_the_same_example():
    adapter = hoi.adapt("zoo:sentiment-bert-a")
    example = adapter.example("not a bad film")
    ours = GeneralizableAndOr(adapter.forward_func).attribute(**example, target=1)
    theirs = FeatureAblation(adapter.forward_func).attribute(**example, target=1)
    assert ours.shape == theirs.shape == example.inputs.shape
    background = (example.feature_mask < 0).expand_as(ours)
    assert not ours[background].any()
    assert float(theirs[background].abs().max()) < 1e-5


def test_a_copy_with_another_forward_func(mixture, rows):
    """What Captum's wrappers do."""
    method = copy.copy(GeneralizableAndOr(mixture))
    method.forward_func = lambda x: 2 * mixture(x)
    torch.testing.assert_close(
        method.attribute(rows, target=0), 2 * GeneralizableAndOr(mixture).attribute(rows, target=0)
    )


# ---------------------------------------------------------------- result
def test_result_is_typed_and_survives_a_file(tmp_path, mixture, rows):
    table = quiet(GeneralizableAndOr([mixture, Mixture(1)]).interact, rows[:1], target=0)[0]
    again = AndOrInteractions.load(table.save(tmp_path / "table.safetensors"))
    assert again == table
    np.testing.assert_array_equal(again.specific_gamma, table.specific_gamma)
    np.testing.assert_array_equal(again.shared_gamma, table.shared_gamma)
    assert again.transferability()[0].tolist() == table.transferability()[0].tolist()
    assert again.converged == table.converged
    assert again.provenance == table.provenance


def test_provenance_is_complete(mixture, rows):
    seen = []
    handle = mixture.register_forward_hook(lambda m, args, out: seen.append(len(out)))
    table = quiet(GeneralizableAndOr(mixture, alpha=0.2).interact, rows[:1], target=2)[0]
    handle.remove()
    source = table.provenance
    assert source.method == "generalizable-and-or"
    assert source.forward_passes == sum(seen) == 32
    assert source.options["alpha"] == 0.2
    assert source.target == "2"
    assert source.model == ("Mixture",)
    assert source.seconds > 0
    assert {"torch", "captum"} <= set(source.libraries)
    assert source.details["converged"]
    assert -1e-3 <= source.details["gap"] <= 1e-3


def test_salient_sets_use_each_models_largest_effect():
    table = GeneralizableAndOr([logical_and, lambda x: 100 * logical_and(x)], error_bound=0).interact(ONES)[0]
    assert {t.scope for t in table.salient()} == {"model:0", "model:1"}
    assert len(table.salient(1.0)) == 0
    with pytest.raises(OptionError, match="fraction"):
        table.salient(2.0)


def test_the_plain_harsanyi_table():
    table = GeneralizableAndOr(logical_or, solver="harsanyi").interact(ONES)[0]
    assert set(table.kinds) == {"and"}
    found = {t.members: t.score for t in table}
    assert found == pytest.approx({(0,): 0.5, (1,): 3.0, (3,): 3.0, (1, 3): -3.0})
    assert not table.error.any()


def test_sgd_runs_the_papers_number_of_steps():
    table = GeneralizableAndOr(logical_and, solver="sgd", max_iterations=500).interact(ONES)[0]
    assert table.provenance.details["iterations"] == 500
    assert GeneralizableAndOr(logical_and, solver="sgd").settings.iterations(4) == 20_000
    assert not table.converged


# ---------------------------------------------------------------- warnings and errors
def test_roughness_is_reported_and_warned_of():
    def rough(x):
        return 0.01 * x.sum(1) + 5 * (x[:, 0] - x[:, 1]) + 3 * x[:, 2] * (1 - x[:, 3])

    with pytest.warns(RoughnessWarning, match="another baseline"):
        table = GeneralizableAndOr(rough).interact(ONES)[0]
    plain = GeneralizableAndOr(logical_and).interact(ONES)[0]
    assert plain.provenance.details["roughness"] == pytest.approx([1.0])
    assert table.provenance.details["warnings"]


def test_an_unfinished_solution_is_warned_of(mixture, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoughnessWarning)
        with pytest.warns(ConvergenceWarning, match="max_iterations"):
            table = GeneralizableAndOr(mixture, max_iterations=20).interact(rows[:1], target=0)[0]
    assert not table.converged


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.5},
        {"alpha": "much"},
        {"alpha": math.nan},
        {"error_bound": -0.1},
        {"specific_bound": -1},
        {"order_weight": None},
        {"tie_break": -1},
        {"solver": "adam"},
        {"tolerance": 0},
        {"max_players": 0},
        {"max_players": 2.5},
        {"max_iterations": 0},
        {"max_iterations": True},
    ],
)
def test_options_are_checked_at_construction(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        GeneralizableAndOr(logical_and, **options)


def test_forward_func_must_be_callable():
    with pytest.raises(InputError, match="callable"):
        GeneralizableAndOr("model")
    with pytest.raises(InputError, match="callable"):
        GeneralizableAndOr([])


def test_too_many_players_costs_no_pass():
    calls = []

    def model(x):
        calls.append(len(x))
        return x.sum(1)

    with pytest.raises(TooManyPlayersError, match=r"2\^13 = 8,192"):
        GeneralizableAndOr(model).attribute(torch.ones(1, 13))
    assert not calls
    raised = GeneralizableAndOr(model, max_players=13).attribute(torch.ones(1, 13))
    torch.testing.assert_close(raised, torch.ones(1, 13))


def test_models_must_have_the_same_players():
    with pytest.raises(InputError, match="same players"):
        GeneralizableAndOr([logical_and, logical_and]).interact(hoi.PerModel(ONES, torch.ones(1, 5)))
    with pytest.raises(InputError, match="PerModel inputs for 2"):
        GeneralizableAndOr([logical_and, logical_and]).interact(hoi.PerModel(ONES, ONES, ONES))


def test_nan_names_the_coalition():
    def model(x):
        return torch.where((x[:, 0] == 0) & (x[:, 2] == 1), math.nan, x.sum(1))

    with pytest.raises(ModelOutputError, match=r"nan .* players \[2\]"):
        GeneralizableAndOr(model).attribute(ONES)


def test_progress_goes_to_stderr(capsys, mixture, rows):
    quiet(GeneralizableAndOr(mixture).interact, rows[:1], target=0, show_progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "32 forward passes" in err
    assert "rows" in err


def test_a_model_without_any_term_still_counts():
    def constant(x):
        return 0.0 * x.sum(1)

    table = GeneralizableAndOr([logical_and, constant], error_bound=0).interact(ONES)[0]
    assert table.model_scopes == ("model:0", "model:1")
    assert len(table.shared()) == 0
    s_and, _ = table.transferability()
    assert s_and[0] == 0.0
    assert math.isnan(s_and[1])
    # a narrowed table has one model, whose terms are all its own
    alone = table.where(scope="model:0")
    assert len(alone.shared()) == len(alone.salient()) > 0


def test_models_keep_their_order_when_there_are_many():
    models = [lambda x, k=k: (k + 1.0) * x[:, 0] * x[:, 1] for k in range(12)]
    table = GeneralizableAndOr(models, error_bound=0).interact(ONES[:, :2])[0]
    assert table.model_scopes == tuple(f"model:{i}" for i in range(12))
    assert [round(table.where(scope=s).scores.sum()) for s in table.model_scopes] == list(range(1, 13))
    assert table.transferability().s_and.tolist() == [1.0] * 12


@pytest.mark.parametrize(
    ("solver", "absent", "present"),
    [("harsanyi", {"alpha", "tolerance", "max_iterations"}, {"solver"}), ("sgd", {"tolerance"}, {"alpha"})],
)
def test_options_that_a_solver_does_not_use_are_not_in_the_provenance(solver, absent, present):
    method = GeneralizableAndOr(logical_and, solver=solver, max_iterations=3)
    options = method.interact(ONES)[0].provenance.options
    assert not absent & options.keys()
    assert present <= options.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polish": 1}, "expected polish to be True or False"),
        ({"polish": True, "solver": "sgd"}, "solver='admm'"),
        ({"polish": True, "tie_break": "quadratic"}, "'quadratic'"),
        ({"tie_break": "random"}, "quadratic, generic"),
        ({"tie_break": "generic", "solver": "sgd"}, "a number with solver='sgd'"),
    ],
)
def test_tie_breaks_and_polish_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        GeneralizableAndOr(logical_and, **options)


def test_a_polish_that_is_not_possible_is_said():
    """Opposite models: the bound on the specific gammas is active."""
    models = [lambda x: x[:, 0] * x[:, 1], lambda x: 1.0 - (1 - x[:, 0]) * (1 - x[:, 1])]
    method = GeneralizableAndOr(models, specific_bound=0.01, polish=True)
    with pytest.warns(ConvergenceWarning, match="not polished.*gammas"):
        table = method.interact(torch.ones(1, 2))[0]
    assert table.provenance.details["exact"] is False


def test_warnings_of_a_batch_name_the_row():
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    weight = torch.tensor([[1.0, 1.0], [1.0, -0.99]])
    method = GeneralizableAndOr(lambda x, w: (w * x).sum(1))
    with pytest.warns(RoughnessWarning, match="row 1: roughness"):
        method.interact(x, additional_forward_args=weight)

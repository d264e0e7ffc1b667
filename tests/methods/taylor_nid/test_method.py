"""The class: closed forms, what rows share, what it refuses, and how it leaves the model."""

from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import pytest
import torch
from captum.attr import GradientAttribution, NoiseTunnel
from captum.metrics import sensitivity_max
from torch import nn

import hoi_captum as hoi
from hoi_captum import TaylorCAM, TaylorNID
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import grow, hessian
from hoi_captum.core.gates import InputGates
from hoi_captum.errors import (
    DataWarning,
    InputError,
    ModelOutputError,
    NotFittedError,
    OptionError,
    PlayerError,
    TargetError,
    TooManyPlayersError,
    TrainingModeWarning,
)


def random_rows(n, k, seed=0):
    return torch.randn(n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Polynomial(nn.Module):
    """A sum of monomials, whose cross derivatives are known."""

    def __init__(self, exponents):
        super().__init__()
        self.exponents = exponents
        self.factor = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return self.factor * sum(c * torch.prod(x ** torch.tensor(e), 1) for e, c in self.exponents.items())

    def derivative(self, row, members):
        total = 0.0
        for exponents, coefficient in self.exponents.items():
            left, value = list(exponents), coefficient
            for i in members:
                value *= left[i]
                left[i] -= 1
            total += value * np.prod([v**e for v, e in zip(row, left, strict=True) if e > 0])
        return total


POLYNOMIAL = Polynomial(
    {
        (2, 1, 0, 0, 0): 1.5,
        (1, 2, 1, 0, 0): -0.7,
        (0, 1, 2, 1, 2): 2.0,
        (0, 0, 0, 3, 1): 0.3,
        (4, 0, 0, 0, 0): 1.0,
    }
)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
        .double()
        .eval()
    )


# ---------------------------------------------------------------- closed forms
@pytest.mark.parametrize("pairwise", [False, True])
def test_derivatives_of_a_polynomial_to_order_four(pairwise):
    data = random_rows(30, 5)
    method = TaylorNID(POLYNOMIAL, order=4, search="all", pairwise=pairwise, representatives=("mean", "max"))
    table = method.fit(data).interact(data[:1])[0]
    assert [t.members for t in table] == [m for o in (2, 3, 4) for m in combinations(range(5), o)]
    centres = {"mean": data.mean(0), "max": data.max(0).values}
    for term, found in zip(table, table.derivatives, strict=True):
        expected = []
        for centre in centres.values():
            # of a pair its own columns; a larger set was first reached from one of its parts
            near = [range(5)]
            if pairwise:
                near = list(combinations(term.members, max(2, term.order - 1)))
            rows = {int((data[:, n] - centre[list(n)]).square().sum(1).argmin()) for n in near}
            expected.append([POLYNOMIAL.derivative(data[r].tolist(), term.members) for r in rows])
        for value, choices in zip(found.tolist(), expected, strict=True):
            assert min(abs(value - c) for c in choices) < 1e-10


def test_gates_multiply_by_what_the_baseline_leaves():
    data, baseline = random_rows(30, 5), random_rows(1, 5, seed=9)
    method = TaylorNID(POLYNOMIAL, order=3, search="all", multiply_by_inputs=True, representatives="median")
    table = method.fit(data).interact(data[:1], baselines=baseline)[0]
    row = data[method.rows_["median"]]
    for term in table:
        factors = (row - baseline[0])[list(term.members)].prod()
        expected = float(factors) * POLYNOMIAL.derivative(row.tolist(), term.members)
        assert term.score == pytest.approx(abs(expected), rel=1e-10, abs=1e-12)
    assert method.multiplies_by_inputs
    assert not TaylorNID(POLYNOMIAL).multiplies_by_inputs


def test_all_cells_of_a_player_are_moved_together():
    data, mask = random_rows(20, 5), torch.tensor([[0, 1, 0, -1, 2]])
    table = TaylorNID(POLYNOMIAL, order=3, representatives="mean").interact(data, feature_mask=mask)[0]
    assert table.players == ("0", "1", "2")
    row = data[int((data - data.mean(0)).square().sum(1).argmin())].tolist()
    cells = {0: (0, 2), 1: (1,), 2: (4,)}
    for term in table:
        parts = [cells[player] for player in term.members]
        grids = np.array(np.meshgrid(*parts)).reshape(len(parts), -1).T
        expected = sum(POLYNOMIAL.derivative(row, tuple(cell)) for cell in grids.tolist())
        assert term.score == pytest.approx(abs(expected), rel=1e-9, abs=1e-12)


def test_a_planted_product_of_four_is_found_among_twelve():
    def model(x):
        return x[:, 2] * x[:, 5] * x[:, 7] * x[:, 10] + 0.1 * x[:, 0] * x[:, 1] + x.square().sum(1)

    data = random_rows(200, 12).abs() + 0.5
    table = TaylorNID(model, order=4).fit(data).interact(data[:1])[0]
    best = table.where(order=4).top(2)
    assert best[0].members == (2, 5, 7, 10)
    assert best[0].score == pytest.approx(1.0)
    assert best[1].score == pytest.approx(0.0, abs=1e-12)
    assert len(table.where(order=3)) < 220  # it was not found by looking at all


def test_entity_salience_goes_for_busy_players_and_greedy_for_strong_sets():
    """Player 0 is in many pairs; the triple (6, 7, 8) grows from the strongest, of players in few."""

    def model(x):
        busy = x[:, 0] * x[:, 1:6].sum(1)
        return busy + 1.2 * x[:, 6] * x[:, 7] * x[:, 8]

    data = torch.ones(3, 9, dtype=torch.float64)
    data[:, 8] = 1.2
    tables = {
        search: TaylorNID(model, order=3, search=search, top_k=1).interact(data)[0]
        for search in ("greedy", "entity", "all")
    }
    found = {search: {t.members: t.score for t in table.where(order=3)} for search, table in tables.items()}
    assert tables["all"].top(1)[0].members == (6, 7)
    assert found["greedy"].get((6, 7, 8)) == pytest.approx(1.2)
    assert (6, 7, 8) not in found["entity"]
    assert all(0 in members for members in found["entity"])
    assert len(found["all"]) == 84
    assert len(found["greedy"]) == len(found["entity"]) == 7


def test_attributions_share_each_set_evenly():
    data = random_rows(25, 5)
    method = TaylorNID(POLYNOMIAL, order=3, search="all").fit(data)
    attributions, tables = method.attribute_and_interact(data[:3])
    expected = [sum(t.score / t.order for t in tables[0] if i in t.members) for i in range(5)]
    for row in attributions.tolist():
        assert row == pytest.approx(expected)
    assert torch.equal(attributions, method.attribute(data[:3]))
    assert tables == method.interact(data[:3])


# ---------------------------------------------------------------- what rows ask and share
def test_rows_of_the_same_target_share_the_very_table(net):
    data = random_rows(40, 4)
    method = TaylorNID(net).fit(data)
    tables = method.interact(data[:5], target=[0, 2, 0, 2, 1])
    assert tables[0] is tables[2]
    assert tables[1] is tables[3]
    assert len({id(t) for t in tables}) == 3
    for target, table in zip([0, 2, 1], (tables[0], tables[1], tables[4]), strict=True):
        assert np.allclose(method.interact(data[7:8], target=target)[0].scores, table.scores, atol=1e-12)
        assert table.provenance.target == str(target)
    for forms in (torch.tensor([0, 2, 0]), [(0,), (2,), (0,)], [0, 2, 0]):
        assert method.interact(data[:3], target=forms)[:2] == tables[:2]
    for form in (2, torch.tensor(2), torch.tensor([2]), (2,)):
        assert method.interact(data[:2], target=form)[0] == tables[1]


def test_without_fitting_the_inputs_are_the_data(net):
    data = random_rows(12, 4)
    fitted = TaylorNID(net, order=3).fit(data).interact(data[3:4], target=1)[0]
    tables = TaylorNID(net, order=3).interact(data, target=1)
    assert all(t is tables[0] for t in tables)
    assert tables[0] == fitted
    assert tables[0].provenance.details["data_rows"] == 12


def test_baselines_matter_for_gates_only(net):
    data = random_rows(10, 4)
    baselines = torch.stack([data[0], data[0], data[1]])
    plain = TaylorNID(net).fit(data).interact(data[:3], baselines, target=0)
    assert plain[0] is plain[2]
    gated = TaylorNID(net, multiply_by_inputs=True).fit(data).interact(data[:3], baselines, target=0)
    assert gated[0] is gated[1]
    assert not np.allclose(gated[0].scores, gated[2].scores)


def test_masks_of_rows_may_differ(net):
    data = random_rows(10, 4)
    mask = torch.tensor([[0, 1, 2, -1], [2, 1, 0, -1], [0, 1, 2, -1]])
    method = TaylorNID(net).fit(data)
    tables = method.interact(data[:3], target=0, feature_mask=mask)
    assert tables[0] is tables[2]
    pairs = [{t.members: t.score for t in table} for table in tables]
    assert pairs[0][0, 1] == pytest.approx(pairs[1][1, 2])
    assert pairs[0][0, 2] == pytest.approx(pairs[1][0, 2])
    attributions = method.attribute(data[:3], target=0, feature_mask=mask)
    assert torch.allclose(attributions[0], attributions[1])
    assert not attributions[:, 3].any()


class Scaled(nn.Module):
    """Takes a factor for each row, weights for all rows, and a word."""

    def forward(self, x, factor, weights, mode="plain"):
        assert mode == "plain"
        assert len(weights) == 3
        return factor * (x[:, 0] * x[:, 1] * weights[0] + x[:, 1] * x[:, 2] * weights[2])


def test_additional_arguments_of_the_data_go_first():
    data, weights = random_rows(3, 3), torch.tensor([1.0, 9.0, -2.0])
    factors = torch.tensor([1.0, 10.0, 100.0])
    # three rows, and three weights that are no rows
    method = TaylorNID(Scaled(), representatives=("mean", "min", "max"))
    own = method.fit(data[:2], additional_forward_args=(factors[:2], weights, "plain"))
    table = own.interact(data[:1], additional_forward_args=(torch.ones(1), weights, "plain"))[0]
    of_rows = [factors[own.rows_[name]].item() for name in ("mean", "min", "max")]
    assert np.abs(table.where(players=[0, 1]).derivatives[0]).tolist() == pytest.approx(of_rows)
    # where none came, those of the explained row
    plain = TaylorNID(Scaled(), representatives=("mean", "min", "max")).fit(data)
    tables = plain.interact(data[:2], additional_forward_args=(factors[:2], weights, "plain"))
    assert tables[0].where(players=[0, 1])[0].score == pytest.approx(1.0)
    assert tables[1].where(players=[0, 1])[0].score == pytest.approx(10.0)
    assert tables[1].where(players=[1, 2])[0].score == pytest.approx(20.0)
    # unfitted, each row its own
    data, factors = random_rows(5, 3), torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4])
    unfitted = TaylorNID(Scaled(), representatives="max")
    table = unfitted.interact(data, additional_forward_args=(factors, weights, "plain"))[0]
    row = int((data - data.max(0).values).square().sum(1).argmin())
    assert table.where(players=[0, 1])[0].score == pytest.approx(factors[row].item())


def test_several_inputs_in_a_tuple():
    first, second = random_rows(20, 2), random_rows(20, 2, seed=1)

    def model(a, b):
        return a[:, 0] * b[:, 1] + a[:, 1] ** 2

    method = TaylorNID(model).fit((first, second))
    attributions = method.attribute((first[:2], second[:2]))
    assert isinstance(attributions, tuple)
    assert [a.tolist() for a in attributions] == [[[0.5, 0.0]] * 2, [[0.0, 0.5]] * 2]
    assert method.interact((first[:1], second[:1]))[0].top(1)[0].members == (0, 3)


# ---------------------------------------------------------------- real models
def test_gates_of_real_models_are_those_of_core():
    cases = []
    adapter = hoi.adapt("zoo:sentiment-bert-a")
    texts = ["not a bad film", "not a good film", "such a dull plot", "what a great cast"]
    examples = [adapter.example(text) for text in texts]
    cases.append((adapter.forward_func, examples, 1, 3))
    digits = hoi.adapt("zoo:digits-resnet")
    images = [digits.example(image, players=(3, 3)) for image, _ in hoi.zoo.samples("digits-resnet", 4)]
    cases.append((digits.forward_func, images, 3, 2))
    llama = hoi.adapt("zoo:sentiment-llama-a")
    prompted = [llama.example(text, template=hoi.zoo.prompt("sentiment-llama-a")) for text in texts]
    cases.append((llama.forward_func, prompted, 5, 2))
    for forward, found, target, order in cases:
        data = torch.cat([e.inputs for e in found])
        example = found[0]
        method = TaylorNID(
            forward, order=order, multiply_by_inputs=True, representatives=("mean", "max", "random"), seed=3
        ).fit(data)
        call = dict(example) | {"target": target}
        table = method.interact(**call)[0]
        rows = method.representatives_[0]
        mask = example.feature_mask
        additional = example.additional_forward_args
        gates = InputGates(
            Arguments(forward, rows, example.baselines, target, additional),
            Players.from_feature_mask((rows,), (mask,)),
        )
        pairs = hessian(gates)
        every = list(combinations(range(gates.n_units), 2))
        third = grow(gates, torch.tensor(every)) if order == 3 else None
        scale = pairs.abs().max().item()
        assert scale > 0
        for term, derivatives in zip(table, table.derivatives, strict=True):
            # a triple has the value of the pair that it grew from
            a, b, *rest = term.members
            values = [pairs[:, a, b]]
            if rest:
                parts = [(a, b, rest[0]), (a, rest[0], b), (b, rest[0], a)]
                values = [third[:, every.index((i, j)), last] for i, j, last in parts]
            apart = min(np.abs(derivatives - value.numpy()).max() for value in values)
            assert apart < 2e-3 * max(scale, np.abs(derivatives).max())
        attributions = method.attribute(**call)
        assert attributions.shape == example.inputs.shape
        shares = table.per_player()
        for player, share in enumerate(shares):
            cells = attributions[mask.expand_as(attributions) == player]
            assert cells.tolist() == pytest.approx([share] * len(cells), rel=1e-4)


@pytest.mark.parametrize("gate", ["attention", "value"])
def test_gates_on_attention_are_those_of_core(gate):
    adapter, template = hoi.adapt("zoo:sentiment-llama-a"), hoi.zoo.prompt("sentiment-llama-a")
    found = [adapter.example(text, template=template) for text in ("not a bad film", "not a good film")]
    method = TaylorNID(
        adapter.forward_func, multiply_by_inputs=True, gate=gate, representatives=("min", "max")
    ).fit(torch.cat([e.inputs for e in found]))
    table = method.interact(**found[0], target=5)[0]
    rows = method.representatives_[0]
    gates = AttentionGates(
        Arguments(adapter.forward_func, rows, found[0].baselines, 5),
        Players.from_feature_mask((rows,), (found[0].feature_mask,)),
        values=gate == "value",
    )
    expected = hessian(gates)
    scale = expected.abs().max().item()
    assert scale > 0.01
    for term, derivatives in zip(table, table.derivatives, strict=True):
        assert np.abs(derivatives - expected[:, *term.members].numpy()).max() < 2e-3 * scale
    assert table.provenance.options["gate"] == gate


@pytest.mark.parametrize("gate", ["attention", "value"])
def test_gates_on_attention_take_positions_and_token_ids(gate):
    model = hoi.adapt("zoo:sentiment-llama-a").model
    ids = torch.tensor([[1, 40, 12, 33, 7], [1, 25, 9, 33, 18], [1, 11, 30, 5, 21]])
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(ids)

    def of_ids(x):
        return model(input_ids=x).logits[:, -1]

    def of_embeddings(x):
        return model(inputs_embeds=x).logits[:, -1]

    options = {"multiply_by_inputs": True, "gate": gate, "representatives": "random", "seed": 1}
    by_ids, by_embeddings = TaylorNID(of_ids, **options), TaylorNID(of_embeddings, **options)
    attributions, (table,) = by_ids.fit(ids).attribute_and_interact(ids[:1], target=5)
    spread, (expected,) = by_embeddings.fit(embeddings).attribute_and_interact(embeddings[:1], target=5)
    assert by_ids.rows_ == by_embeddings.rows_
    assert len(table.players) == len(expected.players) == 5  # not 5 x H cells
    cam = TaylorCAM(of_ids, gate=gate, mode="exact").interact(ids[list(by_ids.rows_.values())], target=5)[0]
    scale = np.abs(cam.pairs).max()
    assert scale > 0.01
    for term in table:
        assert term.score == pytest.approx(abs(cam.pairs[term.members]), abs=2e-3 * scale)
    assert table.scores.tolist() == pytest.approx(expected.scores.tolist(), abs=2e-3 * scale)
    assert attributions.shape == (1, 5)
    assert spread.shape == embeddings[:1].shape
    assert attributions[0].tolist() == pytest.approx(spread[0, :, 0].tolist(), abs=1e-2 * scale)


def test_token_ids_are_refused_where_they_mean_nothing():
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(InputError, match="token ids will do if representatives='random'"):
        TaylorNID(POLYNOMIAL, multiply_by_inputs=True, gate="attention").fit(ids)
    for options in (
        {"representatives": "random"},
        {"representatives": "random", "pairwise": True, "multiply_by_inputs": True, "gate": "attention"},
    ):
        with pytest.raises(InputError, match=r"got torch.int64.*give embeddings instead"):
            TaylorNID(POLYNOMIAL, **options).fit(ids)


def test_in_one_call():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 12), nn.GELU(), nn.Linear(12, 1))
    background = random_rows(50, 3).tolist()
    explanation = hoi.explain(net, [0.1, 0.2, 0.3], "taylor-nid", background=background, order=3, target=0)
    method = TaylorNID(net, order=3).fit(torch.tensor(background))
    direct = method.interact(torch.tensor([[0.1, 0.2, 0.3]]))[0]
    assert explanation.interactions.scores.tolist() == pytest.approx(direct.scores.tolist(), rel=1e-4)
    assert explanation.attributions.shape == (1, 3)
    with pytest.raises(InputError, match=r"TaylorNID learns from data.*background"):
        hoi.explain(net, [0.1, 0.2, 0.3], "taylor-nid", target=0)


def test_one_call_explains_the_logit_not_the_competition_of_classes():
    torch.manual_seed(0)
    linear, background = nn.Linear(3, 3), random_rows(50, 3).tolist()
    with pytest.warns(DataWarning, match="no players interact there"):
        explanation = hoi.explain(linear, [0.1, 0.2, 0.3], "taylor-nid", background=background, target=0)
    assert explanation.interactions.scores.tolist() == [0.0] * 3


@pytest.mark.parametrize(("multiply", "unit"), [(False, ""), (True, "logit")])
def test_only_derivatives_by_gates_are_in_the_unit_of_the_output(multiply, unit):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 12), nn.GELU(), nn.Linear(12, 2))
    background, row = random_rows(50, 3), [0.1, 0.2, 0.3]

    def explain(model, scale):
        return hoi.explain(
            model,
            [x * scale for x in row],
            "taylor-nid",
            background=(background * scale).tolist(),
            multiply_by_inputs=multiply,
            target=0,
        ).interactions

    found = explain(net, 1)
    assert found.provenance.details["unit"] == unit
    # the same model of columns in other units
    scaled = nn.Sequential(nn.Linear(3, 12), nn.GELU(), nn.Linear(12, 2))
    scaled.load_state_dict(net.state_dict())
    scaled[0].weight.data /= 10
    factor = 1 if multiply else 100
    assert (factor * explain(scaled, 10).scores).tolist() == pytest.approx(found.scores.tolist(), rel=1e-3)


# ---------------------------------------------------------------- inside Captum, and the model left alone
def test_inside_captum(net):
    data = random_rows(30, 4)
    method = TaylorNID(net).fit(data)
    assert isinstance(method, GradientAttribution)
    plain = method.attribute(data[:2], target=1)
    with torch.no_grad():
        noisy = NoiseTunnel(method).attribute(data[:2], nt_samples=3, stdevs=0.5, target=1)
    assert torch.allclose(noisy, plain)  # the table is the data's, whatever row asks

    def explain(inputs, **arguments):
        return (method.attribute(inputs[0], **arguments),)

    assert sensitivity_max(explain, (data[:2],), target=1).tolist() == [0.0, 0.0]
    assert hoi.get_method("taylor-nid") is TaylorNID
    assert not method.has_convergence_delta()
    other = copy.copy(method)
    other.forward_func = lambda x: net(x) * 2
    assert torch.allclose(other.attribute(data[:2], target=1), 2 * plain)


@pytest.mark.parametrize("gates", [False, True])
def test_whatever_the_caller_keeps_of_gradients(net, gates):
    data = random_rows(30, 4)
    method = TaylorNID(net, order=3, multiply_by_inputs=gates)
    expected = method.attribute(data, 0.5, target=1)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            made_here = data.clone()
            found = method.attribute(made_here, torch.full((1, 4), 0.5).double(), target=1)
            mask = torch.arange(4).unsqueeze(0)
            method_here = copy.copy(method).fit(made_here)
            fitted = method_here.attribute(made_here[:1], 0.5, target=1, feature_mask=mask)
        assert torch.allclose(found, expected)
        assert torch.allclose(fitted, expected[:1])


def test_the_model_is_left_as_it_was(net):
    data = random_rows(30, 4).requires_grad_()
    net[0].weight.requires_grad_(False)
    net[2].train()
    torch.manual_seed(7)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    rng = torch.random.get_rng_state()
    flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]

    def check():
        assert flags == ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()])
        assert all(p.grad is None for p in net.parameters())
        assert data.grad is None
        assert torch.equal(torch.random.get_rng_state(), rng)
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())

    with pytest.warns(TrainingModeWarning, match="Dropout"):
        result = TaylorNID(net, order=3).fit(data).attribute(data[:2], target=0)
    check()
    assert not result.requires_grad
    with pytest.warns(TrainingModeWarning), pytest.raises(TargetError):
        TaylorNID(net).fit(data).interact(data[:2], target=9)
    check()


def test_provenance_and_the_seed(net):
    data = random_rows(30, 4)
    method = TaylorNID(net, order=3, top_k=2, seed=5).fit(data)
    table = method.interact(data[:1], target=0)[0]
    provenance = table.provenance
    assert provenance.method == "taylor-nid"
    assert provenance.options == method.options()
    assert provenance.seed == 5
    assert provenance.details["rows"] == method.rows_
    distinct = len(set(method.rows_.values()))
    assert provenance.forward_passes == 2 * distinct  # once for the pairs, once for what grows from them
    assert provenance.backward_passes > distinct * (4 + 2)
    certain = TaylorNID(net, representatives="mean").fit(data).interact(data[:1], target=0)[0]
    assert certain.provenance.seed is None
    again = TaylorNID(net, order=3, top_k=2, seed=5).fit(data).interact(data[:1], target=0)[0]
    assert np.allclose(again.scores, table.scores, atol=1e-12)


def test_progress_is_shown(net, capsys):
    data = random_rows(30, 4)
    TaylorNID(net, order=3).fit(data, show_progress=True).interact(data[:1], target=0, show_progress=True)
    shown = capsys.readouterr()
    assert "cross derivatives" in shown.err
    assert "8/8" in shown.err or "/8" in shown.err  # four players, then four pairs
    assert shown.out == ""


# ---------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 1}, "order to be an int >= 2"),
        ({"order": 2.0}, "order to be an int"),
        ({"aggregate": "sum"}, "aggregate to be one of mean, median"),
        ({"search": "best"}, "search to be one of greedy, entity, all"),
        ({"representatives": ("mean", "middle")}, "representatives to be one of .*got 'middle'"),
        ({"representatives": ()}, "different names"),
        ({"representatives": ("mean", "mean")}, "different names"),
        ({"representatives": 3}, "different names"),
        ({"top_k": 0}, "top_k"),
        ({"multiply_by_inputs": 1}, "multiply_by_inputs to be True or False"),
        ({"gate": "layer"}, "gate to be one of input, attention, value"),
        ({"gate": "attention"}, "expected multiply_by_inputs=True with it"),
        ({"pairwise": "yes"}, "pairwise to be True or False"),
        ({"max_players": 1}, "max_players"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(OptionError, match=message):
        TaylorNID(POLYNOMIAL, **options)


def test_arguments_that_cannot_be_used(net):
    data = random_rows(10, 4)
    with pytest.raises(InputError, match="forward_func to be a callable"):
        TaylorNID([net])
    with pytest.raises(NotFittedError, match=r"call fit\(data\) first"):
        _ = TaylorNID(net).rows_
    with pytest.raises(NotFittedError):
        _ = TaylorNID(net).representatives_
    method = TaylorNID(net).fit(data)
    with pytest.raises(InputError, match=r"shaped like the rows of the data, \[\(4,\)\], got \[\(5,\)\]"):
        method.interact(random_rows(1, 5), target=0)
    with pytest.raises(InputError, match="floating point inputs"):
        TaylorNID(lambda x: x.sum(1)).interact(torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(InputError, match="floating point inputs"):
        TaylorNID(net, pairwise=True).fit(torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(OptionError, match="order to be at most the number of players, 4, got 5"):
        TaylorNID(net, order=5).fit(data).interact(data[:1], target=0)
    with pytest.raises(TooManyPlayersError, match=r"4 players have 6 pairs.*limit is 3.*max_players=4"):
        TaylorNID(net, max_players=3).fit(data).interact(data[:1], target=0)
    many = random_rows(2, 200)
    with pytest.raises(TooManyPlayersError, match=r"search='all' would differentiate 1,333,500 sets.*greedy"):
        TaylorNID(lambda x: x.prod(1), order=4, search="all").interact(many)
    with pytest.raises(PlayerError):
        method.interact(data[:1], target=0, feature_mask=torch.tensor([[0, 2, 3, 1, 1]]))
    with pytest.raises(TargetError):
        method.interact(data[:3], target=[0, 1])
    with pytest.raises(InputError, match="no attention"):
        TaylorNID(net, multiply_by_inputs=True, gate="attention").fit(data).interact(data[:1], target=0)
    with pytest.raises(ModelOutputError, match="finite"):
        TaylorNID(lambda x: x.sum(1) / 0).fit(data).interact(data[:1])


def test_a_model_without_interactions_is_told_from_nothing():
    data = random_rows(10, 3)
    with pytest.warns(DataWarning, match="no players interact there, or the model is piecewise") as seen:
        table = TaylorNID(lambda x: x.sum(1), order=3).fit(data).interact(data[:1])[0]
    assert table.scores.tolist() == [0.0] * 4
    assert seen[0].filename == __file__

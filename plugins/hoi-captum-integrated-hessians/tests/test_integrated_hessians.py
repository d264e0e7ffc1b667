"""Integrated Hessians: closed forms, brute force, Captum as oracle, and the rules of a plugin."""

from __future__ import annotations

import importlib.metadata
import math
import warnings

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from hoi_captum_integrated_hessians import IntegratedHessians, log_rule
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import hoi_captum as hoi
from hoi_captum.errors import CostWarning, FidelityWarning, InputError, OptionError
from hoi_captum.registry import Registry

RULES = ("power", "gauss-log")


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mlp(act: type[nn.Module] = nn.Tanh, features: int = 5, outputs: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    hidden = 16
    return nn.Sequential(
        nn.Linear(features, hidden), act(), nn.Linear(hidden, hidden), act(), nn.Linear(hidden, outputs)
    ).double()


def cnn() -> nn.Module:
    torch.manual_seed(0)
    body = (nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.Tanh())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 3)).double()


def bert(attention: str) -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        initializer_range=0.15,
        attn_implementation=attention,
    )
    return BertForSequenceClassification(config).double().eval()


def setting(name: str):
    """Model, inputs, baselines, feature mask."""
    if name == "cnn":
        row = torch.arange(4).repeat_interleave(2)
        grid = (row.view(-1, 1) // 2 * 2 + row // 2).view(1, 1, 8, 8)
        return cnn(), normal(2, 1, 8, 8), None, grid
    if name.startswith("bert"):
        model = bert(name[5:])
        words = model.bert.embeddings.word_embeddings.weight.detach()
        inputs = words[torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])]
        mask = torch.arange(6).view(1, 6, 1)
        return (lambda e: model(inputs_embeds=e).logits), inputs, words[[0]].expand(1, 6, -1), mask
    return mlp({"tanh": nn.Tanh, "gelu": nn.GELU}[name]), normal(4, 5), normal(4, 5, seed=2), None


SMOOTH = ("tanh", "gelu", "cnn", "bert-eager", "bert-sdpa")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# -------------------------------------------------------------------- the formula
@pytest.mark.parametrize(("rule", "tolerance"), [("power", 4e-9), ("gauss-log", 1e-12)])
def test_weights_of_the_rule(rule, tolerance):
    u, w = log_rule(16, rule)
    assert u.shape == w.shape == (16,)
    assert 0 < u.min() < u.max() < 1
    for k in range(6):  # the integral of -u^k ln u
        assert float((w * u**k).sum()) == pytest.approx(1 / (k + 1) ** 2, abs=tolerance)


def test_a_gauss_rule_is_exact_for_polynomials():
    for n in (1, 2, 5, 32):
        u, w = log_rule(n, "gauss-log")
        assert float((w * u ** (2 * n - 1)).sum()) == pytest.approx(1 / (2 * n) ** 2, rel=1e-11)


@pytest.mark.parametrize("rule", RULES)
def test_a_product(rule):
    x = torch.tensor([[2.0, 3.0], [-1.0, 0.5]], dtype=torch.float64)
    method = IntegratedHessians(lambda z: z[:, 0] * z[:, 1], quadrature=rule)
    for row, table in zip(x, method.interact(x), strict=True):
        product = float(row.prod())
        assert [t.members for t in table] == [(0,), (1,), (0, 1)]
        assert {t.kind for t in table} == {"integrated-hessian"}
        # a quarter of the product on each entry of the matrix; the pair holds two of them
        np.testing.assert_allclose(table.scores, [product / 4, product / 4, product / 2], rtol=2e-8)
        np.testing.assert_allclose(table.arrays["matrix"], np.full((2, 2), product / 4), rtol=2e-8)
        np.testing.assert_allclose(table.arrays["pairs"], [product / 2], rtol=2e-8)
        assert abs(table.arrays["quadrature_error"]).max() < 2e-6 * abs(product)


def test_a_polynomial_in_closed_form():
    # of c a^p b^q from 0 the total goes p : q to the players, and again in their rows
    def f(x: Tensor) -> Tensor:
        return 3 * x[:, 0] ** 2 * x[:, 1] + x[:, 2] ** 3

    table = IntegratedHessians(f, quadrature="gauss-log").interact(torch.full((1, 3), 2.0).double())[0]
    total = 24.0
    expected = total * np.array([[4 / 9, 2 / 9, 0], [2 / 9, 1 / 9, 0], [0, 0, 8 / total]])
    np.testing.assert_allclose(table.arrays["matrix"], expected, atol=1e-11)


@pytest.mark.parametrize("rule", RULES)
def test_brute_force_by_a_grid_of_midpoints(rule):
    model, x, x0 = mlp(), normal(1, 5), normal(1, 5, seed=2)
    steps = 200
    a = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    u, counts = torch.cartesian_prod(a, a).prod(1).unique(return_counts=True)  # points with one product
    d = (x - x0)[0]
    f = torch.func.grad(lambda z: model(z)[1])
    at = x0 + u.view(-1, 1) * d
    g, h = torch.vmap(f)(at), torch.vmap(torch.func.jacfwd(f))(at)
    h = d.view(-1, 1) * h * d
    expected = (counts.view(-1, 1, 1) * (u.view(-1, 1, 1) * h + torch.diag_embed(g * d))).sum(0) / steps**2
    found = IntegratedHessians(model, quadrature=rule).interact(x, x0, target=1)[0].arrays["matrix"]
    expected = expected.detach()
    scale = float(expected.abs().max())
    assert np.abs(found - expected.numpy()).max() < 2e-4 * scale  # the grid's own error


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SMOOTH)
def test_complete_symmetric_and_rows_are_integrated_gradients(name, rule):
    model, x, x0, mask = setting(name)
    method = IntegratedHessians(model, quadrature=rule)
    attributions, delta = method.attribute(x, x0, target=1, feature_mask=mask, return_convergence_delta=True)
    cells = IntegratedGradients(model).attribute(x, x0, target=1, n_steps=300, method="gausslegendre")
    with torch.no_grad():
        base = torch.zeros_like(x) if x0 is None else x0.expand_as(x)
        effect = (model(x) - model(base))[:, 1]
    tables = method.interact(x, x0, target=1, feature_mask=mask)
    for row, table in enumerate(tables):
        details, matrix = table.provenance.details, table.arrays["matrix"]
        assert details["relative_gap"] < 1e-5
        assert table.scores.sum() == pytest.approx(float(effect[row]), rel=1e-5)
        assert details["completeness_gap"] == pytest.approx(float(delta[row]), abs=1e-13)
        assert np.array_equal(matrix, matrix.T)
        assert "softplus" not in details  # there is no ReLU
        # ours are sums over a player's cells
        ids = (torch.arange(x[0].numel()) if mask is None else mask.expand(x[:1].shape)).reshape(-1)
        expected = torch.zeros(len(matrix)).double().index_add_(0, ids, cells[row].reshape(-1))
        tolerance = 1e-5 * float(expected.abs().max())
        np.testing.assert_allclose(matrix.sum(1), expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(table.arrays["integrated_gradients"], matrix.sum(1), atol=1e-15)
        assert attributions[row].reshape(-1)[0] == matrix[int(ids[0])].sum()


def test_a_linear_function_has_no_pairs():
    w = normal(5)
    table = IntegratedHessians(lambda z: z @ w).interact(normal(1, 5), normal(1, 5, seed=2))[0]
    assert (table.arrays["pairs"] == 0).all()
    np.testing.assert_allclose(table.scores[:5], w * (normal(1, 5) - normal(1, 5, seed=2))[0], rtol=1e-8)


def test_groups_are_sums_over_their_cells():
    model, x, x0 = mlp(), normal(2, 5), normal(2, 5, seed=2)
    mask = torch.tensor([[0, 1, 1, 2, 0]])
    member = torch.nn.functional.one_hot(mask[0]).double().numpy()
    alone = IntegratedHessians(model).interact(x, x0, target=0)
    for single, grouped in zip(alone, IntegratedHessians(model).interact(x, x0, 0, None, mask), strict=True):
        expected = member.T @ single.arrays["matrix"] @ member
        np.testing.assert_allclose(grouped.arrays["matrix"], expected, atol=1e-13)


def test_cells_of_nobody_stay():
    x = torch.tensor([[2.0, 3.0, 5.0]]).double()
    table = IntegratedHessians(lambda z: z.prod(1), quadrature="gauss-log").interact(
        x, feature_mask=torch.tensor([[0, 1, -1]])
    )[0]
    np.testing.assert_allclose(table.arrays["matrix"], np.full((2, 2), 30 / 4), rtol=1e-12)


def test_the_error_estimate_is_larger_than_the_error():
    model, x, x0 = mlp(), normal(4, 5), normal(4, 5, seed=2)
    exact = IntegratedHessians(model, n_nodes=64).interact(x, x0, target=0)
    for found, best in zip(IntegratedHessians(model).interact(x, x0, target=0), exact, strict=True):
        error = np.abs(found.arrays["matrix"] - best.arrays["matrix"]).max()
        assert 0 < error < found.provenance.details["quadrature_error"] < 1e-2
    table = IntegratedHessians(model, error_estimate=False).interact(x[:1], x0[:1], target=0)[0]
    assert "quadrature_error" not in table.arrays
    assert table.provenance.backward_passes == 16 * (1 + 5 + 1)  # a gradient, and a Hessian of five players


# -------------------------------------------------------------------- ReLUs
def test_softplus_stands_in_for_relu_and_says_what_that_changes():
    model, x, x0 = mlp(nn.ReLU), 3 * normal(3, 5), 3 * normal(3, 5, seed=2)
    method = IntegratedHessians(model, n_nodes=64, quadrature="gauss-log", beta=10.0)
    _, delta = method.attribute(x, x0, target=0, return_convergence_delta=True)
    soft = mlp(lambda: nn.Softplus(10.0))
    with torch.no_grad():
        real, smooth = ((m(x) - m(x0))[:, 0] for m in (model, soft))
    for row, table in enumerate(method.interact(x, x0, target=0)):
        details = table.provenance.details
        assert table.scores.sum() == pytest.approx(float(smooth[row]), rel=1e-3)
        assert float(delta[row]) == pytest.approx(table.scores.sum() - float(smooth[row]), abs=1e-9)
        change = details["softplus"]
        assert change["beta"] == 10.0
        assert change["effect_change"] == pytest.approx(float(smooth[row] - real[row]), abs=1e-9)
        assert change["relative_change"] == pytest.approx(abs(float(smooth[row] / real[row]) - 1), abs=1e-6)
        assert table.base == pytest.approx(float(soft(x0)[row, 0]), abs=1e-9)
        assert np.abs(table.arrays["pairs"]).max() > 1e-3
    same = IntegratedHessians(soft, n_nodes=64, quadrature="gauss-log").interact(x, x0, target=0)
    for a, b in zip(same, method.interact(x, x0, target=0), strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-9)


def test_without_softplus_a_relu_network_has_no_pairs_and_warns():
    model, x, x0 = mlp(nn.ReLU), normal(3, 5), normal(3, 5, seed=2)
    with pytest.warns(FidelityWarning, match=r"misses .*replace_relu='softplus'"):
        tables = IntegratedHessians(model, replace_relu="none").interact(x, x0, target=0)
    assert max(t.provenance.details["relative_gap"] for t in tables) > 1e-2
    assert all((t.arrays["pairs"] == 0).all() for t in tables)


KINKS = {
    "clamp": lambda z: z.clamp(min=0),
    "maximum": lambda z: torch.maximum(z, torch.zeros_like(z)),
    "relu6": nn.functional.relu6,
    "leaky": lambda z: nn.functional.leaky_relu(z, 0.0),
    "max": lambda z: torch.stack((z, 0 * z)).amax(0),
}


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("count", [None, 2])
def test_kinks_that_are_not_replaced_are_said(name, count):
    k = KINKS[name]

    def f(x):  # adds up, without its two pairs
        return k(x[:, 0] + x[:, 1] - 1) - k(x[:, 2] + x[:, 3] - 1) + x[:, 4]

    x = torch.ones(1, 5)
    method = IntegratedHessians(f, n_baselines=count)
    with pytest.warns(FidelityWarning, match="does not see what they do.*more nodes do not help"):
        table = method.interact(x, torch.zeros(3, 5) if count else None)[0]
    assert table.provenance.details["piecewise_linear"]


def test_kinks_are_not_seen_where_there_are_none():
    def f(x):
        return torch.relu(x[:, 0] + x[:, 1] - 1) + x[:, 2].clamp(min=1e-6).log()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = IntegratedHessians(f, n_nodes=64).interact(torch.ones(1, 3), torch.tensor([[0.0, 0.0, 0.5]]))[
            0
        ]
    assert "piecewise_linear" not in table.provenance.details
    assert abs(table.arrays["pairs"][0]) > 0.1


def test_the_gaps_warning_has_no_advice_that_cannot_help():
    with pytest.warns(FidelityWarning) as caught:
        IntegratedHessians(lambda x: (x[:, 0] + x[:, 1] - 1).clamp(min=0)).interact(torch.ones(1, 2))
    assert len(caught) == 1
    assert "misses" in str(caught[0].message)
    assert "n_nodes" not in str(caught[0].message)


def test_a_softplus_too_smooth_is_said():
    model = mlp(nn.ReLU)
    with pytest.warns(FidelityWarning, match="explain another model"):
        IntegratedHessians(model, beta=0.1).interact(normal(3, 5), normal(3, 5, seed=2), target=0)


# -------------------------------------------------------------------- several baselines
def test_expected_hessians_are_means_over_the_baselines():
    model, x, data = mlp(), normal(2, 5), normal(6, 5, seed=3)
    method = IntegratedHessians(model, n_baselines=10)
    attributions, delta = method.attribute(x, data, target=0, return_convergence_delta=True)
    tables = method.interact(x, data, target=0)
    single = [IntegratedHessians(model).interact(x, b[None], target=0) for b in data]
    for row, table in enumerate(tables):
        matrices = np.stack([s[row].arrays["matrix"] for s in single])
        np.testing.assert_allclose(table.arrays["matrix"], matrices.mean(0), atol=1e-14)
        error = matrices.std(0, ddof=1) / math.sqrt(6)
        np.testing.assert_allclose(table.arrays["stderr"], error, atol=1e-14)
        assert table.provenance.details["baselines"] == 6
        assert table.base == pytest.approx(float(model(data)[:, 0].mean()))
        np.testing.assert_allclose(attributions[row], matrices.mean(0).sum(1), atol=1e-14)
        effect = float(model(x)[row, 0] - model(data)[:, 0].mean())
        assert float(delta[row]) == pytest.approx(table.scores.sum() - effect, abs=1e-12)
    assert tables[0].provenance.forward_passes == sum(s[0].provenance.forward_passes for s in single)


def test_baselines_are_drawn_by_the_seed_and_alike_for_all_rows():
    model, x, data = mlp(), normal(2, 5), normal(40, 5, seed=3)

    def scores(rows: Tensor, seed: int) -> list[np.ndarray]:
        method = IntegratedHessians(model, n_baselines=3, seed=seed, n_nodes=8, quadrature="gauss-log")
        tables = method.interact(rows, data, target=0)
        assert [t.provenance.seed for t in tables] == [seed] * len(rows)
        return [t.scores for t in tables]

    one, again, other = scores(x, 0), scores(x, 0), scores(x, 1)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.allclose(one[0], other[0])
    np.testing.assert_allclose(scores(x[1:], 0)[0], one[1], atol=1e-13)


def test_there_is_no_seed_where_nothing_is_drawn():
    x, data = normal(1, 5), normal(6, 5, seed=3)
    for count, seed in ((None, None), (6, None), (3, 7)):
        method = IntegratedHessians(mlp(), n_baselines=count, seed=7, n_nodes=4)
        provenance = method.interact(x, data if count else None, target=0)[0].provenance
        assert provenance.seed == seed
        assert provenance.options["seed"] == 7


@pytest.mark.parametrize("baselines", [None, 0.0, (torch.zeros(2, 5), torch.zeros(3, 5))])
def test_a_distribution_is_wanted_with_n_baselines(baselines):
    with pytest.raises(InputError, match="as a distribution"):
        IntegratedHessians(mlp(), n_baselines=2).interact(normal(1, 5), baselines, target=0)


# -------------------------------------------------------------------- as any method
def test_rows_do_not_see_each_other():
    model, x, x0 = mlp(), normal(3, 5), normal(3, 5, seed=2)
    target = [0, 2, 1]
    method = IntegratedHessians(model)
    together = method.interact(x, x0, target=target)
    for row, table in enumerate(together):
        part = slice(row, row + 1)
        alone = method.interact(x[part], x0[part], target=target[part], internal_batch_size=7)[0]
        np.testing.assert_allclose(alone.scores, table.scores, atol=1e-14)
        assert alone.provenance.backward_passes == table.provenance.backward_passes


def test_several_inputs():
    def f(a: Tensor, ids: Tensor, b: Tensor, factor: Tensor) -> Tensor:
        return a[:, 0] * b[:, 0, 1] * ids[:, 0] * factor

    inputs = (torch.full((1, 2), 2.0).double(), torch.tensor([[3]]), torch.full((1, 1, 2), 5.0).double())
    masks = (torch.tensor([[0, 0]]), torch.tensor([[-1]]), torch.tensor([[[1, 2]]]))
    method = IntegratedHessians(f, quadrature="gauss-log")
    cells = method.attribute(inputs, None, None, torch.tensor([2.0]), masks)
    assert [c.shape for c in cells] == [x.shape for x in inputs]
    # each cell has its player's share
    assert [c.flatten().tolist() for c in cells] == [
        pytest.approx([30.0, 30.0]),
        [0.0],
        pytest.approx([0.0, 30.0]),
    ]


def test_the_model_is_left_as_it_was():
    model, x = mlp(nn.ReLU), normal(1, 5).requires_grad_()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    IntegratedHessians(model, n_baselines=1, n_nodes=32, beta=5.0, quadrature="gauss-log").interact(
        x, normal(4, 5, seed=2), target=0
    )
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert x.grad is None
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(torch.relu(torch.tensor([-1.0, 1.0])), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(
    "options",
    [
        {"n_nodes": 0},
        {"n_nodes": 1},
        {"n_nodes": 2.5},
        {"quadrature": "midpoint"},
        {"error_estimate": 1},
        {"replace_relu": None},
        {"beta": 0},
        {"beta": float("nan")},
        {"n_baselines": 0},
        {"seed": -1},
    ],
)
def test_unusable_options(options):
    with pytest.raises(OptionError):
        IntegratedHessians(mlp(), **options)


def test_many_players_are_warned_of():
    with pytest.warns(CostWarning, match="70 players take 144 reverse passes"):
        IntegratedHessians(
            lambda x: x.prod(1), n_nodes=2, error_estimate=False, quadrature="gauss-log"
        ).interact(torch.ones(1, 70).double(), 1.0)


def test_the_entry_point_registers_it():
    point = importlib.metadata.EntryPoint(
        "integrated-hessians", "hoi_captum_integrated_hessians", "hoi_captum"
    )
    found = Registry([point])
    assert found.plugins[-1].status == "ok"
    assert found.methods["integrated-hessians"].name == "integrated-hessians"


# -------------------------------------------------------------------- the zoo
@pytest.mark.parametrize("name", ["sentiment-bert-a", "sentiment-llama-a"])
def test_texts(name, tmp_path):
    explanation = hoi.explain(f"zoo:{name}", "not a bad film", method=IntegratedHessians, n_nodes=32)
    table = explanation.interactions
    assert table.players == ("not", "a", "bad", "film")
    assert len(table) == 10
    assert table.provenance.details["relative_gap"] < 1e-4  # float32
    explanation.save(tmp_path / "x.safetensors")
    assert hoi.Explanation.load(tmp_path / "x.safetensors").interactions == table


def test_an_image():
    image, _ = hoi.zoo.samples("digits-resnet", 1)[0]
    options = {"players": (2, 2), "beta": 3.0, "n_nodes": 32, "quadrature": "gauss-log"}
    table = hoi.explain("zoo:digits-resnet", image, method=IntegratedHessians, **options).interactions
    assert len(table) == 10
    assert table.provenance.details["relative_gap"] < 1e-2
    assert table.provenance.details["softplus"]["relative_change"] < 0.25

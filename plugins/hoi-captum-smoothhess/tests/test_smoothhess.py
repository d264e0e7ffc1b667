"""SmoothHess: closed forms, rates of its error, and the rules of a plugin."""

from __future__ import annotations

import importlib.metadata
import math
import warnings

import numpy as np
import pytest
import torch
from hoi_captum_smoothhess import SmoothHess
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.errors import DataWarning, FidelityWarning, InputError, ModelOutputError, OptionError
from hoi_captum.registry import Registry


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


A = normal(5, 5, seed=0)
HESSIAN = (A + A.T).numpy()


def quadratic(x: Tensor) -> Tensor:
    return (x @ A * x).sum(1)


def relu_network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(6, 20), nn.ReLU(inplace=True), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
    return nn.Sequential(*layers).double()


def rmse(method: SmoothHess, exact: np.ndarray) -> float:
    """Of the Hessian of the quadratic; a baseline one below the input makes D a vector of ones."""
    x = normal(1, 5)
    return float(np.sqrt(((method.interact(x, x - 1)[0].arrays["matrix"] - exact) ** 2).mean()))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# -------------------------------------------------------------------- the estimate
@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_quadratic_is_recovered_within_four_standard_errors(antithetic, seed):
    x = normal(1, 5)
    method = SmoothHess(quadratic, sigma=0.5, antithetic=antithetic, seed=seed, n_samples=4096)
    table = method.interact(x, x - 1)[0]
    arrays = table.arrays
    assert (np.abs(arrays["matrix"] - HESSIAN) < 4 * arrays["stderr"]).all()
    gradient = (x @ torch.from_numpy(HESSIAN))[0].numpy()
    if antithetic:  # the gradient of a quadratic is odd around x
        np.testing.assert_allclose(arrays["gradient"], gradient, atol=1e-12)
    else:
        assert (np.abs(arrays["gradient"] - gradient) < 4 * arrays["gradient_stderr"]).all()
    main = gradient + np.diag(HESSIAN) / 2 - HESSIAN.sum(1)  # D is 1: of presence
    assert (np.abs(table.scores[:5] - main) < 4 * arrays["main_stderr"]).all()


def test_standard_errors_are_those_of_repeats():
    x, found, told = normal(1, 5), [], []
    for seed in range(60):
        arrays = SmoothHess(quadratic, sigma=0.5, n_samples=256, seed=seed).interact(x, x - 1)[0].arrays
        found.append(arrays["matrix"])
        told.append(arrays["stderr"])
    ratio = np.sqrt((np.stack(told) ** 2).mean(0)) / np.stack(found).std(0, ddof=1)
    assert 0.9 < np.exp(np.log(ratio).mean()) < 1.1


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_a_relu_at_its_kink(sigma):
    # the smoothed second derivative is the normal density of x1 + x2, of variance 2 sigma^2, at 0
    expected = 1 / (math.sqrt(2 * math.pi) * math.sqrt(2) * sigma)
    method = SmoothHess(lambda x: (x[:, 0] + x[:, 1]).relu(), sigma=sigma, n_samples=8192)
    arrays = method.interact(torch.zeros(1, 2, dtype=torch.float64), -1.0)[0].arrays
    assert (np.abs(arrays["matrix"] - expected) < 4 * arrays["stderr"]).all()
    assert arrays["stderr"].max() < 0.05 * expected
    np.testing.assert_allclose(arrays["gradient"], 0.5, atol=0.02)


def test_the_error_falls_with_the_square_root_of_the_samples():
    counts = [64, 256, 1024, 4096]
    errors = [
        np.mean([rmse(SmoothHess(quadratic, sigma=0.5, n_samples=n, seed=s), HESSIAN) for s in range(12)])
        for n in counts
    ]
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.06)


def test_antithetic_noise_has_the_smaller_error_at_equal_gradients():
    errors = [
        np.mean(
            [
                rmse(SmoothHess(quadratic, sigma=0.05, antithetic=a, seed=s, n_samples=256), HESSIAN)
                for s in range(12)
            ]
        )
        for a in (True, False)
    ]
    assert errors[0] < 0.3 * errors[1]  # the gradient at x cancels out


def test_a_linear_function_has_no_pairs():
    w = normal(5)
    x = normal(2, 5)
    table = SmoothHess(lambda z: z @ w, sigma=1.0).interact(x, x - 1)[0]
    np.testing.assert_allclose(table.arrays["matrix"], 0, atol=1e-12)
    np.testing.assert_allclose(table.arrays["gradient"], w, atol=1e-12)
    np.testing.assert_allclose(table.arrays["main_stderr"], 0, atol=1e-12)


@pytest.mark.parametrize("antithetic", [True, False])
def test_groups_are_projections_of_the_full_matrix(antithetic):
    model, x, x0 = relu_network(), normal(3, 6), normal(3, 6, seed=2)
    mask = torch.tensor([[0, 1, 1, 2, 0, 2]])
    member = nn.functional.one_hot(mask[0]).double().numpy()
    method = SmoothHess(model, sigma=0.3, n_samples=64, antithetic=antithetic)
    full = method.interact(x, x0, target=1)
    for single, grouped in zip(full, method.interact(x, x0, 1, None, mask), strict=True):
        expected = member.T @ single.arrays["matrix"] @ member
        np.testing.assert_allclose(grouped.arrays["matrix"], expected, atol=1e-12)
        expected = single.arrays["gradient"] @ member
        np.testing.assert_allclose(grouped.arrays["gradient"], expected, atol=1e-12)


def test_masks_of_each_row():
    x = normal(2, 5)
    masks = torch.tensor([[0, 0, 1, 2, 2], [-1, 1, 1, 0, 0]])  # the second row lacks a player
    method = SmoothHess(quadratic, sigma=0.5, n_samples=64)
    tables = method.interact(x, x - 1, None, None, masks)
    for row in (0, 1):
        part = slice(row, row + 1)
        alone = method.interact(x[part], x[part] - 1, None, None, masks[part])[0].arrays["matrix"]
        n = len(alone)
        np.testing.assert_allclose(tables[row].arrays["matrix"][:n, :n], alone, atol=1e-13)
    assert (tables[1].arrays["matrix"][2] == 0).all()


def test_noise_is_only_on_the_players_floating_point_cells():
    seen = []

    def f(a: Tensor, ids: Tensor, b: Tensor) -> Tensor:
        seen.append((a.detach(), ids, b.detach()))
        return a.prod(1) * ids[:, 0] + b.sum(1)

    inputs = (normal(1, 3), torch.tensor([[3, 4]]), normal(1, 2))
    masks = (torch.tensor([[0, -1, 1]]), torch.tensor([[-1, -1]]), torch.tensor([[-1, -1]]))
    method = SmoothHess(f, sigma=(0.5, 9.0, 7.0), n_samples=2048)
    table = method.interact(inputs, (inputs[0] - 1, 0, 0), None, None, masks)[0]
    a = torch.cat([s[0] for s in seen[3:]])
    assert (a[:, 1] == inputs[0][0, 1]).all()
    assert all((s[1] == inputs[1]).all() and (s[2] == inputs[2]).all() for s in seen)
    assert a[:, [0, 2]].std(0, correction=0).numpy() == pytest.approx([0.5, 0.5], rel=0.05)
    assert table.provenance.details["sigma"] == [0.5, 0.0, 0.0]
    expected = 3 * float(inputs[0][0, 1])  # of the mixed derivative
    assert abs(table.arrays["matrix"][0, 1] - expected) < 4 * table.arrays["stderr"][0, 1]


def test_tensors_of_different_scales():
    def f(a: Tensor, b: Tensor) -> Tensor:
        return a[:, 0] * b[:, 0]

    inputs = (torch.ones(1, 1).double(), torch.full((1, 1), 100.0).double())
    method = SmoothHess(f, sigma=(0.1, 10.0), n_samples=4096, effects="presence")
    cells = method.attribute(inputs)
    assert [float(c) for c in cells] == pytest.approx([50.0, 50.0], rel=0.1)
    table = method.interact(inputs)[0]
    error = table.arrays["stderr"]
    assert (np.abs(table.arrays["matrix"] - np.array([[0, 100], [100, 0]])) < 4 * error + 1e-9).all()


def test_sigma_follows_the_input():
    x = torch.stack([normal(6), 3 * normal(6)])
    mask = torch.tensor([[0, 1, 2, 3, -1, -1]])
    tables = SmoothHess(relu_network(), n_samples=8).interact(x, None, 0, None, mask)
    for row, table in enumerate(tables):
        expected = 0.1 * float(x[row, :4].std(correction=0))
        assert table.provenance.details["sigma"] == [pytest.approx(expected)]


# -------------------------------------------------------------------- what the scores are
def test_a_step_and_presence_to_second_order():
    x, x0 = normal(1, 5), normal(1, 5, seed=2)
    step = SmoothHess(quadratic, sigma=0.5, effects="step").interact(x, x0)[0]
    presence = SmoothHess(quadratic, sigma=0.5).interact(x, x0)[0]
    f = {"x": float(quadratic(x)), "x0": float(quadratic(x0)), "beyond": float(quadratic(2 * x - x0))}
    matrix, gradient = step.arrays["matrix"], step.arrays["gradient"]
    own, others = np.diag(matrix), matrix.sum(1) - np.diag(matrix)
    np.testing.assert_allclose(step.scores[:5], gradient + own / 2)
    np.testing.assert_allclose(presence.scores[:5], gradient - own / 2 - others)
    np.testing.assert_allclose(step.scores[5:], matrix[np.triu_indices(5, 1)])
    assert np.array_equal(step.scores[5:], presence.scores[5:])
    for table, difference in ((step, f["beyond"] - f["x"]), (presence, f["x"] - f["x0"])):
        details = table.provenance.details
        assert details["difference"] == pytest.approx(difference)
        assert details["second_order"] == pytest.approx(table.scores.sum())
        assert details["residual"] == pytest.approx(difference - table.scores.sum())
        # a quadratic has no third derivatives: what is left is the noise of the estimate
        assert abs(details["residual"]) < 4 * details["second_order_stderr"]
        assert table.base == pytest.approx(f["x0"])


def test_attributions_share_the_pairs():
    x, x0 = normal(2, 5), normal(2, 5, seed=2)
    method = SmoothHess(quadratic, sigma=0.5, n_samples=32)
    for cells, table in zip(method.attribute(x, x0), method.interact(x, x0), strict=True):
        np.testing.assert_allclose(cells, table.per_player(), atol=1e-12)


# -------------------------------------------------------------------- as any method
def test_seeds_rows_and_passes():
    model, x, x0 = relu_network(), normal(3, 6), normal(3, 6, seed=2)
    target = [0, 2, 1]
    method = SmoothHess(model, n_samples=70, seed=3)
    together = method.interact(x, x0, target=target)
    assert together == method.interact(x, x0, target=target)
    assert not np.allclose(
        SmoothHess(model, n_samples=70, seed=4).interact(x, x0, target=target)[0].scores, together[0].scores
    )
    for row, table in enumerate(together):
        assert table.provenance.seed == 3
        assert table.provenance.backward_passes == 70
        assert table.provenance.forward_passes == 73
        part = slice(row, row + 1)
        for size in (1, 7, 1000):
            alone = method.interact(x[part], x0[part], target=target[part], internal_batch_size=size)[0]
            np.testing.assert_allclose(alone.scores, table.scores, atol=1e-12)
            np.testing.assert_allclose(alone.arrays["stderr"], table.arrays["stderr"], atol=1e-12)


def test_memory_is_that_of_the_players():
    # 40,000 cells squared would be 12.8 GB
    x = normal(1, 40_000)
    mask = (torch.arange(40_000) % 3).view(1, -1)
    table = SmoothHess(lambda z: z.mean(1).relu(), n_samples=8).interact(x, None, None, None, mask)[0]
    assert table.arrays["matrix"].shape == (3, 3)


def test_the_model_is_left_as_it_was():
    model, x = relu_network(), normal(1, 6).requires_grad_()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with torch.inference_mode():
        SmoothHess(model, n_samples=8).interact(x, target=0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert x.grad is None
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize(
    "options",
    [
        {"n_samples": 0},
        {"n_samples": 2},
        {"n_samples": 7},
        {"n_samples": 1, "antithetic": False},
        {"sigma": 0.0},
        {"sigma": float("inf")},
        {"sigma": (0.1, 0.0)},
        {"sigma": ()},
        {"antithetic": 1},
        {"effects": "removal"},
        {"seed": -1},
    ],
)
def test_unusable_options(options):
    with pytest.raises(OptionError):
        SmoothHess(quadratic, **options)


def test_unusable_inputs():
    with pytest.raises(InputError, match="give sigma"):
        SmoothHess(quadratic).interact(torch.ones(1, 5).double())
    with pytest.raises(InputError, match="sigma for each of 1"):
        SmoothHess(quadratic, sigma=(0.1, 0.1)).interact(normal(1, 5))
    with pytest.raises(InputError, match="floating point"):
        SmoothHess(quadratic).interact(torch.ones(1, 5, dtype=torch.int64))
    with pytest.raises(ModelOutputError, match="smaller sigma"):
        SmoothHess(lambda x: x.log().sum(1), sigma=9.0).interact(torch.ones(1, 3).double(), 0.5)
    with pytest.warns(DataWarning, match="all scores are zero"):
        table = SmoothHess(lambda x: x.detach().sum(1), n_samples=4).interact(normal(1, 3))[0]
    assert (table.scores == 0).all()


def test_the_entry_point_registers_it():
    point = importlib.metadata.EntryPoint("smoothhess", "hoi_captum_smoothhess", "hoi_captum")
    found = Registry([point])
    assert found.plugins[-1].status == "ok"
    assert found.methods["smoothhess"].name == "smoothhess"


# -------------------------------------------------------------------- the zoo
@pytest.mark.parametrize("name", ["sentiment-bert-a", "sentiment-llama-a"])
def test_texts(name, tmp_path):
    explanation = hoi.explain(f"zoo:{name}", "not a bad film", method=SmoothHess, n_samples=64)
    table = explanation.interactions
    assert table.players == ("not", "a", "bad", "film")
    assert len(table) == 10
    assert (table.arrays["stderr"] > 0).all()
    explanation.save(tmp_path / "x.safetensors")
    assert hoi.Explanation.load(tmp_path / "x.safetensors").interactions == table


def test_an_image():
    image, _ = hoi.zoo.samples("digits-resnet", 1)[0]
    explanation = hoi.explain(
        "zoo:digits-resnet", image, method=SmoothHess, players=(2, 2), n_samples=64, sigma=0.3
    )
    assert len(explanation.interactions) == 10
    assert np.abs(explanation.interactions.scores).max() > 0


def test_pairs_that_are_not_told_from_chance_are_said_to_be():
    x = normal(2, 5)
    few = SmoothHess(lambda z: quadratic(z) * 0.01 + z.sum(1), sigma=0.1, n_samples=8, antithetic=False)
    with pytest.warns(FidelityWarning, match=r"row 0: no pair is told from chance.*more n_samples"):
        few.interact(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SmoothHess(quadratic, sigma=0.5, n_samples=1024).interact(x)
        SmoothHess(lambda z: z.sum(1)).interact(x)  # nothing to find, and no noise either


# -------------------------------------------------------------------- low precision, models that write
def test_noise_that_is_rounded_away_is_said():
    def f(x):
        return x[:, 0].float() * x[:, 1].float()

    x = torch.full((1, 2), 20.0)
    low = SmoothHess(f, sigma=0.04, n_samples=4096)
    with pytest.warns(FidelityWarning, match=r"sigma=0.04 is 0.32 of the steps of 0.125.*sigma=0.25 or more"):
        table = low.interact(x.bfloat16())[0]
    assert table.provenance.details["spacing"] == [0.125]
    with pytest.warns(FidelityWarning, match="rounded away"):
        SmoothHess(lambda x: x[:, 0] * x[:, 1], sigma=0.02).interact(torch.full((1, 2), 1e6), 1e6 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SmoothHess(f, sigma=0.25, n_samples=4096).interact(x.bfloat16())[0].arrays
        low.interact(x)
        masked = torch.tensor([[0, -1]])  # no noise there
        SmoothHess(lambda x: x[:, 0] ** 2, sigma=0.04).interact(
            torch.tensor([[1.0, 20.0]]).bfloat16(), feature_mask=masked
        )
    assert abs(found["matrix"][0, 1] - 400) < 4 * found["stderr"][0, 1]


def test_models_that_write_into_what_they_are_given():
    net = relu_network()

    def writes(x, ids):
        x += 1
        ids += 1
        return net(x * ids[:, :1])

    x, ids = normal(1, 6), torch.tensor([[2, 5]])
    masks = (torch.arange(6).view(1, 6), torch.tensor([[-1, -1]]))
    method = SmoothHess(writes, sigma=0.3, n_samples=32)
    found = method.attribute((x, ids), target=0, feature_mask=masks)[0]
    wanted = SmoothHess(lambda x, ids: net((x + 1) * (ids[:, :1] + 1)), sigma=0.3, n_samples=32)
    torch.testing.assert_close(found, wanted.attribute((x, ids), target=0, feature_mask=masks)[0])
    assert torch.equal(x, normal(1, 6))
    assert ids.tolist() == [[2, 5]]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_passes_are_no_larger_than_asked(size):
    seen = []

    def f(x):
        seen.append(len(x))
        return quadratic(x)

    SmoothHess(f, n_samples=8, sigma=0.3).interact(normal(3, 5), internal_batch_size=size)
    assert max(seen) <= size
    assert sum(seen) == 3 * (8 + 3)

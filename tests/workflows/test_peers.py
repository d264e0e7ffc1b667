"""Our attributions beside Captum's own of the same example: Shapley values, and Grad-CAM."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam, ShapleyValues, ShapleyValueSampling
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.errors import DataWarning
from hoi_captum.testing import planted_pair
from hoi_captum.testing.models import noise
from tests.workflows.methods import close


# ---------------------------------------------------------------- Shapley values
def mlp() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


@pytest.mark.parametrize(
    ("model", "data", "options"),
    [
        ("zoo:sentiment-bert-a", "a bad film", {}),
        ("zoo:sentiment-llama-a", "a bad film", {"template": "review : {} sentiment :"}),
        ("zoo:digits-resnet", "an image", {"players": (2, 2)}),
        (mlp(), [0.5, -1.0, 2.0, 0.3], {"baseline": 0.1}),
    ],
    ids=["BERT", "LLaMA", "ResNet", "MLP"],
)
def test_and_or_attributions_are_shapley_values(model: Any, data: Any, options: dict[str, Any]) -> None:
    adapter = hoi.adapt(model)
    raw = hoi.zoo.samples("digits-resnet", 1)[0][0] if data == "an image" else data
    example = adapter.example(raw, **options)
    found = hoi.GeneralizableAndOr(adapter.forward_func).attribute(**example, target=1)
    # to Captum -1 is one more feature, which is the same in the baseline: it has no effect
    expected = ShapleyValues(adapter.forward_func).attribute(**example, target=1)
    close(found, expected, 2e-5)
    assert float(found.abs().max()) > 1e-3


def test_sampling_comes_as_near_as_its_variance_says() -> None:
    """Marginal contributions over all orders are what ShapleyValueSampling draws from."""
    game, row = planted_pair(), torch.tensor([[1.0, -0.5, 0.8, 1.5, 0.6]], dtype=torch.float64)
    exact = hoi.GeneralizableAndOr(game).attribute(row)
    drawn = []
    for order in permutations(range(5)):
        present, before, steps = torch.zeros_like(row), game(torch.zeros_like(row)), torch.zeros(5).double()
        for player in order:
            present[0, player] = row[0, player]
            steps[player], before = game(present) - before, game(present)
        drawn.append(steps)
    contributions = torch.stack(drawn)
    torch.testing.assert_close(exact[0], contributions.mean(0))
    errors = {}
    for samples in (25, 400):
        torch.manual_seed(0)
        found = ShapleyValueSampling(game).attribute(row, n_samples=samples)
        errors[samples] = (found - exact)[0].abs()
        deviation = contributions.std(0, correction=0) / samples**0.5
        assert bool((errors[samples] <= 4 * deviation + 1e-6).all())
    assert bool(contributions.std(0).any())
    assert float(errors[400].sum()) < float(errors[25].sum())


# ---------------------------------------------------------------- Grad-CAM
WEIGHT = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)


class PooledHead(nn.Module):
    """g(w' m) of the mean m over all positions of a layer with three channels."""

    def __init__(self, g: Any) -> None:
        super().__init__()
        self.layer, self.g = nn.Identity(), g

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.g(self.layer(maps).mean((2, 3)) @ WEIGHT)
        return out


@pytest.fixture
def maps() -> Tensor:
    """(2, 3, 2, 3): two images, three channels, six positions."""
    return noise(2, 3, 2, 3, seed=3).double()


def test_first_derivatives_by_positions_are_grad_cam_behind_a_mean(maps: Tensor) -> None:
    """Grad-CAM pools its gradients over the positions, where they are all the same behind a mean."""
    model = PooledHead(torch.sin)
    expected = LayerGradCam(model, model.layer).attribute(maps).flatten(1)
    for row, table in enumerate(hoi.TaylorCAM(model, model.layer).interact(maps)):
        torch.testing.assert_close(torch.tensor(table.arrays["main"]), expected[row])


def test_pairs_behind_a_mean_are_products_of_grad_cam(maps: Tensor) -> None:
    """Of g(s), s = w' m: T_ij = G_i G_j g''(s) / g'(s)^2; attribute() gives its sums of sizes."""
    model = PooledHead(torch.sin)
    cam = LayerGradCam(model, model.layer).attribute(maps).flatten(1)
    s = maps.mean((2, 3)) @ WEIGHT
    pairs = cam.unsqueeze(1) * cam.unsqueeze(2) * (-s.sin() / s.cos().square()).view(-1, 1, 1)
    pairs = pairs * (1 - torch.eye(6))
    method = hoi.TaylorCAM(model, model.layer)
    for row, table in enumerate(method.interact(maps)):
        torch.testing.assert_close(torch.tensor(table.matrix()), pairs[row])
    torch.testing.assert_close(method.attribute(maps), pairs.abs().sum(2).view(2, 1, 2, 3))


def test_the_papers_formula_of_a_square_is_a_sum_of_squares_of_grad_cam(maps: Tensor) -> None:
    """Of s^2 / 2: S_ij = G_i W / (n s) with W = sum of w, so E_ij = (W / (n s))^2 (G_i^2 + G_j^2)."""
    model = PooledHead(lambda s: s.square() / 2)
    cam = LayerGradCam(model, model.layer).attribute(maps).flatten(1)
    factor = (WEIGHT.sum() / (6 * (maps.mean((2, 3)) @ WEIGHT))).square().view(-1, 1, 1)
    squares = cam.square()
    expected = factor * (squares.unsqueeze(1) + squares.unsqueeze(2)) * (1 - torch.eye(6))
    for row, table in enumerate(hoi.TaylorCAM(model, model.layer, variant="cam").interact(maps)):
        torch.testing.assert_close(torch.tensor(table.matrix()), expected[row])


def test_behind_a_mean_and_a_linear_layer_nothing_interacts() -> None:
    """The last layer of a ResNet: Grad-CAM is all there is to say, and TaylorCAM says so."""
    model, transforms = hoi.zoo.load("digits-resnet")
    image, label = hoi.zoo.samples("digits-resnet", 1)[0]
    example = hoi.adapt(model, transforms=transforms).example(image)
    with pytest.warns(DataWarning, match="the output is a sum over the gated units"):
        table = hoi.TaylorCAM(model, model.layer3).interact(example.inputs, target=int(label))[0]
    expected = LayerGradCam(model, model.layer3).attribute(example.inputs, target=int(label)).detach()
    assert expected.abs().max() > 1e-2
    close(torch.tensor(table.arrays["main"]), expected.flatten(), 1e-5)
    assert abs(float(table.per_player().sum())) < 1e-4 * float(expected.abs().sum())


def test_a_pair_whose_gradients_vanish_is_found_by_its_second_derivative() -> None:
    """(x_p - 1)(x_q - 1) is flat at 1: no single position matters there, the two together do."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, maps: Tensor) -> Tensor:
            positions = self.layer(maps).flatten(2)
            out: Tensor = 3 * (positions[:, 0, 1] - 1) * (positions[:, 0, 4] - 1)
            return out

    model, ones = Flat(), torch.ones(1, 1, 2, 3)
    assert not LayerGradCam(model, model.layer).attribute(ones).any()
    method = hoi.TaylorCAM(model, model.layer)
    table = method.interact(ones)[0]
    assert [(term.members, term.score) for term in table] == [((1, 4), 3.0)]
    assert not table.arrays["main"].any()
    torch.testing.assert_close(method.attribute(ones), torch.tensor([[[[0.0, 3, 0], [0, 3, 0]]]]))
    # switched off together they take more than one by one: 3 = 0 - 0 - 0 + 3
    assert table.synergy(table.top(1)[0]) == pytest.approx(3.0)

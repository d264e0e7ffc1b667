"""A change of what a map says reaches the tokens that it was read from, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hoi_captum import GraphSpectral
from tests.methods.graph_spectral.networks import QUICK, noise

pytestmark = pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")
MASK = torch.tensor([[1, 1, 1, 0, 0]])  # of five tokens


class Tokens(nn.Module):
    """Hidden tokens, of which the output has the mean of some."""

    def __init__(self, seen: slice) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.layer, self.last = nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)
        self.seen = seen

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden: Tensor = self.layer(self.first(x))
        out: Tensor = self.last(hidden[:, self.seen].mean(1))
        return out


def fitted(seen: slice, pooling: str, **given: Any) -> GraphSpectral:
    net = Tokens(seen).eval()
    method = GraphSpectral(net, net.layer, graph=(2, 2), pooling=pooling, alpha=0.0, **QUICK)
    return method.fit(noise(200, 5, 4), **given)


@pytest.mark.parametrize(
    ("unseen", "seen", "pooling", "given"),
    [
        (slice(0, 4), slice(4, 5), "last", {}),
        (slice(3, 5), slice(0, 3), "mean", {"additional_forward_args": MASK}),
        (slice(3, 5), slice(0, 3), "each", {"additional_forward_args": MASK}),
        (slice(3, 5), slice(2, 3), "last", {"additional_forward_args": MASK}),
    ],
)
def test_what_the_model_reads_elsewhere_stays_as_it_is(unseen, seen, pooling, given):
    x = noise(3, 5, 4, seed=2)
    method = fitted(unseen, pooling, **given)
    assert not method.neuron_map(x, 0, relevance="gradient_x_activation", **given).nan_to_num().any()
    kept = method.accuracy_kept(noise(200, 5, 4), **given)
    assert kept.agreement == 1
    read = fitted(seen, pooling, **given)
    assert read.neuron_map(x, 0, relevance="gradient_x_activation", **given).nan_to_num().abs().max() > 0.01


def test_the_model_may_write_into_what_it_is_given():
    class Doubling(Tokens):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return super().forward(x.mul_(2), mask)

    net, plain = Doubling(slice(0, 5)).eval(), Tokens(slice(0, 5)).eval()
    data, x = noise(200, 5, 4), noise(3, 5, 4, seed=2)
    options = {"graph": (2, 2), "alpha": 0.0, **QUICK}
    method = GraphSpectral(net, net.layer, **options).fit(data)
    expected = GraphSpectral(plain, plain.layer, **options).fit(2 * data)
    torch.testing.assert_close(method.attribute(x), expected.attribute(2 * x))
    kept = method.accuracy_kept(data)
    assert kept == expected.accuracy_kept(2 * data)
    assert torch.equal(data, noise(200, 5, 4))
    assert torch.equal(x, noise(3, 5, 4, seed=2))

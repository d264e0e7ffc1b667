"""Units of two values, words above all: what their coming changes, and what data do not show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hoi_captum.errors import DataWarning, FidelityError, FidelityWarning, OptionError
from hoi_captum.methods.second_glance import SecondGlance
from hoi_captum.methods.second_glance.reading import PairReading
from hoi_captum.methods.second_glance.scaling import Scaling
from hoi_captum.methods.second_glance.training import Score


def binary(n: int, k: int, seed: int = 0) -> Tensor:
    return torch.randint(2, (n, k), generator=torch.Generator().manual_seed(seed)).double()


def words(v: Tensor) -> Tensor:
    return v[:, 0] * v[:, 1] + 2 * v[:, 0] * v[:, 2] + 3 * v[:, 1] * v[:, 2] + 4 * v[:, 0] * v[:, 1] * v[:, 2]


def present(x: Tensor) -> Tensor:
    """The mask of words that are there."""
    return torch.where(x > 0, torch.arange(x.shape[1]), -1)


@pytest.mark.parametrize("options", [{"surrogate": "ridge"}, {"hidden": 32, "max_steps": 1500}])
def test_a_word_is_read_by_what_its_coming_changes(options):
    """A network has any derivative between 0 and 1; the difference is in the data."""
    x = binary(600, 3)
    order = 3 if "surrogate" in options else 2
    method = SecondGlance(words, units="presence", order=order, **options).fit(x, feature_mask=present(x))
    rows = torch.tensor([[1.0, 1, 0], [1, 1, 1]], dtype=torch.float64)
    without, with_all = method.interact(rows, feature_mask=present(rows))
    assert without.pairs[0, 1] == pytest.approx(1, abs=0.15)
    assert with_all.pairs[0, 1] == pytest.approx(5, abs=0.15)
    assert with_all.pairs[1, 2] == pytest.approx(7, abs=0.15)


def test_a_column_of_two_values_has_their_distance():
    x = torch.stack([3 * binary(400, 1)[:, 0] - 1, 2 * torch.rand(400).double() - 1], 1)
    method = SecondGlance(lambda v: v[:, 0] ** 2 * v[:, 1], surrogate="ridge", force=True)
    with pytest.warns(FidelityWarning, match="the surrogate explains"):
        method.fit(x)
    # the derivative by the second is 4 at 2 and 1 at -1: a difference of 3 over a distance of 3
    assert method.interact(x[:1])[0].jacobian[1, 0] == pytest.approx(1, rel=1e-2)


def test_triples_that_never_meet_are_not_made_up():
    x = binary(900, 3)
    x = x[x.sum(1) < 3]
    method = SecondGlance(lambda v: words(v), units="presence", order=3, surrogate="ridge")
    method.fit(x, feature_mask=present(x))
    table = method.interact(torch.ones(1, 3).double(), feature_mask=torch.arange(3).view(1, 3))[0]
    assert not len(table)


def test_words_that_never_meet_are_not_known():
    x = binary(900, 3)
    x = x[x[:, 0] * x[:, 1] == 0]
    method = SecondGlance(words, units="presence", surrogate="ridge")
    with pytest.warns(DataWarning, match=r"the data do not show 1 of 3 pairs \(0 · 1\)"):
        method.fit(x, feature_mask=present(x))
    table = method.interact(torch.ones(1, 3).double(), feature_mask=torch.arange(3).view(1, 3))[0]
    assert math.isnan(table.pairs[0, 1])
    assert {t.members for t in table} == {(0, 2), (1, 2)}
    shares = method.attribute(torch.ones(1, 3).double(), feature_mask=torch.arange(3).view(1, 3))
    assert np.isfinite(shares).all()


def test_a_word_that_only_judges_have_is_no_reason_to_accept():
    targets = torch.full((10, 2), torch.nan)
    targets[:, 0] = torch.arange(10.0)
    targets[3, 1] = 1.0
    score = Score.of(torch.zeros(5, 2), targets[:5], targets[5:])
    assert math.isfinite(score.pooled)
    noise = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    with pytest.raises(FidelityError, match=r"at least 0\.5 is needed"):
        SecondGlance(lambda v: (50 * v).sin().sum(1), surrogate="ridge").fit(noise)


def test_what_varies_by_rounding_does_not_vary():
    z = torch.rand(50, 2).double()
    z[:, 1] = 7 + 1e-12 * torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    scaling = Scaling.of(z, z.flip(1) + z**2)
    assert scaling.std[1] == 1
    assert not scaling.known[:, 1].any()


def test_a_layer_has_no_more_factors_than_it_has_directions():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = [nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)]
        net = nn.Sequential(*first, nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 1))
    x = 4 * torch.rand(600, 3, generator=torch.Generator().manual_seed(1)) - 2
    method = SecondGlance(net, net[3], max_steps=1000).fit(x, target=0)
    assert method.over_data().players == ("factor 0", "factor 1", "factor 2")


def test_small_things():
    assert PairReading.of(("a", "b"), (1.0, 1.0), 0.0, ((0.0, 0.0),) * 2).of_second == "does not change"
    with pytest.raises(OptionError, match="with parameters to teach, got Identity"):
        SecondGlance(lambda v: v.prod(1), surrogate=nn.Identity()).fit(torch.rand(30, 3))
    method = SecondGlance(lambda v: v.square().sum(1), symmetry="potential", max_steps=50, n_samples=100)
    table = method.interact(torch.rand(1, 3).double())[0]
    assert table.provenance.details["how"].startswith("softplus surrogate")

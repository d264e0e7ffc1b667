"""How well a fit has to go: what is refused, what is warned of, and the earlier fit that stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hoi_captum.errors import FidelityError, FidelityWarning, InputError
from hoi_captum.methods.second_glance import SecondGlance
from tests.methods.second_glance.models import drawn, quadratic, same

X = drawn(40, 4)


def partly_noise(amplitude: float):
    """Of its gradients, a linear surrogate explains 2/9 of 2/9 + (50 a)^2 / 6."""
    return lambda v: v[:, 0] * v[:, 1] + amplitude * (50 * v[:, 2]).sin()


def test_a_surrogate_that_explains_too_little_is_refused_and_the_earlier_fit_stays():
    x, noisy = drawn(1000, 3), partly_noise(0.1)
    chosen = [lambda v: v[:, 0] * v[:, 2]]
    method = SecondGlance(lambda v: chosen[0](v), surrogate="ridge").fit(x)
    before, over = method.interact(x[:2]), method.over_data()
    explained, chosen[0] = chosen[0], noisy
    says = r"explains R² = -?0\.\d+ of the gradients \(on 100 held-out rows; at least 0.5 is needed\)"
    with pytest.raises(FidelityError, match=says):
        method.fit(x)
    chosen[0] = explained
    same(method.interact(x[:2]), before)
    assert method.over_data() == over
    forced = SecondGlance(noisy, surrogate="ridge", force=True)
    with pytest.warns(FidelityWarning, match=r"explains R² = -?0\.[0-4]\d of the gradients"):
        forced.fit(x)
    assert forced.quality().pooled_r2 < 0.5
    assert forced.interact(x[:1])[0].pairs[0, 1] == pytest.approx(1, abs=0.05)


def test_a_surrogate_that_explains_not_much_is_warned_of():
    x = drawn(1000, 3)
    with pytest.warns(FidelityWarning, match=r"R² = 0\.[67]\d of the gradients \(on 100 held-out rows; 0.8"):
        method = SecondGlance(partly_noise(0.015), surrogate="ridge").fit(x)
    assert 0.5 < method.quality().pooled_r2 < 0.8


def test_the_target_that_is_not_learned_is_named():
    x = drawn(1000, 3)

    def f(v: Tensor) -> Tensor:
        return torch.stack([v[:, 0] * v[:, 1], partly_noise(0.2)(v)], 1)

    with pytest.raises(FidelityError, match="of the gradients of target 1"):
        SecondGlance(f, surrogate="ridge").fit(x, target=[0, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m: m.fit(X[:5]),
        lambda m: m.fit(X, names=["a"]),
        lambda m: m.fit(X, target=3),
        lambda m: m.fit(X.long()),
        lambda m: m.fit(X, feature_mask=torch.zeros(1, 4).long()),
    ],
    ids=["rows", "names", "target", "integers", "one unit"],
)
def test_what_was_learned_stays_where_another_fit_fails(wrong):
    method = SecondGlance(quadratic, surrogate="ridge").fit(X)
    before = method.interact(X[:2])
    with pytest.raises(InputError):
        wrong(method)
    same(method.interact(X[:2]), before)
    assert method.quality().rows == 40

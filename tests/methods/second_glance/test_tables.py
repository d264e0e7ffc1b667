"""The paper's study on a real table: five features, a small ReLU network, a surrogate of its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.measures import polarity_agreement
from tests.methods.second_glance import taught

# those that boosted trees use most, by their mean absolute SHAP values (benchmarks.second_glance_tables)
FEATURES = ("worst area", "worst concave points", "mean concave points", "worst texture", "area error")


@pytest.fixture(scope="module")
def table() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    bunch = load_breast_cancer(as_frame=True)
    columns = bunch.data[list(FEATURES)].to_numpy()
    x = torch.tensor((columns - columns.mean(0)) / columns.std(0), dtype=torch.float32)
    y = torch.from_numpy(1 - bunch.target.to_numpy())
    train, test = train_test_split(np.arange(len(x)), test_size=0.2, random_state=0, stratify=y)
    return x, y, torch.from_numpy(train), torch.from_numpy(test)


@pytest.fixture(scope="module")
def network(table: tuple[Tensor, ...]) -> nn.Sequential:
    x, y, train, _ = table
    return taught.first_model(x, y, train, seed=2)


@pytest.fixture(scope="module")
def method(network: nn.Sequential, table: tuple[Tensor, ...]) -> hoi.SecondGlance:
    return hoi.SecondGlance(network, symmetry="potential", max_steps=2500).fit(table[0], 0, names=FEATURES)


def test_the_network_tells_tumours_apart(network: nn.Sequential, table: tuple[Tensor, ...]) -> None:
    x, y, _, test = table
    with torch.no_grad():
        said = network(x[test])[:, 0] > 0
    assert float((said == y[test].bool()).double().mean()) >= 0.95


def test_the_surrogate_explains_the_gradients(method: hoi.SecondGlance) -> None:
    """Asked for: .9."""
    quality = method.quality()
    assert quality.pooled_r2 >= 0.9
    assert quality.rows == 569
    assert quality.asymmetry <= 1e-9


def test_over_the_data_is_the_mean_of_the_rows(method: hoi.SecondGlance, table: tuple[Tensor, ...]) -> None:
    rows = np.stack([t.pairs for t in method.interact(table[0], target=0)])
    over = method.over_data()
    np.testing.assert_allclose(over.pairs, np.abs(rows).mean(0), rtol=1e-9)
    i, j = over.top(1)[0].members
    assert over.players[i] in FEATURES
    reading = over.explain_pair(i, j)
    gradients = np.stack([t.main for t in method.interact(table[0], target=0)])
    for (more, less), g in zip(reading.shares, (gradients[:, j], gradients[:, i]), strict=True):
        # numbers as good as 0 are counted as such
        assert more == pytest.approx((rows[:, i, j] * g > 0).mean(), abs=0.01)
        assert less == pytest.approx((rows[:, i, j] * g < 0).mean(), abs=0.01)


def test_polarity_agrees_with_itself_and_not_with_chance(
    method: hoi.SecondGlance, table: tuple[Tensor, ...]
) -> None:
    tables = method.interact(table[0][:200], target=0)
    assert polarity_agreement(tables, tables).share == 1
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (200, 5, 5))
    random = signs * signs.transpose(0, 2, 1)
    agreed = polarity_agreement(tables, random)
    assert 0.45 <= agreed.share <= 0.55
    assert agreed.p_value >= 0.01
    assert abs(agreed.kappa) <= 0.1

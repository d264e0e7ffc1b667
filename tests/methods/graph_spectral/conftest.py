"""Networks and maps that several tests share."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from hoi_captum import GraphSpectral
from tests.methods.graph_spectral import networks


@pytest.fixture(scope="session")
def digits() -> networks.Digits:
    return networks.digits()


@pytest.fixture(scope="session")
def digit_map(digits: networks.Digits) -> GraphSpectral:
    return digits.fit()


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return networks.mlp()


@pytest.fixture(scope="module")
def data() -> Tensor:
    return networks.noise(300, 6)


@pytest.fixture(scope="module")
def fitted(net: nn.Sequential, data: Tensor) -> GraphSpectral:
    return GraphSpectral(net, net[1], graph=(3, 4), alpha=0.01).fit(data)

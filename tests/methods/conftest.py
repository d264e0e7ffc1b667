"""Trained models with a planted pair, once for all tests; see planted.py."""

from __future__ import annotations

import pytest
from torch import nn

from tests.methods import planted


@pytest.fixture(scope="session")
def cnn() -> nn.Sequential:
    return planted.train_cnn()


@pytest.fixture(scope="session")
def bert() -> planted.BertScores:
    return planted.train_bert()


@pytest.fixture(scope="session")
def llama() -> planted.LlamaScores:
    return planted.train_llama()

"""L-BFGS on objectives whose optimum is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor

from hoi_captum.corex import quasi_newton
from hoi_captum.corex.objective import NonOverlapping
from hoi_captum.corex.quasi_newton import maximise
from tests.corex.oracles import block_tc, planted

SIZE = 12
RANDOM = torch.Generator().manual_seed(0)
ROOT = torch.randn(SIZE, SIZE, generator=RANDOM, dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T / SIZE + 0.1 * torch.eye(SIZE, dtype=torch.float64)
OPTIMUM = torch.randn(2, SIZE, generator=RANDOM, dtype=torch.float64)
CURVATURE = torch.diag(torch.logspace(-1, 1, SIZE, dtype=torch.float64))


@dataclass(frozen=True)
class Quadratic:
    """-1/2 tr (U - T) A (U - T)^T, with A = S K S + S; there is none for U beyond ``EDGE``."""

    EDGE: ClassVar[float] = math.inf

    weights: Tensor
    product: Tensor
    tc: float

    @classmethod
    def evaluate(cls, weights: Tensor, product: Tensor) -> Self | None:
        if float(weights.abs().max()) > cls.EDGE:
            return None
        error = product - OPTIMUM @ COVARIANCE
        tc = -0.5 * float((error @ CURVATURE * error).sum() + (error * (weights - OPTIMUM)).sum())
        return cls(weights, product, tc)

    def gradient(self) -> Tensor:
        return (self.product - OPTIMUM @ COVARIANCE) @ CURVATURE + self.weights - OPTIMUM

    def precondition(self, g: Tensor, gs: Tensor) -> tuple[Tensor, Tensor]:
        return g.clone(), gs.clone()

    def longest_step(self, d: Tensor, ds: Tensor) -> float:
        return math.inf


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, weights: Tensor) -> Tensor:
        self.calls += 1
        return weights @ COVARIANCE


def start(kind: type[Quadratic] = Quadratic) -> Quadratic:
    zero = torch.zeros_like(OPTIMUM)
    found = kind.evaluate(zero, zero)
    assert found is not None
    return found


def test_a_quadratic_ends_at_its_optimum() -> None:
    found = maximise(start(), Counted(), tol=1e-14, max_iter=500)
    assert found.converged
    torch.testing.assert_close(found.state.weights, OPTIMUM, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.state.product, OPTIMUM @ COVARIANCE, atol=1e-6, rtol=0)
    assert found.history[-1] == found.state.tc


def test_the_objective_rises_in_every_iteration() -> None:
    history = maximise(start(), Counted(), tol=1e-14, max_iter=40).history
    assert np.all(np.diff(history) > -1e-12)


def test_memory_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steepest ascent (a memory that forgets) needs more than twice the iterations."""
    fast = len(maximise(start(), Counted(), tol=1e-9, max_iter=5000).history)
    monkeypatch.setattr(quasi_newton._Memory, "add", lambda *_: None)
    assert len(maximise(start(), Counted(), tol=1e-9, max_iter=5000).history) > 2 * fast


def test_one_product_for_each_iteration() -> None:
    multiply = Counted()
    iterations = len(maximise(start(), multiply, tol=1e-14, max_iter=500).history)
    assert iterations <= multiply.calls <= iterations + 1 + iterations // quasi_newton.REFRESH


def test_directions_are_those_of_the_dense_update() -> None:
    """The BFGS matrix, built from the same pairs in the coordinates of the inner product."""
    root = torch.linalg.cholesky(COVARIANCE)
    blocks = torch.block_diag(root, root)  # flat coordinates in which <a, b> is the dot product
    memory = quasi_newton._Memory(OPTIMUM, 4)
    dense = torch.eye(2 * SIZE, dtype=torch.float64)
    pairs = []
    for _ in range(6):  # more than it holds
        s = torch.randn(2, SIZE, generator=RANDOM, dtype=torch.float64)
        y = s @ COVARIANCE @ CURVATURE + s
        memory.add(s, s @ COVARIANCE, y, y @ COVARIANCE)
        pairs.append((blocks.T @ s.reshape(-1), blocks.T @ y.reshape(-1)))
    for s, y in pairs[-4:]:
        curvature = s @ y
        left = torch.eye(2 * SIZE, dtype=torch.float64) - torch.outer(s, y) / curvature
        dense = left @ dense @ left.T + torch.outer(s, s) / curvature
    g = torch.randn(2, SIZE, generator=RANDOM, dtype=torch.float64)
    d, ds = memory.direction(g, g @ COVARIANCE, start().precondition)
    torch.testing.assert_close(blocks.T @ d.reshape(-1), -dense @ (blocks.T @ g.reshape(-1)))
    torch.testing.assert_close(ds, d @ COVARIANCE)


def test_a_pair_without_curvature_is_left_out() -> None:
    memory = quasi_newton._Memory(OPTIMUM, 4)
    memory.add(OPTIMUM, OPTIMUM @ COVARIANCE, -OPTIMUM, -OPTIMUM @ COVARIANCE)
    d, ds = memory.direction(OPTIMUM, OPTIMUM @ COVARIANCE, start().precondition)
    torch.testing.assert_close(d, -OPTIMUM)
    torch.testing.assert_close(ds, -OPTIMUM @ COVARIANCE)


def test_the_last_iteration_is_no_convergence() -> None:
    found = maximise(start(), Counted(), tol=1e-14, max_iter=3)
    assert not found.converged
    assert len(found.history) == 3


def test_the_search_stays_where_the_objective_is() -> None:
    class Walled(Quadratic):
        EDGE = float(OPTIMUM.abs().max()) / 2

    found = maximise(start(Walled), Counted(), tol=1e-12, max_iter=300)
    assert found.state.tc > start().tc
    assert float(found.state.weights.abs().max()) <= Walled.EDGE


def test_no_search_at_the_optimum() -> None:
    product = OPTIMUM @ COVARIANCE
    best = Quadratic.evaluate(OPTIMUM, product)
    assert best is not None
    found = maximise(best, Counted(), tol=1e-14, max_iter=10)
    assert found.converged
    assert found.history == ()


def test_a_block_of_one_factor_reaches_its_total_correlation() -> None:
    covariance = torch.from_numpy(planted((5,), 0.8))
    weights = 0.05 * torch.ones(1, 5, dtype=torch.float64)
    begin = NonOverlapping.evaluate(weights, weights @ covariance)
    assert begin is not None
    found = maximise(begin, lambda u: u @ covariance, tol=1e-12, max_iter=200)
    assert abs(found.state.tc - block_tc(5, 0.8)) < 1e-8  # the product is not refreshed at the end
    torch.testing.assert_close(found.state.product, torch.full((1, 5), 0.8, dtype=torch.float64))

"""Products with the covariance, whichever form it is kept in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum.corex.covariance import covariance


@pytest.mark.parametrize(("n", "p"), [(40, 9), (5, 30)])
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_products_are_those_of_the_ridged_covariance(n: int, p: int, eps: float) -> None:
    random = np.random.default_rng(0)
    z, weights = random.standard_normal((n, p)), random.standard_normal((3, p))
    pieces = [torch.from_numpy(part) for part in np.array_split(z, 4)]
    data = covariance(pieces, n, p)
    assert (data.matrix is None) == (2 * n < p)
    exact = z.T @ z / n
    expected = weights @ ((1 - eps**2) * exact + eps**2 * np.eye(p))
    np.testing.assert_allclose(data.product(torch.from_numpy(weights), eps).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(data.diagonal().numpy(), np.diag(exact), rtol=1e-12)

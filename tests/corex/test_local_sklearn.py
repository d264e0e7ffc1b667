"""scikit-learn's own checks of LocalCorEx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from hoi_captum.corex import LinearCorEx, LocalCorEx

_MODEL = LinearCorEx(1, tol=1e-3)
_FEW = {"n_clusters": 2, "min_rows": 2}  # the checks' data have few rows


# nothing is waived
@parametrize_with_checks(
    [
        LocalCorEx(_MODEL, embedder=None, **_FEW),
        LocalCorEx(_MODEL, embedder=None, space="embedding", **_FEW),
        LocalCorEx(_MODEL, n_components=2, **_FEW),
    ]
)
@pytest.mark.filterwarnings("ignore::hoi_captum.errors.HoiWarning")
def test_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)

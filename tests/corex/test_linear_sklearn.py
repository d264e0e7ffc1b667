"""scikit-learn's own checks of LinearCorEx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from hoi_captum.corex import LinearCorEx


# nothing is waived
@parametrize_with_checks([LinearCorEx(3, random_state=0), LinearCorEx(2, overlap=True, random_state=0)])
@pytest.mark.filterwarnings("ignore::hoi_captum.errors.HoiWarning")
def test_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)

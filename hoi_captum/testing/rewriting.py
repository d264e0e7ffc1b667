"""Has pytest explain the assertions of the checks, as it does those of tests; imported before them."""

from __future__ import annotations

try:
    import pytest
except ImportError as error:  # pragma: no cover - the tests run in pytest
    raise ImportError("hoi_captum.testing needs pytest: pip install pytest") from error

_WITH_CHECKS = ("contract", "families", "interactions", "results", "state", "suite")

pytest.register_assert_rewrite(*(f"hoi_captum.testing.{name}" for name in _WITH_CHECKS))

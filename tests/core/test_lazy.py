"""Names that are loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hoi_captum.core.lazy import lazy_getattr
from hoi_captum.core.mobius import moebius_transform


def test_a_name_is_looked_up_in_its_module() -> None:
    load = lazy_getattr("hoi_captum.core", {"mobius": ("moebius_transform",), "lazy": ()})
    assert load("moebius_transform") is moebius_transform
    with pytest.raises(AttributeError, match=r"module 'hoi_captum.core' has no attribute 'mobius_transform'"):
        load("mobius_transform")


def test_nothing_is_loaded_before_it_is_used() -> None:
    script = (
        "import sys, hoi_captum.corex, hoi_captum.views\n"
        "print({'sklearn.cluster', 'matplotlib', 'phate'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""What method authors import, and that it is what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import hoi_captum as hoi
from hoi_captum import authoring

PLUGINS = Path(__file__).parents[1] / "plugins"


def test_its_names_are_there_sorted_and_documented() -> None:
    # constants, classes, functions
    assert authoring.__all__ == sorted(authoring.__all__, key=lambda name: (not name.isupper(), name))
    for name in authoring.__all__:
        assert getattr(authoring, name).__doc__ or name == "hookimpl", name


def test_it_says_what_the_base_classes_are_for() -> None:
    text = authoring.__doc__ or ""
    for base in ("CoalitionMethod", "GameMethod", "DerivativeMethod", "GatedMethod", "LayerMethod"):
        assert base in authoring.__all__
        assert base in text


def test_its_hook_mark_is_the_public_one() -> None:
    assert authoring.hookimpl is hoi.hookimpl


def test_the_plugins_that_come_along_use_public_modules_only() -> None:
    """Authors copy from them: names that begin with an underscore stay out."""
    modules = [*PLUGINS.rglob("hoi_captum_*/*.py"), *PLUGINS.glob("*/hoi_captum_*.py")]
    modules = [path for path in modules if "tests" not in path.parts]
    assert len(modules) >= 4
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hoi_captum."):
                parts = (node.module or "").split(".")
                assert not any(part.startswith("_") for part in parts), path
                assert not any(alias.name.startswith("_") for alias in node.names), path

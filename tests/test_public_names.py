"""What ``import hoi_captum`` gives, and what it leaves alone until it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

import hoi_captum as hoi

# the names of the design, which users write into their programs
CONTRACT = {
    "API_VERSION",
    "AndOrInteractions",
    "Estimate",
    "Example",
    "Explanation",
    "GeneralizableAndOr",
    "Interactions",
    "LearnedBaseline",
    "MaskedGame",
    "PerModel",
    "Term",
    "adapt",
    "estimate",
    "explain",
    "get_method",
    "hookimpl",
    "image_example",
    "learn_baseline",
    "measures",
    "methods",
    "plugins",
    "tabular_example",
    "text_example",
    "views",
    "zoo",
}
HEAVY = ("torch", "captum", "transformers", "torchvision", "matplotlib", "pandas", "rich", "typer", "pluggy")


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy_and_no_plugin() -> None:
    loaded = json.loads(
        in_new_process(
            "import sys, json; before = set(sys.modules); import hoi_captum; dir(hoi_captum); "
            "from hoi_captum import hookimpl, errors; "
            "print(json.dumps(sorted(set(sys.modules) - before)))"
        )
    )
    assert "hoi_captum" in loaded
    assert not set(loaded) & set(HEAVY) - {"pluggy"}  # pluggy is for the mark that a plugin's module needs
    assert {m for m in loaded if m.startswith("hoi_captum")} == {
        "hoi_captum",
        "hoi_captum.errors",
        "hoi_captum.hookspecs",
        "hoi_captum.methods",
    }


def test_the_package_alone_loads_only_itself() -> None:
    code = "import sys, hoi_captum; print([m for m in {!r} if m in sys.modules])"
    assert in_new_process(code.format(HEAVY)).strip() == "[]"


def test_a_first_use_loads_no_model_library() -> None:
    """Methods and a plain module need neither transformers nor torchvision."""
    code = """
import sys
import hoi_captum as hoi
import torch
assert not {"transformers", "torchvision"} & set(sys.modules), "at import"
first = hoi.methods()
method = hoi.GeneralizableAndOr(lambda x: x[:, 0] * x[:, 1])
assert method.interact(torch.tensor([[2.0, 3.0]]))[0].top(1)[0].members == (0, 1)
import hoi_captum.methods.and_or.method as module
assert module.GeneralizableAndOr is hoi.GeneralizableAndOr
# a method's package has taken the place of anything called methods, and it still answers
assert hoi.methods() == first == {**first}, "called again"
from hoi_captum import methods
assert methods() == first
hoi.explain(torch.nn.Linear(2, 1), [1.0, 2.0], target=0)
print(sorted({"transformers", "torchvision"} & set(sys.modules)))
"""
    assert in_new_process(code).strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert set(hoi.__all__) >= CONTRACT
    assert len(set(hoi.__all__)) == len(hoi.__all__)
    assert dir(hoi) == sorted(hoi.__all__)
    for name in hoi.__all__:
        value = getattr(hoi, name)
        assert value is getattr(hoi, name)  # the same each time
        assert callable(value) or isinstance(value, ModuleType | int), name
        assert getattr(value, "__name__", name).rpartition(".")[2] == name or not callable(value), name


def test_import_star_gives_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from hoi_captum import *", names)
    assert set(names) - {"__builtins__"} == set(hoi.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'hoi_captum' has no attribute 'explian'"):
        hoi.explian  # noqa: B018
    assert not hasattr(hoi, "_HOME")
    with pytest.raises(ImportError, match="cannot import name 'Explenation'"):
        exec("from hoi_captum import Explenation")


def test_no_public_function_has_the_name_of_a_module() -> None:
    """Importing a submodule puts it in the package under its name, where it would hide the function."""
    from pkgutil import iter_modules

    submodules = {m.name for m in iter_modules(hoi.__path__)}
    assert {n for n in hoi.__all__ if n in submodules} == {
        "corex",
        "errors",
        "graphs",
        "measures",
        "methods",
        "views",
        "zoo",
    }
    assert isinstance(hoi.methods, ModuleType)
    assert hoi.methods() == hoi.registry.methods()

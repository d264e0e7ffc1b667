"""Every public name has a docstring with an example that runs, and says of its arguments what is true."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import math
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import hoi_captum as hoi
from hoi_captum.authoring import CoalitionMethod, DerivativeMethod

PACKAGE = Path(hoi.__file__).parent

# where public names live; those that are listed here are public though their module says nothing of it
HOMES: dict[str, tuple[str, ...]] = {
    "": (),
    "adapters": (),
    "authoring": (),
    "core.example": ("Example", "ImageLayout", "PerModel", "TableLayout", "TextLayout"),
    "corex": (),
    "errors": tuple(name for name, value in vars(hoi.errors).items() if isinstance(value, type)),
    "graphs": (),
    "measures": (),
    "testing": (),
    "views": (),
    "zoo": (),
}


def public_names() -> dict[str, Any]:
    """All public things by the name under which they are imported; those with two such names once."""
    found: dict[str, Any] = {}
    for home, names in HOMES.items():
        module = import_module(f"hoi_captum.{home}".rstrip("."))
        for name in names or module.__all__:
            value = getattr(module, name)
            if is_constant(value) or not any(value is other for other in found.values()):
                found[f"{module.__name__}.{name}"] = value
    return found


def is_constant(value: Any) -> bool:
    """Whether it is no class, function or module."""
    return not isinstance(value, type | ModuleType) and not inspect.isroutine(value)


class Docstring(NamedTuple):
    """A docstring of the source, and where it stands."""

    module: str
    name: str
    text: str
    line: int


def docstrings() -> Iterator[Docstring]:
    """All docstrings of the package."""
    for module, source in SOURCES.items():
        yield from _docstrings(ast.parse(source), module, "")


def _docstrings(node: Any, module: str, name: str) -> Iterator[Docstring]:
    text = ast.get_docstring(node, clean=False)
    if text is not None:
        yield Docstring(module, name or module, text, node.body[0].lineno - 1)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _docstrings(child, module, f"{name}.{child.name}".lstrip("."))


SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
PUBLIC = public_names()
EXAMPLES = [d for d in docstrings() if ">>>" in d.text]


# ---------------------------------------------------------------- examples
NAMES = {"hoi": hoi, "torch": torch, "np": np}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda d: f"{d.module}:{d.name}")
def test_an_example_runs(example: Docstring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``hoi``, ``torch`` and ``np`` alone, and no file left behind (CONTRIBUTING.md)."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    test = doctest.DocTestParser().get_doctest(
        example.text, dict(NAMES), example.name, str(PACKAGE / example.module), example.line
    )
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(said)
    assert not list(tmp_path.iterdir())
    # what is no public name is there only if something else has imported it
    code = "".join(line.source for line in test.examples)
    assert set(re.findall(r"(?<![\w.])hoi\.(\w+)", code)) <= set(hoi.__all__)
    assert "+SKIP" not in example.text


@pytest.mark.parametrize(
    "cls", [*hoi.methods().values(), CoalitionMethod, DerivativeMethod], ids=lambda c: c.__name__
)
def test_captums_verb_has_an_example(cls: Any) -> None:
    """Of a base class, too, since its methods have no docstring of their own there."""
    assert "Examples::" in cls.attribute.__doc__


def test_a_wrong_example_is_found() -> None:
    """The runner above does compare, and does let warnings of ours be errors."""
    runner = doctest.DocTestRunner(verbose=False)
    for text in (">>> 1 + 1\n3\n", ">>> x = hoi.graphs.learned_graph(np.ones((8, 2)))\n"):
        test = doctest.DocTestParser().get_doctest(text, dict(NAMES), "wrong", None, 0)
        assert runner.run(test, out=lambda _: None).failed == 1


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example(name: str) -> None:
    value = PUBLIC[name]
    if is_constant(value):  # which cannot have a docstring: a comment that begins with #: stands for it
        above = rf"^#: .+\n{name.rpartition('.')[2]}\b.* = "
        assert any(re.search(above, source, re.MULTILINE) for source in SOURCES.values())
    elif value is hoi.methods:  # a package that can be called
        assert ">>>" in (type(value).__call__.__doc__ or "")
    elif isinstance(value, ModuleType):
        assert value.__doc__
    else:
        assert "Examples::\n" in (value.__doc__ or "")
        assert ">>>" in value.__doc__


# ---------------------------------------------------------------- arguments
def sections(text: str | None) -> dict[str, str]:
    """The parts of a docstring by their headings."""
    parts = re.split(
        r"^(Args|Attributes|Returns|Raises|Warns|Examples):+$", inspect.cleandoc(text or ""), flags=re.M
    )
    found = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        # up to the next paragraph that is not indented
        found[heading] = re.split(r"\n\n(?=\S)", body)[0]
    return found


def entries(section: str) -> list[tuple[list[str], str]]:
    """What a section lists, each with its names: ``a, b: ...`` or ``a (type), b (type): ...``."""
    found = []
    for entry in re.split(r"\n {4}(?=\S)", section)[1:]:
        heading = re.sub(r"\([^()]*(\([^()]*\)[^()]*)*\)", "", entry)  # without types
        heading = re.split(r":(?!\w+:)\s", heading + "\n", maxsplit=1)[0]
        found.append(([name.strip() for name in heading.split(",")], entry))
    return found


def names_in(section: str) -> list[str]:
    """All names that a section lists."""
    return [name for names, _ in entries(section) for name in names]


def states(entry: str, default: Any) -> bool:
    """Whether an entry says a default, alone or among those of others: ``Default: uniform, 0.5``."""
    said = re.search(r"Defaults?: (.+)", " ".join(entry.split()))
    if said is None:  # it is told where the argument is
        return re.search(r"\b(as in|as of|as for|see) ", entry) is not None
    told = re.split(r"[;(]", said[1])[0].strip("` ")  # the rest explains
    words = re.findall(r"[\w.+-]+(?:,\d{3})*", told)
    if isinstance(default, bool | str):
        return str(default) in words or told.startswith(str(default))
    numbers = [float(word.replace(",", "")) for word in words if re.fullmatch(r"[\d.,e-]*\d|NaN", word)]
    return default in numbers or (math.isnan(default) and any(map(math.isnan, numbers)))


def test_names_are_read_from_sections() -> None:
    text = """What it does.

    Args:
        a (int or tuple(int, int)): first: of all.
        b, c: two, in
            two lines.
        d (str), e (float, optional): more. Default: None
        f, g,
            h: three.

    Returns:
        a thing: of it.

    Prose: at the end.
    """
    found = sections(text)
    assert list(found) == ["Args", "Returns"]
    assert names_in(found["Args"]) == ["a", "b", "c", "d", "e", "f", "g", "h"]


@pytest.mark.parametrize(
    ("said", "default", "right"),
    [
        ("x: a. Default: 0.05", 0.05, True),
        ("x: a. Default: 0.05", 0.5, False),
        ("x: a. Default: 10,000", 10_000, True),
        ("x, y: a. Default: uniform, 0.5", "uniform", True),
        ("x, y: a. Default: uniform, 0.5", 0.5, True),
        ("x: a. Default: 999; 0 gives NaN", 999, True),
        ("x: a. Default: NaN", math.nan, True),
        ("x: a. Default: True", True, True),
        ("x: a. Default: True (b)", False, False),
        ("x: a. Default: 1", True, False),
        ("x: a. Default: \n    masked passes", "masked passes", True),
        ("x: a", 1, False),
        ("x: as in :func:`f`", 1, True),
    ],
)
def test_a_default_is_read_from_an_entry(said: str, default: Any, right: bool) -> None:
    assert states(said, default) is right


def parameters_of(value: Any) -> set[str]:
    """What a function, or a class's constructor, takes."""
    names = inspect.signature(value).parameters
    return {name for name in names if name not in ("self", "cls") and not name.startswith("_")}


def takes_arguments(value: Any) -> bool:
    """Functions, and classes with a constructor of their own; those of errors take a message."""
    if not isinstance(value, type):
        return inspect.isroutine(value)
    return bool(vars(value).keys() & {"__init__", "__new__"}) and not issubclass(value, Exception)


def own_methods(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class itself defines, as far as they say something."""
    for name, member in vars(cls).items():
        if not name.startswith(("_", "test_")) and isinstance(
            member, FunctionType | classmethod | staticmethod | property | cached_property
        ):
            yield name, getattr(cls, name)


PUBLIC_CLASSES = {name: value for name, value in PUBLIC.items() if isinstance(value, type)}


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if takes_arguments(value)])
def test_all_arguments_are_documented_and_no_others(name: str) -> None:
    value = PUBLIC[name]
    found = sections(value.__doc__)
    documented = names_in(found.get("Args", ""))
    if dataclasses.is_dataclass(value) or hasattr(value, "_fields"):  # its fields are its arguments
        documented += names_in(found.get("Attributes", ""))
    assert len(documented) == len(set(documented))
    assert set(documented) == parameters_of(value)


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if takes_arguments(value)])
def test_defaults_are_those_of_the_signature(name: str) -> None:
    """Numbers and words; what None stands for, and what a function does, is said in prose."""
    parameters = inspect.signature(PUBLIC[name]).parameters
    for names, entry in entries(sections(PUBLIC[name].__doc__).get("Args", "")):
        for argument in names:
            default = parameters[argument].default
            if isinstance(default, bool | int | float | str) and default not in ("", math.inf, -math.inf):
                assert states(entry, default), f"{argument}: {default!r}"


@pytest.mark.parametrize("name", PUBLIC_CLASSES)
def test_methods_are_documented_with_arguments_that_they_take(name: str) -> None:
    """Those that override inherit the text; arguments whose name says it all may be left out."""
    for method, value in own_methods(PUBLIC_CLASSES[name]):
        assert inspect.getdoc(value), method
        documented = names_in(sections(value.__doc__).get("Args", ""))
        assert len(documented) == len(set(documented)), method
        if documented:
            assert set(documented) <= parameters_of(value), method

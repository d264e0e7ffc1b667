"""The pages of docs: their code runs, their links lead somewhere, and they leave no public name out."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import hoi_captum as hoi
from hoi_captum import hookspecs
from tests.code_blocks import Block, blocks, same_but_for_the_last_digit
from tests.plugin_environment import ROOT, PluginEnvironment

DOCS = ROOT / "docs"
GUIDE = DOCS / "write-a-plugin.md"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "generated" not in p.relative_to(DOCS).parts)
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("hoi_captum_register_"))

# ---------------------------------------------------------------- the guide for authors


def test_there_are_hooks() -> None:
    assert "hoi_captum_register_methods" in HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_shown(hook: str) -> None:
    assert (getattr(hookspecs, hook).__doc__ or "").strip()
    text = GUIDE.read_text(encoding="utf-8")
    assert f"`{hook}(register)`" in text
    code = "".join(block.code for block in blocks(text, "python"))
    assert f"@hookimpl\ndef {hook}(" in code  # which the next test runs


def test_the_guide_works_as_it_stands(tmp_path: Path) -> None:
    environment = PluginEnvironment.make(tmp_path / "environment")
    place, listed = tmp_path, []
    for block in blocks(GUIDE.read_text(encoding="utf-8")):
        if block.language == "python" and block.code.startswith("# file: "):
            first, _, code = block.code.partition("\n")
            (place / first.removeprefix("# file: ")).write_text(code, encoding="utf-8")
        elif block.language == "python":
            environment.run("-c", block.code, cwd=place)
        elif block.language == "sh":
            for line in block.code.splitlines():
                command, *rest = shlex.split(line)
                match command:
                    case "cd":
                        place = place / rest[0]
                    case "pip" if rest[0] == "install":
                        wanted = [word for word in rest[1:] if word not in ("hoi-captum", "pytest")]
                        if wanted:
                            environment.install(*wanted, cwd=place)
                    case "pip":
                        environment.run("-m", "pip", "-q", *rest, cwd=place)
                    case "pytest":
                        environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=place)
                    case "hoi-captum":
                        done = environment.run("-m", "hoi_captum", *rest, cwd=place)
                        listed += [done.stdout] if rest == ["methods"] else []
                    case _:
                        raise AssertionError(f"the guide has a command that is not known here: {line}")
    assert ["banzhaf-pairs" in table for table in listed] == [True, False]
    for name in ("pairs.html", "pairs.png", "rhythm.png"):
        assert (place / name).stat().st_size > 1000


# ---------------------------------------------------------------- code and links

EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(DOCS).with_suffix('')}:{block.line}")
    for page in PAGES
    if page != GUIDE
    for block in blocks(page.read_text(encoding="utf-8"), "python")
]


@pytest.mark.parametrize("block", EXAMPLES)
def test_the_code_of_the_pages_runs_and_prints_what_is_shown(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block.code, f"line {block.line}", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    if block.output is not None:
        assert same_but_for_the_last_digit(printed, block.output), printed
    for name in block.saved:
        assert (tmp_path / name).stat().st_size > 100, name


CODE = re.compile(r"^```.*?^```|`[^`\n]*`(?!\])", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_the_pages_link_to_exists(page: Path) -> None:
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", prose):
        assert (page.parent / link).exists(), link


# ---------------------------------------------------------------- the reference

MODULES = ["", ".authoring", ".corex", ".graphs", ".measures", ".testing", ".views", ".zoo"]
ENTRY = re.compile(r"^\.\. (currentmodule|auto\w+|py:data):: (\S+)(\n   :no-members:)?", re.MULTILINE)


def _reference() -> Iterator[tuple[str, str]]:
    """Module and name of everything that the pages of the reference have."""
    for page in sorted(DOCS.glob("api/**/*.rst")):
        module = ""
        for kind, name, only_itself in ENTRY.findall(page.read_text(encoding="utf-8")):
            if kind == "currentmodule":
                module = name
            elif kind == "automodule":
                yield name, ""
                for member in [] if only_itself else vars(importlib.import_module(name)):
                    if not member.startswith("_"):
                        yield name, member
            else:
                yield module, name


REFERENCE = list(_reference())


def _value(module: str, name: str) -> object:
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def test_the_reference_has_nothing_that_is_not_there() -> None:
    assert len(REFERENCE) > 150
    for module, name in REFERENCE:
        _value(module, name)  # or an AttributeError


@pytest.mark.parametrize("module", [f"hoi_captum{name}" for name in MODULES])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    # one thing may have several homes, and is described once; numbers are told by their names
    shown = [_value(*entry) for entry in REFERENCE]
    names = importlib.import_module(module).__all__
    missing = [
        name
        for name in names
        if (module, name) not in REFERENCE and not any(_value(module, name) is value for value in shown)
    ]
    assert [
        name for name in missing if name != "methods"
    ] == []  # a package and a function: that of the registry
    assert ("hoi_captum.registry", "methods") in REFERENCE


@pytest.mark.parametrize(
    "name", [*HOOKS, "hoi_captum.adapters:Adapter", "hoi_captum.core.example:TextLayout"]
)
def test_what_authors_need_is_in_the_reference(name: str) -> None:
    module, _, name = name.rpartition(":")
    assert (module or "hoi_captum.hookspecs", name) in REFERENCE


CLASSES = sorted(
    name
    for name, value in vars(hoi.errors).items()
    if inspect.isclass(value) and issubclass(value, Exception)
)


def test_every_error_and_warning_is_explained() -> None:
    text = (DOCS / "how-to" / "errors.md").read_text(encoding="utf-8")
    assert {"HoiError", "HoiWarning"} < set(CLASSES)
    for name in CLASSES:
        assert f"{{class}}`~hoi_captum.errors.{name}`" in text, name


# ---------------------------------------------------------------- what Sphinx is helped by


def _extension(name: str) -> ModuleType:
    spec = spec_from_file_location(name, DOCS / "extensions" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_has_all_that_the_program_has() -> None:
    from hoi_captum.cli import app

    page = _extension("command_line").command_line_page()
    commands = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert re.findall(r"^## hoi-captum (.*)$", page, re.MULTILINE) == commands
    explain = page.split("## hoi-captum explain\n")[1].split("\n## ")[0]
    assert "hoi-captum explain MODEL DATA [OPTIONS]" in explain
    assert "`DATA`\n: A text, an image file, or - for a text on standard input.\n" in explain
    assert re.search(
        r"^`--top <int range>`\n: Rows of the table\.  \[default: 10; x>=1\]$", explain, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[a](benchmarks/results/masking.md)", "[a](/generated/benchmarks/masking.md)"),
        ("![a](docs/images/patches.png)", "![a](/images/patches.png)"),
        ("[`p`](plugins/hoi-captum-shapiq)", "[`p`](/generated/plugins/hoi-captum-shapiq.md)"),
        ("[a](docs/write-a-plugin.md#3-its-tests)", "[a](/write-a-plugin.md#3-its-tests)"),
        ("[us](.), [it](tutorials)", "[us](/index.md), [it](/tutorials.md)"),
        ("[the program](benchmarks/masking.py)", "the program (`benchmarks/masking.py`)"),
        ("[a](https://captum.ai), [b](#here)", "[a](https://captum.ai), [b](#here)"),
        ("```\n[a](README.md)\n```\n[a](README.md)", "```\n[a](README.md)\n```\n[a](/index.md)"),
    ],
)
def test_links_of_the_repository_become_those_of_the_site(written: str, shown: str) -> None:
    assert _extension("staging").relink(written, ROOT) == shown


@pytest.mark.parametrize(
    ("text", "fetched"),
    [
        ('<a href="https://captum.ai">c</a><img src="x.png"><script src="../y.js"></script>', 0),
        ('<link rel="canonical" href="https://example.org/x.html">', 0),
        ('<script async src="https://example.org/x.js"></script>', 1),
        ("<img alt='x' src='//example.org/x.png'>", 1),
        ('<link rel="stylesheet" href="https://example.org/x.css"><link href="//e.org/f" rel="preload">', 2),
        ('<style>@import "https://example.org/x.css"; a { background: url(http://e.org/x.png) }</style>', 2),
    ],
)
def test_what_a_page_would_fetch_is_seen(text: str, fetched: int) -> None:
    assert len(_extension("offline").fetched_from_outside(text, ".html")) == fetched

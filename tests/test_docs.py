"""The guide "Write a plugin" works as it stands, and leaves no hook out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hoi_captum import hookspecs
from tests.plugin_environment import ROOT, PluginEnvironment

GUIDE = ROOT / "docs" / "write-a-plugin.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("hoi_captum_register_"))


def test_there_are_hooks() -> None:
    assert "hoi_captum_register_methods" in HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_shown(hook: str) -> None:
    assert (getattr(hookspecs, hook).__doc__ or "").strip()
    text = GUIDE.read_text(encoding="utf-8")
    assert f"`{hook}(register)`" in text
    code = "".join(block for language, block in BLOCK.findall(text) if language == "python")
    assert f"@hookimpl\ndef {hook}(" in code  # which the next test runs


def test_the_guide_works_as_it_stands(tmp_path: Path) -> None:
    environment = PluginEnvironment.make(tmp_path / "environment")
    place, listed = tmp_path, []
    for language, block in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        if language == "python" and block.startswith("# file: "):
            first, _, code = block.partition("\n")
            (place / first.removeprefix("# file: ")).write_text(code, encoding="utf-8")
        elif language == "python":
            environment.run("-c", block, cwd=place)
        else:
            for line in block.splitlines():
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

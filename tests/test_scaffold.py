"""hoi-captum new-plugin: what it writes installs, registers, passes its tests, and leaves when removed."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from hoi_captum.errors import FileError, InputError, OptionError
from hoi_captum.scaffold import FAMILIES, PluginNames, new_plugin
from tests.plugin_environment import PluginEnvironment


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> PluginEnvironment:
    return PluginEnvironment.make(tmp_path_factory.mktemp("environment"))


def methods(environment: PluginEnvironment) -> list[str]:
    found = json.loads(environment.run("-m", "hoi_captum", "methods", "--json").stdout)
    return [row["name"] for row in found]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_plugin_installs_registers_passes_its_tests_and_leaves(
    family: str, environment: PluginEnvironment, tmp_path: Path
) -> None:
    name = f"my-{family}"
    assert name not in methods(environment)
    folder = Path(
        environment.run("-m", "hoi_captum", "new-plugin", name, "--family", family, "--into", str(tmp_path))
        .stdout.splitlines()[0]
        .removeprefix("wrote ")
        .removesuffix("; next:")
    )
    assert folder == tmp_path / f"hoi-captum-{name}"
    environment.install(str(folder))
    assert name in methods(environment)
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
    environment.run("-m", "pip", "uninstall", "-q", "-y", f"hoi-captum-{name}")
    assert name not in methods(environment)


def test_a_broken_plugin_is_reported_and_nothing_else_suffers(
    environment: PluginEnvironment, tmp_path: Path
) -> None:
    before = methods(environment)
    folders = [new_plugin(name, into=tmp_path) for name in ("well-made", "broken")]
    module = folders[1] / "hoi_captum_broken.py"
    module.write_text(module.read_text().replace("import torch\n", "import a_package_that_is_not_there\n"))
    for folder in folders:
        environment.install(str(folder))
    try:
        assert methods(environment) == sorted([*before, "well-made"])
        found = json.loads(environment.run("-m", "hoi_captum", "plugins", "--json").stdout)
        told = {plugin["name"]: plugin for plugin in found}
        assert told["well-made"]["status"] == "ok"
        assert told["broken"]["status"] == "failed"
        assert "a_package_that_is_not_there" in told["broken"]["error"]
        asked = environment.run(
            "-m", "hoi_captum", "explain", "zoo:digits-vgg", "x.png", "--method", "broken", check=False
        )
        assert asked.returncode == 1
        assert "a_package_that_is_not_there" in asked.stderr
    finally:
        environment.run("-m", "pip", "uninstall", "-q", "-y", "hoi-captum-well-made", "hoi-captum-broken")
    assert methods(environment) == before


def test_names_follow_from_that_of_the_method() -> None:
    names = PluginNames.of("shapley-pairs")
    assert names == PluginNames(
        "shapley-pairs", "hoi-captum-shapley-pairs", "hoi_captum_shapley_pairs", "ShapleyPairs"
    )
    assert PluginNames.of("hoi-captum-shapley-pairs") == names


@pytest.mark.parametrize(
    "name", ["", "Shapley", "shapley_pairs", "-x", "x-", "a--b", "2x", "a b", "../x", "ä"]
)
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kebab-case"):
        new_plugin(name, into=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["none", "true", "term", "answer", "any", "class-var", "hoi-captum"])
def test_names_that_would_hide_another_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is taken"):
        new_plugin(name, into=tmp_path)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'taylor-cam' already"):
        new_plugin("taylor-cam", into=tmp_path)


def test_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="family to be one of game, gradient, layer"):
        new_plugin("mine", into=tmp_path, family="neuron")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = new_plugin("mine", into=tmp_path)
    (folder / "hoi_captum_mine.py").write_text("work of a week")
    with pytest.raises(FileError, match="there already"):
        new_plugin("mine", into=tmp_path)
    assert (folder / "hoi_captum_mine.py").read_text() == "work of a week"
    assert [path.name for path in tmp_path.iterdir()] == ["hoi-captum-mine"]


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_text

    def full(self: Path, text: str, **options: str) -> int:
        if self.name == "README.md":
            raise OSError(28, "No space left on device")
        return written(self, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FileError, match="No space left"):
        new_plugin("mine", into=tmp_path / "deep")
    assert not list((tmp_path / "deep").iterdir())


def test_what_it_writes_needs_no_mending(tmp_path: Path) -> None:
    """Neither by a linter nor by a formatter."""
    pytest.importorskip("ruff")
    folders = [new_plugin(f"my-{family}", into=tmp_path, family=family) for family in FAMILIES]
    for folder, command in product(
        folders, (["check", "--select", "E,F,W,I,B,UP,C4,SIM,RUF,PERF"], ["format", "--check"])
    ):
        settings = ["--isolated", "--no-cache", "--line-length", "110", "--target-version", "py311"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings, "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

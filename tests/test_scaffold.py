"""hoi-captum new-plugin: what it writes installs, registers, passes its tests, and leaves when removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from hoi_captum.errors import FileError, InputError, OptionError
from hoi_captum.scaffold import FAMILIES, PluginNames, new_plugin

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python in an environment of its own, which sees the packages of this one and has no plugin."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place)  # pip and setuptools are seen as all the rest is
    binary = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    asked = [binary, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    here = Path(__file__).parents[1]
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{here}\n", encoding="utf-8")

    def call(*arguments: str, cwd: Path = place, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
        environment |= {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "200"}
        done = subprocess.run(
            [str(binary), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return call


def install(run: Run, folder: Path) -> None:
    # no index is asked: what it needs is there
    run("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", str(folder))


def methods(run: Run) -> list[str]:
    found = json.loads(run("-m", "hoi_captum", "methods", "--json").stdout)
    return [row["name"] for row in found]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_plugin_installs_registers_passes_its_tests_and_leaves(
    family: str, run: Run, tmp_path: Path
) -> None:
    name = f"my-{family}"
    assert name not in methods(run)
    folder = Path(
        run("-m", "hoi_captum", "new-plugin", name, "--family", family, "--into", str(tmp_path))
        .stdout.splitlines()[0]
        .removeprefix("wrote ")
        .removesuffix("; next:")
    )
    assert folder == tmp_path / f"hoi-captum-{name}"
    install(run, folder)
    assert name in methods(run)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
    run("-m", "pip", "uninstall", "-q", "-y", f"hoi-captum-{name}")
    assert name not in methods(run)


def test_a_broken_plugin_is_reported_and_nothing_else_suffers(run: Run, tmp_path: Path) -> None:
    before = methods(run)
    folders = [new_plugin(name, into=tmp_path) for name in ("well-made", "broken")]
    module = folders[1] / "hoi_captum_broken.py"
    module.write_text(module.read_text().replace("import torch\n", "import a_package_that_is_not_there\n"))
    for folder in folders:
        install(run, folder)
    try:
        assert methods(run) == sorted([*before, "well-made"])
        found = json.loads(run("-m", "hoi_captum", "plugins", "--json").stdout)
        told = {plugin["name"]: plugin for plugin in found}
        assert told["well-made"]["status"] == "ok"
        assert told["broken"]["status"] == "failed"
        assert "a_package_that_is_not_there" in told["broken"]["error"]
        asked = run(
            "-m", "hoi_captum", "explain", "zoo:digits-vgg", "x.png", "--method", "broken", check=False
        )
        assert asked.returncode == 2
        assert "a_package_that_is_not_there" in asked.stderr
    finally:
        run("-m", "pip", "uninstall", "-q", "-y", "hoi-captum-well-made", "hoi-captum-broken")
    assert methods(run) == before


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


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'taylor-cam' already"):
        new_plugin("taylor-cam", into=tmp_path)


def test_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="family to be one of game, gradient"):
        new_plugin("mine", into=tmp_path, family="layer")


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

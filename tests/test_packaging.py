"""The wheel: built from a clean copy, installed elsewhere, and used from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from hoi_captum import zoo

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "hoi_captum", "tests", "benchmarks")


def pip(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of an earlier build gets in and nothing stays behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        elif (ROOT / name).is_file():
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    pip("wheel", folder / "source", "--no-deps", "--no-build-isolation", "-w", folder)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "hoi_captum").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {n for n in names if n.startswith("hoi_captum/")} == package
    for name in zoo.names():
        files = {n.rpartition("/")[2] for n in names if n.startswith(f"hoi_captum/zoo/weights/{name}/")}
        assert {"README.md", "config.json", "model.safetensors", "zoo.json"} <= files
    assert {
        "hoi_captum/py.typed",
        "hoi_captum/views/templates/explanation.html.j2",
        "hoi_captum/zoo/data/reviews.tsv",
        "hoi_captum/zoo/data/digits.png",
        "hoi_captum/zoo/data/digits.txt",
    } <= names
    rest = names - package
    assert all(".dist-info/" in n for n in rest), rest  # no tests, no benchmarks
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in rest)
    assert wheel.stat().st_size < 25e6


def test_the_metadata_names_what_is_needed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        fields = Parser().parsestr(archive.read(metadata).decode("utf-8"))
        points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode("utf-8")
    assert fields["Name"] == "hoi-captum"
    assert fields["License-Expression"] == "BSD-3-Clause"
    needed = {r.split(";")[0].strip() for r in fields.get_all("Requires-Dist") if "extra ==" not in r}
    for name in ("captum", "torch", "pluggy", "typer", "transformers"):
        assert any(r.startswith(f"{name}>=") for r in needed)
    assert not any(r.startswith(("pytest", "hypothesis", "ruff", "mypy")) for r in needed)
    assert "hoi-captum = hoi_captum.cli:main" in points


USE = """
import sys
from pathlib import Path
import hoi_captum as hoi
from hoi_captum import cli, zoo

assert Path(hoi.__file__).is_relative_to(sys.argv[1]), hoi.__file__
explanation = hoi.explain("zoo:sentiment-bert-a", "not bad", target="positive")
assert "not bad" in explanation.save("x.html").read_text("utf-8")
model, transforms = zoo.load("digits-vgg")
image, label = zoo.samples("digits-vgg", 1)[0]
print(model(transforms(image)[None]).argmax().item() == int(label))
cli.main(["methods"])
"""


def test_the_installed_package_works_from_elsewhere(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip("install", wheel, "--no-deps", "--no-compile", "--target", site)
    done = subprocess.run(
        [sys.executable, "-c", USE, str(site)],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True\n")
    assert "generalizable-and-or" in done.stdout
    assert [p.name for p in elsewhere.iterdir()] == ["x.html"]
    assert (site / "bin" / "hoi-captum").is_file()

"""What the README shows must run, and be true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hoi_captum import zoo
from hoi_captum.cli import main
from tests.code_blocks import blocks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = blocks(README, "python")
SCRIPTS = [block.code for block in BLOCKS]

# -W takes whole names of modules only, and no class of ours
STRICT = (
    "import warnings; from hoi_captum.errors import HoiWarning; warnings.simplefilter('error', HoiWarning)\n"
)


def test_there_is_a_script_for_each_family():
    for script, family in zip(SCRIPTS[:3], ("bert", "llama", "resnet"), strict=True):
        assert f"{family}-" in script or f"-{family}" in script
        assert len([line for line in script.splitlines() if line.strip()]) <= 13


IDS = ["bert", "llama", "resnet", "pairs", "relations", "nid"]
IDS += ["hessians", "one-image", "neurons", "ablation", "corex"]
IDS += ["maps", "regularizer", "measures"]


@pytest.mark.parametrize("block", BLOCKS, ids=IDS)
def test_scripts_run(block, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STRICT + block.code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert sorted(p.name for p in tmp_path.iterdir()) == block.saved


def test_commands_run(tmp_path, monkeypatch, capsys):
    block = next(b for b in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "hoi-captum explain" in b)
    commands = [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("hoi-captum")]
    assert [c[0] for c in commands] == ["explain", "explain", "render"]
    monkeypatch.chdir(tmp_path)
    zoo.samples("digits-resnet", 1)[0][0].save("digit.png")
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 0, capsys.readouterr().err
    made = {word for command in commands for word in command if Path(word).suffix}
    assert {p.name for p in tmp_path.iterdir()} == made


def test_the_table_of_methods_is_the_registrys(capsys):
    shown = re.search(r"<!-- methods:.*?-->\n(.*?)<!-- /methods -->", README, re.DOTALL)
    assert shown
    with pytest.raises(SystemExit):
        main(["methods", "--markdown"])
    assert capsys.readouterr().out == shown[1]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_what_is_linked_exists(document):
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text("utf-8")):
        assert (ROOT / link).exists(), link

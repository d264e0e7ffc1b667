"""The command line: what it prints where, what it writes, and how it fails."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from torch import nn

import hoi_captum as hoi
from hoi_captum import cli, zoo
from hoi_captum.explanation import Explanation

BERT = "zoo:sentiment-bert-a"
OTHER = "zoo:sentiment-bert-b"
RESNET = "zoo:digits-resnet"
LLAMA = "zoo:sentiment-llama-a"
TEXT = "not a bad film"
Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=stop.value.code, out=out, err=err)

    return call


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    image, label = zoo.samples("digits-resnet", 1)[0]
    path = tmp_path / f"digit-{label}.png"
    image.save(path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    return hoi.explain([BERT, OTHER], TEXT, target="positive").save(folder / "x.safetensors")


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- what there is
def test_methods_as_a_table_json_and_markdown(run: Run) -> None:
    table = run("methods")
    assert (table.code, table.err) == (0, "")
    cls = hoi.GeneralizableAndOr
    for part in ("generalizable-and-or", "1+", "and, or", cls.summary, "hoi-captum"):
        assert part in table.out
    rows = json.loads(run("methods", "--json").out)
    assert [row["name"] for row in rows] == list(hoi.methods())
    (row,) = [r for r in rows if r["name"] == "generalizable-and-or"]
    assert row == {
        "name": "generalizable-and-or",
        "class": "GeneralizableAndOr",
        "orders": "1+",
        "kinds": ["and", "or"],
        "summary": cls.summary,
        "plugin": "hoi-captum",
    }
    lines = run("methods", "--markdown").out.splitlines()
    assert lines[1] == "|---|---|---|---|---|"
    assert f"| `generalizable-and-or` | `GeneralizableAndOr` | 1+ | and, or | {cls.summary} |" in lines
    assert len(lines) == 2 + len(rows)


def test_plugins_as_a_table_and_json(run: Run) -> None:
    table = run("plugins")
    assert (table.code, table.err) == (0, "")
    for part in ("hoi-captum", "ok", "generalizable-and-or", "causal-lm"):
        assert part in table.out
    first = json.loads(run("plugins", "--json").out)[0]
    assert (first["name"], first["status"], first["error"]) == ("hoi-captum", "ok", "")
    assert "tabular" in first["adapters"]
    assert "matrix" in first["views"]


@pytest.mark.parametrize("command", ["", "demo", "methods", "plugins", "explain", "render"])
def test_help(run: Run, command: str) -> None:
    done = run(*filter(None, [command]), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: ")
    assert "--help" in done.out


def test_alone_it_says_what_to_do_next(run: Run) -> None:
    done = run()
    assert (done.code, done.err) == (0, "")
    assert "hoi-captum demo" in done.out
    lines = [line.split("  ")[1] for line in done.out.splitlines() if line.startswith("  hoi-captum")]
    assert len(lines) == 5
    # what it names is there
    for name in re.findall(r"zoo:(\S+)", done.out):
        assert name in zoo.names()


# ---------------------------------------------------------------- what it would cost
@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_tells_the_cost_and_writes_nothing(run: Run, tmp_path: Path, as_json: bool) -> None:
    done = run("explain", BERT, TEXT, "--also", OTHER, "--dry-run", *["--json"] * as_json)
    assert (done.code, done.err) == (0, "")
    passes = 2 * 2 ** len(TEXT.split())
    if as_json:
        told = json.loads(done.out)
        assert (told["forward_passes"], told["players"]) == (passes, TEXT.split())
    else:
        assert done.out.startswith("generalizable-and-or: ")
        assert f": {passes} forward passes for each row\n" in done.out
    assert files(tmp_path) == set()


def test_a_dry_run_of_too_much(run: Run) -> None:
    done = run("explain", BERT, " ".join([TEXT] * 5), "--dry-run")
    assert (done.code, done.out) == (2, "")
    assert "model passes for each row and model, and the limit is 12 players" in done.err


# ---------------------------------------------------------------- demo
def test_demo(run: Run, tmp_path: Path) -> None:
    assert cli.DEMO_REVIEW in [text for text, _ in zoo.samples("sentiment-bert-a")]
    done = run("demo", "--top", "3")
    assert done.code == 0
    assert cli.DEMO_REVIEW in done.out
    page = (tmp_path / "out" / "demo.html").read_text("utf-8")
    assert "sentiment-bert-a" in page
    assert "almost" in page
    assert "out/demo.html" in done.out
    # the shared interactions, from an evaluation of our own
    expected = hoi.explain(list(cli.DEMO_MODELS), cli.DEMO_REVIEW, target="negative").interactions
    assert len(expected.players) == 10
    shared, salient = expected.shared(), expected.salient()
    assert f"{len(shared) // 2} interactions are salient in both models" in done.out
    for i, name in enumerate(("sentiment-bert-a", "sentiment-bert-b")):
        assert f"{(salient.scopes == f'model:{i}').sum()} of {name}" in done.out
    strongest = shared.top(1)[0]
    assert f"  1   {' · '.join(expected.players[i] for i in strongest.members)} " in done.out
    assert "10 players, 2^10 coalitions: 2,048 forward passes for each row" in done.err
    assert "players:" not in done.out


def test_demo_refuses_a_place_that_cannot_be_written_before_it_works(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out, code, says in (
        ("x.doc", 2, "expected a file that ends in one of .html"),
        ("file/x.html", 1, "cannot make the directory file"),
    ):
        done = run("demo", "--out", out)
        assert (done.code, done.out) == (code, "")
        assert says in done.err
        assert "passes" not in done.err
    assert files(tmp_path) == {"file"}


# ---------------------------------------------------------------- explain
def test_explain_a_text(run: Run, tmp_path: Path) -> None:
    done = run("explain", BERT, TEXT, "--target", "positive", "--top", "2")
    assert done.code == 0
    expected = hoi.explain(BERT, TEXT, target="positive").interactions
    for term in expected.top(2):
        assert f"{' · '.join(expected.players[i] for i in term.members)} " in done.out
        assert f"{term.score:+.2f}" in done.out
    assert f"2 of {len(expected)} sets of players; scores in log-odds" in done.out
    assert "16 model rows" in done.out
    assert done.err.startswith("4 players, 2^4 coalitions: 16 forward passes for each row\n")
    assert done.err.endswith("wrote explanation.html\n")
    assert files(tmp_path) == {"explanation.html"}
    assert TEXT in (tmp_path / "explanation.html").read_text("utf-8")


def test_explain_as_json_with_options_from_standard_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"  {TEXT}\n"))
    options = ["alpha=0.5", "specific_bound=inf", "solver=admm", "max_iterations=None", "polish=true"]
    done = run("explain", BERT, "-", "--also", OTHER, "--json", *(f"--option={o}" for o in options))
    assert done.code == 0
    read = json.loads(done.out)  # nothing else on stdout
    assert read["players"] == TEXT.split()
    assert read["models"] == ["sentiment-bert-a", "sentiment-bert-b"]
    assert read["provenance"]["options"]["alpha"] == 0.5
    assert read["provenance"]["options"]["specific_bound"] is None  # infinity
    assert read["provenance"]["options"]["max_iterations"] is None
    assert read["provenance"]["options"]["polish"] is True
    assert "32 forward passes for each row" in done.err
    assert files(tmp_path) == set()  # a page only where it is asked for


def test_options_that_explain_has_too_and_shapes(run: Run, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(text for text, _ in zoo.samples("sentiment-bert-a", 24)), "utf-8")
    call = ("explain", BERT, TEXT, "--method", "graph-spectral", "--layer", "bert.encoder.layer.0.output")
    options = ("--option", "method=layout", "--option", "graph=8x16", "--option", "n_swaps=10")
    done = run(*call, "--background", texts, *options, "--json")
    assert done.code == 0, done.err
    given = json.loads(done.out)["provenance"]["options"]
    assert (given["method"], given["graph"]) == ("layout", "(8, 16)")


def test_explain_a_contrast_of_a_language_model(run: Run) -> None:
    prompt = zoo.prompt("sentiment-llama-a")
    contrast = ("--target", "good", "--against", "bad", "--template", prompt, "--baseline", "mask")
    read = json.loads(run("explain", LLAMA, TEXT, *contrast, "--json").out)
    assert read["target"] == "good - bad"
    assert read["players"] == TEXT.split()
    assert read["provenance"]["details"]["unit"] == "logit difference"
    expected = hoi.explain(LLAMA, TEXT, target=("good", "bad"), template=prompt, baseline="mask")
    assert read["base"] == expected.interactions.base


def test_explain_an_image_with_several_models_and_files(run: Run, tmp_path: Path, digit: Path) -> None:
    outs = ("--out", "x.safetensors", "--out", "x.png", "--out", "x.json")
    done = run("explain", RESNET, digit, "--also", "zoo:digits-vgg", "--players", "2x2", *outs)
    assert done.code == 0
    assert files(tmp_path) == {digit.name, "x.safetensors", "x.png", "x.json"}
    loaded = Explanation.load(tmp_path / "x.safetensors").interactions
    assert loaded.players == ("r1c1", "r1c2", "r2c1", "r2c2")
    assert loaded.provenance.model == ("digits-resnet", "digits-vgg")
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["target"] == loaded.provenance.target
    with Image.open(tmp_path / "x.png") as picture:
        picture.load()
    assert [line for line in done.err.splitlines() if line.startswith("wrote")] == [
        "wrote x.safetensors",
        "wrote x.png",
        "wrote x.json",
    ]


@pytest.mark.parametrize(
    ("players", "names"),
    [
        ("words", ["not", "a", "bad", "film"]),
        ("not, bad", ["not", "bad"]),
        ("not a bad,film", ["not a bad", "film"]),
    ],
)
def test_players_of_a_text(run: Run, players: str, names: list[str]) -> None:
    read = json.loads(run("explain", BERT, TEXT, "--players", players, "--json", "--target", "positive").out)
    assert read["players"] == names
    assert read["provenance"]["forward_passes"] == 2 ** len(names)


def test_value_baseline_and_batch_size(run: Run) -> None:
    arguments = ("--value", "prob", "--baseline", "mean", "--batch-size", "3", "--target", "positive")
    rows: list[int] = []

    def note(module: nn.Module, _: object, output: Any) -> None:
        if type(module).__name__ == "BertForSequenceClassification":
            rows.append(len(output.logits))

    handle = nn.modules.module.register_module_forward_hook(note)
    try:
        read = json.loads(run("explain", BERT, TEXT, *arguments, "--json").out)
    finally:
        handle.remove()
    assert rows == [3, 3, 3, 3, 3, 1]
    expected = hoi.explain(BERT, TEXT, target="positive", output="prob", baseline="mean")
    assert read["base"] == pytest.approx(expected.interactions.base, abs=1e-6)
    assert read["provenance"]["details"]["unit"] == "probability"


def test_a_checkpoint_is_made_found_and_refused(run: Run, tmp_path: Path) -> None:
    call = ("explain", BERT, TEXT, "--json", "--checkpoint", "values.hoi", "--target")
    first = run(*call, "positive")
    assert first.code == 0
    assert "rows found" not in first.err
    again = run(*call, "positive")
    assert again.code == 0
    assert "values.hoi: 16 of 16 rows found\n" in again.err
    reads = [json.loads(done.out) for done in (first, again)]
    assert [r["provenance"]["forward_passes"] for r in reads] == [16 + 8, 8]
    assert [r["provenance"]["details"]["checkpoint"]["resumed_rows"] for r in reads] == [0, 16]
    assert reads[0]["terms"] == reads[1]["terms"]
    before = (tmp_path / "values.hoi").read_bytes()
    refused = run(*call, "negative")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines()[-1] == (
        "error: values.hoi belongs to another call: what differs: the target. Give another checkpoint path, "
        "or delete the file"
    )
    assert (tmp_path / "values.hoi").read_bytes() == before
    assert files(tmp_path) == {"values.hoi"}


def test_a_script_as_text_is_text(run: Run, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> [bold]not[/bold] bad"
    done = run("explain", BERT, hostile, "--players", "[bold]not[/bold],bad", "--target", "positive")
    assert done.code == 0
    assert "[bold]not[/bold]" in done.out
    page = (tmp_path / "explanation.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_file_given_as_a_text_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "review.txt").write_text(TEXT, encoding="utf-8")
    done = run("explain", BERT, "review.txt", "--json")
    assert json.loads(done.out)["players"] == ["review", "txt"]
    assert "warning: 'review.txt' was read as a text; to read what is in it: - < review.txt" in done.err
    assert "warning" not in run("explain", BERT, TEXT, "--json").err


# ---------------------------------------------------------------- render
@pytest.mark.parametrize("out", ["again.html", "again.png", "again.json"])
def test_render_gives_what_save_gives(run: Run, tmp_path: Path, saved: Path, out: str) -> None:
    done = run("render", saved, "--out", out)
    assert (done.code, done.out, done.err) == (0, "", f"wrote {out}\n")
    expected = Explanation.load(saved).save(tmp_path / f"expected{Path(out).suffix}")
    if out.endswith("png"):
        with Image.open(tmp_path / out) as ours, Image.open(expected) as theirs:
            assert ours.tobytes() == theirs.tobytes()
    else:
        assert (tmp_path / out).read_bytes() == expected.read_bytes()


def test_render_a_view(run: Run, tmp_path: Path, saved: Path) -> None:
    assert run("render", saved, "--out", "a.png", "--view", "matrix").code == 0
    assert run("render", saved, "--out", "b.png", "--view", "network").code == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


# ---------------------------------------------------------------- failing
USAGE = [
    (["explain"], "Missing argument 'model'"),
    (["explain", BERT], "Missing argument 'data'"),
    (["explian"], "No such command 'explian'"),
    (["explain", BERT, TEXT, "--taget", "positive"], "No such option: --taget"),
    (["explain", BERT, TEXT, "--top", "0"], "Invalid value for '--top'"),
    (["explain", BERT, TEXT, "--top", "many"], "Invalid value for '--top'"),
    (["explain", BERT, TEXT, "--batch-size", "0"], "Invalid value for '--batch-size'"),
    (["explain", BERT, TEXT, "--target"], "--target"),
]
WRONG = [
    (["explain", BERT, ""], "expected a text, got an empty one"),
    (["explain", BERT, "..."], "'...' has no players"),
    (["explain", BERT, "one " * 13], "13 players need 2^13 = 8,192 model passes"),
    (["explain", BERT, TEXT, "--target", "7"], "no label is called '7'; the labels are negative, positive"),
    (["explain", BERT, TEXT, "--target", "good"], "no label is called 'good'"),
    (["explain", LLAMA, TEXT, "--target", "not bad"], "one token, but 'not bad' is 2"),
    (["explain", BERT, TEXT, "--against", "positive"], "--against needs --target"),
    (["explain", BERT, TEXT, "--method", "and-or"], "did you mean 'generalizable-and-or'"),
    (["explain", "zoo:sentiment-brt-a", TEXT], "did you mean 'sentiment-bert-a'"),
    (["explain", RESNET, TEXT], f"cannot read an image from {TEXT}"),
    (["explain", RESNET, "."], "cannot read an image from ."),
    (["explain", BERT, TEXT, "--also", RESNET], "cannot read an image from"),
    (["explain", ".", TEXT], "cannot load a model from '.'"),
    (["explain", BERT, TEXT, "--option", "alpha=2"], "expected alpha to be a number in [0, 1], got 2"),
    (
        ["explain", BERT, TEXT, "--option", "alpha=high"],
        "expected alpha to be a number in [0, 1], got 'high'",
    ),
    (["explain", BERT, TEXT, "--option", "alpha"], "expected --option NAME=VALUE, got 'alpha'"),
    (["explain", BERT, TEXT, "--option", "=1"], "expected --option NAME=VALUE, got '=1'"),
    (["explain", BERT, TEXT, "--option", "speed=1"], "GeneralizableAndOr has no option speed; it has alpha"),
    (
        ["explain", BERT, TEXT, "--option", "target=1"],
        "GeneralizableAndOr has no option target; it has alpha",
    ),
    (["explain", BERT, TEXT, "--option", "forward_func=1"], "has no option forward_func"),
    (["explain", BERT, TEXT, "--value", "odds"], "output to be one of log_odds, logit, log_prob, prob"),
    (["explain", BERT, TEXT, "--players", "good"], "'good' does not stand in the text"),
    (["explain", BERT, TEXT, "--players", ","], "has no players"),
    (["explain", BERT, TEXT, "--template", "Say:"], "template with one {}"),
    (
        ["explain", BERT, TEXT, "--out", "x.doc"],
        "ends in one of .html, .json, .safetensors, .png, .svg, .pdf",
    ),
]
FAILED = [
    (["explain", BERT, TEXT, "--out", "no/x.html"], "cannot write no/x.html: there is no directory no"),
    (["explain", BERT, TEXT, "--checkpoint", "no/x"], "cannot write no/x: there is no directory no"),
    (["explain", BERT, TEXT, "--checkpoint", "."], "expected . to be a file, it is a directory"),
    (["render", "missing.safetensors"], "cannot read missing.safetensors"),
    (["render", "."], "cannot read ."),
]


@pytest.mark.parametrize(
    ("arguments", "says"), USAGE, ids=lambda a: " ".join(a) if isinstance(a, list) else ""
)
def test_wrong_usage(run: Run, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert says in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [(*case, 2) for case in WRONG] + [(*case, 1) for case in FAILED],
    ids=[" ".join(a)[:60] for a, _ in WRONG + FAILED],
)
def test_bad_input_is_one_line(run: Run, tmp_path: Path, arguments: list[str], says: str, code: int) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert files(tmp_path) == set()


def test_a_text_given_as_an_image_or_as_a_result(run: Run, tmp_path: Path, saved: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:-50])
    for arguments, code, says in (
        (["explain", RESNET, "note.txt"], 2, "cannot read an image from note.txt"),
        (["render", "note.txt"], 1, "cannot read note.txt"),
        (["render", "cut.safetensors"], 1, "cannot read cut.safetensors"),
        (["render", saved, "--out", "x.doc"], 2, "ends in one of .html"),
        (["render", saved, "--out", "x.png", "--view", "pie"], 2, "got 'pie'"),
        (["render", saved, "--view", "matrix"], 2, "got view 'matrix' for 'explanation.html'"),
        (["render", saved, "--out", "no/x.html"], 1, "there is no directory no"),
    ):
        done = run(*arguments)
        assert (done.code, done.out) == (code, ""), arguments
        (line,) = done.err.splitlines()
        assert line.startswith("error: ")
        assert says in line
    assert files(tmp_path) == {"note.txt", "cut.safetensors"}


def test_bytes_on_standard_input_that_are_no_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bad \xff"), encoding="utf-8"))
    done = run("explain", BERT, "-")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: expected a text on standard input")


def test_a_failing_stranger_is_named_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of mine")

    monkeypatch.setattr("hoi_captum.explanation.Explanation.load", fail)
    done = run("render", "x.safetensors")
    assert (done.code, done.err) == (1, "error: ZeroDivisionError: of mine (--debug shows where)\n")


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(run: Run, place: int) -> None:
    arguments = ["explain", BERT, "..."]
    done = run(*arguments[:place], "--debug", *arguments[place:])
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Traceback (most recent call last):")
    assert done.err.splitlines()[-1].startswith(
        "hoi_captum.errors.PlayerError: the text '...' has no players"
    )


def test_control_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hoi_captum.explanation.Explanation.load", stop)
    done = run("render", "x.safetensors")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_warnings_are_lines_on_stderr(run: Run) -> None:
    done = run("explain", BERT, TEXT, "--json", "--option", "max_iterations=3", "--target", "positive")
    assert done.code == 0
    warnings = json.loads(done.out)["provenance"]["details"]["warnings"]
    assert warnings
    for message in warnings:
        assert f"warning: {message}\n" in done.err


# ---------------------------------------------------------------- as a process
def test_a_hub_name_without_a_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hoi_captum", "explain", "nobody/no-such-model", TEXT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot load a model from 'nobody/no-such-model': expected zoo:NAME")


def test_a_pipe_in_and_out(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hoi_captum", "explain", BERT, "-", "--json", "--out", "x.html"],
        input=TEXT,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["players"] == TEXT.split()
    assert "16 forward passes" in done.stderr
    assert done.stderr.endswith("wrote x.html\n")
    assert files(tmp_path) == {"x.html"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version("hoi-captum")

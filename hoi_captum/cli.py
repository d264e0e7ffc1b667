"""The command line: ``hoi-captum demo | methods | plugins | explain | render | new-plugin``."""

from __future__ import annotations

import ast
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hoi_captum.errors import DataWarning, FileError, HoiError, HoiWarning, InputError, OptionError

DEMO_MODELS = ("zoo:sentiment-bert-a", "zoo:sentiment-bert-b")
# a real review, held out when the models were trained
DEMO_REVIEW = "There's not enough here to justify the almost two hours."
DEMO_PAGE = Path("out/demo.html")
if TYPE_CHECKING:
    from hoi_captum.explanation import Explanation

_FAILED, _WRONG_ARGUMENTS = 1, 2

_WELCOME = """hoi-captum explains what acts together in a PyTorch model: words, patches, neurons. To begin:

  hoi-captum demo                                              two BERTs read a film review; writes a page
  hoi-captum explain zoo:sentiment-bert-a "not a bad film"     one model, a text of yours
  hoi-captum explain zoo:digits-resnet digit.png --players 3x3 --out regions.png
  hoi-captum explain MODEL "a text" --dry-run                  what it would cost; MODEL: a directory, a .gguf
                                                               file or a hub name
  hoi-captum methods                                           other methods, for --method

hoi-captum --help lists the commands, hoi-captum explain --help all that can be asked."""

app = typer.Typer(
    help="Higher-order interactions for Captum: which words, patches or neurons act together.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

TopOption = Annotated[int, typer.Option("--top", min=1, help="Rows of the table.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from hoi_captum.core.provenance import library_versions

        print(library_versions()["hoi-captum"])
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    context.obj = debug
    if context.invoked_subcommand is None:
        print(_WELCOME)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the page goes.")] = DEMO_PAGE,
    top: TopOption = 10,
) -> None:
    """Explain a real film review with two BERTs: what do they share?"""
    import hoi_captum as hoi
    from hoi_captum.saved import check_destination

    _make_directory(out.parent)
    check_destination(out)
    console = Console()
    console.print(Text(DEMO_REVIEW, style="italic"))
    explanation = hoi.explain(list(DEMO_MODELS), DEMO_REVIEW, target="negative", show_progress=True)
    _print_shared(console, explanation, top)
    explanation.save(out)
    console.print(Text(f"The page with all interactions: {out}"), soft_wrap=True)


@app.command()
def methods(
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List the methods, those of plugins too."""
    from hoi_captum.registry import methods, plugins

    owner = {name: plugin.name for plugin in plugins() for name in plugin.methods if plugin.status == "ok"}
    found: dict[str, Any] = methods()  # classes checked at registration
    rows = [
        {
            "name": name,
            "class": cls.__name__,
            "orders": _orders(cls),
            "kinds": list(cls.kinds),
            "summary": cls.summary,
            "plugin": owner[name],
        }
        for name, cls in found.items()
    ]
    if as_json:
        _print_json(rows)
    elif markdown:
        print("| method | class | orders | kinds | what it finds |\n|---|---|---|---|---|")
        for row in rows:
            kinds = ", ".join(row["kinds"])
            print(f"| `{row['name']}` | `{row['class']}` | {row['orders']} | {kinds} | {row['summary']} |")
    else:
        _print_table(
            ("method", "orders", "kinds", "what it finds", "plugin"),
            [(r["name"], r["orders"], ", ".join(r["kinds"]), r["summary"], r["plugin"]) for r in rows],
        )


@app.command()
def plugins(as_json: JsonOption = False) -> None:
    """List the plugins, and why any was left out."""
    from dataclasses import asdict

    from hoi_captum.registry import plugins

    found = plugins()
    if as_json:
        _print_json([asdict(plugin) for plugin in found])
        return
    _print_table(
        ("plugin", "version", "status", "registers"),
        [
            (p.name, p.version, p.status, p.error or ", ".join(p.methods + p.adapters + p.views))
            for p in found
        ],
    )


@app.command()
def explain(
    model: Annotated[
        str, typer.Argument(help="zoo:NAME, torchvision:NAME, a directory, a .gguf file, or a hub name.")
    ],
    data: Annotated[str, typer.Argument(help="A text, an image file, or - for a text on standard input.")],
    also: Annotated[list[str] | None, typer.Option(help="A further model to explain together.")] = None,
    method: Annotated[str, typer.Option(help="See: hoi-captum methods.")] = "generalizable-and-or",
    target: Annotated[str | None, typer.Option(help="Label or token. Default: the prediction.")] = None,
    against: Annotated[str | None, typer.Option(help="Explain TARGET against this one.")] = None,
    layer: Annotated[str | None, typer.Option(help="Dotted name, for methods that explain layers.")] = None,
    background: Annotated[
        Path | None,
        typer.Option(
            help="What a method learns from: a file with a text on each line, or a directory of images."
        ),
    ] = None,
    players: Annotated[
        str | None,
        typer.Option(help="words, tokens, a grid such as 3x4, or the words to take, separated by commas."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What is absent becomes: mask, mean, auto, ...")
    ] = None,
    template: Annotated[str | None, typer.Option(help="A prompt with {} where the text goes.")] = None,
    value: Annotated[
        str | None,
        typer.Option(help="log_odds, logit, log_prob, prob or margin. Default: the method's own."),
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the method.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Most model rows in one pass.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File that keeps the model's values: a stopped run goes on from there."),
    ] = None,
    top: TopOption = 10,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="File to write: .html .json .safetensors .png .svg .pdf. Default: explanation.html"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and do nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Explain a text or an image by its interactions."""
    import hoi_captum as hoi
    from hoi_captum.core.example import TextLayout
    from hoi_captum.saved import check_destination

    paths = out if out else [] if as_json else [Path("explanation.html")]
    for path in paths:
        check_destination(path)  # before hours of work, not after
    if against is not None and target is None:
        raise OptionError("--against needs --target: the pair is explained as a contrast")
    if data == "-":
        data = _standard_input()
    arguments: dict[str, Any] = {
        "model": [model, *also] if also else model,
        "data": data,
        "method": method,
        "target": (target, against) if against is not None else target,
        "layer": layer,
        "background": None if background is None else _background(background),
        "players": _players(players),
        "baseline": baseline,
        "template": template,
        "output": value,
        "method_options": _method_options(option or []),
        "internal_batch_size": batch_size,
        "show_progress": True,
        "checkpoint": checkpoint,
    }
    if dry_run:
        estimate = hoi.estimate(**arguments)
        print(json.dumps(estimate.to_dict(), indent=1) if as_json else estimate)
        return
    explanation = hoi.explain(**arguments)
    example = explanation.example
    if example is not None and isinstance(example.layout, TextLayout) and os.path.isfile(data):
        said = f"{data!r} was read as a text; to read what is in it: - < {data}"
        warnings.warn(said, DataWarning, stacklevel=2)
    if as_json:
        print(explanation.to_json())
    else:
        explanation.show(top)
    for path in paths:
        explanation.save(path)
        print(f"wrote {path}", file=sys.stderr)


@app.command()
def render(
    source: Annotated[Path, typer.Argument(help="A .safetensors file that explain wrote.")],
    out: Annotated[Path, typer.Option(help=".html, .json, .png, .svg or .pdf.")] = Path("explanation.html"),
    view: Annotated[str | None, typer.Option(help="Which drawing, for a picture.")] = None,
) -> None:
    """Draw a saved explanation again."""
    from hoi_captum.explanation import Explanation

    Explanation.load(source).save(out, view=view)
    print(f"wrote {out}", file=sys.stderr)


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Of the method, in kebab-case, such as shapley-pairs.")],
    into: Annotated[Path, typer.Option(help="The folder in which the plugin's is made.")] = Path("."),
    family: Annotated[
        str, typer.Option(help="game: values of coalitions; gradient: derivatives; layer: learns from one.")
    ] = "game",
) -> None:
    """Write a plugin that installs, registers and passes its tests, to be changed into one's own."""
    from hoi_captum.scaffold import new_plugin

    folder = new_plugin(name, into=into, family=family)
    print(f"wrote {folder}; next:\n  cd {folder}\n  pip install --editable '.[test]'\n  pytest")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors become one line and an exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # anywhere on the line: who adds it after a failure adds it at the end
    given = ["--debug"] * debug + [a for a in given if a != "--debug"]
    with warnings.catch_warnings():
        warnings.simplefilter("always", HoiWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # catch_warnings puts it back
        try:
            app(given)  # leaves by SystemExit: 2 and the usage for wrong arguments, 130 for Ctrl-C
        except Exception as error:
            sys.exit(_report(error, debug))


def _report(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    elif isinstance(error, HoiError):
        print(f"error: {error}", file=sys.stderr)
    else:
        print(f"error: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
    return _WRONG_ARGUMENTS if isinstance(error, InputError) else _FAILED


def _show_warning(message: Any, category: type[Warning], *where: Any) -> None:
    if issubclass(category, HoiWarning):
        print(f"warning: {message}", file=sys.stderr)


def _standard_input() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise InputError(f"expected a text on standard input, got bytes that are none: {error}") from error


def _background(path: Path) -> list[str]:
    """Texts of a file, one on each line, or the files of a directory, sorted by name.

    Raises:
        FileError: it cannot be read.
        InputError: nothing is in it.
    """
    try:
        if path.is_dir():
            found = sorted(str(p) for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        else:
            found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"expected texts in {path}, got bytes that are none: {error}") from error
    if not found:
        raise InputError(f"expected a text on each line of {path}, or images in it; it is empty")
    return found


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the directory {path}: {error.strerror or error}") from error


def _print_shared(console: Console, explanation: Explanation, top: int) -> None:
    from hoi_captum.views import interaction_table

    interactions: Any = explanation.interactions

    shared, salient = interactions.shared(), interactions.salient()
    console.print(interaction_table(shared, k=top, shared=True))
    console.print(Text(explanation.summary()), soft_wrap=True)
    counts = [int((salient.scopes == scope).sum()) for scope in interactions.model_scopes]
    each = " and ".join(
        f"{count} of {name}" for count, name in zip(counts, interactions.provenance.model, strict=True)
    )
    both = len(shared) // len(interactions.model_scopes)
    console.print(f"{both} interactions are salient in both models (of {each}).", soft_wrap=True)


def _players(given: str | None) -> Any:
    if given is None or given in ("words", "tokens"):
        return given
    rows, x, columns = given.partition("x")
    if x and rows.isdecimal() and columns.isdecimal():
        return int(rows), int(columns)
    return [word.strip() for word in given.split(",") if word.strip()]


def _method_options(given: list[str]) -> dict[str, Any]:
    options = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals or not name.isidentifier():
            raise OptionError(f"expected --option NAME=VALUE, got {item!r}")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            spelled = {"true": True, "false": False, "inf": float("inf"), "nan": float("nan")}
            options[name] = spelled.get(text, text)
    return options


def _orders(cls: Any) -> str:
    low, high = cls.orders
    return f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=1, ensure_ascii=False))


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)  # the first is a name, to be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


if __name__ == "__main__":
    main()

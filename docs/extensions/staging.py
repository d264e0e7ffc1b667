"""Brings into the site what lives elsewhere in the repository: tutorials, benchmarks, the command line.

Before Sphinx reads its sources, copies are written to ``docs/generated`` (which git ignores), and only where
they changed, so that a second build is quick. Links between files of the repository, in these copies and in
the pages of ``docs``, are pointed to the pages of the site; those to files without a page become plain code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "generated"

# what is staged beside tutorials, benchmarks and plugins
SINGLE = {"README.md": "README.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
# links to these folders and files lead to a page of docs
PLACES = {"README.md": "index.md", "benchmarks/results": "benchmarks.md", "plugins": "plugins.md"}
PLACES |= {".": "index.md", "tutorials": "tutorials.md", "benchmarks": "benchmarks.md", "docs": "index.md"}

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCED = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def sources() -> Iterator[tuple[Path, str]]:
    """Each staged file with its place under ``generated``."""
    for name, staged in SINGLE.items():
        yield ROOT / name, staged
    for path in sorted(ROOT.glob("tutorials/*.ipynb")):
        yield path, f"tutorials/{path.name}"
    for path in sorted(ROOT.glob("benchmarks/results/*")):
        yield path, f"benchmarks/{path.name}"
    for path in sorted(ROOT.glob("plugins/*/README.md")):
        yield path, f"plugins/{path.parent.name}.md"
    for path in sorted(ROOT.glob("plugins/*/docs/*")):
        yield path, f"plugins/{path.parents[1].name}/{path.name}"


@cache
def _staged() -> dict[Path, str]:
    return dict(sources())


def page_of(path: Path) -> str | None:
    """Where a file of the repository is on the site, from the root of ``docs``; None if it is not there."""
    relative = path.relative_to(ROOT).as_posix()
    if relative in PLACES:
        return PLACES[relative]
    if path.parent == ROOT / "plugins" and path.is_dir():
        path = path / "README.md"
    staged = _staged().get(path)
    if staged is not None:
        return f"generated/{staged}"
    return path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) and path.is_file() else None


def relink(text: str, folder: Path) -> str:
    """Markdown of a file in ``folder`` with its links to other files pointed into the site."""

    def replaced(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        name, anchor, heading = target.partition("#")
        if not name or ":" in name or name.startswith("/"):
            return match[0]
        path = Path(os.path.normpath(folder / name))
        if not path.exists():
            return match[0]  # of a page that Sphinx makes, or broken, which it then says
        page = page_of(path)
        if page is None:
            return f"{words} (`{path.relative_to(ROOT).as_posix()}`)"
        return f"{picture}[{words}](/{page}{anchor}{heading})"

    parts = FENCED.split(text)  # every second part is code
    return "".join(part if k % 2 else LINK.sub(replaced, part) for k, part in enumerate(parts))


def _relinked_notebook(path: Path) -> str:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relink("".join(cell["source"]), path.parent)
    return json.dumps(notebook, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def stage(app: Sphinx) -> None:
    """Write ``docs/generated``; what is no longer in the repository goes."""
    from command_line import command_line_page

    wanted = {GENERATED / "command-line.md"}
    _write(GENERATED / "command-line.md", command_line_page())
    for path, staged in _staged().items():
        copy = GENERATED / staged
        wanted.add(copy)
        match path.suffix:
            case ".md":
                _write(copy, relink(path.read_text(encoding="utf-8"), path.parent))
            case ".ipynb":
                _write(copy, _relinked_notebook(path))
            case _:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
    for path in GENERATED.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def relink_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links of a page in ``docs`` to files outside of it, right on GitHub, become those of the site."""
    if not docname.startswith("generated/") and app.env.doc2path(docname).suffix == ".md":
        source[0] = relink(source[0], app.env.doc2path(docname).parent)


def keep_pictures_inside(app: Sphinx) -> None:
    """The pictures of notebooks, which myst-nb would write beside the site, go to the doctrees."""
    folder = str(Path(app.doctreedir) / "notebook-outputs")
    app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=folder)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", stage)
    app.connect("builder-inited", keep_pictures_inside, priority=900)  # after myst-nb has settled on a folder
    app.connect("source-read", relink_page)
    return {"parallel_read_safe": True}

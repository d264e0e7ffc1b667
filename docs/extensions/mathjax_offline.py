"""Formulas without the network, by the part of the package ``sphinx-mathjax-offline`` that they need."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

SCRIPT = "tex-chtml.js"
FONTS = "output/chtml/fonts/woff-v2"


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """The script and its fonts into the site."""
    if exception is None and app.builder.format == "html":
        package = distribution("sphinx-mathjax-offline")
        source = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
        target = Path(app.outdir) / "_static" / "mathjax"
        for part in (SCRIPT, FONTS):
            copy_asset(source / part, (target / part).parent if part == SCRIPT else target / part)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.mathjax")
    app.config.mathjax_path = f"mathjax/{SCRIPT}"
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True}

"""The site asks nothing of the network: a page that would is a warning, and so fails the strict build."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# what a browser fetches by itself; plain links are the reader's to follow
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:)?//[^\s\"'>]*"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon|manifest)[^>]*\bhref=[\"']?(?:https?:)?//[^>]*"
    r"|<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon|manifest)[^>]*"
)
IN_STYLES = re.compile(r"(?:@import\s+[\"']?|url\(\s*[\"']?)(?:https?:)?//[^\s\"')]*")


def fetched_from_outside(text: str, suffix: str) -> list[str]:
    """What a page or a style sheet would fetch from other servers."""
    found = IN_STYLES.findall(text)
    return found + FETCHED.findall(text) if suffix == ".html" else found


def check(app: Sphinx, exception: Exception | None) -> None:
    """Look through every page and style sheet of the finished site."""
    if exception is not None or app.builder.format != "html":
        return
    from sphinx.util import logging

    logger = logging.getLogger(__name__)
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in (".html", ".css"):
            for what in fetched_from_outside(path.read_text(encoding="utf-8"), path.suffix):
                logger.warning("%s fetches from outside: %s", path.relative_to(app.outdir), what)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}

"""Docstrings in Captum's form for Sphinx, and a strict look at the names in them.

A name in a docstring may be short (``:func:`salient```), or that of something without a page of its own; what
does not exist at all is a warning, and so fails the strict build.
"""

from __future__ import annotations

import builtins
import importlib
import re
import sys
from collections import defaultdict
from functools import cache
from pkgutil import walk_packages
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment

import hoi_captum

NAMES = re.compile(r"^\s+\w+(, \w+)*,$")
SHARED = re.compile(r"^(\s+)(\*{0,2}\w+(?:, \*{0,2}\w+)+)(?=( \([^()]*\))?: )")
BETWEEN_NAMES = "\u2063"  # no white space to Sphinx, which takes the word before white space for a type
LEARNED = re.compile(r"^(\s+\w+)_(?=( \([^()]*\))?: )")
ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[(?:~?typing\.)?Any, \.\.\.\], ~?numpy\.dtype\[([^\[\]]+)\]\]")
ATTRIBUTE = re.compile(r"^\s+(\w+): ")
CAPTUM_RETURNS = re.compile(r"^(\s+)\*(?!\*)([^*]+)\*[,:]?\s+(?=\S)")


def as_napoleon_has_it(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Habits of the docstrings that napoleon does not know.

    ``*Tensor*, one for each row`` is a type and its meaning; names that share a description may take two
    lines; class attributes are a list; names of what was learned end in ``_``, which is no reference.
    """
    listed = False
    for k, line in enumerate(lines):
        if line.strip() in ("Returns:", "Yields:") and k + 1 < len(lines):
            lines[k + 1] = CAPTUM_RETURNS.sub(r"\1\2: ", lines[k + 1])
        if NAMES.match(lines[k]) and k + 1 < len(lines):
            lines[k], lines[k + 1] = "", f"{lines[k]} {lines[k + 1].strip()}"
        lines[k] = LEARNED.sub(r"\1\\_", lines[k])
        lines[k] = SHARED.sub(lambda m: m[1] + m[2].replace(", ", BETWEEN_NAMES), lines[k])
        if line.startswith("Class attributes"):
            listed = True
        elif line and not line.startswith(" "):
            listed = False
        elif listed and line:
            lines[k] = ATTRIBUTE.sub(r"- ``\1``: ", line) if ATTRIBUTE.match(line) else f"  {line.strip()}"
        if listed and line.startswith("Class attributes"):
            lines[k] = f"{line}\n"


def short_arrays(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Arrays are ``NDArray[float64]`` again, and a default that is made anew is no syntax error."""
    short = [None if s is None else ARRAY.sub(r"NDArray[\1]", s) for s in (signature, returned)]
    return (short[0] and short[0].replace("<factory>", "...")), short[1]


def mend_fields(app: Sphinx, doctree: nodes.document) -> None:
    """Names that share a description get their commas back; words of a type are no references."""
    for text in list(doctree.findall(nodes.Text)):
        if BETWEEN_NAMES in text:
            text.parent.replace(text, nodes.Text(text.replace(BETWEEN_NAMES, ", ")))
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and _is_word(node):
            node.replace_self(node.children)


def _is_word(node: addnodes.pending_xref) -> bool:
    target = node["reftarget"]
    in_prose = isinstance(
        node.children[0], nodes.Text | nodes.emphasis | nodes.strong
    )  # no role, no signature
    return in_prose and not target[:1].isupper() and "." not in target


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """A link for a short name that only one thing has; plain code for what exists without a page."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removeprefix("~").removesuffix("()")
    domain = env.domains.python_domain
    ends = _by_last_part(domain).get(target.rpartition(".")[2], {})
    ends = {place: name for place, name in ends.items() if name.endswith(f".{target}")}
    if len(ends) == 1:
        (name,) = ends.values()
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
        if found is not None:
            return found
    if (
        not isinstance(content, nodes.literal)
        or ends
        or _exists(target, node.get("py:module"), node.get("py:class"))
    ):
        return content  # a type in words or a signature, or something real
    return None


@cache
def _by_last_part(domain: PythonDomain) -> dict[str, dict[str, str]]:
    """Documented names by their last part and their place: what is imported has two names and one place."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, entry in domain.objects.items():
        found[name.rpartition(".")[2]][entry.node_id] = name
    return found


@cache
def _exists(target: str, module: str | None, cls: str | None) -> bool:
    around = [f"{module}.{cls}.{target}", f"{module}.{target}"] if module else []
    if any(_importable(name) for name in [target, *around]):
        return True
    first, _, rest = target.partition(".")
    owners = [
        m for name, m in list(sys.modules.items()) if name.startswith("hoi_captum.") and hasattr(m, first)
    ]
    return any(_has(owner, target) for owner in owners) if rest or owners else hasattr(builtins, first)


def _importable(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        return _has(owner, ".".join(parts[cut:]))
    return False


def _has(owner: Any, path: str) -> bool:
    for part in filter(None, path.split(".")):
        if not hasattr(owner, part):
            return part in getattr(owner, "__annotations__", {})
        owner = getattr(owner, part)
    return True


def load_everything(app: Sphinx) -> None:
    """All modules, so that a name can be looked for wherever it is."""
    for module in walk_packages(hoi_captum.__path__, "hoi_captum."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", load_everything)
    app.connect("autodoc-process-docstring", as_napoleon_has_it, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", short_arrays)
    app.connect("doctree-read", mend_fields)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}

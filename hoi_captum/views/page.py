"""The page: one self-contained HTML file with the input, its interactions, and how they were computed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hoi_captum.core.example import ImageLayout, Layout
from hoi_captum.core.files import atomic_path
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError
from hoi_captum.measures.identity import scopes_of
from hoi_captum.views.charts import WIDTH, has_pairs, matrix_charts, order_charts
from hoi_captum.views.facts import facts_of, warnings_of
from hoi_captum.views.inputs import Shade, image_uri, pictures, shades
from hoi_captum.views.labels import largest, scope_titles, shorten
from hoi_captum.views.pairs import role_note, role_of
from hoi_captum.views.panels import MAX_PANELS, panels
from hoi_captum.views.pivoted import PivotedTerms, pivot
from hoi_captum.views.places import check_places
from hoi_captum.views.shares import orders_hint, shares_of, terms_hint
from hoi_captum.views.sharing import sharing
from hoi_captum.views.unit_map import map_layout
from hoi_captum.views.wording import both_sides

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_SALIENT = 0.05  # of a model's largest effect
_LISTED = 8  # sets in each list of what the models share
_NAMED = 12  # players of a row that are named; the rest are counted


@dataclass(frozen=True)
class Row:
    """A set of players as the page lists it: a score for each scope, None where it has none."""

    rank: int
    members: tuple[tuple[int, str], ...]
    more: int
    says: str
    role: str
    kind: str
    order: int
    scores: tuple[Shade | None, ...]


@dataclass(frozen=True)
class SharedRow:
    """A salient set as the page lists it: its players, and its score in each model by name."""

    members: tuple[tuple[int, str], ...]
    more: int
    kind: str
    scores: tuple[tuple[str, Shade], ...]


@dataclass(frozen=True)
class SharedList:
    """The salient sets that all models share, or that one of them has for itself."""

    title: str
    terms: tuple[SharedRow, ...]
    total: int
    more: int


def save_page(
    interactions: Interactions, layout: Layout | None = None, *, path: str | os.PathLike[str], **options: Any
) -> Path:
    """Write :func:`render_page` to a file, all or nothing.

    Args:
        interactions, layout: as of :func:`render_page`.
        path (path): of the file.
        options: of :func:`render_page`.

    Returns:
        *Path*: the path.

    Raises:
        FileError: the file cannot be written.

    Examples::

        >>> from tempfile import TemporaryDirectory
        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0]))
        >>> with TemporaryDirectory() as folder:
        ...     hoi.views.save_page(table, path=f"{folder}/page.html").stat().st_size > 1000
        True
    """
    text = render_page(interactions, layout, **options)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def render_page(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    title: str = "Interactions",
    heading: str | None = None,
    subtitle: str | None = None,
    max_terms: int = 400,
) -> str:
    r"""The interactions of one input as a page.

    The page loads nothing: styles, script and image are inside, and its content security policy forbids any
    request. It can be read, printed and searched without JavaScript, which adds sorting, filters and
    highlighting. All text is escaped.

    Args:
        interactions: the table.
        layout: the explained text, image or table row; None shows a neuron map, or lists the players.
            Default: None
        title: of the document. Default: Interactions
        heading: above the page; None takes the title. Default: None
        subtitle: below the heading; None tells the target and the models. Default: None
        max_terms: number of sets of players in the page: the strongest, over all scopes. Default: 400

    Returns:
        the HTML.

    Raises:
        InputError: max_terms below 0, or a layout of other players.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["<not>", "bad"])
        >>> page = hoi.views.render_page(table, title="not bad")
        >>> page.splitlines()[0], "<title>not bad</title>" in page, "<not>" in page
        ('<!doctype html>', True, False)
    """
    if max_terms < 0:
        raise InputError(f"expected max_terms to be at least 0, got {max_terms}")
    check_places(len(interactions.players), layout)
    if layout is None:
        layout = map_layout(interactions)
    terms = pivot(interactions)
    shown = terms.take(np.arange(min(max_terms, len(terms))))
    parts, scope_note = panels(interactions, None, limit=MAX_PANELS)
    part_titles = [p.title or "" for p in parts]
    rows = _rows(interactions, shown)
    shares = shares_of(interactions, parts)
    matrices, in_matrix = matrix_charts(parts, interactions.players)
    style, script = _asset("explanation.css"), _asset("explanation.js")
    page = _template().render(
        title=title,
        heading=heading if heading is not None else title,
        subtitle=subtitle if subtitle is not None else _subtitle(interactions),
        policy=_policy(script),
        style=style,
        script=script,
        data=_embedded(_data(interactions, shown)),
        warnings=warnings_of(interactions),
        shares=shares,
        pictures=pictures(interactions.players, layout, part_titles, shares.values, signed=shares.signed),
        image=image_uri(layout) if isinstance(layout, ImageLayout) else "",
        pixelated=isinstance(layout, ImageLayout) and max(layout.mask.shape) <= 128,
        scope_note=scope_note,
        terms_hint=terms_hint(interactions),
        orders_hint=orders_hint(interactions),
        singles=bool((interactions.orders == 1).any()),
        larger=bool((interactions.orders > 2).any()),
        scopes=scope_titles(interactions, terms.scopes),
        kinds=np.unique(shown.kinds).tolist(),
        orders=sorted(set(shown.orders.tolist())),
        rows=rows,
        role_note=role_note(row.order for row in rows if row.role),
        sharing=_sharing(interactions),
        salient_percent=f"{100 * _SALIENT:g}",
        total=len(terms),
        players=interactions.players,
        order_charts=order_charts(parts) if len(set(interactions.orders.tolist())) > 1 else [],
        chart_kinds=np.unique(interactions.kinds).tolist(),
        matrix_charts=matrices if has_pairs(interactions) else [],
        in_matrix=in_matrix,
        width=WIDTH,
        facts=facts_of(interactions),
    )
    # half of a surrogate pair in a name cannot be written to any file
    return page.encode("utf-8", "replace").decode("utf-8")


def _subtitle(interactions: Interactions) -> str:
    source = interactions.provenance
    # factors of neurons are about a region of the data, not about an output
    explained = (
        f"Explained output: {source.target}" if source.target and "about" not in source.details else ""
    )
    parts = [explained, " and ".join(source.model)]
    return " — ".join(p for p in parts if p)


def _rows(interactions: Interactions, shown: PivotedTerms) -> list[Row]:
    signed = both_sides(interactions)
    looks = shades(shown.scores.ravel(), largest(shown.scores), digits=4, signed=signed)
    width = len(shown.scopes)
    rows = []
    for i, (members, kind) in enumerate(zip(shown.members, shown.kinds.tolist(), strict=True)):
        scores = tuple(
            look if row >= 0 else None
            for look, row in zip(looks[i * width : (i + 1) * width], shown.rows[i], strict=True)
        )
        term = interactions[int(max(shown.rows[i]))]
        named = _named(interactions, term.ranked)
        says = _weights(interactions, term)
        role = role_of(interactions, term)
        rows.append(Row(i + 1, named, len(members) - len(named), says, role, kind, len(members), scores))
    return rows


def _named(interactions: Interactions, members: tuple[int, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((m, shorten(interactions.players[m], 32)) for m in members[:_NAMED])


def _sharing(interactions: Interactions) -> list[SharedList]:
    """What the models share and what each has for itself; nothing where there are not several models."""
    scopes = scopes_of(interactions)
    if len(scopes) < 2 or not all(s.startswith("model:") for s in scopes) or not len(interactions):
        return []
    columns = sharing(interactions, fraction=_SALIENT, k=_LISTED)
    titles = scope_titles(interactions, scopes)
    scores = np.array([s for c in columns for t in c.terms for _, s in t.scores])
    looks = iter(shades(scores, largest(scores), digits=4))  # in the order of the terms below
    return [
        SharedList(
            column.title,
            tuple(
                SharedRow(
                    _named(interactions, term.members),
                    max(len(term.members) - _NAMED, 0),
                    term.kind,
                    tuple((titles[model], next(looks)) for model, _ in term.scores),
                )
                for term in column.terms
            ),
            column.total,
            column.more,
        )
        for column in columns
    ]


def _weights(interactions: Interactions, term: Term) -> str:
    """The soft memberships of a term, largest first, where the method has them."""
    if term.weights is None:
        return ""
    pairs = sorted(zip(term.weights, term.members, strict=True), reverse=True)[:_NAMED]
    return "membership: " + ", ".join(f"{shorten(interactions.players[m], 24)} {w:.3g}" for w, m in pairs)


def _data(interactions: Interactions, shown: PivotedTerms) -> dict[str, Any]:
    """What the script filters and sorts by; the rows stand in the order of the table."""
    return {
        "players": list(interactions.players),
        "rows": [
            {
                "members": list(members),
                "kind": kind,
                "scores": [v if np.isfinite(v) else None for v in scores],
                "present": (rows >= 0).tolist(),
            }
            for members, kind, scores, rows in zip(
                shown.members, shown.kinds.tolist(), shown.scores.tolist(), shown.rows, strict=True
            )
        ],
    }


def _embedded(data: dict[str, Any]) -> Markup:
    """JSON that can stand inside a script element: no character of it can end the element.

    Everything beyond ASCII (the line separators U+2028 and U+2029 among it) is written as an escape.
    """
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(script: str) -> str:
    """Nothing may be loaded, and only our own script may run: its hash is in the policy."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _asset(name: str) -> Markup:
    from markupsafe import Markup

    return Markup(files("hoi_captum.views").joinpath("templates", name).read_text(encoding="utf-8").strip())


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hoi_captum.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("explanation.html.j2")

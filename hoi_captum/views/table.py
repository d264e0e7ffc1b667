"""The strongest interactions as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError
from hoi_captum.views.labels import decimals_for, format_score, join_names, largest, scope_titles
from hoi_captum.views.pairs import TellsSynergy
from hoi_captum.views.panels import only_scope
from hoi_captum.views.pivoted import PivotedTerms, pivot
from hoi_captum.views.wording import OCCLUSION_DIFFERENCE, unit_of, wording_of

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["PivotedTerms", "interaction_table", "pivot"]


@runtime_checkable
class TellsError(Protocol):
    """A result that knows how uncertain its scores are."""

    def standard_error(self, term: Term) -> float:
        """Of a term's score; NaN: not known."""
        ...


_HEADER_WIDTH = 12
_BAR_CELLS = 6
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def unicode_bar(share: float, cells: int = _BAR_CELLS) -> str:
    """A bar of ``share`` (0 to 1) of ``cells`` characters, drawn in eighths; what is not 0 shows."""
    eighths = round(share * cells * 8)
    if share > 0:
        eighths = max(eighths, 1)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip().ljust(cells)


def interaction_table(
    interactions: Interactions, *, k: int = 10, scope: str | None = None, shared: bool = False
) -> Table:
    r"""The k strongest sets of players, one column of scores for each scope.

    Args:
        interactions: the table to show.
        k: number of rows. Default: 10
        scope: show this scope alone; None shows all side by side. Default: None
        shared: keep only the sets that stand in every scope. Default: False

    Returns:
        rich.table.Table: rank, players, kind, order, a signed score for each scope (``–`` where the set has
        none), its standard error where the result knows it ("±"), the difference by occlusion where the
        result knows it of a set that is shown (headed "synergy", or "switched off" where there are sets of
        three and more, whose sign is not synergy), and a bar of the largest absolute score. Names are printed
        literally, rich markup included.

    Raises:
        InputError: ``k`` below 1, or no such scope.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["not", "bad"])
        >>> found = hoi.views.interaction_table(table, k=2)
        >>> found.row_count, [cell.plain for cell in found.columns[1].cells]
        (2, ['not · bad', 'bad'])
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if k < 1:
        raise InputError(f"expected k, the number of rows, to be at least 1, got {k}")
    chosen = only_scope(interactions, scope)
    terms = pivot(chosen)
    if shared:
        terms = terms.take(np.nonzero(terms.shared)[0])
    shown = terms.take(np.arange(min(k, len(terms))))
    scale = largest(shown.scores)
    decimals = decimals_for(scale)

    caption = f"{len(shown)} of {len(terms)} sets of players" if len(terms) else "no interactions"
    unit = unit_of(interactions)
    caption += "" if unit == "score" else f"; {wording_of(interactions).quantities} in {unit}"
    table = Table(box=SIMPLE_HEAD, caption=Text(caption, style="dim"), caption_justify="left")
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    table.add_column("players", overflow="fold", min_width=16)
    table.add_column("kind", no_wrap=True)
    table.add_column("order", justify="right", no_wrap=True)
    for title in scope_titles(interactions, terms.scopes):
        # names of models break at their hyphens, not in the middle of a word
        header = title.replace("-", "-\n") if len(title) > _HEADER_WIDTH else title
        table.add_column(Text(header), justify="right", overflow="fold", min_width=7)
    shown_terms = [chosen[int(rows.max())] for rows in shown.rows]
    errors = _errors(chosen, shown_terms, decimals)
    if errors:
        table.add_column("±", justify="right", no_wrap=True)
    together = _together(chosen, shown_terms)
    if together:
        pairs_alone = all(term.order <= 2 for term in shown_terms)
        table.add_column("synergy" if pairs_alone else "switched off", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=_BAR_CELLS)

    for rank, (kind, scores, rows) in enumerate(
        zip(shown.kinds, shown.scores, shown.rows, strict=True), start=1
    ):
        term = shown_terms[rank - 1]
        finite = np.where(np.isfinite(scores), scores, 0.0)
        strongest = float(finite[np.abs(finite).argmax()])
        share = abs(strongest) / scale if scale else 0.0
        table.add_row(
            str(rank),
            Text(join_names(interactions.players, term.ranked, width=40)),
            Text(str(kind)),
            str(term.order),
            *(_score(value, decimals, present=row >= 0) for value, row in zip(scores, rows, strict=True)),
            *errors[rank - 1 : rank],
            *together[rank - 1 : rank],
            Text(unicode_bar(share), style=_style(strongest)),
        )
    return table


def _errors(interactions: Interactions, terms: list[Term], decimals: int | None) -> list[Text]:
    """The standard error of each term; nothing where none is known."""
    from rich.text import Text

    if not isinstance(interactions, TellsError):
        return []
    values = [interactions.standard_error(term) for term in terms]
    if not np.isfinite(values).any():
        return []
    return [
        Text(format_score(v, decimals).lstrip("+") if np.isfinite(v) else "–", style="dim") for v in values
    ]


def _together(interactions: Interactions, terms: list[Term]) -> list[Text]:
    """What each term does beyond its parts by occlusion; nothing where no term is known to do anything, and
    where that is the score itself.
    """
    words = wording_of(interactions)
    if not isinstance(interactions, TellsSynergy) or words.quantity == OCCLUSION_DIFFERENCE:
        return []
    values = np.array([interactions.synergy(term) for term in terms], dtype=np.float64)
    if not np.isfinite(values).any():
        return []
    decimals = decimals_for(largest(values))
    return [_score(value, decimals, present=bool(np.isfinite(value))) for value in values.tolist()]


def _style(score: float) -> str:
    # the terminal's own colours, which suit its background; the sign is printed as well
    return "blue" if score > 0 else "red" if score < 0 else "dim"


def _score(value: float, decimals: int | None, *, present: bool) -> Text:
    from rich.text import Text

    if not present:
        return Text("–", style="dim")
    return Text(format_score(value, decimals, minus="-"), style=_style(value))

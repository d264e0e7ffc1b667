"""Tables of interactions as shapiq's values, and back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from hoi_captum.authoring import Interactions, Provenance, Term, check_count
from hoi_captum.errors import InputError
from hoi_captum_shapiq.exact import INDICES
from hoi_captum_shapiq.versions import shapiq_version

if TYPE_CHECKING:
    from shapiq import InteractionValues

__all__ = ["DETAILS", "OWN_EMPTY", "from_shapiq", "kind_of", "terms_of", "to_shapiq"]

DETAILS = "shapiq"  # where a table keeps what shapiq tells of its values, in provenance.details
_OF_KIND = {index.lower(): index for index in (*INDICES, "SV", "BV")} | {"and": "Moebius", "or": "Moebius"}
# the empty set's entry of these is not v(empty), so that it is kept apart
OWN_EMPTY = ("SII", "FBII", "BII", "BV")


def kind_of(index: str) -> str:
    """The kind of a term of an index: ``and`` for Moebius coefficients, ``k-sii`` for k-SII, ..."""
    return "and" if index == "Moebius" else index.lower()


def to_shapiq(
    table: Interactions, *, index: str | None = None, scope: str | None = None, max_or_order: int = 12
) -> InteractionValues:
    r"""A table as ``shapiq.InteractionValues``.

    AND terms are Moebius coefficients. shapiq has no OR, so OR terms are written as AND terms, exactly: r(S),
    which works when any of S is present, is :math:`\sum_{\emptyset \neq T \subseteq S} (-1)^{|T| + 1} r(S)`
    on the sets T. What follows is of index ``Moebius`` and of every index that shapiq's ``MoebiusConverter``
    makes of it.

    Args:
        table (Interactions): terms of kinds ``and`` and ``or``, or of one index.
        index (str, optional): shapiq's name of the index. Default: None (what the table knows, else by its
            kind)
        scope (str, optional): of which part of the table (``"model:0"``). Default: None (there is but one)
        max_or_order (int, optional): most players of an OR term; it becomes :math:`2^{|S|} - 1` terms.
            Default: 12

    Returns:
        *InteractionValues*: keys are sorted tuples of int, scores float; ``baseline_value`` is v(empty). The
        empty set is left out where its entry is not known: of estimated SII, BII and FBII it is not v(empty).

    Raises:
        InputError: several scopes and none named, kinds that have no index or do not go together, soft
            memberships, scores that are not finite, terms of another index than ``index``, or an OR term of
            too many players.
        OptionError: ``max_or_order`` is no positive number.
    """
    from shapiq import InteractionValues

    check_count("max_or_order", max_or_order)
    terms, base = _of_scope(table, scope)
    known = table.provenance.details.get(DETAILS)
    known = known if isinstance(known, Mapping) else {}
    kinds = {term.kind for term in terms}
    if index is None:
        index = known.get("index") or _index_of(kinds)
    elif len(kinds - {"and", "or"}) > 1 or (kinds & {"and", "or"} and len(kinds - {"and", "or"})):
        raise InputError(f"expected terms of one index, got kinds {sorted(kinds)}")
    if "or" in kinds and index != "Moebius":
        raise InputError(f"OR terms become Moebius coefficients, not {index}; leave index out")
    if others := {kind for kind in kinds if _OF_KIND.get(kind, index) != index}:
        raise InputError(
            f"terms of kind {', '.join(sorted(others))} are no {index}; leave index out, and convert the "
            "values (shapiq's MoebiusConverter makes every index of Moebius coefficients)"
        )
    parts: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for term in terms:
        for members, score in _as_and(term, max_or_order):
            parts[members].append(score)
    # exactly rounded sums: the order of the terms makes no difference
    values = {members: math.fsum(scores) for members, scores in sorted(parts.items(), key=_by_order)}
    highest = max((len(members) for members in values), default=1)
    lowest = _lowest(known, index, terms)
    if lowest == 0:
        values = {(): float(known.get("empty_value", base))} | values
    return InteractionValues(
        values,
        index=index,
        max_order=max(int(known.get("max_order", highest)), highest),
        n_players=len(table.players),
        min_order=lowest,
        estimated=bool(known.get("estimated", False)),
        estimation_budget=known.get("estimation_budget"),
        baseline_value=base,
    )


def from_shapiq(values: InteractionValues, *, players: Sequence[str] | None = None) -> Interactions:
    """shapiq's values as a table.

    The index, its orders, the budget and whether the values are estimates are kept in
    ``provenance.details["shapiq"]``, and :func:`to_shapiq` gives them back.

    Args:
        values (InteractionValues): of any index.
        players (Sequence[str], optional): names of the players. Default: None (0, 1, ...)

    Returns:
        *Interactions*: a term for each set but the empty one, of kind ``k-sii`` for k-SII, ``and`` for
        Moebius, and so on; ``base`` is the baseline value.

    Raises:
        InputError: another number of names.
    """
    n = int(values.n_players)
    if players is not None and len(players) != n:
        raise InputError(f"expected {n} names, one for each player, got {len(players)}")
    base = float(values.baseline_value)
    details: dict[str, Any] = {
        "index": str(values.index),
        "min_order": int(values.min_order),
        "max_order": int(values.max_order),
        "terms": sum(1 for key in values.dict_values if key),
        "estimated": bool(values.estimated),
        "estimation_budget": None if values.estimation_budget is None else int(values.estimation_budget),
        "version": shapiq_version(),
    }
    empty = values.dict_values.get(())
    if empty is not None and values.index in OWN_EMPTY:
        details["empty_value"] = float(empty)
    return Interactions.from_terms(
        [str(i) for i in range(n)] if players is None else list(players),
        terms_of(values, kind_of(str(values.index))),
        base=base,
        provenance=Provenance(method="shapiq", details={DETAILS: details}),
    )


def terms_of(values: InteractionValues, kind: str) -> list[Term]:
    """The terms of shapiq's values, without the empty set; keys may hold numpy's integers."""
    found = {tuple(sorted(int(i) for i in key)): float(v) for key, v in values.dict_values.items()}
    return [Term(key, kind, None, v) for key, v in sorted(found.items(), key=_by_order) if key]


def _by_order(item: tuple[tuple[int, ...], Any]) -> tuple[int, tuple[int, ...]]:
    return len(item[0]), item[0]


def _of_scope(table: Interactions, scope: str | None) -> tuple[Interactions, float]:
    scopes = sorted({*table.scope_names, *(table.base if isinstance(table.base, Mapping) else ())})
    if isinstance(table.base, Mapping):
        scopes = [s for s in scopes if s in table.base]
    if scope is None and len(scopes) != 1:
        raise InputError(f"the table has several scopes; give scope, one of {scopes}")
    scope = scopes[0] if scope is None else scope
    if scope not in scopes:
        raise InputError(f"expected scope to be one of {scopes}, got {scope!r}")
    terms = table.where(scope=scope)
    if table.weights is not None:
        raise InputError("expected terms of whole players; soft memberships have no place in shapiq's values")
    base = float(table.base[scope] if isinstance(table.base, Mapping) else table.base)
    if not np.isfinite(terms.scores).all() or not math.isfinite(base):
        raise InputError("expected finite scores and a finite base, got one that is not")
    return terms, base


def _lowest(known: Mapping[str, Any], index: str, terms: Interactions) -> int:
    """The lowest order of which all terms are there, as far as that is known."""
    lowest = int(known.get("min_order", 0))
    if lowest == 0 and index in OWN_EMPTY and "empty_value" not in known:
        lowest = 1
    if index == "Moebius" or known.get("terms") == len(terms):
        return lowest
    # terms were left out (table.where(order=2)), or may have been
    return max(lowest, present) if (present := min(terms.orders.tolist(), default=1)) > 1 else lowest


def _index_of(kinds: set[str]) -> str:
    found = {_OF_KIND.get(kind) for kind in kinds} or {"Moebius"}
    index = found.pop()
    if found or index is None:
        raise InputError(
            f"expected terms of kinds and, or, or of one index ({', '.join(INDICES)}), got {sorted(kinds)}; "
            "choose them (table.where(kind=...)), and give index= where the kind is no index"
        )
    return index


def _as_and(term: Term, most: int) -> list[tuple[tuple[int, ...], float]]:
    """The term as AND terms."""
    if term.kind != "or":
        return [(term.members, term.score)]
    if term.order > most:
        raise InputError(
            f"an OR term of {term.order} players is {2**term.order - 1:,} AND terms, and the limit is {most} "
            f"players; leave such terms out, or give max_or_order={term.order}"
        )
    return [
        (subset, term.score if size % 2 else -term.score)
        for size in range(1, term.order + 1)
        for subset in combinations(term.members, size)
    ]

"""Several tables as one, so that a drawing shows them side by side on one scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError


def side_by_side(tables: Mapping[str, Interactions]) -> Interactions:
    """One table with a scope for each of the given ones: rows of a batch, two methods, an input and its data.

    Every drawing of the result has a panel for each, all on one scale, in alphabetical order.

    Args:
        tables: by what their panel is called; of the same players, of one scope each; one without terms has
            no panel.

    Returns:
        Interactions: the terms of all of them, with the provenance of the first.

    Raises:
        InputError: no tables, other players, or a table of several scopes.

    Examples::

        >>> model = hoi.TaylorCAM(lambda x: x[:, 0] * x[:, 1])
        >>> first, second = model.interact(torch.tensor([[2.0, 3.0], [1.0, 1.0]]))
        >>> both = hoi.views.side_by_side({"a film": first, "a bad film": second})
        >>> both.scope_names, both.scores
        (('a bad film', 'a film'), array([6., 1.]))
    """
    given = list(tables.values()) if isinstance(tables, Mapping) else []
    if not given or not all(isinstance(table, Interactions) for table in given):
        raise InputError("expected tables by name, {'first': table, ...}, got " + repr(tables)[:80])
    tables = {str(name): table for name, table in tables.items()}
    first = next(iter(tables.values()))
    for name, table in tables.items():
        if table.players != first.players:
            raise InputError(
                f"expected tables of the same players, got {', '.join(first.players)[:60]} and, in {name!r}, "
                f"{', '.join(table.players)[:60]}; with_players names them anew"
            )
        if len(table.scope_names) > 1:
            raise InputError(
                f"expected tables of one scope each, got {table.scope_names} in {name!r}; where(scope=) "
                "takes one"
            )
    parts = list(tables.values())
    starts = np.cumsum([0, *(len(p.members) for p in parts)])
    offsets = [p.offsets[:-1] + start for p, start in zip(parts, starts, strict=False)]
    weighted = all(p.weights is not None for p in parts)
    return Interactions(
        players=first.players,
        scores=np.concatenate([p.scores for p in parts]),
        members=np.concatenate([p.members for p in parts]),
        offsets=np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        kinds=np.concatenate([p.kinds for p in parts]),
        scopes=np.repeat(list(tables), [len(p) for p in parts]),
        base=dict.fromkeys(tables, 0.0),
        provenance=first.provenance,
        weights=np.concatenate([p.weights for p in parts if p.weights is not None]) if weighted else None,
    )

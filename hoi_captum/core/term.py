"""One row of a table of interactions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One interaction.

    Attributes:
        members: sorted ids of the players that act together.
        kind: ``and``, ``or``, ``taylor``, ``hessian``, ``corex``, ...
        scope: for which part of the result it holds (``model:0``, ``cluster:3``), or None.
        score: signed effect, in the unit of the explained value (for model outputs: log-odds by default).
        weights: soft membership of each member, or None.

    Examples::

        >>> term = hoi.Term((0, 2), "corex", "cluster:1", 1.5, weights=(0.2, 0.8))
        >>> term.order, term.ranked
        (2, (2, 0))
    """

    members: tuple[int, ...]
    kind: str
    scope: str | None
    score: float
    weights: tuple[float, ...] | None = None

    @property
    def order(self) -> int:
        """Number of players."""
        return len(self.members)

    @property
    def ranked(self) -> tuple[int, ...]:
        """The members, largest weight first where they have weights."""
        if self.weights is None:
            return self.members
        pairs = sorted(zip(self.members, self.weights, strict=True), key=lambda pair: -pair[1])
        return tuple(member for member, _ in pairs)

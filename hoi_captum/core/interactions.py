"""The one result type: a columnar, immutable table of interactions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.coalitions import coalitions_of
from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.errors import FileError, InputError

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "hoi_captum.interactions/1"
_COLUMNS = ("scores", "members", "offsets", "kinds", "scopes", "weights")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array, order="C")  # not ascontiguousarray, which makes a number a vector
    if array.flags.writeable:
        array = array.copy()  # whoever made the array may go on to change it
        array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Interactions:
    """A table of interactions between named players.

    Columns are arrays and terms are made on demand, so that a table of 2^16 terms is built, sorted
    and saved in well under a second. Everything is read-only; ``top`` and ``where`` give new tables.

    Attributes:
        players: names, one for each player.
        scores: (k,) float64, one for each term.
        members: (sum of orders,) int32, the players of term 0, of term 1, ..., each sorted.
        offsets: (k + 1,) int64; term t has ``members[offsets[t]:offsets[t + 1]]``.
        kinds, scopes: (k,) str; scope "" means none.
        base: value with nobody present (empty coalition), one float, or one for each scope.
        provenance: how the table was computed.
        weights: (sum of orders,) float64 soft memberships, or None.
        arrays: what else the method returns, by name; saved with the table.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", None, -2.0), hoi.Term((1,), "and", None, 0.5)]
        >>> hoi.Interactions.from_terms(["not", "bad"], terms, provenance=hoi.Provenance("by-hand")).top(1)
        Interactions(1 terms, 2 players; top: not · bad (and) -2)
    """

    players: tuple[str, ...]
    scores: NDArray[np.float64]
    members: NDArray[np.int32]
    offsets: NDArray[np.int64]
    kinds: NDArray[np.str_]
    scopes: NDArray[np.str_]
    base: float | Mapping[str, float]
    provenance: Provenance
    weights: NDArray[np.float64] | None = None
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        k = len(self.scores)
        expected = {"offsets": k + 1, "kinds": k, "scopes": k, "members": int(self.offsets[-1])}
        if self.weights is not None:
            expected["weights"] = len(self.members)
        for name, length in expected.items():
            if len(getattr(self, name)) != length:
                raise InputError(f"expected {length} entries in {name}, got {len(getattr(self, name))}")
        if len(self.members) and not 0 <= self.members.min() <= self.members.max() < len(self.players):
            raise InputError(
                f"expected members in 0..{len(self.players) - 1}, got up to {self.members.max()}"
            )
        inside = np.ones(max(len(self.members) - 1, 0), dtype=bool)
        starts = self.offsets[1:-1]
        inside[starts[(starts > 0) & (starts < len(self.members))] - 1] = False
        if (np.diff(self.members)[inside] <= 0).any():
            raise InputError("expected the members of each term sorted and without repetition")
        for name in _COLUMNS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _frozen(getattr(self, name)))
        object.__setattr__(self, "arrays", {k: _frozen(np.asarray(v)) for k, v in self.arrays.items()})

    @classmethod
    def from_terms(
        cls,
        players: Sequence[str],
        terms: Sequence[Term],
        *,
        base: float | Mapping[str, float] = 0.0,
        provenance: Provenance,
        **more: Any,
    ) -> Self:
        """A table from single terms (small tables; methods that fill 2^n rows use :meth:`from_table`)."""
        orders = [t.order for t in terms]
        weights = None
        if any(t.weights is not None for t in terms):
            for t in terms:
                if t.weights is not None and len(t.weights) != t.order:
                    raise InputError(f"expected {t.order} weights, one for each member, got {len(t.weights)}")
            # in the order of the sorted members
            pairs = [sorted(zip(t.members, t.weights or (1.0,) * t.order, strict=True)) for t in terms]
            weights = np.array([w for term in pairs for _, w in term], dtype=np.float64)
        return cls(
            players=tuple(players),
            scores=np.array([t.score for t in terms], dtype=np.float64),
            members=np.array([i for t in terms for i in sorted(t.members)], dtype=np.int32),
            offsets=np.concatenate(([0], np.cumsum(orders, dtype=np.int64))).astype(np.int64),
            kinds=np.array([t.kind for t in terms], dtype=np.str_),
            scopes=np.array([t.scope or "" for t in terms], dtype=np.str_),
            base=base,
            provenance=provenance,
            weights=weights,
            **more,
        )

    @classmethod
    def from_table(
        cls,
        players: Sequence[str],
        blocks: Sequence[tuple[str, str, Tensor]],
        *,
        base: float | Mapping[str, float] = 0.0,
        provenance: Provenance,
        **more: Any,
    ) -> Self:
        """A table from full vectors over coalitions; zero entries and the empty set are left out.

        Args:
            blocks: (kind, scope, values) with values (2^n,) in table order.

        Raises:
            InputError: values of another length.
        """
        n = len(players)
        scores, members, sizes, kinds, scopes = [], [], [], [], []
        for kind, scope, values in blocks:
            if tuple(values.shape) != (1 << n,):
                raise InputError(
                    f"expected {1 << n} values for {n} players in the block {kind!r}, got shape "
                    f"{tuple(values.shape)}"
                )
            values = values.detach().cpu()
            index = values.nonzero().squeeze(-1)
            index = index[index > 0]
            present = coalitions_of(index, n).numpy()
            scores.append(values[index].double().numpy())
            members.append(np.nonzero(present)[1].astype(np.int32))
            sizes.append(present.sum(1))
            kinds.append(np.full(len(index), kind))
            scopes.append(np.full(len(index), scope))
        return cls(
            players=tuple(players),
            scores=np.concatenate(scores),
            members=np.concatenate(members),
            offsets=np.concatenate(([0], np.cumsum(np.concatenate(sizes)))).astype(np.int64),
            kinds=np.concatenate(kinds),
            scopes=np.concatenate(scopes),
            base=base,
            provenance=provenance,
            **more,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> Term:
        if not -len(self) <= index < len(self):
            raise IndexError(f"term {index} of a table of {len(self)}")
        index %= len(self)
        span = slice(self.offsets[index], self.offsets[index + 1])
        return Term(
            members=tuple(self.members[span].tolist()),
            kind=str(self.kinds[index]),
            scope=str(self.scopes[index]) or None,
            score=float(self.scores[index]),
            weights=None if self.weights is None else tuple(self.weights[span].tolist()),
        )

    def __iter__(self) -> Iterator[Term]:
        return (self[i] for i in range(len(self)))

    @property
    def orders(self) -> NDArray[np.int64]:
        """Order of each term, (k,)."""
        return np.diff(self.offsets)

    @property
    def scope_names(self) -> tuple[str, ...]:
        """The distinct scopes, sorted; a table without scopes has ("",)."""
        return tuple(np.unique(self.scopes).tolist()) or ("",)

    def label(self, term: Term, joiner: str = " · ") -> str:
        """The names of a term's players, strongest first where they have weights."""
        return joiner.join(self.players[i] for i in term.ranked)

    def __repr__(self) -> str:
        best = ", ".join(f"{self.label(t)[:60]} ({t.kind}) {t.score:+.3g}" for t in self.top(3))
        return f"{type(self).__name__}({len(self)} terms, {len(self.players)} players; top: {best})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self._parts(), other._parts()
        if mine.keys() != theirs.keys():
            return False
        floats = {k for k, v in mine.items() if getattr(v, "dtype", None) == np.float64}  # may hold NaN
        return all(np.array_equal(mine[k], theirs[k], equal_nan=k in floats) for k in mine)

    __hash__ = None  # type: ignore[assignment]  # arrays inside: equal by content, not hashable

    def _parts(self) -> dict[str, Any]:
        names = [f.name for f in fields(self) if f.name not in ("arrays", "provenance")]
        return {n: getattr(self, n) for n in names} | {f"arrays.{k}": v for k, v in self.arrays.items()}

    def take(self, index: NDArray[np.intp]) -> Self:
        """The terms at the given rows, in that order."""
        index = np.asarray(index, dtype=np.intp)
        orders = self.orders[index]
        offsets = np.concatenate(([0], np.cumsum(orders))).astype(np.int64)
        # positions of all members of the chosen terms, without a Python loop
        flat = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[:-1][index], orders)
        return replace(
            self,
            scores=self.scores[index],
            members=self.members[flat],
            offsets=offsets,
            kinds=self.kinds[index],
            scopes=self.scopes[index],
            weights=None if self.weights is None else self.weights[flat],
        )

    def top(self, k: int = 10) -> Self:
        """The k terms of largest absolute score, largest first (ties: smaller order first)."""
        order = np.lexsort((self.orders, -np.abs(self.scores)))
        return self.take(order[:k])

    def where(
        self,
        *,
        kind: str | None = None,
        order: int | Iterable[int] | None = None,
        scope: str | None = None,
        players: Sequence[int] | None = None,
    ) -> Self:
        """The terms of a kind, of an order (or several), of a scope, with all of the given players."""
        keep = np.ones(len(self), dtype=bool)
        if kind is not None:
            keep &= self.kinds == kind
        if order is not None:
            keep &= np.isin(self.orders, list(order) if isinstance(order, Iterable) else [order])
        if scope is not None:
            keep &= self.scopes == scope
        for player in players or ():
            owner = np.repeat(np.arange(len(self)), self.orders)
            keep &= np.isin(np.arange(len(self)), owner[self.members == player])
        found = self.take(np.nonzero(keep)[0])
        if scope is not None and isinstance(self.base, Mapping) and scope in self.base:
            found = replace(found, base={scope: self.base[scope]})
        return found

    def with_players(self, names: Sequence[str]) -> Self:
        """The same table with other names for the players."""
        if len(names) != len(self.players):
            raise InputError(f"expected {len(self.players)} names, one for each player, got {len(names)}")
        return replace(self, players=tuple(names))

    def with_provenance(self, **changes: Any) -> Self:
        """The same table with some fields of its provenance changed."""
        return replace(self, provenance=replace(self.provenance, **changes))

    def _per_scope(self) -> float:
        # the scopes of the whole result, also those of which no term is left
        return 1.0 / len(self.base if isinstance(self.base, Mapping) else self.scope_names)

    def matrix(self, *, spread: bool = False) -> NDArray[np.float64]:
        """Pairs as a symmetric (n, n) matrix; the diagonal holds the single players.

        Several scopes are averaged; kinds are added.

        Args:
            spread: also share out each term of order k > 2 evenly among its k (k - 1) / 2 pairs.
        """
        n = len(self.players)
        out = np.zeros((n, n))
        for order in np.unique(self.orders):
            if order == 0 or (order > 2 and not spread):
                continue
            rows = np.nonzero(self.orders == order)[0]
            players = self.members[self.offsets[rows][:, None] + np.arange(order)]
            if order == 1:
                np.add.at(out, (players[:, 0], players[:, 0]), self.scores[rows])
                continue
            share = self.scores[rows] / (order * (order - 1) / 2)
            for a in range(order):
                for b in range(a + 1, order):
                    np.add.at(out, (players[:, a], players[:, b]), share)
                    np.add.at(out, (players[:, b], players[:, a]), share)
        return out * self._per_scope()

    def per_player(self) -> NDArray[np.float64]:
        """Each term shared among its players, by their weights or else evenly, (n,); scopes are averaged.

        For AND and OR terms this is the Shapley value of what they add up to.
        """
        orders = self.orders
        weights = np.ones(len(self.members)) if self.weights is None else self.weights
        owner = np.repeat(np.arange(len(self)), orders)
        sums = np.bincount(owner, weights, minlength=len(self))
        share = self.scores[owner] * weights / np.where(sums == 0, 1.0, sums)[owner]
        total = np.bincount(self.members, share, minlength=len(self.players)).astype(np.float64)
        return total * self._per_scope()

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each term: players (names), members (ids), kind, scope, order, score; weights."""
        import pandas as pd

        split = [tuple(m.tolist()) for m in np.split(self.members, self.offsets[1:-1])] if len(self) else []
        frame = pd.DataFrame(
            {
                "players": [tuple(self.players[i] for i in m) for m in split],
                "members": split,
                "kind": self.kinds,
                "scope": self.scopes,
                "order": self.orders,
                "score": self.scores,
            }
        )
        return frame if self.weights is None else frame.assign(weights=[t.weights for t in self])

    def pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Arrays and JSON metadata, as :meth:`save` writes them."""
        kind_names, kind_codes = np.unique(self.kinds, return_inverse=True)
        scope_names, scope_codes = np.unique(self.scopes, return_inverse=True)
        arrays: dict[str, NDArray[Any]] = {
            "scores": self.scores,
            "members": self.members,
            "offsets": self.offsets,
            "kind_codes": kind_codes.astype(np.int32),
            "scope_codes": scope_codes.astype(np.int32),
        }
        if self.weights is not None:
            arrays["weights"] = self.weights
        arrays |= {f"arrays.{name}": value for name, value in self.arrays.items()}
        metadata = {
            "format": FORMAT,
            "players": json.dumps(self.players),
            "kinds": json.dumps(kind_names.tolist()),
            "scopes": json.dumps(scope_names.tolist()),
            "base": json.dumps(self.base if isinstance(self.base, float | int) else dict(self.base)),
            "provenance": self.provenance.to_json(),
        }
        return arrays, metadata

    @classmethod
    def unpack(cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Self:
        """The inverse of :meth:`pack`."""
        kinds = np.array(json.loads(metadata["kinds"]), dtype=np.str_)
        scopes = np.array(json.loads(metadata["scopes"]), dtype=np.str_)
        return cls(
            players=tuple(json.loads(metadata["players"])),
            scores=arrays["scores"],
            members=arrays["members"],
            offsets=arrays["offsets"],
            kinds=kinds[arrays["kind_codes"]] if len(kinds) else kinds,
            scopes=scopes[arrays["scope_codes"]] if len(scopes) else scopes,
            base=json.loads(metadata["base"]),
            provenance=Provenance.from_json(metadata["provenance"]),
            weights=arrays.get("weights"),
            arrays={k.removeprefix("arrays."): v for k, v in arrays.items() if k.startswith("arrays.")},
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a safetensors file (arrays, JSON metadata; never pickle). All or nothing."""
        return write_safetensors(path, *self.pack())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileError: the file cannot be read, or holds something else.
        """
        arrays, metadata = read_safetensors(path, FORMAT)
        try:
            return cls.unpack(arrays, metadata)
        except (LookupError, TypeError, ValueError) as error:
            raise FileError(f"{path} is damaged ({error!r}); write it anew") from error

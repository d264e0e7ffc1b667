"""How much of what one model has learnt the others have learnt too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.interactions import Interactions
from hoi_captum.measures.identity import as_tables, in_all_scopes, scopes_of
from hoi_captum.measures.salience import salient, strongest


@dataclass(frozen=True, eq=False)
class Transfer:
    """Share of each scope's salient sets that are salient in all scopes.

    Attributes:
        scopes: m of them, the models.
        kinds: t of them, sorted.
        shares: (samples, t, m), 0 to 1; NaN where a scope has no salient set of the kind.

    Examples::

        >>> f, g = (lambda x: x[:, 0] * x[:, 1]), (lambda x: x[:, 0] * x[:, 1] + x[:, 0])
        >>> table = hoi.GeneralizableAndOr([f, g]).interact(torch.tensor([[2.0, 3.0]]))[0]
        >>> hoi.measures.transferability(table).of("and")
        array([[1. , 0.5]])
    """

    scopes: tuple[str, ...]
    kinds: tuple[str, ...]
    shares: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Over the samples that have a salient set, (t, m)."""
        return mean_where(self.shares, np.isfinite(self.shares))

    def of(self, kind: str) -> NDArray[np.float64]:
        """The shares of one kind, (samples, m); NaN for a kind that no table has."""
        if kind not in self.kinds:
            return np.full((len(self.shares), len(self.scopes)), np.nan)
        return self.shares[:, self.kinds.index(kind)]


@dataclass(frozen=True, eq=False)
class SharedRatios:
    """Effects of each order and sign: of all salient terms, and of those that are salient in all scopes.

    Attributes:
        scopes: m of them, the models.
        orders: (K,), 1 to the highest.
        all: (samples, m, K, 2) sums of the positive and of the negative salient effects, in the unit of v.
        shared: the same, limited to the terms that are salient in every scope.

    Examples::

        >>> f, g = (lambda x: x[:, 0] * x[:, 1]), (lambda x: x[:, 0] * x[:, 1] + x[:, 0])
        >>> table = hoi.GeneralizableAndOr([f, g]).interact(torch.tensor([[2.0, 3.0]]))[0]
        >>> sums = hoi.measures.shared_ratios(table)
        >>> sums.orders, sums.ratio.shape
        (array([1, 2]), (2, 2, 2))
    """

    scopes: tuple[str, ...]
    orders: NDArray[np.int64]
    all: NDArray[np.float64]
    shared: NDArray[np.float64]

    @property
    def mean_all(self) -> NDArray[np.float64]:
        """Over the samples, (m, K, 2)."""
        return np.asarray(self.all.mean(axis=0))

    @property
    def mean_shared(self) -> NDArray[np.float64]:
        """Over the samples, (m, K, 2)."""
        return np.asarray(self.shared.mean(axis=0))

    @property
    def ratio(self) -> NDArray[np.float64]:
        """``mean_shared / mean_all``, (m, K, 2), 0 to 1; NaN where there is no salient term."""
        every = self.mean_all
        return np.divide(self.mean_shared, every, out=np.full_like(every, np.nan), where=every != 0)


def transferability(
    tables: Interactions | Sequence[Interactions],
    fraction: float = 0.05,
    *,
    k: int | None = None,
    signs: bool = False,
    relative_to: str = "largest",
) -> Transfer:
    r"""Generalisation power: which share of the salient sets all models have in common.

    :math:`s_i = |\Omega_1 \cap ... \cap \Omega_m| / |\Omega_i|` for each kind apart (Chen et al., ICLR 2024,
    Definition 1). With ``k``, the sets :math:`\Omega_i` are the k strongest of each model and kind, as in
    their Fig. 3, where the share is :math:`|\Omega_1 \cap \Omega_2| / k`; a model that has fewer effects
    (zero effects are in no table) is judged by those it has.

    Args:
        tables: one for each sample, each with a scope for each model.
        fraction: salient is what exceeds this part of the reference. Default: 0.05
        k: salient are the k strongest; None takes the threshold. Default: None
        signs: count a set as common only if its effects have the same sign in all models. Default: False
        relative_to: the reference of the threshold, see :func:`salient`. Default: largest

    Returns:
        Transfer: shares of each sample, kind and scope.

    Raises:
        OptionError: an option out of range.
        InputError: tables of different scopes.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", f"model:{i}", 2.0) for i in range(2)]
        >>> terms.append(hoi.Term((0,), "and", "model:1", 1.0))
        >>> table = hoi.Interactions.from_terms("ab", terms, provenance=hoi.Provenance("by-hand"))
        >>> hoi.measures.transferability(table).mean  # all of the first model's, half of the second's
        array([[1. , 0.5]])
    """
    found = as_tables(tables)
    kept = (
        salient(found, fraction, relative_to=relative_to) if k is None else [strongest(t, k) for t in found]
    )
    scopes = scopes_of(found[0])
    kinds = tuple(np.unique(np.concatenate([t.kinds for t in found])).tolist())
    shares = [common_shares(t, scopes, kinds, len(scopes), signs=signs) for t in kept]
    return Transfer(scopes, kinds, np.array(shares).reshape(len(kept), len(kinds), len(scopes)))


def common_shares(
    kept: Interactions, scopes: Sequence[str], kinds: Sequence[str], count: int, *, signs: bool = False
) -> NDArray[np.float64]:
    """Share of the terms of each kind and scope that stand in all ``count`` scopes: (t, m)."""
    common = in_all_scopes(kept, count, signs=signs)
    shares = np.full((len(kinds), len(scopes)), np.nan)
    for row, kind in enumerate(kinds):
        for column, scope in enumerate(scopes):
            mine = (kept.kinds == kind) & (kept.scopes == scope)
            if mine.any():
                shares[row, column] = common[mine].mean()
    return shares


def shared_ratios(
    tables: Interactions | Sequence[Interactions], fraction: float = 0.03, *, relative_to: str = "effect"
) -> SharedRatios:
    """How much of the effects of each order all models share (Chen et al., ICLR 2024, Fig. 4).

    For each model and order the salient effects are summed, positive and negative ones apart and all kinds
    together; and once more those alone whose set and kind are salient in every model.

    Args:
        tables: one for each sample, each with a scope for each model.
        fraction: salient is what exceeds this part of the reference. Default: 0.03, as behind Fig. 4
        relative_to: the reference, see :func:`salient`. Default: effect, as behind Fig. 4

    Returns:
        SharedRatios: the sums of each sample, their means, and the ratio of the means.

    Raises:
        OptionError: an option out of range.
        InputError: tables of different scopes.

    Examples::

        >>> terms = [hoi.Term((0, 1), "and", f"model:{i}", 2.0) for i in range(2)]
        >>> terms.append(hoi.Term((0,), "and", "model:1", 1.0))
        >>> table = hoi.Interactions.from_terms("ab", terms, provenance=hoi.Provenance("by-hand"))
        >>> hoi.measures.shared_ratios(table).ratio[1, :, 0]  # of positive effects of orders 1 and 2
        array([0., 1.])
    """
    found = as_tables(tables)
    scopes = scopes_of(found[0])
    highest = max((int(t.orders.max(initial=0)) for t in found), default=0)
    every = np.zeros((len(found), len(scopes), highest + 1, 2))
    common = np.zeros_like(every)
    for sample, kept in enumerate(salient(found, fraction, relative_to=relative_to)):
        columns = np.array([scopes.index(s) for s in kept.scopes.tolist()], dtype=np.int64)
        signs = (kept.scores < 0).astype(np.int64)
        np.add.at(every[sample], (columns, kept.orders, signs), kept.scores)
        shares = np.where(in_all_scopes(kept, len(scopes)), kept.scores, 0.0)
        np.add.at(common[sample], (columns, kept.orders, signs), shares)
    return SharedRatios(scopes, np.arange(1, highest + 1), every[:, :, 1:], common[:, :, 1:])


def mean_where(values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over the first dimension of what is present; NaN where nothing is."""
    count = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean

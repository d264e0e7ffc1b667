"""Which variables belong to a factor, and factors as a table of interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count, check_number
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.corex.base import check_fitted
from hoi_captum.errors import InputError

KIND = "corex"
_CHANCE = 0.05


def noise_floor(n_rows: int, n_variables: int) -> float:
    """Mutual information in nats that chance alone seldom exceeds.

    Of n independent rows, 2 n I(Y; X_i) is about chi squared with one degree of freedom (Wilks) for a
    fixed Y; the 5 % are shared out among the variables (Bonferroni). A factor is fitted to the same rows, so
    that chance does better than this where rows are few: :func:`hoi_captum.corex.advise_factors` compares
    with shuffled columns.
    """
    return float(chi2.isf(_CHANCE / n_variables, 1) / (2 * n_rows))


def otsu(values: ArrayLike) -> float:
    """The split of numbers in two groups that are most apart (Otsu 1979): the midpoint of the gap.

    Largest between-group variance over all splits of the sorted numbers, exactly. Where all are equal there
    is nothing to split, and that number is given.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if not n or ordered[0] == ordered[-1]:
        return float(ordered[0]) if n else 0.0
    below = np.arange(1, n)
    sums = np.cumsum(ordered)[:-1]
    between = (ordered.sum() * below / n - sums) ** 2 / (below * (n - below))
    between[ordered[1:] == ordered[:-1]] = -1.0  # equal numbers stay together
    at = int(np.argmax(between))
    return float((ordered[at] + ordered[at + 1]) / 2)


def informational_correlation(mi: ArrayLike) -> NDArray[np.float64]:
    """sqrt(1 - exp(-2 MI)) in 0..1, the |correlation| of a normal pair of that information (Linfoot 1957)."""
    information = np.maximum(np.asarray(mi, dtype=np.float64), 0.0)
    correlation: NDArray[np.float64] = np.sqrt(-np.expm1(-2 * information))
    return correlation


def member_threshold(mi_row: ArrayLike, n_rows: int) -> float:
    """The default threshold of a factor in nats: Otsu's split of correlations, at least the noise floor.

    Information is split as :func:`informational_correlation`, which ends at 1: on the scale of MI or of its
    root one near copy of the factor, whose MI is beyond all bounds, would be a group of its own. A variable
    without information is added, so that a factor of all variables is not cut in two.
    """
    row = _mi_row(mi_row)
    split = otsu(np.append(informational_correlation(row), 0.0))
    in_nats = -0.5 * np.log1p(-(min(split, 1 - 1e-15) ** 2))
    return max(float(in_nats), noise_floor(check_count("n_rows", n_rows), len(row)))


def factor_members(mi_row: ArrayLike, threshold: float | None, n_rows: int) -> NDArray[np.intp]:
    """The variables of a factor: those with more mutual information than the threshold, sorted by number.

    Args:
        mi_row: I(Y; X_i) of one factor in nats, (p,).
        threshold: in nats; None: :func:`member_threshold`.
        n_rows: rows that the factor was fitted on.

    Returns:
        numbers of the members, (k,) int, ascending.

    Raises:
        InputError: not a vector of finite numbers.
        OptionError: a threshold that is no number >= 0.

    Examples::

        >>> hoi.corex.factor_members([0.9, 0.01, 0.4], threshold=0.5, n_rows=100)
        array([0])
        >>> hoi.corex.factor_members([0.9, 0.01, 0.4], threshold=None, n_rows=100)
        array([0, 2])
    """
    row = _mi_row(mi_row)
    if threshold is None:
        threshold = member_threshold(row, n_rows)
    return np.nonzero(row > check_number("threshold", threshold, low=0.0))[0]


def _mi_row(mi_row: ArrayLike) -> NDArray[np.float64]:
    row = np.asarray(mi_row, dtype=np.float64)
    if row.ndim != 1 or not len(row) or not np.isfinite(row).all():
        raise InputError(
            "expected the mutual information of one factor, (n_features,) finite numbers, got shape "
            f"{row.shape}"
        )
    return row


def factor_terms(
    estimator: Any,
    *,
    n_rows: int,
    scope: str | None = None,
    threshold: float | None = None,
    n_judged: int | None = None,
) -> list[Term]:
    """A term for each factor of a fitted estimator, in its order: the members with their MI as weights.

    A factor none of whose variables exceeds the threshold is left out. The default threshold is that of the
    first ``n_judged`` variables (None: of all), which suits the others too.
    """
    terms = []
    for mi_row, tc in zip(estimator.mi_, estimator.tcs_, strict=True):
        own = member_threshold(mi_row[:n_judged], n_rows) if threshold is None else threshold
        members = factor_members(mi_row, own, n_rows)
        if len(members):
            weights = tuple(mi_row[members].tolist())
            terms.append(Term(tuple(members.tolist()), KIND, scope, float(tc), weights))
    return terms


def factor_interactions(
    estimator: Any,
    names: Sequence[str] | None = None,
    *,
    n_rows: int,
    scope: str | None = None,
    threshold: float | None = None,
) -> Interactions:
    """The factors of a fitted estimator as interactions, one term for each factor.

    Args:
        estimator: fitted, with ``mi_`` and ``tcs_``.
        names: of the variables. Default: None (those that it was fitted with, else x0, x1, ...)
        n_rows: rows that it was fitted on.
        scope: of the terms. Default: None
        threshold: mutual information in nats that a member exceeds. Default: None (Otsu's split of each
            factor's correlations, at least the noise floor; :func:`member_threshold`)

    Returns:
        Interactions: kind "corex", scores TC_j and weights I(Y_j; X_i) in nats. A factor without members is
        left out.

    Raises:
        NotFittedError: the estimator is not fitted.
        InputError: another number of names than of variables.

    Examples::

        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 2))[:, [0, 0, 1]] + 0.5 * rng.normal(size=(300, 3))
        >>> model = hoi.corex.LinearCorEx(n_factors=1, random_state=0).fit(X)
        >>> table = hoi.corex.factor_interactions(model, ["a", "b", "c"], n_rows=300)
        >>> table[0].kind, table[0].members, round(table[0].score, 1)
        ('corex', (0, 1), 0.6)
    """
    check_fitted(estimator, "mi_")
    terms = factor_terms(estimator, n_rows=n_rows, scope=scope, threshold=threshold)
    return corex_table(variable_names(estimator, names), terms, estimator, {})


def variable_names(estimator: Any, names: Sequence[str] | None) -> tuple[str, ...]:
    """The given names, else those of the data, else x0, x1, ...

    Raises:
        InputError: another number of names than of variables.
    """
    p = int(estimator.n_features_in_)
    if names is None:
        names = getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(p)])
    if len(names) != p:
        raise InputError(f"expected {p} names, one for each variable, got {len(names)}")
    return tuple(map(str, names))


def corex_table(
    names: Sequence[str], terms: Sequence[Term], estimator: Any, details: dict[str, Any], **more: Any
) -> Interactions:
    """Terms as a table that says which estimator found them."""
    seed = estimator.get_params().get("random_state")
    plain = (bool, int, float, str, type(None))
    options = {k: v if isinstance(v, plain) else repr(v) for k, v in estimator.get_params(deep=False).items()}
    source = Provenance(
        type(estimator).__name__,
        options=options,
        seed=seed if isinstance(seed, int) else None,
        details={"unit": "nats", **details},
    )
    table = Interactions.from_terms(names, terms, provenance=source, **more)
    # a table without terms has weights too, none of them
    return table if terms else replace(table, weights=np.zeros(0))

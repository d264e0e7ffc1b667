"""How well interactions give back a model's values, coalition by coalition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import InputError
from hoi_captum.measures.identity import scopes_of
from hoi_captum.measures.rebuilding import rebuild
from hoi_captum.measures.salience import salient
from hoi_captum.measures.values import as_floats


class MatchingErrors(NamedTuple):
    """``|v(T) - v_approx(T)|`` of all coalitions in table order, (m, 2^n) each, in the unit of v.

    Attributes:
        all: rebuilt from all terms of the table.
        salient: rebuilt from the salient terms alone.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, 6.0]))
        >>> errors = hoi.measures.matching_errors(table, fraction=0.5)  # of the largest effect, 3
        >>> errors.all, errors.salient
        (array([[0., 0., 0., 0.]]), array([[0., 0., 1., 1.]]))
    """

    all: NDArray[np.float64]
    salient: NDArray[np.float64]


def matching_errors(
    table: Interactions, values: Tensor | NDArray[Any] | None = None, *, fraction: float = 0.05
) -> MatchingErrors:
    r"""What the interactions leave of the model's value for each coalition (Chen et al., ICLR 2024, Fig. 13).

    .. math:: e(T) = |v(T) - v(\emptyset) - \sum_{S \subseteq T} I_{and}(S)
       - \sum_{S \cap T \ne \emptyset} I_{or}(S)|

    with all terms, where the error bound of GeneralizableAndOr limits it by construction, and with the
    salient ones alone.

    Args:
        table: the interactions of one sample.
        values: v of all coalitions in table order, (m, 2^n), or (2^n,) for one scope. Default: None (those
            that the table keeps, ``arrays["values"]``)
        fraction: salient is what exceeds this part of the scope's largest effect. Default: 0.05

    Returns:
        MatchingErrors: a row for each scope.

    Raises:
        InputError: no values, or of another shape; more than one table.

    Examples::

        >>> table = hoi.measures.k_sii(torch.tensor([0.0, 2.0, 1.0, 6.0]), order=1)
        >>> hoi.measures.matching_errors(table).all
        array([[0. , 1.5, 1.5, 0. ]])
    """
    if not isinstance(table, Interactions):
        raise InputError(f"expected the table of one sample, got {type(table).__name__}; take one by one")
    scopes, n = scopes_of(table), len(table.players)
    given = table.arrays.get("values") if values is None else values
    if given is None:
        raise InputError("the table keeps no values; give v of all coalitions, (m, 2^n), as values")
    v = np.atleast_2d(as_floats(given))
    if v.shape != (len(scopes), 1 << n):
        raise InputError(f"expected values of shape {(len(scopes), 1 << n)}, got {v.shape}")
    kept = salient(table, fraction)[0]
    everybody = all_coalitions(n)
    errors = [
        np.stack([np.abs(row - rebuild(t, everybody, scope=s)) for row, s in zip(v, scopes, strict=True)])
        for t in (table, kept)
    ]
    return MatchingErrors(*errors)

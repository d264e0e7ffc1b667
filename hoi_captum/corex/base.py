"""What the CorEx estimators share: reading of the data, errors, names of the factors."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data
from torch import Tensor

from hoi_captum.errors import InputError, NotFittedError, OptionError

Array = NDArray[np.float64]


class UnfittedError(NotFittedError, SklearnNotFittedError):
    """An estimator was used before ``fit``: the library's error and scikit-learn's in one."""


class NoVariationError(InputError):
    """No variable of the data varies, so that there is nothing to explain."""


def check_fitted(estimator: Any, attribute: str) -> None:
    """Raises:
    UnfittedError: the estimator has not learned the attribute.
    """
    if not hasattr(estimator, attribute):
        name = type(estimator).__name__
        raise UnfittedError(f"this {name} instance is not fitted yet; call fit(X) before using it")


def as_array(X: Any, name: str = "X") -> Any:
    """A Tensor as a numpy array (half precision as float32); anything else as it is.

    Raises:
        InputError: a sparse matrix.
    """
    if issparse(X):
        raise InputError(f"expected dense {name}, got a sparse matrix; pass {name}.toarray()")
    if not isinstance(X, Tensor):
        return X
    dense = X.detach().cpu()
    return (dense.float() if dense.is_floating_point() and dense.element_size() == 2 else dense).numpy()


def without_remedies(error: ValueError, name: str) -> str:
    """What scikit-learn's validation says of data, without what it proposes for missing values."""
    text = str(error)
    return text.splitlines()[0] if text.startswith(f"Input {name} contains NaN") else text


class CorEx(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of the estimators that explain total correlation by latent factors.

    A subclass stores its options in ``__init__`` (at least ``n_factors``, ``missing_values``,
    ``random_state``), checks them in ``fit`` and learns what is listed here. Factors are sorted by
    descending ``tcs_``; information is in nats; arrays are numpy float64.

    Attributes:
        mi_: I(Y_j; X_i), (n_factors, n_features).
        tcs_: total correlation that each factor explains, (n_factors,).
        tc_: total correlation that the factors explain together.
        factor_mi_: I(Y_j; X), (n_factors,).
        labels_: the factor of each variable, (n_features,) int; -1 for a variable that no factor knows
            anything about, such as a constant.
        n_iter_: iterations made.
        tc_history_: the objective after each iteration, (n_iter_,).
        n_features_in_: columns seen in ``fit``.
        feature_names_in_: their names, if the data had names (all strings).
    """

    mi_: Array
    tcs_: Array
    tc_: float
    factor_mi_: Array
    labels_: NDArray[np.int64]
    n_iter_: int
    tc_history_: Array
    n_features_in_: int

    def _rows(self, X: Any, *, reset: bool, min_rows: int = 1) -> NDArray[np.floating[Any]]:
        """The data as a numpy matrix (n, p) of float64 or float32, NaN where a value is missing.

        Args:
            X: numpy array, DataFrame or torch Tensor (any device).
            reset: in ``fit``: learn the number and names of the columns; else check them.
            min_rows: fewest rows allowed.

        Raises:
            InputError: not a matrix of finite numbers (NaN is allowed if ``missing_values`` is NaN), too
                few rows, or other columns than in ``fit``.
            OptionError: ``missing_values`` is neither a number nor None.
        """
        missing = self.missing_values
        if missing is not None and (isinstance(missing, bool) or not isinstance(missing, Real)):
            raise OptionError(f"expected missing_values to be a number, NaN or None, got {missing!r}")
        array = as_array(X)
        nan_is_missing = missing is not None and math.isnan(missing)
        try:
            rows = validate_data(
                self,
                array,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan" if nan_is_missing else True,
                ensure_min_samples=min_rows,
            )
        except ValueError as error:
            text = without_remedies(error, "X")
            raise InputError(f"{text}\n{self._advice(text, nan_is_missing)}") from error
        if missing is not None and not nan_is_missing:
            absent = rows == missing
            if absent.any():
                rows = np.where(absent, rows.dtype.type(np.nan), rows)
        return rows  # type: ignore[no-any-return]

    def _advice(self, message: str, nan_is_missing: bool) -> str:
        """What to do about an error of scikit-learn's validation."""
        if "NaN" in message and not nan_is_missing:
            return "Fill or drop these values, or pass missing_values=np.nan."
        if "infinity" in message or "NaN" in message:
            return "Replace these values by finite ones, or by NaN with missing_values=np.nan."
        if "sample" in message and "minimum" in message:
            return "Pass more rows: total correlation is a property of a distribution."
        return "Pass a matrix (rows, variables) of numbers, with the columns of fit."

    def _check_fitted(self) -> None:
        """Raises:
        UnfittedError: before ``fit``.
        """
        check_fitted(self, "mi_")

    def _random(self) -> np.random.RandomState:
        """The random numbers of ``random_state``.

        Raises:
            OptionError: not None, an int or a RandomState.
        """
        try:
            random: np.random.RandomState = check_random_state(self.random_state)
            return random
        except ValueError:
            raise OptionError(
                f"expected random_state to be None, an int or a RandomState, got {self.random_state!r}"
            ) from None

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the factors: the class's in small letters, and a number.

        Args:
            input_features: not used.

        Raises:
            UnfittedError: before ``fit``.
        """
        self._check_fitted()
        names: NDArray[np.object_] = super().get_feature_names_out(input_features)
        return names

    @property
    def _n_features_out(self) -> int:
        return int(self.mi_.shape[0])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "mi_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        missing = self.missing_values
        tags.input_tags.allow_nan = isinstance(missing, Real) and math.isnan(missing)
        return tags

"""What every CorEx estimator does with data, by a stand-in that learns nothing."""

from __future__ import annotations

import re
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from hoi_captum import errors
from hoi_captum.corex.base import CorEx, as_array

X = np.arange(12.0).reshape(4, 3) ** 2


class Reader(CorEx):
    def __init__(self, missing_values: Any = np.nan, random_state: Any = None) -> None:
        self.missing_values = missing_values
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> Self:
        self.rows_ = self._rows(X, reset=True, min_rows=2)
        self.mi_ = np.zeros((2, self.rows_.shape[1]))
        return self

    def transform(self, X: Any) -> Any:
        self._check_fitted()
        return self._rows(X, reset=False)[:, :2]


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.tolist(),
        X.astype(int),
        pd.DataFrame(X),
        torch.tensor(X),
        torch.tensor(X, requires_grad=True),
        torch.tensor(X).int(),
    ],
)
def test_all_kinds_of_data_are_read(data: Any) -> None:
    rows = Reader().fit(data).rows_
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize(
    "data",
    [X.astype(np.float32), torch.tensor(X).float(), torch.tensor(X).half(), torch.tensor(X).bfloat16()],
)
def test_single_precision_is_not_copied_to_double(data: Any) -> None:
    rows = Reader().fit(data).rows_
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, X, rtol=0.01)


def test_large_data_are_not_copied() -> None:
    single = X.astype(np.float32)
    assert np.shares_memory(Reader().fit(single).rows_, single)
    assert np.shares_memory(Reader(missing_values=-1).fit(single).rows_, single)


def test_missing_values() -> None:
    gaps = X.copy()
    gaps[0, 1] = np.nan
    np.testing.assert_array_equal(Reader().fit(gaps).rows_, gaps)
    marked = np.where(np.isnan(gaps), -99, gaps)
    np.testing.assert_array_equal(Reader(missing_values=-99).fit(marked).rows_, gaps)
    np.testing.assert_array_equal(Reader(missing_values=-99).fit(marked.astype(int)).rows_, gaps)
    assert marked[0, 1] == -99


@pytest.mark.parametrize("missing", [None, -1])
def test_nan_is_refused_where_it_is_not_the_missing_value(missing: float | None) -> None:
    gaps = X.copy()
    gaps[0, 1] = np.nan
    with pytest.raises(errors.InputError, match=r"contains NaN\.\nFill or drop .*missing_values=np.nan"):
        Reader(missing_values=missing).fit(gaps)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[:1], r"(?s)1 sample.*minimum of 2 is required.*Pass more rows"),
        (X[0], r"(?s)Expected 2D array, got 1D array.*Pass a matrix"),
        (X[None], r"(?s)dim 3.*Pass a matrix"),
        (np.where(X == 1, np.inf, X), r"(?s)infinity.*Replace these values"),
        ([["a", "b"], ["c", "d"]], r"(?s)could not convert string.*Pass a matrix"),
        (X[:, :0], r"(?s)0 feature.*Pass a matrix"),
        (X.astype(complex), r"(?s)Complex data not supported.*Pass a matrix"),
        (csr_matrix(X), r"(?s)sparse matrix; pass X.toarray"),
    ],
)
def test_bad_data_are_one_clear_error(data: Any, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        Reader().fit(data)


def test_other_columns_than_in_fit() -> None:
    model = Reader().fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(errors.InputError, match="2 features, but Reader is expecting 3"):
        Reader().fit(X).transform(X[:, :2])
    with pytest.raises(errors.InputError, match="feature names"):
        model.transform(pd.DataFrame(X, columns=["a", "c", "b"]))


@pytest.mark.parametrize("missing", ["nan", True, [1]])
def test_missing_values_is_a_number_or_none(missing: Any) -> None:
    with pytest.raises(errors.OptionError, match="expected missing_values to be a number"):
        Reader(missing_values=missing).fit(X)


def test_before_fit() -> None:
    model = Reader()
    for kind in (errors.NotFittedError, SklearnNotFittedError, errors.HoiError):
        with pytest.raises(kind, match=re.escape("this Reader instance is not fitted yet; call fit(X)")):
            model.transform(X)

    with pytest.raises(errors.NotFittedError, match="this Reader instance is not fitted yet"):
        model.get_feature_names_out()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_tensors_as_arrays(dtype: torch.dtype) -> None:
    tensor = torch.arange(4).to(dtype)
    if dtype.is_floating_point:
        tensor.requires_grad_()
    array = as_array(tensor)
    assert array.dtype == {torch.float64: np.float64, torch.int64: np.int64}.get(dtype, np.float32)
    np.testing.assert_array_equal(array, [0, 1, 2, 3])
    given = object()
    assert as_array(given) is given
    with pytest.raises(errors.InputError, match=r"dense labels, got a sparse matrix; pass labels\.toarray"):
        as_array(csr_matrix(X), "labels")


def test_names_of_the_factors() -> None:
    model = Reader().fit(X)
    assert model.get_feature_names_out().tolist() == ["reader0", "reader1"]
    table = model.set_output(transform="pandas").transform(X)
    assert table.columns.tolist() == ["reader0", "reader1"]


def test_random_state() -> None:
    draw = Reader(random_state=3)._random().standard_normal(2)
    np.testing.assert_array_equal(draw, np.random.RandomState(3).standard_normal(2))
    state = np.random.RandomState(0)
    assert Reader(random_state=state)._random() is state
    with pytest.raises(errors.OptionError, match="expected random_state to be None, an int"):
        Reader(random_state="zero")._random()


def test_tags() -> None:
    assert Reader().__sklearn_tags__().input_tags.allow_nan
    assert not Reader(missing_values=None).__sklearn_tags__().input_tags.allow_nan

"""A CorEx estimator in closed form: its factors are the principal components of the correlations."""

from __future__ import annotations

import numpy as np

from hoi_captum.corex.base import CorEx
from hoi_captum.errors import InputError


class PrincipalCorEx(CorEx):
    """What a cluster's model must have, and what each fit was given."""

    def __init__(self, n_factors=2, *, missing_values=np.nan, random_state=None, refuse_mean_above=np.inf):
        self.n_factors = n_factors
        self.missing_values = missing_values
        self.random_state = random_state
        self.refuse_mean_above = refuse_mean_above

    def fit(self, X, y=None):
        rows = self._rows(X, reset=True, min_rows=2).astype(np.float64)
        if np.nanmean(rows) > self.refuse_mean_above:
            raise InputError("rows of another kind")
        self.given_ = X
        self.mean_ = np.nanmean(rows, 0)
        self.scale_ = np.maximum(np.nanstd(rows, 0), 1e-10)
        z = self._scaled(rows)
        _, singular, axes = np.linalg.svd(z, full_matrices=False)
        order = np.argsort(-singular, kind="stable")[: self.n_factors]
        self.weights_ = axes[order] * np.sign(axes[order].sum(1, keepdims=True))
        y_ = z @ self.weights_.T
        rho = (y_.T @ z) / len(z) / np.maximum(y_.std(0), 1e-10)[:, None]
        self.mi_ = -0.5 * np.log1p(-np.minimum(rho**2, 1 - 1e-12))
        self.tcs_ = self.mi_.sum(1)
        self.tc_ = float(self.tcs_.sum())
        return self

    def _scaled(self, rows):
        return np.nan_to_num((rows - self.mean_) / self.scale_)

    def transform(self, X):
        self._check_fitted()
        return self._scaled(self._rows(X, reset=False).astype(np.float64)) @ self.weights_.T

"""Bio CorEx: discrete latent factors that explain the total correlation of variables of any distribution."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.core.progress import progress_bar
from hoi_captum.corex.base import Array, CorEx, NoVariationError
from hoi_captum.corex.gaussianize import ROUNDING, fit_marginals
from hoi_captum.corex.marginals import (
    MAX_VALUES,
    DiscreteMarginals,
    GaussianMarginals,
    Marginals,
    Observations,
    discrete_marginals,
    gaussian_marginals,
)
from hoi_captum.corex.posterior import Posterior, factor_mi, infer, log_prior, significant_mi
from hoi_captum.corex.structure import NOTHING, enough_rows, structure
from hoi_captum.errors import ConvergenceWarning, DataWarning, InputError

_WINDOW = 5  # iterations whose mean is compared with that of as many before
Estimate = Callable[..., Marginals]  # of observations, p(y_j = k | x) and smooth=


@dataclass(frozen=True, eq=False)
class _Solution:
    """Where one start has led."""

    posterior: Posterior
    marginals: Marginals
    prior: Tensor
    alpha: Tensor
    history: list[float]
    converged: bool

    @property
    def tc(self) -> float:
        return self.history[-1]


def _has_settled(history: list[float], tol: float) -> bool:
    if len(history) <= 2 * _WINDOW:
        return False
    late, early = history[-_WINDOW:], history[-2 * _WINDOW : -_WINDOW]
    return abs(sum(late) - sum(early)) < tol * _WINDOW


class BioCorEx(CorEx):
    r"""Discrete factors, each of which explains why some of the variables move together.

    Factor :math:`Y_j` has K states. Given its state a variable is normally distributed or, for
    ``marginals="discrete"``, takes the values 0..d-1 with probabilities of that state. All factors are
    learned together, each with soft weights :math:`\alpha_{ji}` of the variables that belong to it, by
    iterating the equations of Pepke and Ver Steeg (2017); one iteration costs O(n p m K). The total
    correlation that a factor explains is the mean of log z, the normalisation of its posterior.

    Data are standardised first. The floor of the variances, ``min_variance``, keeps a state from
    settling on few rows, and means something only against the spread of the column: data in
    [0, 1] have no variance above .25, and without standardising no factor would be found in them.

    Args:
        n_factors (int, optional): m, the number of factors. Default: 10
        n_states (int, optional): K, the states of a factor. Default: 2
        marginals (str, optional): ``"gaussian"``, or ``"discrete"`` for whole numbers 0..31.
            Default: "gaussian"
        smooth (bool, optional): draw the estimates of each state towards those of all rows, by how
            little they differ from what chance gives (the limit of the authors' bootstrap). For few
            rows. A start is iterated without it first, until it settles or for half of ``max_iter``:
            random states differ by chance alone, and smoothing would end there. Default: False
        standardize (bool, optional): bring columns to mean 0 and variance 1 (normal marginals only).
            False fits the data as they are, as the authors' program does. Default: True
        min_variance (float, optional): floor of the variances within a state. Default: 0.25
        n_permutations (int, optional): shuffles of the rows that ``mi_`` is tested against; what they
            reach by chance is subtracted, and what is not above it (p about .05) becomes 0. 0 gives
            the plug-in estimate. Default: 20
        n_repeats (int, optional): random starts, of which the best by total correlation is kept. Default: 1
        max_iter (int, optional): most iterations of a start. Default: 100
        tol (float, optional): the total correlation has settled when its means over the last 5 and the
            5 iterations before differ by less, in nats. The weights depend on counts of rows, so that it may
            also go round between a few states, which ends at ``max_iter``. Default: 1e-5
        missing_values (float, optional): what stands for a missing value; None if nothing may be missing.
            Missing values are left out, not filled. Default: NaN
        random_state (int, RandomState or None, optional): of starts, weights and shuffles. Default: None
        verbose (bool, optional): show progress on stderr. Default: False

    Attributes:
        mi_, tcs_, tc_, factor_mi_, labels_, n_iter_, tc_history_, n_features_in_, feature_names_in_:
            as for every :class:`~hoi_captum.corex.base.CorEx`; ``tc_`` is the sum of ``tcs_``, and the factor
            of a variable is that of the largest ``alpha_`` among those with mutual information.
        alpha_: weight of each variable in each factor, (n_factors, n_features).
        log_prior_: log p(y_j = k), (n_factors, n_states).
        mean_, scale_: what was subtracted from the columns, and what they were divided by, (n_features,).
        state_means_, state_variances_: of the (standardised) variables in each state, (n_factors,
            n_states, n_features); None for discrete marginals.
        state_log_probabilities_: of the values 0..d-1, (n_factors, n_states, n_features, d); None for
            normal marginals.

    Examples::

        >>> rng = np.random.default_rng(0)  # two hidden numbers, each behind three columns
        >>> X = rng.normal(size=(300, 2)).repeat(3, axis=1) + 0.5 * rng.normal(size=(300, 6))
        >>> model = hoi.corex.BioCorEx(n_factors=2, random_state=0).fit(X)
        >>> model.labels_ == model.labels_[0], model.transform(X).shape
        (array([ True,  True,  True, False, False, False]), (300, 2))
    """

    alpha_: Array
    log_prior_: Array
    mean_: Array
    scale_: Array
    state_means_: Array | None
    state_variances_: Array | None
    state_log_probabilities_: Array | None

    def __init__(
        self,
        n_factors: int = 10,
        *,
        n_states: int = 2,
        marginals: str = "gaussian",
        smooth: bool = False,
        standardize: bool = True,
        min_variance: float = 0.25,
        n_permutations: int = 20,
        n_repeats: int = 1,
        max_iter: int = 100,
        tol: float = 1e-5,
        missing_values: float | None = np.nan,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.n_states = n_states
        self.marginals = marginals
        self.smooth = smooth
        self.standardize = standardize
        self.min_variance = min_variance
        self.n_permutations = n_permutations
        self.n_repeats = n_repeats
        self.max_iter = max_iter
        self.tol = tol
        self.missing_values = missing_values
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn the factors.

        Args:
            X: (n, p), numpy array, DataFrame or torch Tensor.
            y: ignored.

        Raises:
            InputError: not a matrix of numbers with at least two different rows, or, for discrete
                marginals, not whole numbers 0..31; NoVariationError if no variable varies.
            OptionError: an option is unusable.

        Warns:
            ConvergenceWarning: the best start has used up ``max_iter``.
            DataWarning: no factor explains anything (less than .01 nats each).
        """
        self._check_options()
        data, estimate = self._prepared(self._rows(X, reset=True, min_rows=2))
        random = self._random()
        best: _Solution | None = None
        with progress_bar("Bio CorEx", self.n_repeats * self.max_iter, "iteration", self.verbose) as bar:
            for _ in range(self.n_repeats):
                found = self._start(data, estimate, random, lambda: bar.update())
                if best is None or found.tc > best.tc:
                    best = found
        assert best is not None
        if not best.converged:
            warnings.warn(
                f"total correlation had not settled within tol={self.tol:g} nats after {self.max_iter} "
                "iterations; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        largest = float(best.posterior.log_z.mean(1).max())
        if largest < NOTHING:
            warnings.warn(
                f"no factor explains total correlation (the largest {largest:.2g} nats): the variables may "
                "be independent, or their variances below min_variance; compare with n_repeats=10, or "
                "standardize=True",
                DataWarning,
                stacklevel=2,
            )
        self._learn(data, partial(estimate, smooth=self.smooth), best, random)
        return self

    def transform(self, X: Any) -> Array:
        """The states of the factors in new rows.

        Returns:
            (n, n_factors) float64: p(y_j = 1 | x) for two states, else the likeliest state 0..K-1. Which
            state is called 1 is a matter of chance.

        Raises:
            UnfittedError: before ``fit``.
            InputError: the data do not fit those of ``fit``.
        """
        probabilities = self._infer(X).probabilities
        states = probabilities[1] if len(probabilities) == 2 else probabilities.argmax(0)
        return states.T.double().numpy().copy()

    def posterior(self, X: Any) -> Array:
        """p(y_j = k | x), (n, n_factors, n_states); raises what :meth:`transform` raises."""
        return self._infer(X).probabilities.permute(2, 1, 0).numpy().copy()

    def score(self, X: Any, y: object = None) -> float:
        """Total correlation of these rows that the factors explain: the sum over factors of the mean of
        log z, in nats; raises what :meth:`transform` raises."""
        return float(self._infer(X).log_z.mean(1).sum())

    # ---------------------------------------------------------------- reading
    def _check_options(self) -> None:
        check_count("n_factors", self.n_factors)
        check_count("n_states", self.n_states, low=2)
        check_choice("marginals", self.marginals, ("gaussian", "discrete"))
        check_flag("smooth", self.smooth)
        check_flag("standardize", self.standardize)
        check_number("min_variance", self.min_variance, low=1e-12)
        check_count("n_permutations", self.n_permutations, low=0)
        check_count("n_repeats", self.n_repeats)
        check_count("max_iter", self.max_iter)
        check_number("tol", self.tol, low=0.0)
        check_flag("verbose", self.verbose)

    def _prepared(self, rows: NDArray[np.floating[Any]]) -> tuple[Observations, Estimate]:
        """Learn the scale of the columns; the data, and how their distributions are estimated."""
        data = _by_variable(rows)
        columns = fit_marginals(rows, "standard", torch.device("cpu"))
        if bool(columns.constant.all()):
            raise NoVariationError(
                f"expected columns that vary, got {rows.shape[0]} rows in which none does; "
                "total correlation needs variables, drop constants and copies of one row"
            )
        discrete = self.marginals == "discrete"
        zero, one = torch.zeros_like(columns.mean), torch.ones_like(columns.scale)
        self.mean_ = (zero if discrete else columns.mean).numpy()
        self.scale_ = (columns.scale if self.standardize and not discrete else one).numpy()
        if not discrete:
            return self._scaled(data), partial(gaussian_marginals, min_variance=self.min_variance)
        low, high = float(data.values.min()), float(data.values.max())
        if low < 0 or high >= MAX_VALUES or not torch.equal(data.values, data.values.floor()):
            raise InputError(
                f"expected whole numbers 0..{MAX_VALUES - 1} for marginals='discrete', got numbers from "
                f"{low:g} to {high:g}; number the values from 0, or use 'gaussian'"
            )
        return data, partial(discrete_marginals, n_values=int(high) + 1)

    def _scaled(self, data: Observations) -> Observations:
        mean, scale = (torch.from_numpy(numbers)[:, None] for numbers in (self.mean_, self.scale_))
        values = data.values - mean
        # a constant's rounding, which differs between machines, is not divided by anything and tells nothing
        rounding = ROUNDING * torch.finfo(values.dtype).eps * mean.abs()
        values = torch.where(values.abs() <= rounding, 0.0, values).div_(scale)
        return Observations(data.masked(values, slice(None)), data.observed)

    # ---------------------------------------------------------------- learning
    def _start(
        self,
        data: Observations,
        estimate: Estimate,
        random: np.random.RandomState,
        on_iteration: Callable[[], object],
    ) -> _Solution:
        """Iterate from a random start."""
        n = data.values.shape[1]
        chances = random.dirichlet(np.ones(self.n_states), (self.n_factors, n))
        probabilities = torch.from_numpy(chances).permute(2, 0, 1).contiguous()
        index = enough_rows(n, random)
        judged = data if index is None else data.rows(index)
        tcs = torch.zeros(self.n_factors, dtype=torch.float64)
        history: list[float] = []
        converged = smoothing = False
        begun = 0  # iterations before the last phase
        while not converged and len(history) < self.max_iter:
            if self.smooth and not smoothing:
                smoothing = len(history) >= self.max_iter // 2 or _has_settled(history, self.tol)
                begun = len(history)
            prior = log_prior(probabilities)
            marginals = estimate(data, probabilities, smooth=smoothing)
            told = probabilities if index is None else probabilities[..., index]
            alpha = structure(judged, marginals, told, tcs, random, idle_last=smoothing)
            posterior = infer(data, marginals, prior, alpha)
            probabilities, tcs = posterior.probabilities, posterior.log_z.mean(1)
            history.append(float(tcs.sum()))
            converged = smoothing == self.smooth and _has_settled(history[begun:], self.tol)
            on_iteration()
        return _Solution(posterior, marginals, prior, alpha, history, converged)

    def _learn(
        self, data: Observations, estimate: Estimate, found: _Solution, random: np.random.RandomState
    ) -> None:
        """Set the learned attributes, factors by descending total correlation."""
        tcs = found.posterior.log_z.mean(1)
        order = tcs.argsort(descending=True, stable=True)
        probabilities = found.posterior.probabilities[:, order]
        posterior = Posterior(probabilities, found.posterior.log_z[order])
        mi = significant_mi(data, estimate, posterior, self.n_permutations, random)
        self.mi_ = mi.numpy()
        self.tcs_ = tcs[order].numpy()
        self.tc_ = float(tcs.sum())
        self.factor_mi_ = factor_mi(probabilities, log_prior(probabilities)).numpy()
        self.alpha_ = found.alpha[order].numpy()
        belonging = np.where(self.mi_ > 0, self.alpha_, -1.0)
        self.labels_ = np.where((self.mi_ > 0).any(0), belonging.argmax(0), -1)
        self.n_iter_ = len(found.history)
        self.tc_history_ = np.array(found.history)
        self.log_prior_ = found.prior[:, order].T.numpy().copy()
        self.state_means_ = self.state_variances_ = self.state_log_probabilities_ = None
        if isinstance(found.marginals, GaussianMarginals):
            self.state_means_ = _by_factor(found.marginals.means, order)
            self.state_variances_ = _by_factor(found.marginals.variances, order)
        elif isinstance(found.marginals, DiscreteMarginals):
            self.state_log_probabilities_ = _by_factor(found.marginals.log_probabilities, order)

    # ---------------------------------------------------------------- use
    def _infer(self, X: Any) -> Posterior:
        self._check_fitted()
        rows = self._rows(X, reset=False)
        marginals: Marginals
        if self.state_log_probabilities_ is not None:
            table = _by_state(self.state_log_probabilities_)
            marginals = DiscreteMarginals(table)
            known = (rows >= 0) & (rows < table.shape[-1]) & (rows == np.floor(rows))
            rows = np.where(known, rows, np.nan)
        else:
            assert self.state_means_ is not None
            assert self.state_variances_ is not None
            marginals = GaussianMarginals(_by_state(self.state_means_), _by_state(self.state_variances_))
        prior = torch.from_numpy(self.log_prior_).T
        return infer(self._scaled(_by_variable(rows)), marginals, prior, torch.from_numpy(self.alpha_))


def _by_variable(rows: NDArray[np.floating[Any]]) -> Observations:
    return Observations.of(torch.from_numpy(np.array(rows.T, dtype=np.float64, order="C")))


def _by_factor(table: Tensor, order: Tensor) -> Array:
    """(K, m, ...) as a learned attribute (m, K, ...)."""
    array: NDArray[np.float64] = table[:, order].transpose(0, 1).contiguous().numpy()
    return array


def _by_state(table: Array) -> Tensor:
    return torch.from_numpy(table).transpose(0, 1).contiguous()

"""LinearCorEx: linear factors that explain the total correlation of data."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.core.progress import progress_bar
from hoi_captum.corex.annealing import Solution, schedule, solve
from hoi_captum.corex.base import Array, CorEx, NoVariationError
from hoi_captum.corex.covariance import covariance
from hoi_captum.corex.gaussianize import KINDS, Marginals, chunks, fit_marginals
from hoi_captum.corex.implied import ImpliedCorrelations
from hoi_captum.errors import ConvergenceWarning, DataWarning, InputError, OptionError

_FULL = 0.9  # mean square of a column that is standardised
_BOUNDING = 0.03  # noise, in parts of a column, that keeps copies of columns apart
_BOUNDLESS = 1 - 1e-7  # u of a factor, 8 nats; 9000 copies of a column stay below with the default eps_end
_LARGEST_U = 1 - 1e-12  # squared correlation of a factor with what it explains


class LinearCorEx(CorEx):
    """Linear Total Correlation Explanation: factors y_j = w_j x + noise, of which each variable needs few.

    Maximises a lower bound of TC(X) - TC(X | Y), the total correlation that the factors explain: by
    default the bound of factors that do not overlap (given a variable, the factors are independent), whose
    optimum assigns each variable to one factor. It is found by L-BFGS on the covariance, from much noise
    in the data to the share ``eps_end``. A quadratic method for p variables: p^2 numbers of memory if the
    rows are more than p / 2, and 2 p^2 operations for each factor and iteration.

    Args:
        n_factors: number of factors; those that find nothing end with ``tcs_`` of about 0. Default: 10
        overlap: let factors share variables: maximises sum_i I(X_i; Y) - sum_j I(Y_j; X) itself (a
            higher TC, harder to read: many weights differ from 0). Default: False
        gaussianize: how columns are standardised. "standard": mean 0, standard deviation 1; "outliers":
            then what is beyond 4 is squeezed by tanh, as in the authors' program; "empirical": normal
            quantiles of ranks; "none": as they are (mean square at most 1). The objective takes every
            variance for 1, what is missing being noise of the variable's own. Squeezed columns are not
            standardised again: one that is mostly outliers (active in 2 % of the rows, say) has next to no
            variance left, and counts and correlates as little, however well a factor explains it; its
            ``variances_`` tells. "standard" counts all columns alike. With "none", mean squares below
            0.9 are warned of.
        anneal: begin with data mixed with 90 % of noise, which is taken away in stages; else at once at
            ``eps_end``, which ends at poorer optima more often. Default: True
        eps_end: noise that remains: the covariance is (1 - eps^2) S + eps^2 I. A ridge that keeps the
            information of copied columns finite; at 0 the optimum is infinite if there are any. Default: 0.03
        max_iter: most iterations of a stage. Default: 10,000
        tol: nats by which two iterations in turn must raise the objective, or else the last stage ends
            (earlier ones at 100 times that). Default: 1e-5
        missing_values: the number that stands for a missing value; NaN, or None if there are none. A missing
            value becomes the mean of its column. Default: NaN
        device: a torch device (name) that knows float64; None: that of the data if it is a torch tensor,
            else the CPU. Results are numpy arrays in any case. Default: None
        random_state: where the factors begin: None, an int or a RandomState. Default: None
        verbose: show the progress on stderr. Default: False

    Attributes:
        weights_: U_j = w_j / sqrt(E y_j^2), (n_factors, n_features), of the standardised variables.
        correlations_: rho, of factors and variables, (n_factors, n_features); of each factor the largest
            is positive. Of variables with the noise that makes their variance 1 (see ``gaussianize``):
            rho / sqrt(``variances_``) are those of the standardised columns, but for ``eps_end``.
        mean_: (n_features,) what is subtracted from the columns.
        scale_: (n_features,) what they are divided by.
        variances_: (n_features,) mean squares of the standardised columns; 0 for a constant.
        quantiles_: (k, n_features) knots of gaussianize="empirical", else None.
        mi_, tcs_, tc_, factor_mi_, labels_, n_iter_, tc_history_, n_features_in_, feature_names_in_: as
            for :class:`~hoi_captum.corex.base.CorEx`. ``mi_`` is -1/2 log(1 - rho^2) of
            ``correlations_``, low for columns of low ``variances_``. ``tcs_`` is
            sum_i I(Y_j; X_i) - I(Y_j; X), ``tc_`` the objective; they do not add up, as factors may tell the
            same. A factor that is all but one variable, X_i, explains nothing, I(Y_j; X_i) - I(Y_j; X) = 0,
            whatever its noise: the objective is flat there, and the size of its ``mi_`` arbitrary. With
            ``overlap`` the factors explain together: single ``tcs_`` may be negative though ``tc_`` is large.

    References:
        G. Ver Steeg, H. Harutyunyan, D. Moyer, A. Galstyan: Fast structure learning with modular
        regularization, NeurIPS 2019.

    Examples::

        >>> rng = np.random.default_rng(0)  # two hidden numbers, each behind three columns
        >>> X = rng.normal(size=(300, 2)).repeat(3, axis=1) + 0.5 * rng.normal(size=(300, 6))
        >>> model = hoi.corex.LinearCorEx(n_factors=2, random_state=0).fit(X)
        >>> model.labels_ == model.labels_[0], model.tcs_.round(1)
        (array([ True,  True,  True, False, False, False]), array([1.1, 1.1]))
    """

    weights_: Array
    correlations_: Array
    mean_: Array
    scale_: Array
    variances_: Array
    quantiles_: Array | None

    def __init__(
        self,
        n_factors: int = 10,
        *,
        overlap: bool = False,
        gaussianize: str = "standard",
        anneal: bool = True,
        eps_end: float = 0.03,
        max_iter: int = 10_000,
        tol: float = 1e-5,
        missing_values: float | None = np.nan,
        device: torch.device | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.overlap = overlap
        self.gaussianize = gaussianize
        self.anneal = anneal
        self.eps_end = eps_end
        self.max_iter = max_iter
        self.tol = tol
        self.missing_values = missing_values
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None) -> Self:
        """Find the factors.

        Args:
            X: (n, p): numpy array, DataFrame or torch tensor; at least 2 distinct rows.
            y: ignored.

        Raises:
            InputError: unusable data; NoVariationError if no variable varies.
            OptionError: unusable options.

        Warns:
            ConvergenceWarning: ``max_iter`` ran out.
            DataWarning: information without bounds, of copies of columns with too small an ``eps_end``;
                mean squares below 0.9 with gaussianize="none".
        """
        self._check_options()
        rows = self._rows(X, reset=True, min_rows=2)
        device = self._device(X)
        marginals = fit_marginals(rows, self.gaussianize, device)
        used = ~marginals.constant
        if not bool(used.any()):
            raise NoVariationError(
                f"expected variables that vary, but all {rows.shape[1]} columns are constant over "
                f"{rows.shape[0]} rows; pass data with distinct rows"
            )
        noise = self._random().standard_normal((self.n_factors, rows.shape[1]))
        with torch.inference_mode():
            pieces = (marginals.apply(piece)[:, used] for piece in chunks(rows, device))
            data = covariance(pieces, len(rows), int(used.sum()))
            begin = torch.from_numpy(noise).to(device)[:, used]
            stages = schedule(self.eps_end) if self.anneal else (self.eps_end,)
            with progress_bar(type(self).__name__, len(stages), "stage", self.verbose) as bar:
                solution = solve(
                    data,
                    begin,
                    stages,
                    overlap=self.overlap,
                    tol=self.tol,
                    max_iter=self.max_iter,
                    done=bar.update,
                )
        if not solution.converged:
            warnings.warn(
                f"{type(self).__name__} stopped after max_iter={self.max_iter} iterations of its last stage, "
                f"before the objective rose by less than tol={self.tol:g} nats; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        # with noise left in it is a factor of one column, of which it may know any amount
        boundless = float((solution.weights * solution.correlations).sum(1).max()) > _BOUNDLESS
        if self.eps_end < _BOUNDING and boundless:
            warnings.warn(
                "a factor's information about the data is all but infinite, as columns are copies or "
                f"combinations of others; raise eps_end={self.eps_end:g} to {_BOUNDING:g}, the default, or "
                "drop them",
                DataWarning,
                stacklevel=2,
            )
        squares = data.diagonal()
        if self.gaussianize == "none" and float(squares.min()) < _FULL:
            warnings.warn(
                f"gaussianize='none' takes columns for standardised, but {int((squares < _FULL).sum())} of "
                f"{len(squares)} that vary have a mean square below {_FULL} (the least "
                f"{float(squares.min()):.3g}); what is missing to 1 counts as noise and hides factors: "
                "standardise them or pass gaussianize='standard'",
                DataWarning,
                stacklevel=2,
            )
        self._learn(solution, marginals, squares, used)
        return self

    def transform(self, X: Any) -> Array:
        """Values of the factors, without their noise: standardised rows times U^T, (n, n_factors)."""
        self._check_fitted()
        rows = self._rows(X, reset=False)
        device = self._device(X)
        marginals, weights = self._marginals(device), torch.from_numpy(self.weights_.T).to(device)
        values = [(marginals.apply(piece) @ weights).cpu() for piece in chunks(rows, device)]
        return torch.cat(values).numpy()

    def inverse_transform(self, Y: Any) -> Array:
        """The most likely rows with these values of the factors, in the units of the data.

        E[x | y] = rho^T (U rho^T)^-1 y for Gaussian x: the least squares reconstruction. Transforming it
        gives y again (unless a factor is unused or a combination of others, or the standardisation is not
        linear).

        Args:
            Y: (n, n_factors) values as :meth:`transform` gives them.

        Raises:
            InputError: another shape, or numbers that are not finite.
        """
        self._check_fitted()
        expected = f"expected finite factor values of shape (n, {len(self.weights_)})"
        try:
            values = np.asarray(Y.detach().cpu() if isinstance(Y, Tensor) else Y, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{expected}: {error}; pass what transform returned") from error
        if values.ndim != 2 or values.shape[1] != len(self.weights_) or not np.isfinite(values).all():
            raise InputError(f"{expected}, got {values.shape}; pass what transform returned")
        moments = self.weights_ @ self.correlations_.T
        size = np.sqrt(np.maximum(np.diag(moments), np.finfo(np.float64).tiny))
        inverse = np.linalg.pinv(moments / np.outer(size, size), rcond=1e-10, hermitian=True)
        z = torch.from_numpy((values / size) @ inverse @ (self.correlations_ / size[:, None]))
        return self._marginals(torch.device("cpu")).invert(z).numpy()

    def get_covariance(self) -> Array:
        """Covariance (n_features, n_features) that the factors imply, in the units of the data.

        Variables are independent given the factors; the variances are those of the data (for
        gaussianize="none" the mean squares, a missing value as 0). With "outliers" or "empirical"
        correlations are those of the standardised variables.

        Raises:
            UnfittedError: before ``fit``.
        """
        self._check_fitted()
        there = self.variances_ > 0
        # from correlations of columns with noise to covariances without, of the same variances
        without = (1 - self.eps_end**2) * np.where(there, self.variances_, 1.0)
        ratio = np.sqrt(self._ridged() / without)
        correlations = self._implied().matrix() * np.outer(ratio, ratio)
        np.fill_diagonal(correlations, 1.0)
        spread = np.where(there, self.scale_, 0.0)
        if self.gaussianize == "none":
            spread = spread * np.sqrt(self.variances_)
        covariance: Array = correlations * np.outer(spread, spread)
        return covariance

    def score(self, X: Any, y: None = None) -> float:
        """How much more likely the factors make other rows, in nats for each row.

        The mean of log N(x; C) - log N(x; diag C) with the covariance C that the factors imply, of the
        standardised variables with the share ``eps_end`` of noise. On many rows of a distribution that the
        factors describe that is the total correlation they explain, ``tc_`` if the ``variances_`` are 1;
        negative where they explain chance. The expectation does not depend on the number of rows, so that
        numbers of factors can be compared on held-out rows, as GridSearchCV does.

        Raises:
            UnfittedError: before ``fit``.
            InputError: the data do not fit those of ``fit``.
        """
        self._check_fitted()
        rows = self._rows(X, reset=False)
        device = self._device(X)
        marginals = self._marginals(device)
        ridged = torch.from_numpy(self._ridged()).to(device)
        shrink = ((1 - self.eps_end**2) / ridged).sqrt()
        pieces = (marginals.apply(piece) * shrink for piece in chunks(rows, device))
        return self._implied().likelihood_gain(pieces, self.eps_end**2 / ridged)

    def _ridged(self) -> Array:
        """Mean squares of the standardised columns with noise, as if 1 for a constant; (n_features,)."""
        variances = np.where(self.variances_ > 0, self.variances_, 1.0)
        return (1 - self.eps_end**2) * variances + self.eps_end**2

    def _implied(self) -> ImpliedCorrelations:
        return ImpliedCorrelations.of(self.weights_, self.correlations_, self._ridged(), overlap=self.overlap)

    def _check_options(self) -> None:
        check_count("n_factors", self.n_factors)
        check_flag("overlap", self.overlap)
        check_choice("gaussianize", self.gaussianize, KINDS)
        check_flag("anneal", self.anneal)
        check_number("eps_end", self.eps_end, low=0.0, high=0.9)
        check_count("max_iter", self.max_iter)
        check_number("tol", self.tol, low=0.0)
        check_flag("verbose", self.verbose)

    def _device(self, X: Any) -> torch.device:
        """Where the work on these data is done."""
        wanted = self.device
        if wanted is None:
            wanted = X.device if isinstance(X, Tensor) else "cpu"
        try:
            device = torch.device(wanted)
            torch.zeros(1, dtype=torch.float64, device=device)
        except (RuntimeError, TypeError, AssertionError) as error:
            raise OptionError(
                f"expected device to be a torch device that can hold float64, got {wanted!r} "
                f"({str(error).splitlines()[0]}); pass device='cpu'"
            ) from error
        return device

    def _marginals(self, device: torch.device) -> Marginals:
        mean, scale = (torch.from_numpy(a).to(device) for a in (self.mean_, self.scale_))
        constant = torch.from_numpy(self.variances_ == 0).to(device)
        return Marginals(self.gaussianize, mean, scale, constant, self.quantiles_)

    def _learn(self, solution: Solution, marginals: Marginals, squares: Tensor, used: Tensor) -> None:
        """Set what is learned, factors by descending TC and with a sign."""
        columns = used.cpu().numpy()
        weights, rho = np.zeros((2, self.n_factors, len(columns)))
        weights[:, columns] = solution.weights.cpu().numpy()
        rho[:, columns] = solution.correlations.cpu().numpy()
        # rounding may take copies of columns beyond 1
        mi = -0.5 * np.log1p(-np.square(rho).clip(max=_LARGEST_U))
        factor_mi = -0.5 * np.log1p(-(weights * rho).sum(axis=1).clip(max=_LARGEST_U))
        tcs = mi.sum(axis=1) - factor_mi
        order = np.argsort(-tcs, kind="stable")
        signs = np.sign(np.take_along_axis(rho, np.abs(rho).argmax(axis=1)[:, None], axis=1))[order]
        self.weights_, self.correlations_ = signs * weights[order], signs * rho[order]
        self.mi_, self.factor_mi_, self.tcs_ = mi[order], factor_mi[order], tcs[order]
        self.tc_ = solution.tc
        self.labels_: NDArray[np.int64] = np.where(self.mi_.max(axis=0) > 0, self.mi_.argmax(axis=0), -1)
        self.n_iter_ = len(solution.history)
        self.tc_history_ = np.array(solution.history)
        self.mean_, self.scale_ = marginals.mean.cpu().numpy(), marginals.scale.cpu().numpy()
        self.variances_ = np.zeros(len(columns))
        self.variances_[columns] = squares.cpu().numpy()
        self.quantiles_ = marginals.knots

r"""SmoothHess: second-order effects of pairs of players in any network that has first derivatives.

Source: Torop, Masoomi, Hill, Kose, Ioannidis, Dy, "SmoothHess: ReLU Network Feature Interactions via Stein's
Lemma", NeurIPS 2023. The Hessian of the function smoothed by Gaussian noise, :math:`h(x) = E[f(x + \delta)]`
with :math:`\delta \sim N(0, \Sigma)`, is by Stein's lemma

.. math::
    \nabla^2 h(x) = E\left[\Sigma^{-1} \delta\, \nabla f(x + \delta)^T\right],

an average of outer products of noise and gradient; averaged with its transpose it is symmetric. The average
of the gradients themselves, SmoothGrad, comes along.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from hoi_captum.authoring import (
    GRADIENT,
    Answer,
    DerivativeMethod,
    InputGates,
    PassSize,
    Term,
    check_choice,
    check_count,
    check_flag,
    check_number,
    hookimpl,
    progress_bar,
)
from hoi_captum.errors import DataWarning, FidelityWarning, InputError, ModelOutputError, OptionError

HOI_CAPTUM_API_VERSION = 1

_KIND = "smoothed-hessian"
_BATCHES = 32  # of samples, from whose means the standard errors are taken
_ESTIMATE = ("matrix", "stderr")
_LEVEL = 0.05  # of the test whether any pair of a row is more than chance
_ROUNDING = 1e-9  # of the gradient's size; standard errors below it are none
# of the input's spacing, the distance of neighbouring numbers: a sigma below is said. Noise rounded to a grid
# of one spacing is still unbiased for smooth functions (of .04 on a grid of .125 a quarter is lost), but
# kinks may move by a half of it
_SPACINGS = 2.0
_PART = 0.1  # of the input's standard deviation: sigma, where nobody gives one


class SmoothHess(DerivativeMethod):
    r"""Pairs of players by the Hessian of the smoothed function (Torop et al., 2023).

    With :math:`D = x - x_0`, the smoothed gradient g and the smoothed Hessian H, both at x, the table of
    :meth:`interact` has each pair with :math:`D_i^T H_{ij} D_j`, and each player alone with

    - ``effects="step"``: :math:`g_i^T D_i + \frac12 D_i^T H_{ii} D_i`. The table is then what a further step
      D does, :math:`f(x + D) - f(x)`, to second order.
    - ``effects="presence"``: :math:`g_i^T D_i - \frac12 D_i^T H_{ii} D_i - \sum_{j \neq i} D_i^T H_{ij} D_j`.
      The table is then what it takes to come from the baseline, :math:`f(x) - f(x_0)`, to second order:
      a player is absent or present, and a pair's score is what is there only if both are.

    :meth:`attribute` shares each pair evenly between its two players. Nothing makes these scores add up to a
    difference of outputs: they are of the neighbourhood of x that sigma says. What they leave is in the
    details, as ``residual``, and in the convergence delta.

    The noise is on the floating point cells that belong to players; all others stay. For groups of cells
    noise and gradient are contracted with D, group by group, before they are multiplied: memory grows with
    the square of the number of players, not of cells. Only first derivatives are taken, so that ReLUs,
    max-pools and every attention kernel will do. All rows get the same noise.

    Besides its terms each table has the arrays ``matrix`` (n, n) :math:`D_i^T H_{ij} D_j`, ``gradient`` (n,)
    :math:`g_i^T D_i`, and standard errors: ``stderr`` (n, n) of ``matrix``, so of the pairs' scores,
    ``main_stderr`` (n,) of those of single players and ``gradient_stderr``; all in the unit of the output.

    Args:
        forward_func (Callable): the model, or any function of it, as in Captum.
        n_samples (int, optional): gradients, for each row. Even where ``antithetic``. Default: 1024
        sigma (float or tuple[float, ...], optional): the **standard deviation** of the noise (not its
            variance), in the unit of the inputs; a tuple has one for each input tensor. Default: None (a
            tenth of the standard deviation of the players' cells, of each row and input tensor)
        antithetic (bool, optional): take noise in pairs z, -z, which has the smaller error. Default: True
        effects (str, optional): ``"presence"`` or ``"step"``. Default: ``"presence"``
        seed (int, optional): of the noise. Default: 0

    A ``FidelityWarning`` tells where no pair of a row stands out of the noise, and where sigma is less than
    two of the steps in which the input's dtype can be moved (``details["spacing"]``, for each input tensor),
    so that rounding takes the noise away.

    Raises:
        OptionError: an option out of its range.

    Examples::

        >>> method = SmoothHess(lambda x: (x[:, 0] + x[:, 1]).relu(), sigma=0.5)
        >>> table = method.interact(torch.zeros(1, 2), -1.0)[0]
        >>> table.arrays["matrix"].round(1)  # 0.564: the normal density at 0, over sigma and sqrt(2)
        array([[0.6, 0.6],
               [0.6, 0.6]])
    """

    name = "smoothhess"
    kinds = (_KIND,)
    orders = (1, 2)
    complete = False
    summary = "pairs by the Hessian of the smoothed model, from gradients at noisy inputs; any ReLU network"
    wording: ClassVar[Mapping[str, Any]] = {
        "quantity": "second-order effect",
        "heading": "smoothed second-order effects: {}",
        "additive": False,
        "dense": True,
        "caution": "signs are those of second derivatives at the input",
    }

    def __init__(
        self,
        forward_func: Callable[..., Any],
        *,
        n_samples: int = 1024,
        sigma: float | tuple[float, ...] | None = None,
        antithetic: bool = True,
        effects: str = "presence",
        seed: int = 0,
    ) -> None:
        super().__init__(forward_func)
        self.antithetic = check_flag("antithetic", antithetic)
        self.n_samples = check_count("n_samples", n_samples, low=4 if antithetic else 2)
        if antithetic and self.n_samples % 2:
            raise OptionError(
                f"expected an even n_samples with antithetic=True, got {n_samples}; give {n_samples + 1}"
            )
        self.sigma = _check_sigma(sigma)
        self.effects = check_choice("effects", effects, ("presence", "step"))
        self.seed: int = check_count("seed", seed, low=0)

    def _passes(self, n_players: int) -> float:
        return float(GRADIENT * self.n_samples)

    def _explain(self, gates: InputGates, size: PassSize, show_progress: bool) -> list[Answer]:
        model = _Noisy(gates, self.sigma)
        model.warn_of_rounding()
        values = _outputs(gates, size)
        signs = (1.0, -1.0) if self.antithetic else (1.0,)
        draws = self.n_samples // len(signs)
        answers = []
        with progress_bar("SmoothHess", gates.n_examples * self.n_samples, "gradient", show_progress) as bar:
            for rows in torch.arange(gates.n_examples).split(max(1, size.rows // len(signs))):
                sums = _BatchMeans(draws, len(rows), gates.n_units, self._sign)
                # the same noise for all rows, drawn one by one, whatever the batch and the size of a pass
                generator = torch.Generator().manual_seed(self.seed)
                step = max(1, size.rows // (len(rows) * len(signs)))
                for start in range(0, draws, step):
                    count = min(step, draws - start)
                    noise = [model.draw(generator) for _ in range(count)]
                    sums.add(*model.sample(rows, noise, signs, size.rows))
                    bar.update(len(rows) * count * len(signs))
                answers += [
                    self._answer(sums, place, values[:, row].tolist(), model, row)
                    for place, row in enumerate(rows.tolist())
                ]
        _warn_of_noise(answers)
        return answers

    @property
    def _sign(self) -> float:
        """Of the step: D away from the baseline, or -D back to it."""
        return 1.0 if self.effects == "step" else -1.0

    def _answer(
        self, sums: _BatchMeans, place: int, values: Sequence[float], model: _Noisy, row: int
    ) -> Answer:
        means, errors = sums.means(place), sums.stderr(place)
        n = len(means.main)
        first, second = np.triu_indices(n, 1)
        scores = means.matrix[first, second].tolist()
        terms = [Term((i,), _KIND, None, score) for i, score in enumerate(means.main.tolist())]
        terms += [
            Term((i, j), _KIND, None, score)
            for i, j, score in zip(first.tolist(), second.tolist(), scores, strict=True)
        ]
        beyond, at, baseline = values
        difference = beyond - at if self.effects == "step" else at - baseline
        return Answer(
            terms,
            Answer.shared_evenly(terms, n),
            effect=at - baseline,
            base=baseline,
            forward_passes=self.n_samples + len(values),
            backward_passes=self.n_samples,
            details={
                "sigma": model.sigma[:, row].tolist(),
                "spacing": model.spacing[:, row].tolist(),
                "difference": difference,
                "second_order": means.total,
                "second_order_stderr": errors.total,
                "residual": difference - means.total,
            },
            arrays={
                "matrix": means.matrix,
                "stderr": errors.matrix,
                "gradient": means.gradient,
                "gradient_stderr": errors.gradient,
                "main_stderr": errors.main,
            },
        )


class _Noisy:
    """The model's gradients at noisy inputs, contracted with input - baseline.

    Args:
        gates: of the players; they have the inputs, the baselines and the players' cells.
        sigma: of the noise: a number, or one for each input tensor; None: by the inputs.

    Attributes:
        sigma: (input tensors, B) float64; 0 of tensors that have no noise.
        spacing: (input tensors, B) float64, the largest step of the dtype at a player's cell; 0 likewise.

    Raises:
        InputError: another number of sigmas than of tensors, or no sigma where an input does not vary.
    """

    def __init__(self, gates: InputGates, sigma: float | tuple[float, ...] | None) -> None:
        self._arguments, self._players = gates.arguments, gates.players
        inputs = self._arguments.inputs
        if isinstance(sigma, tuple) and len(sigma) != len(inputs):
            raise InputError(f"expected sigma for each of {len(inputs)} input tensors, got {len(sigma)}")
        self._owned = [mask >= 0 for mask in self._players.masks]
        noisy = [x.is_floating_point() and bool(o.any()) for x, o in zip(inputs, self._owned, strict=True)]
        self._noisy = [t for t, is_noisy in enumerate(noisy) if is_noisy]
        self._kinds = [(x.shape[1:], torch.promote_types(x.dtype, torch.float32)) for x in inputs]
        self.sigma = torch.zeros(len(inputs), len(inputs[0]), dtype=torch.float64)
        for t in self._noisy:
            given = sigma[t] if isinstance(sigma, tuple) else sigma
            self.sigma[t] = self._by_spread(t) if given is None else given
        self.spacing = torch.zeros_like(self.sigma)
        for t in self._noisy:
            self.spacing[t] = self._steps(t)

    def warn_of_rounding(self) -> None:
        """Say where noise is rounded away: x + noise is a number of x's dtype."""
        low = (self.sigma < _SPACINGS * self.spacing).nonzero()
        if len(low):
            t, row = low[0].tolist()
            sigma, spacing = float(self.sigma[t, row]), float(self.spacing[t, row])
            warnings.warn(
                f"row {row}: sigma={sigma:.3g} is {sigma / spacing:.2g} of the steps of {spacing:.3g} in "
                f"which {self._arguments.inputs[t].dtype} inputs of this size move, so that noise is rounded "
                f"away and scores are off; give sigma={_SPACINGS * spacing:.3g} or more, inputs (and a "
                "model) of a higher precision, or inputs nearer to 0",
                FidelityWarning,
                stacklevel=7,
            )

    def draw(self, generator: torch.Generator) -> list[Tensor]:
        """Standard normal noise for the cells of each noisy tensor."""
        kinds = [self._kinds[t] for t in self._noisy]
        # on the CPU, where it is the same on all machines with this torch
        return [torch.randn(shape, dtype=dtype, generator=generator) for shape, dtype in kinds]

    def sample(
        self, rows: Tensor, draws: Sequence[Sequence[Tensor]], signs: Sequence[float], most: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        r"""Noise and gradients by player, (rows, draws, n) float64 each.

        Args:
            rows: (B',) the examples.
            draws: noise, as :meth:`draw` gives it.
            signs: with which each draw is taken.
            most: model rows in one pass.

        Returns:
            :math:`D^T z / \sigma`, and :math:`D^T \nabla f` averaged over the signs, once with them and once
            without: the first is what the Hessian is made of, the second the gradient.
        """
        arguments = self._arguments
        copies = rows.repeat_interleave(len(draws)).repeat(len(signs))
        inputs = [x[copies.to(x.device)] for x in arguments.inputs]
        noises, differences = [], []
        for number, t in enumerate(self._noisy):
            x, mask, b = arguments.inputs[t], self._owned[t], arguments.baselines[t]
            owned = _of(mask, rows)
            z = torch.stack([draw[number] for draw in draws]).to(x.device)
            sigma = self.sigma[t, rows].to(x.device).view(-1, *[1] * x.dim())
            noise = (z * sigma.to(z.dtype) * owned.unsqueeze(1)).flatten(0, 1)  # (rows x draws, ...)
            moved = torch.cat([sign * noise for sign in signs])
            inputs[t] = (inputs[t] + moved).to(x.dtype)
            difference = ((x[rows.to(x.device)] - _of(b, rows)).double() * owned).unsqueeze(1)
            differences.append(difference)
            noises.append(z * difference / sigma)
        # a single row's two signs are two passes where one row is all that a pass may have
        parts = [self._pass(inputs, copies, part) for part in torch.arange(len(copies)).split(most)]
        gradients = [torch.cat(found) for found in zip(*parts, strict=True)]
        shape = (len(signs), len(rows), len(draws))
        slopes = torch.stack(
            [
                self._by_player(
                    rows,
                    [
                        d * g.view(*shape, *g.shape[1:])[s]
                        for d, g in zip(differences, gradients, strict=True)
                    ],
                )
                for s in range(len(signs))
            ]
        )
        weights = torch.tensor(signs, dtype=torch.float64, device=slopes.device).view(-1, 1, 1, 1)
        return self._by_player(rows, noises).cpu(), (weights * slopes).mean(0).cpu(), slopes.mean(0).cpu()

    def _pass(self, inputs: Sequence[Tensor], copies: Tensor, part: Tensor) -> tuple[Tensor, ...]:
        """One pass: the gradients by the noisy tensors, of some of the copies."""
        given = [x[part.to(x.device)] for x in inputs]
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [given[t].requires_grad_() for t in self._noisy]
            for t, leaf in zip(self._noisy, leaves, strict=True):
                given[t] = leaf.clone()  # a model may write into what it is given, but not into a leaf
            return _gradients(self._arguments.run(tuple(given), copies[part]), leaves)

    def _by_player(self, rows: Tensor, cells: Sequence[Tensor]) -> Tensor:
        """Cells of each noisy tensor, (rows, draws, ...) float64, summed over those of each player."""
        n, (m, draws) = self._players.count, cells[0].shape[:2]
        sums = cells[0].new_zeros(m, draws, n + 1)
        for t, values in zip(self._noisy, cells, strict=True):
            # cells that belong to nobody, -1, go into one more column
            ids = _of(self._players.masks[t], rows) % (n + 1)
            ids = ids.expand(m, *values.shape[2:]).reshape(m, 1, -1).expand(-1, draws, -1)
            sums.scatter_add_(2, ids, values.flatten(2))
        return sums[..., :n]

    def _steps(self, t: int) -> Tensor:
        """The largest distance of neighbouring numbers at the players' cells of each row, (B,)."""
        x, b = self._arguments.inputs[t], self._arguments.baselines[t]
        smallest = torch.finfo(x.dtype).tiny
        exponents = torch.frexp(x.double().abs().clamp(min=smallest)).exponent
        steps = torch.ldexp(torch.full_like(x, torch.finfo(x.dtype).eps, dtype=torch.float64), exponents - 1)
        # nothing is lost where input - baseline is 0
        return (steps * (self._owned[t] & (x != b))).flatten(1).amax(1).cpu()

    def _by_spread(self, t: int) -> Tensor:
        """A part of the standard deviation of the players' cells of each row, (B,)."""
        x = self._arguments.inputs[t].double()
        owned = self._owned[t].expand(x.shape)
        spread = torch.zeros(len(x), dtype=torch.float64)
        for row in range(len(x)):
            cells = x[row][owned[row]]
            if not len(cells):  # no player of this row is here, and noise does not matter
                spread[row] = 1.0
                continue
            spread[row] = cells.std(correction=0)
            if not spread[row] > 0:
                raise InputError(
                    f"expected an input that varies, from whose standard deviation sigma follows; all "
                    f"players' cells of row {row} are {float(cells[0]):g}: give sigma"
                )
        return _PART * spread


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What is estimated of one row: H and g contracted with D, and what follows from them."""

    matrix: NDArray[np.float64]
    gradient: NDArray[np.float64]
    main: NDArray[np.float64]
    total: float


class _BatchMeans:
    """Running means over all draws, and their standard errors from the means of batches of draws.

    Batch means hold for whatever is made of H and g together, such as the scores of single players.

    Args:
        draws: how many there will be.
        rows, n: of what comes.
        sign: of the step.
    """

    def __init__(self, draws: int, rows: int, n: int, sign: float) -> None:
        self._draws, self._n, self._sign = draws, n, sign
        self._batches = min(_BATCHES, draws)
        self._ends = [draws * (b + 1) // self._batches for b in range(self._batches)]
        self._done = self._closed = 0
        self._h = torch.zeros(rows, n, n, dtype=torch.float64)
        self._g = torch.zeros(rows, n, dtype=torch.float64)
        width = n * n + 2 * n + 1
        self._mean, self._middle, self._squares = torch.zeros(3, rows, width, dtype=torch.float64)

    def add(self, noise: Tensor, odd: Tensor, even: Tensor) -> None:
        """Take in what :meth:`_Noisy.sample` gives of the next draws."""
        start = 0
        while start < noise.shape[1]:
            stop = min(noise.shape[1], start + self._ends[self._closed] - self._done)
            part = slice(start, stop)
            self._h += noise[:, part].mT @ odd[:, part]
            self._g += even[:, part].sum(1)
            self._done += stop - start
            start = stop
            if self._done == self._ends[self._closed]:
                self._close()

    def _close(self) -> None:
        size = self._ends[self._closed] - (self._ends[self._closed - 1] if self._closed else 0)
        h, g = (self._h + self._h.mT) / (2 * size), self._g / size
        own, all_ = h.diagonal(dim1=1, dim2=2), h.sum(2)
        # of presence, a pair's effect is counted by the pair, not by its members
        main = g + own / 2 - (all_ if self._sign < 0 else 0.0)
        total = g.sum(1) + self._sign * h.sum((1, 2)) / 2
        found = torch.cat((h.flatten(1), g, main, total.unsqueeze(1)), 1)
        self._closed += 1
        self._mean += found * (size / self._draws)
        # Welford's update: squares of differences, so that nothing cancels out
        change = found - self._middle
        self._middle += change / self._closed
        self._squares += change * (found - self._middle)
        self._h.zero_()
        self._g.zero_()

    def means(self, row: int) -> _Statistics:
        return self._as_statistics(self._mean[row])

    def stderr(self, row: int) -> _Statistics:
        variance = self._squares[row] / (self._batches * (self._batches - 1))
        return self._as_statistics(variance.sqrt())

    def _as_statistics(self, values: Tensor) -> _Statistics:
        n = self._n
        matrix, gradient, main, total = values.split((n * n, n, n, 1))
        return _Statistics(matrix.view(n, n).numpy(), gradient.numpy(), main.numpy(), float(total))


def _check_sigma(sigma: object) -> float | tuple[float, ...] | None:
    if sigma is None:
        return None
    found = tuple(
        check_number("sigma", s, low=0.0) for s in (sigma if isinstance(sigma, tuple) else (sigma,))
    )
    if not found or min(found) == 0:
        raise OptionError(f"expected sigma > 0, a standard deviation, got {sigma!r}")
    return found if isinstance(sigma, tuple) else found[0]


@torch.no_grad()
def _outputs(gates: InputGates, size: PassSize) -> Tensor:
    """f at x + D, x and x0, (3, B) float64."""
    found = []
    for rows in torch.arange(gates.n_examples).split(size.rows):
        ones = torch.ones(len(rows), gates.n_units, dtype=gates.dtype, device=gates.device)
        found.append(torch.stack([gates.run(rows, scale=s * ones).double().cpu() for s in (2, 1, 0)]))
    return torch.cat(found, 1)


def _gradients(value: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """First derivatives, float64, shaped like the leaves.

    Raises:
        ModelOutputError: outputs or derivatives that are not finite.
    """
    if not value.requires_grad:
        warnings.warn(
            "nothing leads from the players' cells to the explained output, so that all scores are zero: the "
            "forward function may detach its input or run under no_grad, or the output may not use it",
            DataWarning,
            stacklevel=10,
        )
        return tuple(leaf.new_zeros(leaf.shape, dtype=torch.float64) for leaf in leaves)
    found = torch.autograd.grad(value.sum(), list(leaves), allow_unused=True, materialize_grads=True)
    if not all(bool(g.isfinite().all()) for g in (value, *found)):
        raise ModelOutputError(
            "expected finite outputs and gradients, got NaN or infinity at a noisy input; check that the "
            "model accepts inputs so far away, or give a smaller sigma"
        )
    return tuple(g.double() for g in found)


def _warn_of_noise(answers: Sequence[Answer]) -> None:
    """Say where no pair of a row is more than the noise would make of none (Bonferroni, over the pairs)."""
    for row, answer in enumerate(answers):
        matrix, stderr = (answer.arrays[name][np.triu_indices(len(answer.shares), 1)] for name in _ESTIMATE)
        size = float(np.abs(answer.arrays["gradient"]).sum())
        if not matrix.size or stderr.max() <= _ROUNDING * size:
            continue
        strongest = float(np.max(np.abs(matrix) / np.maximum(stderr, _ROUNDING * size)))
        if 2 * norm.sf(strongest) * len(matrix) > _LEVEL:
            warnings.warn(
                f"row {row}: no pair is told from chance, the strongest is {strongest:.1f} of its standard "
                f"errors; give more n_samples, or a larger sigma than {max(answer.details['sigma']):.3g}",
                FidelityWarning,
                stacklevel=6,
            )
            return  # the others will be alike


def _of(tensor: Tensor, rows: Tensor) -> Tensor:
    """The examples at ``rows`` of what has one for each of them, or one for all, or is a number."""
    return tensor if tensor.dim() == 0 or len(tensor) == 1 else tensor[rows.to(tensor.device)]


@hookimpl
def hoi_captum_register_methods(register: Callable[[str, type], None]) -> None:
    """Make the method known to hoi-captum."""
    register("smoothhess", SmoothHess)

r"""Integrated Hessians: what pairs of players add to a prediction, along the path from a baseline.

Source: Janizek, Sturmfels, Lee, "Explaining Explanations: Axiomatic Feature Interactions for Deep Networks",
JMLR 22(104), 2021. With :math:`D = x - x_0` their equations are, for :math:`i \neq j`,

.. math::
    \Gamma_{ij} = D_i D_j \int_0^1\!\!\int_0^1 ab\, H_{ij}(x_0 + abD)\, da\, db, \qquad
    \Gamma_{ii} = D_i \int_0^1\!\!\int_0^1 g_i(x_0 + abD)\, da\, db
                + D_i^2 \int_0^1\!\!\int_0^1 ab\, H_{ii}(x_0 + abD)\, da\, db .

Both depend on :math:`u = ab` alone, whose density on [0, 1] is :math:`-\ln u`. So they are single integrals,

.. math::
    \Gamma_{ij} = \int_0^1 (-u \ln u)\, D_i H_{ij}(x_0 + uD) D_j\, du
                + [i = j] \int_0^1 (-\ln u)\, D_i\, g_i(x_0 + uD)\, du ,

and one rule of a few nodes does the work of a grid of node pairs. For groups of cells D_i H_ij D_j is the
derivative by the two groups' gates, which sums over their cells.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.authoring import (
    GRADIENT,
    REVERSE,
    Answer,
    DerivativeMethod,
    InputGates,
    PassSize,
    SoftplusForReLU,
    Term,
    check_choice,
    check_count,
    check_flag,
    check_number,
    gradient,
    hessian,
    hookimpl,
    progress_bar,
)
from hoi_captum.core.derivatives import piecewise_linear_steps
from hoi_captum.errors import CostWarning, DataWarning, FidelityWarning, InputError

HOI_CAPTUM_API_VERSION = 1

_KIND = "integrated-hessian"
_RULES = ("gauss-log", "power")
_GAP = 1e-2  # relative completeness gap above which scores should not be read without a word
_CHANGE = 0.25  # of the effect, by softplus, above which another model is explained
_MANY = 64  # players, above which the cost is said


class IntegratedHessians(DerivativeMethod):
    r"""Pairs of players by Integrated Hessians (Janizek et al., 2021).

    Integrated gradients of each player's integrated gradient give a symmetric matrix :math:`\Gamma`. All of
    its entries add up to :math:`f(x) - f(x_0)`, and those of a row to the player's integrated gradient, which
    is what :meth:`attribute` gives. The table of :meth:`interact` holds each player with
    :math:`\Gamma_{ii}` and each pair, once, with :math:`\Gamma_{ij} + \Gamma_{ji}`.

    Integrals are sums over a few nodes (:func:`log_rule`), each of which costs one Hessian-vector product for
    each player. A network of ReLUs has no Hessian; by default it is explained with softplus in their place,
    without touching the model, and each answer tells how much that changes.

    Besides its terms each table has the arrays ``matrix`` (n, n) :math:`\Gamma`, ``pairs`` (n (n - 1) / 2,)
    the scores of the pairs in the order of ``numpy.triu_indices(n, 1)``, ``integrated_gradients`` (n,) and,
    where they are estimated, ``quadrature_error`` (n, n) and ``stderr`` (n, n) (over baselines), both of
    ``matrix``. All are in the unit of the output. Its details tell the ``completeness_gap``, the sum of all
    scores minus f(x) - f(x0), and the ``relative_gap``, its size as a part of \|f(x) - f(x0)\| (or of a
    hundredth of the sum of absolute entries, where that is more); a ``FidelityWarning`` is given above 1e-2.
    With softplus f is the model with softplus, and ``details["softplus"]`` how far that is from the model.

    Only ReLUs are replaced. What other kinks do (a leaky ReLU, ``clamp``, ``maximum``, an absolute value, a
    max-pool) the Hessian does not see, though scores may add up without it; where there are any
    ``details["piecewise_linear"]`` is true, and a ``FidelityWarning`` says so. Kinks made by hand
    (``torch.where``, a product with ``x > 0``) are not noticed.

    Args:
        forward_func (Callable): the model, or any function of it, as in Captum.
        n_nodes (int, optional): nodes of the quadrature. Default: 16
        quadrature (str, optional): ``"gauss-log"`` is the Gauss rule of the weight :math:`-\ln u`, with
            nodes all over the path; ``"power"`` takes Gauss-Legendre nodes in t, where :math:`u = t^4`, and
            is mostly less exact with as many. Default: ``"gauss-log"``
        error_estimate (bool, optional): compare with half as many nodes, which costs half as much again.
            Default: True
        replace_relu (str, optional): ``"softplus"`` or ``"none"``. Default: ``"softplus"``
        beta (float, optional): sharpness of the softplus :math:`\ln(1 + e^{\beta x}) / \beta`, per unit of
            what enters it; sharper ones are nearer to the model and need more nodes. Default: 10
        n_baselines (int, optional): expected Hessians. ``baselines`` are then not those of the rows but a
            distribution, as in Captum's ``GradientShap``: (N, ...) for each input tensor. All of them, or
            ``n_baselines`` drawn without replacement, are averaged over, the same ones for each row.
            Default: None (Captum's usual baselines)
        seed (int, optional): of that draw. Default: 0

    Raises:
        OptionError: an option out of its range.

    Examples::

        >>> method = IntegratedHessians(lambda x: x[:, 0] * x[:, 1])
        >>> table = method.interact(torch.tensor([[2.0, 3.0]]))[0]
        >>> [(term.members, round(term.score, 3)) for term in table]
        [((0,), 1.5), ((1,), 1.5), ((0, 1), 3.0)]
    """

    name = "integrated-hessians"
    kinds = (_KIND,)
    orders = (1, 2)
    summary = "pairs by integrated gradients of integrated gradients; all scores add up to f(x) - f(x0)"
    wording: ClassVar[Mapping[str, Any]] = {
        "quantity": "integrated Hessian",
        "signs": ("raises the value", "lowers the value"),
        "heading": "integrated Hessians: {}",
        "dense": True,
    }

    def __init__(
        self,
        forward_func: Callable[..., Any],
        *,
        n_nodes: int = 16,
        quadrature: str = "gauss-log",
        error_estimate: bool = True,
        replace_relu: str = "softplus",
        beta: float = 10.0,
        n_baselines: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(forward_func)
        self.error_estimate = check_flag("error_estimate", error_estimate)
        self.n_nodes = check_count("n_nodes", n_nodes, low=2 if error_estimate else 1)
        self.quadrature = check_choice("quadrature", quadrature, _RULES)
        self.replace_relu = check_choice("replace_relu", replace_relu, ("softplus", "none"))
        self.beta = check_number("beta", beta, low=1e-3)
        self.n_baselines = None if n_baselines is None else check_count("n_baselines", n_baselines)
        self.seed = check_count("seed", seed, low=0)

    # ---------------------------------------------------------------- cost
    @property
    def _nodes(self) -> int:
        return self.n_nodes + (self.n_nodes // 2 if self.error_estimate else 0)

    def _passes(self, n_players: int) -> float:
        return float((self.n_baselines or 1) * self._nodes * (2 * GRADIENT + REVERSE * n_players))

    def _check(self, n_players: int) -> None:
        if n_players > _MANY:
            draws = f" for each of {self.n_baselines} baselines" if self.n_baselines else ""
            warnings.warn(
                f"{n_players} players take {self._nodes * (n_players + 2):,} reverse passes for each row"
                f"{draws}; group cells into fewer players (feature_mask, players=... of explain)",
                CostWarning,
                stacklevel=6,
            )

    # ---------------------------------------------------------------- one baseline
    def _explain(self, gates: InputGates, size: PassSize, show_progress: bool) -> list[Answer]:
        real = _ends(gates, size) if self.replace_relu == "softplus" else None
        with self._without_relu():
            kinks = _has_kinks(gates)
            ends = _ends(gates, size)
            fine, coarse = self._matrices(gates, size, show_progress)
        answers = []
        for row in range(gates.n_examples):
            details: dict[str, Any] = {"nodes": self.n_nodes}
            arrays: dict[str, NDArray[Any]] = {}
            if coarse is not None:
                arrays["quadrature_error"] = np.abs(fine[row] - coarse[row])
            if kinks:
                details["piecewise_linear"] = True
            # what ReLUs there are is not known, but where nothing changed there is nothing to tell
            if real is not None and not np.array_equal(real[:, row], ends[:, row]):
                details["softplus"] = _change(self.beta, real[:, row], ends[:, row])
            answers.append(
                _answer(
                    fine[row],
                    ends[:, row],
                    details,
                    arrays,
                    drawn=False,
                    # all rows take the same passes
                    forward_passes=gates.forward_passes // gates.n_examples,
                    backward_passes=gates.backward_passes // gates.n_examples,
                )
            )
        return answers

    def _without_relu(self) -> AbstractContextManager[Any]:
        return SoftplusForReLU(self.beta) if self.replace_relu == "softplus" else nullcontext()

    def _matrices(
        self, gates: InputGates, size: PassSize, show_progress: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """The matrix of each row, (B, n, n), by all nodes and by half as many (None without an estimate)."""
        counts = [self.n_nodes, *([self.n_nodes // 2] if self.error_estimate else [])]
        rules = [log_rule(count, self.quadrature) for count in counts]
        u = torch.cat([rule[0] for rule in rules])
        weights = torch.cat([rule[1] for rule in rules])
        which = torch.repeat_interleave(torch.arange(len(rules)), torch.tensor(counts))
        n, examples = gates.n_units, gates.n_examples
        found = torch.zeros(examples * len(rules), n, n, dtype=torch.float64)
        points = torch.cartesian_prod(torch.arange(examples), torch.arange(len(u)))
        with progress_bar("integrated Hessians", len(points), "point", show_progress) as bar:
            for part in points.split(size.rows):
                rows, nodes = part.unbind(1)
                at = u[nodes].unsqueeze(1).expand(-1, n)
                weight = weights[nodes].view(-1, 1, 1)
                values = weight * u[nodes].view(-1, 1, 1) * hessian(gates, at=at, rows=rows)
                values += weight * torch.diag_embed(gradient(gates, at=at, rows=rows))
                found.index_add_(0, rows * len(rules) + which[nodes], values)
                bar.update(len(part))
        # by symmetry of the Hessian only rounding is averaged
        found = (found + found.mT) / 2
        fine, *coarse = found.view(examples, len(rules), n, n).unbind(1)
        return fine.numpy(), coarse[0].numpy() if coarse else None

    # ---------------------------------------------------------------- several baselines
    def _explain_all(
        self, given: tuple[Any, ...], internal_batch_size: int | None, show_progress: bool
    ) -> tuple[Any, list[Answer], list[Any]]:
        if self.n_baselines is None:
            found = super()._explain_all(given, internal_batch_size, show_progress)
        else:
            found = self._expected(given, internal_batch_size, show_progress)
        self._warn(found[1])
        return found

    def _expected(
        self, given: tuple[Any, ...], internal_batch_size: int | None, show_progress: bool
    ) -> tuple[Any, list[Answer], list[Any]]:
        started = time.perf_counter()
        inputs, baselines, *others = given
        draws = self._draws(baselines)
        runs = [
            super(IntegratedHessians, self)._explain_all(
                (inputs, draw, *others), internal_batch_size, show_progress
            )
            for draw in draws
        ]
        call = runs[0][0]
        drawn = len(draws) < _count(baselines)
        answers = [_mean(row, drawn) for row in zip(*(run[1] for run in runs), strict=True)]
        seconds = time.perf_counter() - started
        tables = [self._table(call, answer, others[0], row, seconds) for row, answer in enumerate(answers)]
        return call, answers, tables

    def _draws(self, baselines: Any) -> list[tuple[Any, ...]]:
        """The baselines to average over, each as Captum takes one: (1, ...) for each input tensor.

        Raises:
            InputError: no distribution, or one of different sizes.
        """
        given = baselines if isinstance(baselines, tuple) else (baselines,)
        sizes = {len(b) for b in given if isinstance(b, Tensor) and b.dim() > 0}
        if len(sizes) != 1 or 0 in sizes:
            raise InputError(
                "expected baselines as a distribution, Tensors (N, ...) of one N >= 1, with n_baselines; "
                f"got {'none' if not sizes else f'N = {sorted(sizes)}'}; leave n_baselines out for one "
                "baseline for each row"
            )
        count = sizes.pop()
        chosen = torch.arange(count)
        if self.n_baselines is not None and count > self.n_baselines:
            generator = torch.Generator().manual_seed(self.seed or 0)
            chosen = torch.randperm(count, generator=generator)[: self.n_baselines]
        return [
            tuple(b[i : i + 1] if isinstance(b, Tensor) and b.dim() > 0 else b for b in given)
            for i in chosen.tolist()
        ]

    def _warn(self, answers: Sequence[Answer]) -> None:
        """Say where the scores do not add up, or add up to another model's output."""
        gaps = [float(a.details["relative_gap"]) for a in answers]
        worst = int(np.argmax(gaps))
        if any(a.details.get("piecewise_linear") for a in answers):
            # nodes do not help: what lies at a kink is on none of them
            warnings.warn(self._of_kinks(worst, answers[worst]), FidelityWarning, stacklevel=5)
        elif gaps[worst] > _GAP:
            smoother = ", a smaller beta" if "softplus" in answers[worst].details else ""
            better = ", quadrature='gauss-log'" if self.quadrature == "power" else ""
            warnings.warn(
                f"row {worst}: the scores add up to {answers[worst].shares.sum():.4g}, and f(x) - f(x0) is "
                f"{answers[worst].effect:.4g} ({gaps[worst]:.1%} off): {self.n_nodes} nodes are too few for "
                f"what f does on the path; give n_nodes={2 * self.n_nodes}{better}{smoother}, or a baseline "
                "nearer to the input",
                FidelityWarning,
                stacklevel=5,
            )
        changes = [float(a.details.get("softplus", {}).get("relative_change", 0.0)) for a in answers]
        worst = int(np.argmax(changes))
        if changes[worst] > _CHANGE:
            soft = answers[worst].details["softplus"]
            warnings.warn(
                f"row {worst}: with softplus for ReLU f(x) - f(x0) is {answers[worst].effect:.4g}, and "
                f"{answers[worst].effect - soft['effect_change']:.4g} with ReLU: the scores explain another "
                f"model; give a sharper one, beta={4 * self.beta:g}, with more nodes",
                FidelityWarning,
                stacklevel=5,
            )

    def _of_kinks(self, row: int, answer: Answer) -> str:
        soft = self.replace_relu == "softplus"
        what = "steps other than ReLU that are linear" if soft else "steps that are linear (ReLUs or others)"
        gap = float(answer.details["relative_gap"])
        misses = f"; row {row} misses {gap:.1%} of f(x) - f(x0)" if gap > _GAP else ""
        way = "" if soft else "give replace_relu='softplus', "
        return (
            f"the model has {what} on both sides of a kink, such as a leaky ReLU, clamp, maximum, abs or a "
            f"max-pool, and the Hessian does not see what they do: interactions by them are left out, even "
            f"where the scores add up{misses}, and more nodes do not help; {way}write them as relu or smooth "
            "functions, or take a method without second derivatives (smoothhess, archipelago)"
        )


def log_rule(n_nodes: int, quadrature: str = "gauss-log") -> tuple[Tensor, Tensor]:
    r"""Nodes and weights of a rule for integrals :math:`\int_0^1 -\ln(u)\, h(u)\, du`.

    ``power`` is Gauss-Legendre in t, where :math:`u = t^4`: the integrand :math:`-16\, t^3 \ln(t)\, h(t^4)`
    is smooth where h is, but for the third derivative of :math:`t^3 \ln t` at 0. Half of the nodes have
    u < 1/16.
    ``gauss-log`` is exact where h is a polynomial of a degree below 2 n_nodes.

    Args:
        n_nodes: how many.
        quadrature: which rule. Default: ``gauss-log``

    Returns:
        u in (0, 1) and the weights, (n_nodes,) float64 each.
    """
    if quadrature == "power":
        return _power_rule(n_nodes)
    u, w = (x.numpy() for x in _power_rule(16 * n_nodes + 64))  # exact enough to stand for the integral
    # the orthonormal polynomials of the weight, by their three-term recurrence (Stieltjes); the nodes are the
    # eigenvalues of its matrix (Golub and Welsch)
    diagonal, below = np.zeros(n_nodes), np.zeros(n_nodes)
    last, now = np.zeros_like(u), np.ones_like(u) / w.sum() ** 0.5
    for k in range(n_nodes):
        diagonal[k] = (w * u * now**2).sum()
        step = (u - diagonal[k]) * now - below[k - 1] * last
        below[k] = (w * step**2).sum() ** 0.5
        last, now = now, step / below[k]
    between = below[:-1]
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(between, 1) + np.diag(between, -1))
    return torch.from_numpy(nodes), torch.from_numpy(vectors[0] ** 2 * w.sum())


def _power_rule(n_nodes: int) -> tuple[Tensor, Tensor]:
    t, w = np.polynomial.legendre.leggauss(n_nodes)
    t = (t + 1) / 2
    return torch.from_numpy(t**4), torch.from_numpy(w / 2 * 4 * t**3 * (-4 * np.log(t)))


@torch.no_grad()
def _ends(gates: InputGates, size: PassSize) -> NDArray[np.float64]:
    """f with all players present and with none, (2, B)."""
    found = []
    for rows in torch.arange(gates.n_examples).split(size.rows):
        ones = torch.ones(len(rows), gates.n_units, dtype=gates.dtype, device=gates.device)
        values = [gates.run(rows, scale=scale) for scale in (ones, torch.zeros_like(ones))]
        found.append(torch.stack([v.double().cpu() for v in values]))
    return torch.cat(found, 1).numpy()


def _has_kinks(gates: InputGates) -> bool:
    """Whether there is a step on the way whose second derivative is zero wherever it exists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the derivatives themselves will tell
        passes = gates.forward_passes
        found = piecewise_linear_steps(gates)
    gates.forward_passes = passes + gates.n_examples  # each row would have taken it alone
    return found


def _change(beta: float, real: NDArray[np.float64], soft: NDArray[np.float64]) -> dict[str, float]:
    """How far the model with softplus is from the model, (2,) outputs each."""
    effect = float(real[0] - real[1])
    change = float(soft[0] - soft[1]) - effect
    return {
        "beta": beta,
        "output_change": float(soft[0] - real[0]),
        "base_change": float(soft[1] - real[1]),
        "effect_change": change,
        "relative_change": _ratio(abs(change), abs(effect)),
    }


def _answer(
    matrix: NDArray[np.float64],
    ends: NDArray[np.float64],
    details: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
    drawn: bool,
    **passes: int,
) -> Answer:
    n = len(matrix)
    first, second = np.triu_indices(n, 1)
    pairs = matrix[first, second] + matrix[second, first]
    terms = [Term((i,), _KIND, None, float(matrix[i, i])) for i in range(n)]
    terms += [
        Term((i, j), _KIND, None, score)
        for i, j, score in zip(first.tolist(), second.tolist(), pairs.tolist(), strict=True)
    ]
    shares, effect = matrix.sum(1), float(ends[0] - ends[1])
    gap = float(matrix.sum()) - effect
    more: dict[str, Any] = {"completeness_gap": gap, "relative_gap": _relative(gap, effect, matrix)}
    if "quadrature_error" in arrays:
        more["quadrature_error"] = float(arrays["quadrature_error"].max())
    return Answer(
        terms,
        torch.from_numpy(shares),
        effect=effect,
        base=float(ends[1]),
        details={**details, **more},
        drawn=drawn,
        arrays={"matrix": matrix, "pairs": pairs, "integrated_gradients": shares, **arrays},
        **passes,
    )


def _relative(gap: float, effect: float, matrix: NDArray[np.float64]) -> float:
    """The gap as a part of the effect; where that is next to nothing, of what cancelled out."""
    return _ratio(abs(gap), max(abs(effect), 1e-2 * float(np.abs(matrix).sum())))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float(part > 0)


def _count(baselines: Any) -> int:
    """The size of a distribution of baselines, one that is known to have one size."""
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    return max(len(b) for b in given if isinstance(b, Tensor) and b.dim() > 0)


def _mean(answers: Sequence[Answer], drawn: bool) -> Answer:
    """The expected answer of a row, from those for each baseline (which were drawn, or are all there are)."""
    matrices = np.stack([a.arrays["matrix"] for a in answers])
    count = len(answers)
    arrays = {}
    if "quadrature_error" in answers[0].arrays:
        # a bound: errors of single baselines may cancel out
        arrays["quadrature_error"] = np.mean([a.arrays["quadrature_error"] for a in answers], axis=0)
    if count > 1:
        arrays["stderr"] = matrices.std(axis=0, ddof=1) / count**0.5
    details: dict[str, Any] = {"nodes": answers[0].details["nodes"], "baselines": count}
    if answers[0].details.get("piecewise_linear"):
        details["piecewise_linear"] = True
    # f(x), f(x0) of the model as it was explained
    ends = np.mean([[a.base + a.effect, a.base] for a in answers], axis=0)
    soft = [a.details["softplus"] for a in answers if "softplus" in a.details]
    if soft:
        changes = [
            np.mean([s[k] for s in soft]) * len(soft) / count for k in ("output_change", "base_change")
        ]
        details["softplus"] = _change(soft[0]["beta"], ends - changes, ends)
    return _answer(
        matrices.mean(axis=0),
        ends,
        details,
        arrays,
        drawn=drawn,
        forward_passes=sum(a.forward_passes for a in answers),
        backward_passes=sum(a.backward_passes for a in answers),
    )


@hookimpl
def hoi_captum_register_methods(register: Callable[[str, type], None]) -> None:
    """Make the method known to hoi-captum."""
    register("integrated-hessians", IntegratedHessians)

r"""Exact cross derivatives by gates, of any order, by repeated reverse passes.

All derivatives are those of the sum over the batch: rows of a batch do not see each other, so one pass gives
them for every example. Where nothing depends on a gate, or the model is linear in it, they are zero.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hoi_captum.core.differentiable import any_piecewise, check_norms, check_twice, differentiable
from hoi_captum.core.gates import Gates
from hoi_captum.core.options import check_choice
from hoi_captum.errors import DataWarning, ModelOutputError

Variable = Literal["scale", "shift", "channels"]
Strategy = Literal["auto", "loop", "batched"]
STRATEGIES = ("auto", "loop", "batched")

_TOGETHER = 16  # cotangents in one batched pass: memory grows with them
_TRIED = 4  # of them in the pass that is timed


def gradient(
    gates: Gates, *, wrt: Variable = "scale", at: float | Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    r"""First derivatives by the gates, (m, k) float64.

    Args:
        gates: the gated model.
        wrt: by ``scale``, ``shift`` or ``channels`` (m, C). Default: scale
        at: values of the scale, a number or (m, k). Default: 1
        rows: (m,) examples. Default: all of them

    Returns:
        *Tensor*, (m, k) float64, in the unit of the output; (m, C) by ``channels``.

    Raises:
        ModelOutputError: a value or derivative that is not finite.

    Examples::

        >>> from hoi_captum.authoring import InputGates, gradient
        >>> from hoi_captum.core.arguments import Arguments
        >>> from hoi_captum.core.coalitions import Players
        >>> given = Arguments(lambda x: x[:, 0] ** 2 + x[:, 1], torch.tensor([[2.0, 3.0]]), None, None, None)
        >>> gates = InputGates(given, Players.from_feature_mask(given.inputs, None))
        >>> gradient(gates)  # 2 x 2 x 2, and 3
        tensor([[8., 3.]], dtype=torch.float64)
    """
    with differentiable():
        variables = _leaves(gates, (wrt,), at, rows)
        value = _value(gates, variables, rows)
        gates.backward_passes += len(value)
        return _finite(_derivative(value.sum(), variables[wrt], last=True))


def hessian(
    gates: Gates,
    *,
    wrt: tuple[Variable, Variable] = ("scale", "scale"),
    at: float | Tensor | None = None,
    rows: Tensor | None = None,
    strategy: Strategy = "auto",
    on_row: Callable[[int], object] | None = None,
) -> Tensor:
    r"""Second derivatives by the gates, :math:`\partial^2 f / \partial u_i \partial w_j`: (B, k, k') float64.

    One reverse pass through the gradient's graph for each i: exact up to rounding, which a symmetric
    Hessian's asymmetry shows.

    Args:
        gates: the gated model.
        wrt: u and w, each ``scale``, ``shift`` or ``channels``. With ("scale", "scale") entry i, j is the
            second-order Taylor term :math:`(h_i - b_i)^T H_{ij} (h_j - b_j)`. Default: both ``scale``
        at: values of the scale, a number or (B, k). Default: 1
        rows: (B,) examples. Default: all of them
        strategy: ``loop`` takes one i at a time, ``batched`` many in a vectorised pass (cheaper for
            transformers, dearer for convolutions), ``auto`` times both on the first few and goes on with
            the cheaper. Default: auto
        on_row: told how many i are done. Default: None

    Returns:
        *Tensor*, (B, k, k') float64, in the unit of the output.

    Raises:
        InputError: the model cannot be differentiated twice; says what to do.

    Examples::

        >>> from hoi_captum.authoring import InputGates, hessian
        >>> from hoi_captum.core.arguments import Arguments
        >>> from hoi_captum.core.coalitions import Players
        >>> given = Arguments(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]), None, None, None)
        >>> gates = InputGates(given, Players.from_feature_mask(given.inputs, None))
        >>> hessian(gates)
        tensor([[[0., 6.],
                 [6., 0.]]], dtype=torch.float64)
    """
    with differentiable():
        variables = _leaves(gates, wrt, at, rows)
        value = _value(gates, variables, rows)
        check_twice(value, variables[wrt[0]])
        first = _derivative(value.sum(), variables[wrt[0]], create_graph=True)
        units = torch.arange(first.shape[1]).expand(len(first), -1)
        reverse = _Reverse(strategy, gates, on_row)
        gates.backward_passes += len(value) * (1 + units.shape[1])
        return _finite(reverse.each(first, variables[wrt[1]], units).transpose(0, 1))


def grow(
    gates: Gates,
    sets: Tensor,
    *,
    wrt: Variable = "scale",
    at: float | Tensor | None = None,
    rows: Tensor | None = None,
    strategy: Strategy = "auto",
    on_set: Callable[[int], object] | None = None,
) -> Tensor:
    r"""Derivatives of one order more than the sets have members: (B, s, k) float64.

    Entry b, t, l is :math:`\partial^{o+1} f_b / \partial u_{t_1} \dots \partial u_{t_o} \partial u_l`; where
    l is a member of the set it is the derivative with l repeated.

    Args:
        gates: the gated model.
        sets: (s, o) units of each set, o >= 1, or (B, s, o) where the examples have sets of their own.
        wrt, at, rows, strategy: as in :func:`hessian`.
        on_set: told how many sets are done.
    """
    sets = sets if sets.dim() == 3 else sets.unsqueeze(0)
    examples = gates.n_examples if rows is None else len(rows)
    sets = sets.expand(examples, -1, -1)
    out = torch.zeros(examples, sets.shape[1], gates.n_units, dtype=torch.float64)
    with differentiable(order=sets.shape[2] + 1):
        variables = _leaves(gates, (wrt,), at, rows)
        value = _value(gates, variables, rows)
        check_twice(value, variables[wrt])
        if sets.shape[2] > 1:
            check_norms(value, variables[wrt])
        first = _derivative(value.sum(), variables[wrt], create_graph=True)
        reverse = _Reverse(strategy, gates, on_set)
        for index, heads in _by_prefix(sets):
            level = first
            for depth in range(heads.shape[1]):
                chosen = level.gather(1, heads[:, depth : depth + 1].to(level.device))
                level = _derivative(chosen.sum(), variables[wrt], create_graph=True)
            gates.backward_passes += len(value) * (heads.shape[1] + len(index))
            found = reverse.each(level, variables[wrt], sets[:, index, -1])
            out[:, index] = _finite(found.transpose(0, 1))
    return out


def piecewise_linear_steps(gates: Gates) -> bool:
    """Whether a ReLU, a max-pool or their like lies between the gates and the output.

    Second derivatives do not see what such steps do: they are zero on each side, and undefined between.
    """
    with differentiable():
        rows = torch.arange(1)  # all have the same steps
        variables = _leaves(gates, ("scale",), None, rows)
        value = _value(gates, variables, rows)
    return any_piecewise(value, variables["scale"])


class _Reverse:
    """Reverse passes through one graph with many cotangents, one by one or many at once.

    With the strategy ``auto`` the first few passes are timed, and the cheaper way goes on, also in later
    calls for the same gates.
    """

    def __init__(self, strategy: Strategy, gates: Gates, on_done: Callable[[int], object] | None) -> None:
        check_choice("strategy", strategy, STRATEGIES)
        self._gates = gates
        # None: not decided yet
        self._batched = {"loop": False, "batched": True}.get(strategy, gates.vectorised)
        self._on_done, self._done = on_done, 0

    def each(self, outputs: Tensor, variable: Tensor, units: Tensor) -> Tensor:
        """Derivatives of ``outputs[b, units[b, i]]`` by the variable, for each i: (n, B, k).

        Args:
            outputs: (B, k0).
            variable: (B, k).
            units: (B, n).
        """
        count = units.shape[1]
        found = variable.new_zeros(count, *variable.shape)
        if not outputs.requires_grad:
            self._done += count
            self._tell()
            return found
        index = units.T.unsqueeze(-1).to(outputs.device)
        cotangents = outputs.new_zeros(count, *outputs.shape).scatter_(2, index, 1.0)
        start = self._try(outputs, variable, cotangents, found) if self._batched is None else 0
        while start < count:
            size = _TOGETHER if self._batched else 1
            self._pass(outputs, variable, cotangents, found, slice(start, start + size))
            start += size
        return found

    def _try(self, outputs: Tensor, variable: Tensor, cotangents: Tensor, found: Tensor) -> int:
        """Decide how to go on, if there is enough to do; returns how many are done."""
        if len(cotangents) < _TRIED + 2:
            return 0
        try:
            # first, since the first pass of a graph is slower than those that follow: a tie goes to the loop,
            # which can cost three times less, but seldom more than twice as much
            together = self._timed(outputs, variable, cotangents, found, slice(0, _TRIED))
            single = self._timed(outputs, variable, cotangents, found, slice(_TRIED, _TRIED + 1))
        except RuntimeError:  # not every operation can be vectorised
            self._batched = self._gates.vectorised = False
            return 0
        self._batched = self._gates.vectorised = together < _TRIED * single
        return _TRIED + 1

    def _timed(
        self, outputs: Tensor, variable: Tensor, cotangents: Tensor, found: Tensor, part: slice
    ) -> float:
        started = time.perf_counter()
        self._pass(outputs, variable, cotangents, found, part)
        return time.perf_counter() - started

    def _pass(
        self, outputs: Tensor, variable: Tensor, cotangents: Tensor, found: Tensor, part: slice
    ) -> None:
        given = cotangents[part]
        if len(given) == 1:
            found[part] = _derivative(outputs, variable, given[0])
        else:
            found[part] = _derivative(outputs, variable, given, batched=True)
        self._done += len(given)
        self._tell()

    def _tell(self) -> None:
        if self._on_done is not None:
            self._on_done(self._done)


def _leaves(
    gates: Gates, names: Sequence[Variable], at: float | Tensor | None, rows: Tensor | None = None
) -> dict[Variable, Tensor]:
    """The variables, at their values, ready to be differentiated by."""
    count = gates.n_examples if rows is None else len(rows)
    options: Any = {"dtype": gates.dtype, "device": gates.device}
    found: dict[Variable, Tensor] = {}
    if "scale" in names or at is not None:
        scale = torch.ones(count, gates.n_units, **options)
        if at is not None:
            scale = scale * torch.as_tensor(at, dtype=torch.float64).to(scale)
        found["scale"] = scale
    if "shift" in names:
        found["shift"] = torch.zeros(count, gates.n_units, **options)
    if "channels" in names:
        found["channels"] = torch.zeros(count, gates.n_channels, **options)
    return {name: value.requires_grad_(name in names) for name, value in found.items()}


def _value(gates: Gates, variables: dict[Variable, Tensor], rows: Tensor | None = None) -> Tensor:
    """The explained numbers, (m,)."""
    rows = torch.arange(gates.n_examples) if rows is None else rows
    value = gates.run(rows, **variables)
    if not value.requires_grad:
        warnings.warn(
            "nothing leads from the gated units to the explained output, so that all derivatives are zero: "
            "the forward function may detach its input or run under no_grad, or the output may not use it",
            DataWarning,
            stacklevel=5,
        )
    return value


def _derivative(
    outputs: Tensor,
    variable: Tensor,
    cotangent: Tensor | None = None,
    *,
    create_graph: bool = False,
    batched: bool = False,
    last: bool = False,
) -> Tensor:
    """One reverse pass (the ``last`` of its graph?); zero where nothing leads from variable to outputs."""
    if not outputs.requires_grad:
        shape = variable.shape if cotangent is None or not batched else (len(cotangent), *variable.shape)
        return variable.new_zeros(shape)
    (found,) = torch.autograd.grad(
        outputs,
        variable,
        cotangent,
        retain_graph=not last,
        create_graph=create_graph,
        allow_unused=True,
        is_grads_batched=batched,
        materialize_grads=True,
    )
    return found


def _by_prefix(sets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Groups of sets that differ in their last member only: their places, and (B, o - 1) what they share."""
    heads = sets[:, :, :-1]
    flat = heads.movedim(1, 0).reshape(sets.shape[1], -1)
    if not flat.shape[1]:
        yield torch.arange(sets.shape[1]), heads[:, 0]
        return
    _, group = flat.unique(dim=0, return_inverse=True)
    for number in range(int(group.max()) + 1 if len(group) else 0):
        index = (group == number).nonzero()[:, 0]
        yield index, heads[:, index[0]]


def _finite(derivatives: Tensor) -> Tensor:
    """Derivatives as they are given out: float64 on the CPU, and finite.

    Raises:
        ModelOutputError: a derivative that does not exist.
    """
    if not bool(derivatives.isfinite().all()):
        raise ModelOutputError(
            "expected finite derivatives, got NaN or infinity: the model has a point without derivative here "
            "(a square root or a norm of 0, say); shift the inputs a little, or use mode='occlusion'"
        )
    return derivatives.detach().double().cpu()

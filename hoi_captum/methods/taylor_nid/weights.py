"""Neural Interaction Detection: interactions read off the weights of a plain MLP, for comparison."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError, OptionError, TargetError

KIND = "nid"
_Scores = dict[tuple[int, ...], float]


def neural_interaction_detection(
    model: nn.Module | Sequence[Tensor], order: int = 2, *, every_pair: bool = True, target: int | None = None
) -> Interactions:
    r"""Neural Interaction Detection (Tsang, Cheng, Liu, ICLR 2018): sets that meet in a first hidden unit.

    With W the weights of the first layer and :math:`z = |W_L| \cdots |W_2|` what the later ones make of each
    hidden unit, a pair scores :math:`\sum_h z_h \min(|W_{hi}|, |W_{hj}|)`. For larger sets the inputs of each
    unit are ranked by :math:`|W_{h\cdot}|`, and every beginning of that ranking gets :math:`z_h` times its
    smallest weight. Only weights are read, no input: it holds for models of nothing but linear layers and
    activations, whatever these are.

    Args:
        model: a module whose linear layers follow each other, or their weights, (out, in) each, first to
            last.
        order: the most players of a set. Default: 2
        every_pair: score all pairs by their own formula; False ranks pairs by beginnings too, so that sets of
            all orders compare. Default: True
        target: row of the last layer's outputs. Default: None (the only one)

    Returns:
        Interactions: kind ``nid``; players are the inputs, called 0, 1, ...; sets that no unit's ranking
        begins with are left out.

    Raises:
        InputError: fewer than two layers, weights that do not follow each other, or modules that hold others.
        TargetError: no such output, or several and no target.
        OptionError: an order below 2 or above the number of inputs.

    Examples::

        >>> from hoi_captum.methods.taylor_nid.weights import neural_interaction_detection
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> len(neural_interaction_detection(net))
        6
    """
    started = time.perf_counter()
    check_count("order", order, low=2)
    weights = _absolute_weights(model)
    first, inputs = weights[0], weights[0].shape[1]
    if order > inputs:
        raise OptionError(f"expected order to be at most the number of inputs, {inputs}, got {order}")
    influence = _output_row(weights[-1], target)
    for later in reversed(weights[1:-1]):
        influence = influence @ later
    scores = _beginnings(first, influence, order)
    if every_pair:
        scores = {s: value for s, value in scores.items() if len(s) > 2} | _pairs(first, influence)
    ordered = sorted(scores.items(), key=lambda item: (len(item[0]), item[0]))
    return Interactions.from_terms(
        [str(i) for i in range(inputs)],
        [Term(members, KIND, None, value) for members, value in ordered],
        provenance=Provenance(
            method=KIND,
            options={"order": order, "every_pair": every_pair},
            target=str(target),
            model=(describe_model(model) if isinstance(model, nn.Module) else "weights",),
            seconds=time.perf_counter() - started,
        ),
    )


def _pairs(first: NDArray[np.float64], influence: NDArray[np.float64]) -> _Scores:
    """Every pair: what it can do in each unit is limited by the weaker of its weights."""
    scores: _Scores = {}
    for i in range(first.shape[1]):
        together = influence @ np.minimum(first[:, i : i + 1], first[:, i + 1 :])
        scores |= {(i, i + 1 + j): float(value) for j, value in enumerate(together)}
    return scores


def _beginnings(first: NDArray[np.float64], influence: NDArray[np.float64], order: int) -> _Scores:
    """Sets of 2 to ``order`` inputs that some unit ranks highest."""
    scores: _Scores = {}
    for weights, strength in zip(first, influence, strict=True):
        ranking = np.argsort(-weights, kind="stable")
        for size in range(2, order + 1):
            members = tuple(sorted(ranking[:size].tolist()))
            scores[members] = scores.get(members, 0.0) + float(strength * weights[ranking[size - 1]])
    return scores


def _absolute_weights(model: nn.Module | Sequence[Tensor]) -> list[NDArray[np.float64]]:
    """|W| of the layers, first to last."""
    given = _linear_weights(model) if isinstance(model, nn.Module) else list(model)
    if not all(isinstance(w, Tensor) and w.dim() == 2 for w in given):
        raise InputError("expected a module, or the weights of its linear layers as (out, in) Tensors")
    if len(given) < 2:
        raise InputError(f"expected two linear layers or more, got {len(given)}: inputs meet in hidden units")
    for before, after in pairwise(given):
        if after.shape[1] != before.shape[0]:
            raise InputError(
                f"expected linear layers that follow each other: one gives {before.shape[0]} numbers and the "
                f"next takes {after.shape[1]}"
            )
    return [w.detach().double().abs().cpu().numpy() for w in given]


def _linear_weights(model: nn.Module) -> list[Tensor]:
    weights = []
    for module in model.modules():
        if isinstance(module, nn.Linear):
            weights.append(module.weight)
        elif any(p.dim() > 1 for p in module.parameters(recurse=False)):
            raise InputError(
                "expected a plain MLP, whose only weights are those of nn.Linear, got "
                f"{type(module).__name__}; TaylorNID explains any model"
            )
    return weights


def _output_row(last: NDArray[np.float64], target: int | None) -> NDArray[np.float64]:
    outputs = len(last)
    if target is None and outputs != 1:
        raise TargetError(f"expected a target, one of {outputs} outputs, got None")
    if target is not None and target not in range(outputs):
        raise TargetError(f"expected target to be one of {outputs} outputs, got {target!r}")
    return np.asarray(last[target or 0])

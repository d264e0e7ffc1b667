"""Which gates a call gets: what is gated, and what its units are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hoi_captum.adapters.outputs import OUTPUTS
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention import probe_attention
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import as_tensors
from hoi_captum.core.gates import Gates, InputGates, LayerGates, cells_of_a_grid
from hoi_captum.errors import InputError, ModelOutputError, OptionError

GATES = ("auto", "input", "layer", "attention", "value")


def check_gate(gate: str, layer: nn.Module | None) -> None:
    """Refuse a gate that does not go with the layer.

    Raises:
        OptionError: a layer's gate without a layer, or another one's with it.
    """
    if gate == "layer" and layer is None:
        raise OptionError(
            "expected a layer with gate='layer', got none; give layer=model.get_submodule(name)"
        )
    if gate not in ("auto", "layer") and layer is not None:
        raise OptionError(
            f"expected gate='layer' (or 'auto') with a layer, got {gate!r}; leave the layer out"
        )


def input_gates(
    gate: str,
    variant: str,
    forward_func: Callable[..., Any],
    given: tuple[Any, ...],
    at_layer: tuple[Any, Any, bool],
) -> tuple[str, Gates]:
    """Gates on the inputs or on the attention, and their name.

    ``auto`` takes the attention of models whose positions see none that follow, and of those that take token
    ids: the norm of a LLaMA undoes a scaled embedding, and ids have no scale. Else it takes the inputs, and
    always for the cam variants, whose formulas need channels.

    Args:
        gate, variant: options of the method.
        forward_func: gives what is explained.
        given: Captum's arguments.
        at_layer: arguments that only a layer takes: baselines, mask, whether its input is meant.

    Raises:
        InputError, PlayerError: inputs that have no such gates, or arguments of a layer.
    """
    inputs, baselines, target, additional, mask = given
    if at_layer[0] is not None or at_layer[1] is not None:
        raise InputError("layer_mask and layer_baselines need a layer: TaylorCAM(forward_func, layer)")
    arguments = Arguments(forward_func, _plain(inputs), baselines, target, additional)
    if mask is None:
        mask = cells_of_a_grid(arguments.inputs)
    players = Players.from_feature_mask(arguments.inputs, mask)
    attention = None
    if gate == "auto":
        x = arguments.inputs[0]
        is_ids = not x.is_floating_point()
        if variant == "taylor" and len(arguments.inputs) == 1 and (x.dim() == 3 or is_ids):
            attention = probe_attention(arguments)
        gate = "attention" if attention is not None and (attention.causal or is_ids) else "input"
    if gate == "input":
        return gate, InputGates(arguments, players)
    return gate, AttentionGates(arguments, players, values=gate == "value", attention=attention)


def layer_gates(
    layer: nn.Module,
    device_ids: Sequence[int] | None,
    forward_func: Callable[..., Any],
    given: tuple[Any, ...],
    at_layer: tuple[Any, Any, bool],
) -> LayerGates:
    """Gates on a layer; arguments as of :func:`input_gates`, the inputs' baselines are not used.

    Raises:
        InputError, PlayerError: a layer that has no such gates.
    """
    inputs, baselines, target, additional, mask = given
    layer_baselines, layer_mask, at_input = at_layer
    return LayerGates(
        Arguments(forward_func, _plain(inputs), baselines, target, additional),
        layer,
        layer_mask,
        layer_baselines,
        input_mask=mask,
        at_input=at_input,
        device_ids=device_ids,
    )


def _plain(inputs: Any) -> tuple[Tensor, ...]:
    """What the caller made, without a graph of theirs, and no inference tensors, which autograd refuses."""
    return tuple(x.detach().clone() if x.is_inference() else x.detach() for x in as_tensors(inputs))


def explained_output(forward_func: Callable[..., Any], output: str) -> Callable[..., Any]:
    """The forward function with an output function behind it; ``logit`` leaves it as it is."""
    if output == "logit":
        return forward_func
    transform = OUTPUTS[output]

    def transformed(*arguments: Any) -> Tensor:
        scores = forward_func(*arguments)
        if not isinstance(scores, Tensor) or scores.dim() != 2:
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ModelOutputError(
                f"expected scores (rows, classes) for output={output!r}, got {came}; use output='logit'"
            )
        return transform(scores)

    return transformed


def grid_of(gates: Gates) -> tuple[int, int] | None:
    """Rows and columns of units that are patches or cells of one map; None of others."""
    mask = gates.players.masks[0]
    if len(gates.players.masks) > 1 or mask.dim() != 4:
        return None
    columns = len(mask[0, 0, 0].unique())
    return gates.n_units // columns, columns

"""Which gates a call gets: what is gated, and what its units are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention import probe_attention
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import as_tensors
from hoi_captum.core.gates import Gates, InputGates, LayerGates, cells_of_a_grid
from hoi_captum.errors import InputError, OptionError

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
    forward_func: Callable[..., Any],
    given: tuple[Any, ...],
    at_layer: tuple[Any, Any, bool],
    *,
    channels: bool = False,
) -> tuple[str, Gates]:
    """Gates on the inputs or on the attention, and their name, as of :func:`gates_of`.

    Args:
        gate, channels: as of :func:`gates_of`.
        forward_func: gives what is explained.
        given: Captum's arguments.
        at_layer: arguments that only a layer takes: baselines, mask, whether its input is meant.

    Raises:
        InputError, PlayerError: inputs that have no such gates, or arguments of a layer.
    """
    inputs, baselines, target, additional, mask = given
    if at_layer[0] is not None or at_layer[1] is not None:
        raise InputError("layer_mask and layer_baselines need a layer: give one to the constructor")
    arguments = Arguments(forward_func, plain(inputs), baselines, target, additional)
    if mask is None:
        mask = cells_of_a_grid(arguments.inputs)
    players = Players.from_feature_mask(arguments.inputs, mask)
    return gates_of(gate, arguments, players, channels=channels)


def gates_of(
    gate: str, arguments: Arguments, players: Players, *, channels: bool = False, partial: bool = False
) -> tuple[str, Gates]:
    """Gates of the players on the inputs or on the attention, and their name.

    ``auto`` takes the attention of models whose positions see none that follow, and of those that take token
    ids: the norm of a LLaMA undoes a scaled embedding, and ids have no scale. Else it takes the inputs, and
    always where channels are needed, which attention does not have.

    Args:
        gate: option of the method.
        arguments: the forward function and its inputs.
        players: of the inputs.
        channels: whether units have to have channels.
        partial: whether examples may lack some of the units.

    Raises:
        InputError, PlayerError: inputs that have no such gates.
    """
    attention = None
    if gate == "auto":
        x = arguments.inputs[0]
        is_ids = not x.is_floating_point()
        if not channels and len(arguments.inputs) == 1 and (x.dim() == 3 or is_ids):
            attention = probe_attention(arguments)
        gate = "attention" if attention is not None and (attention.causal or is_ids) else "input"
    if gate == "input":
        return gate, InputGates(arguments, players, partial=partial)
    values = gate == "value"
    return gate, AttentionGates(arguments, players, values=values, attention=attention, partial=partial)


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
        Arguments(forward_func, plain(inputs), baselines, target, additional),
        layer,
        layer_mask,
        layer_baselines,
        input_mask=mask,
        at_input=at_input,
        device_ids=device_ids,
    )


def plain(inputs: Any) -> tuple[Tensor, ...]:
    """What the caller made, without a graph of theirs, and no inference tensors, which autograd refuses."""
    return tuple(x.detach().clone() if x.is_inference() else x.detach() for x in as_tensors(inputs))


def gates_for(
    gate: str,
    layer: nn.Module | None,
    device_ids: Sequence[int] | None,
    forward_func: Callable[..., Any],
    given: tuple[Any, ...],
    at_layer: tuple[Any, Any, bool],
    *,
    channels: bool = False,
) -> tuple[str, Gates]:
    """Gates on the layer where there is one, else as of :func:`input_gates`; and their name."""
    if layer is None:
        return input_gates(gate, forward_func, given, at_layer, channels=channels)
    return "layer", layer_gates(layer, device_ids, forward_func, given, at_layer)


def unit_names(k: int, grid: tuple[int, int] | None) -> list[str]:
    """Names of k units: their row and column in a grid, else their numbers."""
    if grid is None:
        return [str(i) for i in range(k)]
    return [f"r{i // grid[1] + 1}c{i % grid[1] + 1}" for i in range(k)]


def grid_of(gates: Gates) -> tuple[int, int] | None:
    """Rows and columns of units that are patches or cells of one map; None of others."""
    mask = gates.players.masks[0]
    if len(gates.players.masks) > 1 or mask.dim() != 4:
        return None
    columns = len(mask[0, 0, 0].unique())
    return gates.n_units // columns, columns

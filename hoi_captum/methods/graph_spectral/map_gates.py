r"""Gates on the units of a map, spliced into the model: :math:`h' = h + V(\alpha u) - V(u)`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import Gates, copies_of
from hoi_captum.core.layer_method import LayerRows
from hoi_captum.core.layers import tapped
from hoi_captum.core.pooling import Pooling
from hoi_captum.methods.graph_spectral.units import Units


class MapGates(Gates):
    """A model's explained number by gates on units: at 1 it is the model itself, at 0 a unit is silent (of a
    layout: at its mean).

    Args:
        given: what the layer gave for the inputs.
        layer: any module.
        units: how they are read and written.
        pooling: of the layer.
        players: unit -> player, (k,) ids; several units of one player move together.
        at_input: what enters the layer is meant.
    """

    def __init__(
        self,
        given: LayerRows,
        layer: nn.Module,
        units: Units,
        pooling: Pooling,
        players: Tensor,
        *,
        at_input: bool = False,
    ) -> None:
        samples = pooling.samples(given.tensors, given.arguments.additional)
        maps = samples.mean(units.encode(samples.values))
        super().__init__(
            given.arguments,
            Players.from_feature_mask((maps,), players.unsqueeze(0)),
            (maps,),
            (torch.zeros((), dtype=maps.dtype),),
        )
        self._layer, self._units, self._pooling = layer, units, pooling
        self._at_input, self._call = at_input, given.calls
        self.forward_passes = len(given)

    def _run(
        self, rows: Tensor, scale: Tensor | None, shift: Tensor | None, channels: Tensor | None
    ) -> Tensor:
        def splice(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            additional = self.arguments.additional_of(rows)
            samples = self._pooling.samples(tensors, additional)
            u = self._units.encode(samples.values)
            moved = u
            if scale is not None:
                moved = moved * self.players.on_cells(scale, 0, rows, background=1).to(u).unsqueeze(1)
            if shift is not None:
                moved = moved + self.players.on_cells(shift, 0, rows).to(u).unsqueeze(1)
            change = self._units.decode(moved) - self._units.decode(u)
            return self._pooling.add(tensors, change, additional)

        inputs = copies_of(self.arguments.inputs, rows)
        with tapped(self._layer, splice, at_input=self._at_input, call=self._call):
            return self.arguments.run(inputs, rows)

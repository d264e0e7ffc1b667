"""From a layer's neurons to the units of a map, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Units(ABC):
    """How units are read off a layer, and what they say about it.

    Attributes:
        mean, scale: (n,) of the neurons over the data, by which they are standardised; the scale of a
            constant neuron is 1.
    """

    mean: Tensor
    scale: Tensor

    @property
    @abstractmethod
    def count(self) -> int:
        """k."""

    def encode(self, neurons: Tensor) -> Tensor:
        """Activations of units: (..., n) -> (..., k)."""
        return self._encode((neurons - self.mean.to(neurons)) / self.scale.to(neurons))

    def decode(self, units: Tensor) -> Tensor:
        """What units say the neurons are: (..., k) -> (..., n); affine."""
        return self._decode(units) * self.scale.to(units) + self.mean.to(units)

    @abstractmethod
    def _encode(self, standardised: Tensor) -> Tensor: ...

    @abstractmethod
    def _decode(self, units: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class ProbeUnits(Units):
    """A probe: standardised z -> Linear -> ReLU u -> Linear -> z.

    Attributes:
        encoder, decoder: (k, n) and (n, k).
        bias, back: (k,) and (n,).
    """

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    back: Tensor

    @property
    def count(self) -> int:
        return len(self.encoder)

    def _encode(self, standardised: Tensor) -> Tensor:
        return (standardised @ self.encoder.to(standardised).T + self.bias.to(standardised)).relu()

    def _decode(self, units: Tensor) -> Tensor:
        return units @ self.decoder.to(units).T + self.back.to(units)


@dataclass(frozen=True, eq=False)
class LayoutUnits(Units):
    """The layer's own neurons, standardised, each at its node.

    Attributes:
        order: (n,) the neuron at each node.
    """

    order: Tensor

    @property
    def count(self) -> int:
        return len(self.order)

    def _encode(self, standardised: Tensor) -> Tensor:
        return standardised[..., self.order.to(standardised.device)]

    def _decode(self, units: Tensor) -> Tensor:
        return units[..., torch.argsort(self.order).to(units.device)]

"""Units that are factors of a layer: what its pooled neurons mostly vary by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.batches import Batch
from hoi_captum.core.gates import copies_of
from hoi_captum.core.gating import plain
from hoi_captum.core.layers import read_layer, tapped
from hoi_captum.core.pooling import Pooling
from hoi_captum.core.state import single_thread
from hoi_captum.corex import LinearCorEx
from hoi_captum.errors import InputError
from hoi_captum.methods.second_glance.spaces import Measured, UnitSpace, gradients_by

_MEAN = Pooling("mean")
_SAME = 1e-6  # of the largest activation; what varies less is rounding


class LayerFactors(UnitSpace):
    r"""Factors of a layer's neurons: :math:`z = W (\bar h - \mu)`, with the neurons averaged over positions.

    The derivative by factor u is that along column u of the pseudo-inverse of W, added to the layer at every
    position that z is the mean of: it moves z_u by 1 and no other.

    Args:
        layer, device_ids: where the neurons are.
        weights: W, (k, neurons).
        mean: :math:`\mu`, (neurons,).
        at_input: what enters the layer is meant.
    """

    kind = "factors"

    def __init__(
        self,
        layer: nn.Module,
        device_ids: Sequence[int] | None,
        weights: Tensor,
        mean: Tensor,
        at_input: bool,
    ) -> None:
        self.layer, self.device_ids, self.at_input = layer, device_ids, at_input
        self.weights, self.mean = weights, mean
        self.directions = torch.linalg.pinv(weights)  # (neurons, k)

    @classmethod
    def learn(
        cls,
        batches: Sequence[Batch],
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: Sequence[int] | None,
        *,
        factors: str,
        n_factors: int,
        at_input: bool,
        seed: int,
    ) -> LayerFactors:
        """The factors of some rows.

        Args:
            batches: the rows.
            forward_func, layer, device_ids, at_input: where the neurons are.
            factors: ``pca``, or ``corex``: those of a LinearCorEx.
            n_factors: k, at most the number of neurons.
            seed: of the CorEx.

        Raises:
            InputError: a layer that does not run, or neurons that do not vary.
        """
        read = (_Neurons.read(forward_func, layer, device_ids, at_input, batch) for batch in batches)
        neurons = torch.cat([r.neurons for r in read]).double().cpu()
        mean = neurons.mean(0)
        k = min(n_factors, neurons.shape[1], len(neurons) - 1)
        if float((neurons - mean).abs().max()) <= _SAME * float(neurons.abs().max()) or k < 2:
            raise InputError(
                f"expected two neurons of {type(layer).__name__} or more that vary, got {neurons.shape[1]} "
                f"over {len(neurons)} rows; give more rows, or another layer"
            )
        if factors == "corex":
            with single_thread():
                fitted = LinearCorEx(k, random_state=seed).fit(neurons.numpy())
            weights = torch.from_numpy(np.asarray(fitted.weights_ / fitted.scale_, dtype=np.float64))
        else:
            _, sizes, vectors = torch.linalg.svd(neurons - mean, full_matrices=False)
            k = min(k, int((sizes > _SAME * sizes[0]).sum()))  # no factor of rounding
            vectors = vectors[:k]
            strongest = vectors.abs().argmax(1, keepdim=True)
            weights = vectors * vectors.gather(1, strongest).sign()  # the neuron that says most rises with it
        return cls(layer, device_ids, weights, mean, at_input)

    def measure(self, forward_func: Callable[..., Any], batch: Batch, target: Any) -> Measured:
        read = _Neurons.read(forward_func, self.layer, self.device_ids, self.at_input, batch, target)
        if read.neurons.shape[1] != len(self.mean):
            raise InputError(
                f"expected the {len(self.mean)} neurons that fit() saw, got {read.neurons.shape[1]}; fit "
                "again on this layer"
            )
        shift = torch.zeros_like(read.neurons).requires_grad_()
        rows = torch.arange(read.arguments.n_examples)

        def moved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return _MEAN.add(tensors, shift.unsqueeze(1), read.arguments.additional)

        def run() -> Tensor:
            inputs = copies_of(read.arguments.inputs, rows)
            with tapped(self.layer, moved, at_input=self.at_input, call=read.calls):
                return read.arguments.run(inputs, rows)

        gradients = gradients_by(read.arguments, (shift,), run)
        z = (read.neurons.double().cpu() - self.mean) @ self.weights.T
        # the layer is read in one pass, and moved in another
        passes = 2 * len(rows), len(rows)
        return Measured(z, gradients @ self.directions, lambda values: self._spread(values, read), *passes)

    def _spread(self, values: Tensor, read: _Neurons) -> tuple[Tensor, ...]:
        """Values of factors on the layer's cells: shared among the neurons by the size of their weights."""
        shares = self.weights.abs() / self.weights.abs().sum(1, keepdim=True)
        return _MEAN.spread((values.to(shares) @ shares).to(read.neurons), read.shapes)

    @property
    def count(self) -> int:
        return len(self.weights)

    def check_call(self, feature_mask: Any, at_input: bool) -> None:
        if at_input and not self.at_input:
            raise InputError(
                "expected attribute_to_layer_input as it was in fit(), False, got True; fit again with it"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(f"factor {i}" for i in range(self.count))

    def pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return {"weights": self.weights.numpy(), "mean": self.mean.numpy()}, {"at_input": self.at_input}

    @classmethod
    def unpack(
        cls,
        arrays: dict[str, NDArray[Any]],
        described: dict[str, Any],
        layer: nn.Module,
        device_ids: Sequence[int] | None,
    ) -> LayerFactors:
        """The inverse of :meth:`pack`, for the layer."""
        weights, mean = torch.from_numpy(arrays["weights"]), torch.from_numpy(arrays["mean"])
        return cls(layer, device_ids, weights, mean, described["at_input"])


@dataclass(frozen=True, eq=False)
class _Neurons:
    """A layer's neurons for some rows, averaged over positions."""

    arguments: Arguments
    neurons: Tensor
    shapes: tuple[torch.Size, ...]
    calls: int

    @classmethod
    def read(
        cls,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: Sequence[int] | None,
        at_input: bool,
        batch: Batch,
        target: Any = None,
    ) -> _Neurons:
        """One forward pass."""
        arguments = Arguments(forward_func, plain(batch.inputs), None, target, batch.additional)
        rows = torch.arange(arguments.n_examples)
        reading = read_layer(
            lambda *x: arguments.output(x, rows),
            layer,
            copies_of(arguments.inputs, rows),
            at_input=at_input,
            device_ids=device_ids,
        )
        neurons = _MEAN.reduce(reading.tensors, arguments.additional)
        if len(neurons) != len(rows):
            raise InputError(
                f"expected one row of the layer for each of {len(rows)} inputs, got {len(neurons)}: "
                f"{type(layer).__name__} does not keep the rows apart"
            )
        return cls(arguments, neurons, tuple(t.shape for t in reading.tensors), reading.calls)

"""Reading a fitted map: units of rows, the model without what they leave out, the way to the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from captum.attr import InputXGradient
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.arguments import as_additional
from hoi_captum.core.example import as_tensors
from hoi_captum.core.gates import copies_of
from hoi_captum.core.gating import plain, unit_names
from hoi_captum.core.layer_method import LayerRows, scoring
from hoi_captum.core.layers import tapped
from hoi_captum.core.state import preserved_state, warn_of_training_mode
from hoi_captum.errors import InputError, ModelOutputError, OptionError
from hoi_captum.methods.graph_spectral.learning import LayerMap
from hoi_captum.methods.graph_spectral.results import AccuracyKept


class MapReader(LayerMap):
    """A map that can be read; arguments as of ``GraphSpectral``."""

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Row and column of each unit on a map, else its number."""
        if self.graph_.shape is None:
            return tuple(f"unit {i}" for i in range(self.units_.count))
        return tuple(unit_names(self.units_.count, self.graph_.shape))

    def accuracy_kept(
        self,
        data: Any,
        labels: Any = None,
        *,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> AccuracyKept:
        """Run the model with the layer replaced by what the map says of it.

        Args:
            data, labels, additional_forward_args, internal_batch_size, show_progress: as in
                :meth:`class_maps`. Without labels the model's own predictions are the truth.

        Raises:
            NotFittedError: before :meth:`fit`.
            ModelOutputError: an output that is no (rows, classes), nor has such ``logits``.
            InputError: labels that are no columns of the output.
        """
        right, kept, same, count = 0, 0, 0, 0
        forward = scoring(self.forward_func)
        for rows in self._rows_of(
            forward, data, labels, additional_forward_args, internal_batch_size, show_progress
        ):
            before, classes = _predicted(rows.output)
            after, _ = _predicted(self._rerun(rows))
            truth = before if rows.labels is None else rows.labels
            if not 0 <= int(truth.min()) <= int(truth.max()) < classes:
                raise InputError(
                    f"expected labels that are columns of the output, 0 to {classes - 1}, got "
                    f"{int(truth.min())} to {int(truth.max())}"
                )
            right += int((before == truth).sum())
            kept += int((after == truth).sum())
            same += int((after == before).sum())
            count += len(rows)
        return AccuracyKept(right / count, kept / count, same / count, count)

    def pull_back(
        self,
        inputs: Any,
        units: int | Sequence[int],
        additional_forward_args: Any = None,
        *,
        attribution: Callable[..., Any] = InputXGradient,
        **options: Any,
    ) -> Any:
        """Which parts of the inputs make a unit, or a region of the map, active.

        Args:
            inputs, additional_forward_args: as in :meth:`attribute`; floating point numbers (embeddings).
            units: a unit's number, or those of a region, whose mean is explained
                (``np.flatnonzero(method.groups_ == 0)``).
            attribution: a class of Captum's, or like one, made with a forward function.
                Default: ``InputXGradient``
            options: of its ``attribute``: ``baselines``, ``feature_mask``, ``n_steps``, ...

        Returns:
            *Tensor* or *tuple[Tensor, ...]* shaped like the inputs.

        Raises:
            NotFittedError: before :meth:`fit`.
            InputError: no such unit, or inputs that do not fit.
            OptionError: an attribution that is no class.
        """
        chosen = self._chosen(units)
        if not callable(attribution):
            raise OptionError(
                "expected attribution to be a class such as captum.attr.IntegratedGradients, got "
                f"{attribution!r}"
            )
        if not all(x.is_floating_point() for x in as_tensors(inputs)):
            raise InputError(
                "expected floating point inputs to pull back to; of token ids give the embeddings"
            )
        warn_of_training_mode(self.forward_func)
        forward = self.unit_forward(len(as_tensors(inputs)))

        def mean(*args: Any) -> Tensor:
            return forward(*args)[:, chosen].mean(1)

        # whatever the caller's mode: tensors of inference mode have no gradients
        with preserved_state(self.forward_func), torch.inference_mode(False), torch.enable_grad():
            # copies of our own, since Captum asks gradients of what it is given
            own = tuple(x.detach().clone().requires_grad_() for x in as_tensors(inputs))
            return attribution(mean).attribute(
                own if isinstance(inputs, tuple) else own[0],
                additional_forward_args=additional_forward_args,
                **options,
            )

    def unit_forward(self, n_inputs: int = 1) -> Callable[..., Tensor]:
        """A forward function for Captum whose outputs are the units: (rows, k), differentiable.

        Args:
            n_inputs: how many of its arguments are inputs; those behind are additional. Default: 1
        """
        self._check_fitted()

        def units(*args: Any) -> Tensor:
            seen: list[tuple[Tensor, ...]] = []

            def keep(tensors: tuple[Tensor, ...]) -> None:
                seen.append(tuple(t.clone() for t in tensors))  # what follows may change them in place

            with tapped(self.layer, keep, at_input=self._at_input):
                self.forward_func(*args)
            if not seen:
                raise InputError(
                    f"the layer {type(self.layer).__name__} did not run in the forward pass; choose "
                    "one that the model runs"
                )
            samples = self.pooling.samples(seen[-1], as_additional(tuple(args[n_inputs:])))
            self._check_neurons(samples.values.shape[-1])
            return samples.mean(self.units_.encode(samples.values))

        return units

    def _explained(self, inputs: Any, target: Any, additional: Any) -> LayerRows:
        self._check_fitted()
        warn_of_training_mode(self.forward_func)
        with preserved_state(self.forward_func):
            # what is read may be differentiated by: no tensors of inference mode
            with torch.inference_mode(False), torch.no_grad():
                given = plain(inputs)
                rows = self._read(self.forward_func, given, target, additional, at_input=self._at_input)
            if target is not None:
                rows.arguments.select(rows.output, torch.arange(len(rows)))
        self._check_neurons(rows.neurons.shape[1])
        return rows

    def _check_neurons(self, count: int) -> None:
        if count != self.n_neurons_:
            raise InputError(
                f"expected the {self.n_neurons_} neurons that fit() saw of {self.layer_name_}, got {count}: "
                "give the model, the layer and the kind of inputs that it was fitted on, or fit it anew"
            )

    def _maps(self, rows: LayerRows) -> NDArray[np.float64]:
        """(rows, k) mean activations of the units."""
        samples = self.pooling.samples(rows.tensors, rows.arguments.additional)
        maps: NDArray[np.float64] = samples.mean(self.units_.encode(samples.values)).double().cpu().numpy()
        return maps

    def _rows_of(
        self,
        forward: Callable[..., Any],
        data: Any,
        labels: Any,
        additional: Any,
        size: int | None,
        show: bool,
    ) -> Any:
        self._check_fitted()
        warn_of_training_mode(self.forward_func)
        with preserved_state(self.forward_func):
            for rows in self._stream(
                forward,
                data,
                labels=labels,
                additional_forward_args=additional,
                batch_size=size,
                at_input=self._at_input,
                show_progress=show,
                label="maps",
            ):
                self._check_neurons(rows.neurons.shape[1])
                yield rows

    def _rerun(self, rows: LayerRows) -> Any:
        """The output with the layer replaced by its reconstruction."""

        def replace(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            samples = self.pooling.samples(tensors, rows.arguments.additional)
            change = self.units_.decode(self.units_.encode(samples.values)) - samples.values
            return self.pooling.add(tensors, change, rows.arguments.additional)

        every = torch.arange(len(rows))
        with torch.no_grad(), tapped(self.layer, replace, at_input=self._at_input, call=rows.calls):
            return rows.arguments.output(copies_of(rows.arguments.inputs, every), every)

    def _chosen(self, units: int | Sequence[int]) -> list[int]:
        self._check_fitted()
        given = np.atleast_1d(np.asarray(units))
        if given.dtype == bool and given.shape == (self.units_.count,):
            given = np.flatnonzero(given)  # a mask of the map
        chosen = [int(u) for u in given.tolist()] if given.dtype.kind in "iu" else []
        if not chosen or not all(0 <= u < self.units_.count for u in chosen):
            raise InputError(f"expected units in 0..{self.units_.count - 1}, got {units!r}")
        return chosen


def _predicted(output: Any) -> tuple[Tensor, int]:
    """Classes of rows, and how many there are; of HuggingFace's outputs too."""
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelOutputError(
            f"expected logits (rows, classes) of two classes or more, got {what}; use a forward function "
            "that returns them"
        )
    return output.argmax(1).cpu(), output.shape[1]

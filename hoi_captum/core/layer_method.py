"""The base class of methods that learn from what a layer gives."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from captum.attr import LayerAttribution
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.batches import Batch, batches, check_inputs
from hoi_captum.core.cost import Cost
from hoi_captum.core.example import as_tensors
from hoi_captum.core.gates import copies_of
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.layers import check_cells, check_layer, read_layer
from hoi_captum.core.options import check_choice
from hoi_captum.core.pooling import Pooling
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.state import module_behind
from hoi_captum.errors import DataWarning, InputError, ModelOutputError, NotFittedError, OptionError


def scoring(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    """The function that gives a model's logits: ``forward_func.scores`` where it has one (as the adapters'
    forward functions do, whose own output may be log-odds), else the forward function itself.
    """
    scores = getattr(forward_func, "scores", None)
    return scores if callable(scores) else forward_func


@dataclass(frozen=True, eq=False)
class LayerRows:
    """What a layer gave for some rows.

    Attributes:
        arguments: the forward function and its inputs.
        neurons: (rows, neurons), pooled, float32 or float64.
        tensors: what the layer gave.
        calls: how often the layer ran; its last run is read.
        output: what the forward function gave.
        labels: (rows,), where the data had them.

    Examples::

        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> rows = hoi.LayerLocalCorEx(net, net[1])._read(net, torch.ones(3, 4))  # as its fit does
        >>> rows.neurons.shape, rows.output.shape, rows.calls
        (torch.Size([3, 8]), torch.Size([3, 3]), 1)
    """

    arguments: Arguments
    neurons: Tensor
    tensors: tuple[Tensor, ...]
    calls: int
    output: Any
    labels: Tensor | None = None

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of the layer's tensors."""
        return tuple(t.shape for t in self.tensors)

    def __len__(self) -> int:
        return len(self.neurons)


class LayerMethod(LayerAttribution):
    """Base of methods whose players are a layer's neurons, and which learn from data before they explain.

    Reading the layer (of HuggingFace modules too), pooling its cells to neurons and giving values back to
    them is dealt with here (``pooling`` is a kind, or a :class:`~hoi_captum.core.pooling.Pooling`, which can
    also name the attention mask); a subclass has ``fit``, ``attribute`` and ``interact``, and ``_write`` and
    ``_read_file`` behind :meth:`save` and :meth:`load`.

    Class attributes (checked at registration): as of :class:`~hoi_captum.core.method.GameMethod`, and

        players_are_neurons: the players of the result are not those of the example that is explained.
        unit: of the scores.
        class_options: constructor options that list classes; ``explain`` takes their names there.
        learning: what a fit does beside running the model, in words.
        poolings: kinds of :class:`~hoi_captum.core.pooling.Pooling` that make sense for it.

    Args:
        forward_func (Callable): the model, or any function that runs it; gives (rows, ...).
        layer (torch.nn.Module): whose neurons are the players.
        device_ids (list[int], optional): of a ``DataParallel`` model. Default: None
        pooling (str or Pooling): how a row's cells become one number for each neuron; one of ``poolings``.
            Default: mean
        neuron_dim (int, optional): dimension of the neurons in the layer. Default: None (the last of three,
            otherwise the first behind the rows)

    Raises:
        OptionError: another pooling, or ``neuron_dim`` beside a Pooling.
        InputError: forward_func is not callable, or layer no module.

    Examples::

        >>> from hoi_captum.authoring import LayerMethod
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> method = hoi.LayerLocalCorEx(net, net[1])  # for one
        >>> isinstance(method, LayerMethod), method.pooling.kind
        (True, 'mean')
        >>> method.save("learned.safetensors")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.NotFittedError: this LayerLocalCorEx is not fitted yet; call fit(data) ...
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    orders: ClassVar[tuple[int, int | None]]
    summary: ClassVar[str]
    unit: ClassVar[str]
    class_options: ClassVar[tuple[str, ...]] = ()
    learning: ClassVar[str] = ""
    poolings: ClassVar[tuple[str, ...]] = ("mean", "last", "none")
    several_models: ClassVar[bool] = False
    players_are_neurons: ClassVar[bool] = True
    result: ClassVar[type[Interactions]] = Interactions
    layer_name_: str  # set by fit

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        *,
        pooling: str | Pooling = "mean",
        neuron_dim: int | None = None,
    ) -> None:
        if not callable(forward_func):
            raise InputError(f"expected forward_func to be a callable, got {type(forward_func).__name__}")
        check_layer(layer)
        super().__init__(forward_func, layer, device_ids)
        if isinstance(pooling, Pooling) and neuron_dim is not None:
            raise OptionError("expected neuron_dim in the Pooling, got it beside one; leave it out")
        kind = check_choice("pooling", getattr(pooling, "kind", pooling), self.poolings)
        self.pooling = pooling if isinstance(pooling, Pooling) else Pooling(kind, neuron_dim)

    @property
    def multiplies_by_inputs(self) -> bool:
        """False: attributions are no parts of the output."""
        return False

    def _read(
        self,
        forward_func: Callable[..., Any],
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        at_input: bool = False,
    ) -> LayerRows:
        """One forward pass of some rows.

        Raises:
            InputError: a layer that does not run, or arguments that do not fit.
            ModelOutputError: activations that are not finite.
        """
        check_inputs(forward_func, inputs, additional_forward_args)
        try:
            rows = self._rows(forward_func, inputs, target, additional_forward_args, at_input)
        except InputError as error:
            if any(x.dim() > 1 for x in as_tensors(inputs)):
                raise
            raise InputError(f"{error}; of one row, which has no dimension of rows, give x[None]") from error
        for tensor in rows.tensors:
            check_cells(tensor, self.pooling.neuron_dim)
        return rows

    def _rows(
        self, forward_func: Callable[..., Any], inputs: Any, target: Any, additional: Any, at_input: bool
    ) -> LayerRows:
        arguments = Arguments(forward_func, inputs, None, target, additional)
        rows = torch.arange(arguments.n_examples)
        reading = read_layer(
            lambda *x: arguments.output(x, rows),
            self.layer,
            copies_of(arguments.inputs, rows),  # a model may write into what it is given
            at_input=at_input,
            device_ids=self.device_ids,
        )
        neurons = self.pooling.reduce(reading.tensors, arguments.additional)
        if len(neurons) != len(rows):
            raise InputError(
                f"expected one row of the layer for each of {len(rows)} inputs, got {len(neurons)}: "
                f"{type(self.layer).__name__} does not keep the rows apart"
            )
        if not bool(torch.isfinite(neurons).all()):
            raise ModelOutputError(
                f"expected finite activations, got NaN or infinity at the layer {type(self.layer).__name__}"
            )
        return LayerRows(arguments, neurons, reading.tensors, reading.calls, reading.output)

    def _stream(
        self,
        forward_func: Callable[..., Any],
        data: Any,
        *,
        labels: Any = None,
        additional_forward_args: Any = None,
        batch_size: int | None = None,
        at_input: bool = False,
        show_progress: bool = False,
        label: str = "layer",
    ) -> Iterator[LayerRows]:
        """The layer's rows for all of the data, batch by batch.

        Raises:
            InputError: no rows, batches whose layers have other widths, or as :meth:`_read`.
        """
        given = batches(
            data, labels=labels, additional_forward_args=additional_forward_args, batch_size=batch_size
        )
        width: int | None = None
        with progress_bar(label, _count(data), "row", show_progress) as bar:
            for batch in given:
                rows = self._read_batch(forward_func, batch, at_input)
                width = rows.neurons.shape[1] if width is None else width
                if rows.neurons.shape[1] != width:
                    raise InputError(
                        f"expected {width} neurons in every batch, got {rows.neurons.shape[1]}: inputs of "
                        "different lengths need pooling='mean' or 'last'"
                    )
                bar.update(len(rows))
                yield rows
        if width is None:
            raise InputError("expected at least one row of data, got none")

    def _read_batch(self, forward_func: Callable[..., Any], batch: Batch, at_input: bool) -> LayerRows:
        rows = self._read(forward_func, batch.inputs, None, batch.additional, at_input=at_input)
        return replace(rows, labels=batch.labels)

    # ---------------------------------------------------------------- what it will take
    def fit_cost(self, rows: int) -> Cost:
        """What a fit on so many rows of data, and then explaining one, would spend.

        Examples::

            >>> method = hoi.LayerLocalCorEx(torch.nn.Sequential(layer := torch.nn.Linear(2, 2)), layer)
            >>> method.fit_cost(1000).total
            1001
        """
        return Cost(f"{rows:,} rows of data", self._passes(), learning=rows, besides=self.learning)

    def cost(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Cost:
        """What :meth:`interact` would spend once fitted; no pass is made.

        Args:
            inputs, target, additional_forward_args: as in :meth:`attribute`.
        """
        rows = Arguments(self.forward_func, inputs, None, target, additional_forward_args).n_examples
        return Cost(f"the layer {self._layer_name()}", self._passes(), rows)

    def _passes(self) -> float | None:
        """Forward passes that a row takes once fitted; None where only the fit can tell."""
        return 1

    # ---------------------------------------------------------------- files
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what ``fit`` learned to a ``.safetensors`` file; the model itself is not in it.

        Raises:
            NotFittedError: before ``fit``.
            FileError: the file cannot be written.
        """
        self._check_fitted()
        return self._write(path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
    ) -> Self:
        """A fitted method from a file of :meth:`save`, for the same model and layer.

        Raises:
            FileError: the file cannot be read, or is none of ours.
        """
        method = cls._read_file(path, forward_func, layer, device_ids)
        if method.layer_name_ != (here := method._layer_name()):
            warnings.warn(
                f"{path} is of the layer {method.layer_name_!r} and is given {here!r}; if that is not the "
                "same layer, give the one of the fit",
                DataWarning,
                stacklevel=2,
            )
        return method

    def _write(self, path: str | os.PathLike[str]) -> Path:
        raise NotImplementedError(f"{type(self).__name__} is not saved")

    @classmethod
    def _read_file(cls, path: str | os.PathLike[str], *args: Any) -> Self:
        raise NotImplementedError(f"{cls.__name__} is not saved")

    def _check_fitted(self) -> None:
        if not hasattr(self, "layer_name_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit(data) before using it"
            )

    def _layer_name(self) -> str:
        """The layer's place in the model, as far as the model is seen; else its class."""
        model = module_behind(self.forward_func)
        names = [] if model is None else [name for name, m in model.named_modules() if m is self.layer]
        return names[0] if names and names[0] else type(self.layer).__name__

    def _spread(self, values: Tensor, rows: LayerRows) -> Any:
        """Values of neurons in the layer's shapes: a Tensor, or a tuple where it has several."""
        tensors = self.pooling.spread(values.to(rows.neurons), rows.shapes)
        return tensors if len(tensors) > 1 else tensors[0]


def _count(data: Any) -> int | None:
    """Rows, as far as they are known before they are read."""
    if isinstance(data, tuple) and data and isinstance(data[0], Tensor):
        data = data[0]
    whole: Any = data.dataset if isinstance(data, DataLoader) else data
    return len(whole) if isinstance(whole, Tensor | Dataset) and isinstance(whole, Sized) else None

"""The base class of methods whose players are gated units of the inputs, of attention or of a layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from captum.attr import GradientAttribution, LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn

from hoi_captum.core.cost import Cost
from hoi_captum.core.gating import GATES, check_gate
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.layers import check_layer
from hoi_captum.core.options import check_choice, check_count
from hoi_captum.core.state import frozen_for_derivatives
from hoi_captum.errors import InputError


class GatedMethod(LayerAttribution, GradientAttribution):
    """Base of methods that explain by derivatives of units, with or without a layer.

    Captum's arguments are taken here, once; a subclass says what it finds (:meth:`_find`) and how that is
    read (:meth:`_cells`, :meth:`_interactions`).

    Class attributes (checked at registration): as of :class:`~hoi_captum.core.method.GameMethod`.

    Args:
        forward_func (Callable): the model; gives (rows, ...), and ``target`` picks one number of each row.
        layer (torch.nn.Module or None): whose units are gated; None gates the inputs, or attention.
        device_ids (list[int] or None): of a ``DataParallel`` model.
        gate (str): ``input``, ``layer``, ``attention``, ``value`` or ``auto``.
        max_players (int): largest number of units, at least 2.

    Raises:
        OptionError: another gate, one that does not go with the layer, or a number out of range.
        InputError: forward_func is not callable, or layer no module.

    Examples::

        >>> from hoi_captum.authoring import GatedMethod
        >>> [name for name, method in hoi.methods().items() if issubclass(method, GatedMethod)]
        ['second-glance', 'taylor-cam']
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    orders: ClassVar[tuple[int, int | None]] = (2, 3)
    summary: ClassVar[str]
    several_models: ClassVar[bool] = False
    default_output: ClassVar[str] = "logit"  # cross derivatives of log-odds are the competition of classes
    result: ClassVar[type[Interactions]] = Interactions

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | None,
        device_ids: list[int] | None,
        *,
        gate: str,
        max_players: int,
    ) -> None:
        if not callable(forward_func):
            raise InputError(f"expected forward_func to be a callable, got {type(forward_func).__name__}")
        if layer is not None:
            check_layer(layer)
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)
        self.gate = check_choice("gate", gate, GATES)
        check_gate(gate, layer)
        self.max_players = check_count("max_players", max_players, low=2)

    def has_convergence_delta(self) -> bool:
        return False

    @log_usage()
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        layer_baselines: Any = None,
        layer_mask: Any = None,
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
        show_progress: bool = False,
    ) -> Any:
        r"""How much each unit interacts: the sum over its terms of their absolute scores.

        Args:
            inputs (Tensor or tuple[Tensor, ...]): input, batch in dimension 0.
            baselines (scalar, Tensor, tuple of these, or None, optional): what a unit of the inputs is where
                its gate is 0, as in Captum. Not used with a layer, or with attention. Default: None (0)
            target (int, tuple, Tensor or list, optional): the output to explain, as in Captum.
                Default: None
            additional_forward_args (Any, optional): as in Captum. Default: None
            feature_mask (Tensor or tuple[Tensor, ...], optional): unit ids 0..k-1 of the inputs' cells, as in
                Captum; -1 marks cells that are not gated. Every row of a batch has all units. With a
                layer: of the positions that it shares with the inputs (maps by the nearest cell, tokens).
                Default: None: at most 7 x 7 patches of images, positions of embeddings and of layers,
                else every cell
            layer_baselines (scalar, Tensor, tuple of these, or None, optional): what a layer's unit is where
                its gate is 0. Default: None (0, as in Grad-CAM)
            layer_mask (Tensor or tuple[Tensor, ...], optional): unit ids of the layer's cells, broadcastable
                to what it gives. Default: None
            internal_batch_size (int, optional): most model rows in one pass. Default: None (chosen by
                the size of the inputs)
            attribute_to_layer_input (bool, optional): gate what enters the layer; without one these are the
                inputs anyway. Default: False
            show_progress (bool, optional): an estimate of the cost, and a counter on stderr. Default: False

        Returns:
            *Tensor* or *tuple[Tensor, ...]* of **attributions**: shaped like the inputs; with a layer like
            what it gives, (B, 1, H, W) of (B, C, H, W) as in Grad-CAM and (B, T) of (B, T, H); all of it
            where units are factors of its neurons (a fitted SecondGlance).

        Raises:
            InputError: arguments that do not fit, a layer that does not run, or a model that cannot be
                differentiated twice (its subclasses say which).
            TooManyPlayersError: more units than ``max_players``.
            ModelOutputError: an output of the wrong shape, or a value or derivative that is not finite.

        Examples::

            >>> method = hoi.TaylorCAM(lambda x: x[:, 0] * x[:, 1] + x[:, 2])  # for one
            >>> method.attribute(torch.tensor([[2.0, 3.0, 1.0]]))
            tensor([[6., 6., 0.]])
        """
        given = (inputs, baselines, target, additional_forward_args, feature_mask)
        at_layer = (layer_baselines, layer_mask, attribute_to_layer_input)
        found = self._find(given, at_layer, internal_batch_size, show_progress)
        return self._attributions(found, inputs)

    @log_usage()
    def interact(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        layer_baselines: Any = None,
        layer_mask: Any = None,
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
        show_progress: bool = False,
    ) -> list[Any]:
        r"""The pairs (order 2) or triples (order 3) of each row.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, layer_baselines, layer_mask,
                internal_batch_size, attribute_to_layer_input, show_progress: as in :meth:`attribute`.

        Returns:
            *list[Interactions]*, one for each row of the batch.

        Raises:
            InputError, TooManyPlayersError, ModelOutputError: as :meth:`attribute`.

        Examples::

            >>> method = hoi.TaylorCAM(lambda x: x[:, 0] * x[:, 1] * x[:, 2], order=3)  # for one
            >>> [(t.members, t.score) for t in method.interact(torch.tensor([[2.0, 3.0, 1.0]]))[0]]
            [((0, 1, 2), 6.0)]
        """
        given = (inputs, baselines, target, additional_forward_args, feature_mask)
        at_layer = (layer_baselines, layer_mask, attribute_to_layer_input)
        found = self._find(given, at_layer, internal_batch_size, show_progress)
        return self._interactions(found)

    @log_usage()
    def attribute_and_interact(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        layer_baselines: Any = None,
        layer_mask: Any = None,
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
        show_progress: bool = False,
    ) -> tuple[Any, list[Any]]:
        r"""Both answers from one set of derivatives.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, layer_baselines, layer_mask,
                internal_batch_size, attribute_to_layer_input, show_progress: as in :meth:`attribute`.

        Returns:
            *tuple* of the **attributions** and the *list[Interactions]*.

        Raises:
            InputError, TooManyPlayersError, ModelOutputError: as :meth:`attribute`.
        """
        given = (inputs, baselines, target, additional_forward_args, feature_mask)
        at_layer = (layer_baselines, layer_mask, attribute_to_layer_input)
        found = self._find(given, at_layer, internal_batch_size, show_progress)
        return self._attributions(found, inputs), self._interactions(found)

    def cost(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        layer_baselines: Any = None,
        layer_mask: Any = None,
        attribute_to_layer_input: bool = False,
    ) -> Cost:
        """What :meth:`attribute`, or :meth:`interact`, would spend; no more than a few passes are made, by
        which the units are found.

        Args:
            inputs, baselines, target, additional_forward_args, feature_mask, layer_baselines, layer_mask,
                attribute_to_layer_input: as in :meth:`attribute`.

        Raises:
            InputError, TooManyPlayersError, ModelOutputError: as :meth:`attribute`.
        """
        given = (inputs, baselines, target, additional_forward_args, feature_mask)
        with frozen_for_derivatives(*self._models()):
            return self._cost(given, (layer_baselines, layer_mask, attribute_to_layer_input))

    def _cost(self, given: tuple[Any, ...], at_layer: tuple[Any, Any, bool]) -> Cost:
        """What a call will spend; arguments as of :meth:`_find`. Default: it is not known"""
        return Cost("gated units", None)

    @abstractmethod
    def _find(
        self,
        given: tuple[Any, ...],
        at_layer: tuple[Any, Any, bool],
        internal_batch_size: int | None,
        show_progress: bool,
    ) -> Any:
        """Everything that a call gives.

        Args:
            given: inputs, baselines, target, additional arguments, feature mask.
            at_layer: the layer's baselines and mask, whether its input is meant.
            internal_batch_size, show_progress: as given.
        """

    def _attributions(self, found: Any, inputs: Any) -> Any:
        cells = self._cells(found)
        if self.layer is None:
            return cells if isinstance(inputs, tuple) else cells[0]
        return cells if len(cells) > 1 else cells[0]

    def _models(self) -> list[Any]:
        """What may have modules whose state is to be preserved."""
        return [f for f in (self.forward_func, self.layer) if f is not None]

    @abstractmethod
    def _cells(self, found: Any) -> tuple[Tensor, ...]:
        """What :meth:`attribute` gives, of each tensor of the inputs, or of the layer."""

    @abstractmethod
    def _interactions(self, found: Any) -> list[Any]:
        """What :meth:`interact` gives."""

r"""Gates: numbers that switch the parts of an input or of a layer.

A unit u (a patch, a word, a position of a layer) with value h and baseline b is switched by its gate,
:math:`h' = h + (\alpha_u - 1)(h - b) + \beta_u`. Scale :math:`\alpha = 1` and shift :math:`\beta = 0` are the
model itself. Derivatives by gates are derivatives by all of a unit's cells at once, contracted with (h - b)
for the scale and with ones for the shift: k x k of them, exact, where a full Hessian has (nC)^2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hoi_captum.core.arguments import Arguments, as_baselines, rows_of
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import as_tensors
from hoi_captum.core.layers import read_layer, tapped
from hoi_captum.errors import InputError, ModelOutputError, PlayerError


class Gates(ABC):
    """A model's explained number as a function of the gates of its units.

    Args:
        arguments: the forward function and its inputs.
        players: the units, as masks on the gated tensors.
        tensors: the gated tensors, (B, ...) each.
        baselines: what they are where a scale is 0, (1 or B, ...) or a number each.
        partial: whether examples may lack some of the units, whose gates do nothing there.

    Attributes:
        arguments, players: as given.
        n_examples, n_units: B and k.
        n_channels: C, cells of a position that ``channels`` moves together; 1 where there is no such axis.
        dtype: of the gates.
        forward_passes, backward_passes: model rows evaluated so far, and rows of reverse passes.
        vectorised: whether many reverse passes at once are cheaper than one by one; None until it was tried.
    """

    def __init__(
        self,
        arguments: Arguments,
        players: Players,
        tensors: tuple[Tensor, ...],
        baselines: tuple[Tensor, ...],
        *,
        partial: bool = False,
    ) -> None:
        self.arguments, self.players = arguments, players
        self._tensors, self._baselines = tensors, baselines
        if not partial:
            _check_every_example(players)
        self._axes = tuple(map(_channel_axis, tensors, players.masks))
        floating = [t.dtype for t in tensors if t.is_floating_point()]
        self.dtype = torch.promote_types(floating[0], torch.float32) if floating else torch.float32
        self.forward_passes = self.backward_passes = 0
        self.vectorised: bool | None = None

    @property
    def n_examples(self) -> int:
        return self.arguments.n_examples

    @property
    def n_units(self) -> int:
        return self.players.count

    @property
    def n_channels(self) -> int:
        axis = self._axes[0]
        return 1 if axis is None else self._tensors[0].shape[axis]

    @property
    def device(self) -> torch.device:
        return self._tensors[0].device

    def run(
        self,
        rows: Tensor,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        channels: Tensor | None = None,
    ) -> Tensor:
        """The explained number with the gates at given values, (m,); differentiable by each of them.

        Args:
            rows: (m,) which example is gated.
            scale, shift: (m, k). Default: 1 and 0, the model itself
            channels: (m, C), added to all cells of a channel. Default: 0

        Raises:
            ModelOutputError: a number that is not finite.
            InputError, ModelOutputError, TargetError: as :class:`Arguments`.
        """
        self.forward_passes += len(rows)
        value = self._run(rows, scale, shift, channels)
        bad = (~value.detach().isfinite()).nonzero()
        if len(bad):
            first = int(bad[0])
            came = float(value.detach()[first])
            raise ModelOutputError(
                f"expected finite outputs, got {came} for row {int(rows[first])} of the batch "
                "with some gates moved; check that the model accepts the inputs and the baselines"
            )
        return value

    def sums(self) -> Tensor:
        """What each unit holds of each channel above its baseline, summed over its positions: (B, k, C).

        Raises:
            InputError: several tensors are gated, whose channels cannot be added.
        """
        if len(self._tensors) > 1:
            raise InputError(
                f"expected one gated tensor with channels, got {len(self._tensors)}; choose a layer with a "
                "single output"
            )
        x, mask, axis = self._tensors[0] - self._baselines[0], self.players.masks[0], self._axes[0]
        cells = x.unsqueeze(-1) if axis is None else x.movedim(axis, -1)
        ids = mask.unsqueeze(-1) if axis is None else mask.movedim(axis, -1)
        cells = cells.reshape(len(x), -1, cells.shape[-1]).to(self.dtype)
        ids = ids.expand(len(x), *ids.shape[1:]).reshape(len(x), -1) % (self.n_units + 1)
        sums = cells.new_zeros(len(x), self.n_units + 1, cells.shape[-1])
        return sums.scatter_add_(1, ids.unsqueeze(-1).expand_as(cells), cells)[:, :-1]

    def spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """A value for each unit on the cells of the gated tensors.

        Args:
            values: (B, k).
        """
        return self.players.spread(values, self._tensors)

    @abstractmethod
    def _run(
        self, rows: Tensor, scale: Tensor | None, shift: Tensor | None, channels: Tensor | None
    ) -> Tensor: ...

    def _gated(
        self,
        values: Sequence[Tensor],
        rows: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        channels: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Tensors (m or 1, ...) with their gates applied, (m, ...)."""
        gated = []
        for t, h in enumerate(values):
            if not h.is_floating_point():
                # a copy: a model may write into what it is given
                gated.append(h.expand(len(rows), *h.shape[1:]).clone())
                continue
            # the change is added, so that at 1 and 0 the model's own values come out, to the last bit
            change: Tensor | float = 0.0
            if scale is not None:
                change = (self.players.on_cells(scale, t, rows, background=1) - 1) * (
                    h - rows_of(self._baselines[t], rows)
                )
            if shift is not None:
                change = change + self.players.on_cells(shift, t, rows)
            if channels is not None:
                change = change + _along(channels, self._axes[t], h.dim())
            gated.append((h + change).to(h.dtype).expand(len(rows), *h.shape[1:]))
        return tuple(gated)


class InputGates(Gates):
    """Gates on the inputs: pixels, features, embeddings.

    Args:
        arguments: with the baselines.
        players: of the inputs.
        partial: as of :class:`Gates`.

    Raises:
        InputError: a unit of integers, which have no derivatives.

    Examples::

        >>> from hoi_captum.authoring import InputGates
        >>> from hoi_captum.core.arguments import Arguments
        >>> from hoi_captum.core.coalitions import Players
        >>> given = Arguments(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]), None, None, None)
        >>> gates = InputGates(given, Players.from_feature_mask(given.inputs, None))
        >>> gates.run(torch.tensor([0]), scale=torch.tensor([[0.5, 1.0]]))  # half of the first
        tensor([3.])
    """

    def __init__(self, arguments: Arguments, players: Players, *, partial: bool = False) -> None:
        super().__init__(arguments, players, arguments.inputs, arguments.baselines, partial=partial)
        for x, mask in zip(arguments.inputs, players.masks, strict=True):
            if not x.is_floating_point() and bool((mask >= 0).any()):
                raise InputError(
                    f"expected floating point inputs to gate, got {x.dtype}; for token ids give the "
                    "embeddings as inputs, gate='attention', or a layer"
                )

    def _run(
        self, rows: Tensor, scale: Tensor | None, shift: Tensor | None, channels: Tensor | None
    ) -> Tensor:
        values = [rows_of(x, rows) for x in self.arguments.inputs]
        return self.arguments.run(self._gated(values, rows, scale, shift, channels), rows)


class LayerGates(Gates):
    """Gates on what leaves (or enters) a layer; where it runs more than once its last run, as in Captum.

    Args:
        arguments: the forward function and its inputs.
        layer: any module that the forward function runs.
        layer_mask: unit ids of the layer's cells, (1 or B, ...) broadcastable to its tensors. Default: each
            position is a unit, all channels together: (H, W) of (B, C, H, W), T of (B, T, H), features of
            (B, D). Of (B, C, L), as Conv1d gives it, that makes units of the channels: give a mask (1, 1, L)
        layer_baselines: a number, or tensors (1 or B, ...) like the layer's. Default: 0
        input_mask: unit ids of the inputs, for layers whose positions are those of the input: maps of images,
            (B, T, H) of T tokens. Used where there is no ``layer_mask``.
        at_input: gate what enters the layer.
        device_ids: of a ``DataParallel`` model, whose forward pass on one device is gated.

    Raises:
        InputError: the layer does not run, or holds nothing that can be gated.
        PlayerError: a mask that does not fit.
    """

    def __init__(
        self,
        arguments: Arguments,
        layer: nn.Module,
        layer_mask: Tensor | tuple[Tensor, ...] | None = None,
        layer_baselines: object = None,
        *,
        input_mask: Tensor | tuple[Tensor, ...] | None = None,
        at_input: bool = False,
        device_ids: Sequence[int] | None = None,
    ) -> None:
        rows = torch.arange(arguments.n_examples)
        reading = read_layer(
            lambda *x: arguments.output(x, rows),
            layer,
            copies_of(arguments.inputs, rows),
            at_input=at_input,
            device_ids=device_ids,
        )
        tensors = as_tensors(reading.tensors, "the layer's tensors")
        name = type(layer).__name__
        if len(tensors[0]) != arguments.n_examples:
            raise InputError(
                f"expected one row of the layer for each of {arguments.n_examples} inputs, got "
                f"{len(tensors[0])}: {name} does not keep the rows apart"
            )
        if not all(t.is_floating_point() for t in tensors):
            side = "input" if at_input else "output"
            raise InputError(
                f"expected a layer whose {side} are floating point numbers, got {tensors[0].dtype} at {name}"
            )
        if layer_mask is not None:
            masks = as_tensors(layer_mask, "layer_mask")
        elif input_mask is not None:
            masks = _at_layer(as_tensors(input_mask, "feature_mask"), tensors, name)
        else:
            masks = positions(tensors)
        players = Players.from_feature_mask(tensors, masks)
        super().__init__(arguments, players, tensors, as_baselines(layer_baselines, tensors))
        self._layer, self._at_input, self._call = layer, at_input, reading.calls
        self.forward_passes = arguments.n_examples

    def _run(
        self, rows: Tensor, scale: Tensor | None, shift: Tensor | None, channels: Tensor | None
    ) -> Tensor:

        def switch(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return self._gated(tensors, rows, scale, shift, channels)

        inputs = copies_of(self.arguments.inputs, rows)
        with tapped(self._layer, switch, at_input=self._at_input, call=self._call):
            return self.arguments.run(inputs, rows)

    def spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """A value for each unit on the layer's cells; channels that units span are left out as in Grad-CAM.

        Returns:
            (B, 1, H, W) of (B, C, H, W), (B, T) of (B, T, H), each tensor's own shape where units differ in
            every axis.
        """
        cells = []
        for x, axis in zip(super().spread(values), self._axes, strict=True):
            if axis is None:
                cells.append(x)
            else:
                cells.append(x.select(axis, 0) if x.dim() == 3 else x.narrow(axis, 0, 1))
        return tuple(cells)


def copies_of(tensors: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    """The examples at ``rows``, (m, ...), which a model may write into."""
    return tuple(rows_of(x, rows).expand(len(rows), *x.shape[1:]).clone() for x in tensors)


def _at_layer(masks: tuple[Tensor, ...], tensors: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
    """A mask of the inputs on a layer's map (nearest cell) or on its tokens.

    Raises:
        PlayerError: the layer's positions are not the inputs', or too few to hold all units.
    """
    mask, x = masks[0], tensors[0]
    found = None
    if len(masks) == len(tensors) == 1 and not mask.is_floating_point():
        if x.dim() == 4 and mask.dim() == 4 and mask.shape[1] == 1:
            found = functional.interpolate(mask.double(), x.shape[2:], mode="nearest-exact").to(mask.dtype)
        elif x.dim() == 3 and mask.shape[1:] in ((x.shape[1],), (x.shape[1], 1)):
            found = mask.reshape(len(mask), -1, 1)
    if found is None:
        raise PlayerError(
            f"expected a feature_mask of positions that the layer {name} has too, got shape "
            f"{tuple(mask.shape)} for a layer of {tuple(x.shape)}; leave it out, or give layer_mask"
        )
    if len(found.unique()) < len(mask.unique()):
        raise PlayerError(
            f"the positions of the layer {name} are too few to tell {len(mask.unique())} units of the "
            "feature_mask apart; leave it out (a unit for each position), or give layer_mask"
        )
    return (found,)


def cells_of_a_grid(tensors: tuple[Tensor, ...], most: int = 7) -> tuple[Tensor, ...]:
    """Masks for units of inputs that nobody gave: patches of images, positions of embeddings, else cells.

    Args:
        tensors: (B, C, H, W) is divided into at most ``most`` x ``most`` patches; (B, T, H) into T positions;
            everything else into its cells.
        most: rows and columns of the grid.
    """
    masks, start = [], 0
    for x in tensors:
        if x.dim() == 4:
            height, width = x.shape[2:]
            rows, columns = min(most, height), min(most, width)
            row = torch.arange(height, device=x.device) * rows // height
            column = torch.arange(width, device=x.device) * columns // width
            mask = (row.view(-1, 1) * columns + column).view(1, 1, height, width)
        else:
            (mask,) = positions((x,))
        masks.append(mask + start)
        start += int(mask.max()) + 1
    return tuple(masks)


def positions(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Masks that make each position a unit, all channels together, numbered through all tensors."""
    masks, start = [], 0
    for x in tensors:
        shape = list(x.shape[1:])
        if x.dim() == 3:
            shape[-1] = 1  # (T, H)
        elif x.dim() > 3:
            shape[0] = 1  # (C, H, W)
        count = 1
        for size in shape:
            count *= size
        masks.append(torch.arange(start, start + count, device=x.device).view(1, *shape))
        start += count
    return tuple(masks)


def _check_every_example(players: Players) -> None:
    """Masks that differ between examples must have all units in each of them.

    Raises:
        PlayerError: an example without some unit.
    """
    examples = max(len(mask) for mask in players.masks)
    if examples == 1:
        return
    for row in range(examples):
        ids = torch.cat([mask[min(row, len(mask) - 1)].reshape(-1) for mask in players.masks])
        found = int((ids.unique() >= 0).sum())
        if found != players.count:
            raise PlayerError(
                f"expected a feature_mask with the same number of units in every row, got {players.count} in "
                f"all and {found} in row {row}; explain such rows one at a time"
            )


def _channel_axis(x: Tensor, mask: Tensor) -> int | None:
    """The one axis along which units do not differ, though the tensor does: C of images, H of embeddings."""
    shared = [d for d in range(1, x.dim()) if mask.shape[d] == 1 and x.shape[d] > 1]
    return shared[0] if len(shared) == 1 else None


def _along(channels: Tensor, axis: int | None, dims: int) -> Tensor:
    shape = [len(channels)] + [1] * (dims - 1)
    shape[1 if axis is None else axis] = channels.shape[1]
    return channels.view(shape)

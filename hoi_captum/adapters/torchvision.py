"""Image classifiers: torchvision's, and any module that takes (rows, channels, height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hoi_captum.adapters.base import Adapter, takes_one_input
from hoi_captum.adapters.baselines import LearnedBaseline, name_of
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import Example, ImageLayout
from hoi_captum.errors import InputError, PlayerError

DEFAULT_GRID = (3, 3)
_OVERSHOOT = 0.1  # how far an array's values may leave their range, in parts of it
_BLUR = 0.25  # standard deviation of the blurred baseline, in parts of the image's smaller side


class ImageClassifierAdapter(Adapter):
    """A convolutional classifier.

    Args:
        model: takes (rows, C, H, W), gives (rows, classes).
        transforms: PIL image -> (C, H, W), as torchvision's ``weights.transforms()``. Default: scaled to
            [0, 1], with the channels of the model's first convolution
        labels: names of the classes, as ``weights.meta["categories"]``. Default: their numbers
        output: see :class:`Adapter`.
    """

    family = "image-classifier"
    baseline_axis: ClassVar[int] = 1  # (1, C, H, W): a learned baseline has a value for each channel

    @classmethod
    def accepts(cls, model: nn.Module, *, tokenizer: Any, transforms: Any) -> bool:
        return takes_one_input(model) and (transforms is not None or bool(_convolutions(model)))

    def scores(self, *inputs: Any) -> Tensor:
        output = self.run(*inputs)
        scores: Tensor = getattr(output, "logits", output)  # HuggingFace's image classifiers give more
        return scores

    def default_layer(self) -> nn.Module:
        """The last convolution."""
        convolutions = _convolutions(self.model)
        if not convolutions:
            raise InputError(f"{type(self.model).__name__} has no convolution; name the layer")
        return convolutions[-1]

    def example(
        self,
        raw: Any,
        *,
        players: tuple[int, int] | int | Any = DEFAULT_GRID,
        baseline: str | float | Tensor | LearnedBaseline | None = None,
    ) -> Example:
        """An image with its players.

        Args:
            raw: a file's path, PIL image, array (H, W) or (H, W, C), or a Tensor (C, H, W) that the
                transforms were applied to already.
            players: a grid (rows, columns), one number for a square grid, or a mask (H, W) of player
                ids with -1 for what is never masked. Default: (3, 3)
            baseline: ``zero`` (of the model's input), ``mean`` (the image's channel means), ``blur``,
                a number, a Tensor (C, H, W) or a learned baseline. Default: ``zero``

        Raises:
            InputError, PlayerError: an unreadable image, a mask of another size, an unknown baseline.
        """
        image = self._tensor(raw)
        mask = _mask(players, image.shape[1:])
        baseline = "zero" if baseline is None else baseline
        parameter = next(self.model.parameters(), image)
        inputs = image.unsqueeze(0).to(device=parameter.device, dtype=parameter.dtype)
        background = (mask < 0).to(inputs.device)
        masked = torch.where(background, inputs, _baseline(baseline, inputs))
        feature_mask = mask.view(1, 1, *mask.shape).to(inputs.device)
        count = Players.from_feature_mask((inputs,), (feature_mask,)).count
        return Example(
            inputs=inputs,
            baselines=masked,
            feature_mask=feature_mask,
            names=_names(players, count),
            layout=ImageLayout(self._visible(image), mask),
            notes={"baseline": name_of(baseline)},
        )

    def _tensor(self, raw: Any) -> Tensor:
        if isinstance(raw, Tensor):
            if raw.dim() != 3:
                raise InputError(f"expected an image Tensor (C, H, W), got shape {tuple(raw.shape)}")
            return raw.detach().cpu().to(torch.promote_types(raw.dtype, torch.float32))
        image = read_image(raw)
        first = next(iter(_convolutions(self.model)), None)
        if self.transforms is not None:
            if first is not None and first.in_channels == 3:  # a grey image for a model of colour images
                image = image.convert("RGB")
            tensor = self.transforms(image)
            if not isinstance(tensor, Tensor) or tensor.dim() != 3:
                raise InputError(
                    f"expected transforms to give a Tensor (C, H, W), got {type(tensor).__name__}"
                )
            return tensor.float()
        grey = first is not None and first.in_channels == 1
        array = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / 255
        return torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1).contiguous()

    def _visible(self, image: Tensor) -> Tensor:
        """The image as a person would see it: normalisation undone, (H, W, 3) in [0, 1]."""
        mean, std = _normalisation(self.transforms)
        seen = image * std + mean
        if len(seen) not in (1, 3):  # not grey, not colours
            seen = seen.mean(0, keepdim=True)
        if seen.min() < 0 or seen.max() > 1:
            seen = (seen - seen.min()) / (seen.max() - seen.min()).clamp(min=1e-12)
        return seen.float().expand(3, -1, -1).permute(1, 2, 0).contiguous()


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def read_image(raw: Any) -> Any:
    """A PIL image from a path, an array or a PIL image.

    Raises:
        InputError: the file is missing or no image.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(raw, Image.Image):
        return _plain(raw)
    if isinstance(raw, np.ndarray):
        if raw.ndim not in (2, 3):
            raise InputError(f"expected an image array (H, W) or (H, W, C), got shape {raw.shape}")
        return _plain(_from_array(raw))
    if not isinstance(raw, str | Path):
        raise InputError(f"expected an image: a path, PIL image, array or Tensor; got {type(raw).__name__}")
    try:
        with Image.open(raw) as image:
            return _plain(image)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise InputError(f"expected an image file; cannot read an image from {raw}: {error}") from error


def _plain(image: Any) -> Any:
    return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")


def _from_array(array: np.ndarray) -> Any:
    from PIL import Image

    most = 255 if array.dtype.kind in "iu" else 1
    # resized images overshoot a little
    if not (array.min(initial=0) >= -_OVERSHOOT * most and array.max(initial=0) <= (1 + _OVERSHOOT) * most):
        raise InputError(
            f"expected an image array of integers in 0..255 or of floats in 0..1, got {array.dtype} in "
            f"{array.min():g}..{array.max():g}"
        )
    scaled = (np.clip(array.astype(np.float64), 0, most) * (255 / most)).round().astype(np.uint8)
    try:
        return Image.fromarray(scaled[..., 0] if scaled.ndim == 3 and scaled.shape[2] == 1 else scaled)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected an image array (H, W) or (H, W, C) with 1, 3 or 4 channels, got shape {array.shape}"
        ) from error


def _mask(players: Any, size: Sequence[int]) -> Tensor:
    height, width = size
    if isinstance(players, int) and not isinstance(players, bool):
        players = (players, players)
    if isinstance(players, tuple) and len(players) == 2:
        rows, columns = players
        if not (1 <= rows <= height and 1 <= columns <= width):
            raise PlayerError(f"expected a grid between 1 x 1 and {height} x {width}, got {rows} x {columns}")
        row = torch.arange(height) * rows // height
        column = torch.arange(width) * columns // width
        grid: Tensor = row.view(-1, 1) * columns + column
        return grid
    if isinstance(players, str):
        raise PlayerError(f"expected players to be a grid (rows, columns) or a mask (H, W), got {players!r}")
    try:
        mask = torch.as_tensor(players)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PlayerError(
            f"expected players to be a grid (rows, columns) or a mask (H, W): {error}"
        ) from error
    if tuple(mask.shape) != (height, width) or mask.is_floating_point():
        raise PlayerError(
            f"expected a mask of integers of shape {(height, width)}, got {mask.dtype} {tuple(mask.shape)}"
        )
    return mask.long()


def _names(players: Any, count: int) -> tuple[str, ...]:
    if isinstance(players, int):
        players = (players, players)
    if isinstance(players, tuple) and len(players) == 2 and players[0] * players[1] == count:
        return tuple(f"r{i // players[1] + 1}c{i % players[1] + 1}" for i in range(count))
    return tuple(f"region {i}" for i in range(count))


def _baseline(baseline: str | float | Tensor | LearnedBaseline, inputs: Tensor) -> Tensor:
    if isinstance(baseline, LearnedBaseline):
        baseline = baseline.value.view(-1, 1, 1).expand(-1, *inputs.shape[2:])
    if isinstance(baseline, str):
        if baseline == "zero":
            return torch.zeros_like(inputs)
        if baseline == "mean":
            return inputs.mean((2, 3), keepdim=True).expand_as(inputs)
        if baseline == "blur":
            return _blurred(inputs)
        raise InputError(f"expected baseline to be zero, mean, blur, a number or a Tensor, got {baseline!r}")
    try:
        given = torch.as_tensor(baseline)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a baseline to be a name, a number or a Tensor: {error}") from error
    if tuple(given.shape) not in ((), tuple(inputs.shape[1:])):
        raise InputError(f"expected a baseline of shape {tuple(inputs.shape[1:])}, got {tuple(given.shape)}")
    return given.detach().to(inputs).expand_as(inputs)


def _blurred(inputs: Tensor) -> Tensor:
    deviation = _BLUR * min(inputs.shape[2:])
    reach = min(inputs.shape[2:]) - 1
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (places / deviation) ** 2)
    weights = (weights / weights.sum()).to(inputs)
    channels = inputs.shape[1]
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = len(weights)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(inputs, padding, mode="replicate")
        inputs = functional.conv2d(
            padded, weights.view(shape).expand(channels, 1, *shape[2:]), groups=channels
        )
    return inputs


def _normalisation(transforms: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation that the transforms normalise with, (C, 1, 1); 0 and 1 where none."""
    for step in (transforms, *getattr(transforms, "transforms", ())):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None:
            return torch.as_tensor(mean).view(-1, 1, 1), torch.as_tensor(std).view(-1, 1, 1)
    return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)

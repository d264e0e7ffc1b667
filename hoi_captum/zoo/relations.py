"""The relation network for Sort-of-CLEVR: all pairs of a picture's cells, to answer a question.

A relation network as of Santoro et al. (NeurIPS 2017, section 2) over entities that already know the
question, so that pairs of entities can be compared with pairs of objects. Every part is smooth (GELU) and
nothing works in place, so that derivatives of any order can be taken through it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hoi_captum.errors import InputError
from hoi_captum.zoo import questions, storage
from hoi_captum.zoo.questions import Question, encode
from hoi_captum.zoo.scenes import SIDE, Scene

GRID = 4  # cells in a row and in a column
STRIDE = SIDE // GRID  # pixels from one cell to the next
FIELD = 15  # pixels across that a cell sees: cell r those from 8r - 7 to 8r + 7


class Convolutions(nn.Sequential):
    """The picture (n, 3, 32, 32) -> a map (n, channels, 4, 4); each cell sees 15x15 pixels, in steps of 8."""

    def __init__(self, channels: int) -> None:
        parts: list[nn.Module] = []
        for inputs in (3, channels, channels):
            convolution = nn.Conv2d(inputs, channels, 3, stride=2, padding=1, bias=False)
            parts += [convolution, nn.BatchNorm2d(channels), nn.GELU()]
        super().__init__(*parts, nn.Conv2d(channels, channels, 1))


class Entities(nn.Module):
    """The map and the question -> what each cell is for this question, (n, 16, size).

    Cell ``p`` is in row ``p // 4`` and column ``p % 4``. A perceptron for each cell by itself, on the cell,
    its coordinates, the question and ``products`` products of the two, without which it is hard to learn what
    the question asks.
    """

    positions: Tensor

    def __init__(self, channels: int, products: int, hidden: int, size: int) -> None:
        super().__init__()
        self.register_buffer("positions", _positions(), persistent=False)
        seen = channels + 2
        self.of_cell = nn.Linear(seen, products, bias=False)
        self.of_question = nn.Linear(questions.VECTOR, products)
        self.hidden = nn.Linear(seen + questions.VECTOR + products, hidden)
        self.activation = nn.GELU()
        self.last = nn.Linear(hidden, size)
        # PyTorch's own initial weights make the products a hundredth, and their gradients as small.
        nn.init.normal_(self.of_cell.weight, std=0.4)
        nn.init.normal_(self.of_question.weight)
        nn.init.normal_(self.last.weight, std=0.1)

    def forward(self, cells: Tensor, question: Tensor) -> Tensor:
        cell = cells.flatten(2).transpose(1, 2)
        cell = torch.cat([cell, self.positions.expand(len(cell), -1, -1)], dim=2)
        question = question.unsqueeze(1).expand(-1, cell.shape[1], -1)
        products = self.of_cell(cell) * self.of_question(question)
        hidden: Tensor = self.hidden(torch.cat([cell, question, products], dim=2))
        entities: Tensor = self.last(self.activation(hidden))
        return entities


class Pairs(nn.Module):
    """The sum over all ordered pairs of entities of what a pair is for this question, (n, hidden).

    The first layer on a pair is linear in either entity, in their elementwise product and in how far apart
    their cells lie, so that it is computed for entities, not for pairs.
    """

    apart: Tensor

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        apart = _positions().unsqueeze(1) - _positions()
        length = apart.norm(dim=-1, keepdim=True)
        apart = torch.cat([apart, apart.abs(), length, length.square(), (length == 0).float()], dim=-1)
        self.register_buffer("apart", apart, persistent=False)  # (16, 16, 7)
        self.left = nn.Linear(size, hidden)
        self.right = nn.Linear(size, hidden, bias=False)
        self.left_factor = nn.Linear(size, hidden, bias=False)
        self.right_factor = nn.Linear(size, hidden, bias=False)
        self.of_question = nn.Linear(questions.VECTOR, hidden, bias=False)
        self.of_distance = nn.Linear(apart.shape[-1], hidden, bias=False)
        self.rest = nn.Sequential(
            nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        for factor in (self.left_factor, self.right_factor, self.of_distance):
            nn.init.normal_(factor.weight, std=0.4)

    def forward(self, entities: Tensor, question: Tensor) -> Tensor:
        left = (self.left(entities) + self.of_question(question).unsqueeze(1)).unsqueeze(2)
        right = self.right(entities).unsqueeze(1)
        left_factor = self.left_factor(entities).unsqueeze(2)
        right_factor = self.right_factor(entities).unsqueeze(1)
        first = torch.addcmul(left + right, left_factor, right_factor) + self.of_distance(self.apart)
        summed: Tensor = self.rest(first).sum(dim=(1, 2))
        return 0.05 * summed


class RelationNetwork(nn.Module):
    """``forward(images, questions) -> logits`` over ``questions.ANSWERS``.

    Args:
        channels: of the convolutions.
        products: of cell and question.
        entity_hidden: width of the perceptron that makes the entities.
        entity_size: numbers for each entity.
        hidden: width of the layers on pairs and after them.

    Attributes:
        cells: the convolutions; output (n, channels, 4, 4), which knows nothing of the question.
        entities: the sixteen entities; output (n, 16, entity_size), where the question has entered and no
            pair has been formed. Position ``p`` is the cell in row ``p // 4`` and column ``p % 4``.
        pairs: the sum over pairs; output (n, hidden).
        answer: what is made of the sum; output (n, 14).

    Each of the four is called once in a forward pass.
    """

    def __init__(
        self, channels: int, products: int, entity_hidden: int, entity_size: int, hidden: int
    ) -> None:
        super().__init__()
        self.cells = Convolutions(channels)
        self.entities = Entities(channels, products, entity_hidden, entity_size)
        self.pairs = Pairs(entity_size, hidden)
        self.answer = nn.Sequential(
            nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, len(questions.ANSWERS))
        )

    def forward(self, images: Tensor, questions: Tensor) -> Tensor:
        """Logits (n, 14) for images (n, 3, 32, 32) in [0, 1] and question vectors (n, 12)."""
        entities = self.entities(self.cells(images), questions)
        logits: Tensor = self.answer(self.pairs(entities, questions))
        return logits


class RelationProcessor:
    """A scene (or a picture of one) and a question (or its words) -> the network's two inputs."""

    def __call__(
        self, scene: Scene | Image.Image | np.ndarray, question: Question | str
    ) -> tuple[Tensor, Tensor]:
        """The picture, float (3, 32, 32) in [0, 1], and the question's vector, float (12,).

        Args:
            scene: a ``Scene``, or a PIL image or uint8 array (height, width, 3), which is brought to 32x32.
            question: a ``Question``, or the words of one.

        Raises:
            InputError: neither of these, or words that are no known question.
        """
        return self._image(scene), encode(question.text if isinstance(question, Question) else question)

    def _image(self, scene: Scene | Image.Image | np.ndarray) -> Tensor:
        if isinstance(scene, Scene):
            return scene.image
        if isinstance(scene, np.ndarray) and scene.dtype == np.uint8 and scene.shape[2:] == (3,):
            scene = Image.fromarray(scene)
        if not isinstance(scene, Image.Image):
            raise InputError(
                "expected a Scene, a PIL image or a uint8 array of shape (height, width, 3), got "
                f"{_described(scene)}; float tensors of shape (batch, 3, 32, 32) in [0, 1] can be given to "
                "the model directly, together with the questions' vectors (batch, 12)"
            )
        picture = scene.convert("RGB")
        if picture.size != (SIDE, SIDE):
            picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    return type(value).__name__


def load_model(directory: Path) -> RelationNetwork:
    """The network stored in ``directory``, float32 and in eval mode."""
    model = RelationNetwork(**storage.read_config(directory))
    storage.load_weights(model, directory)
    return model


def _positions() -> Tensor:
    """x and y of each cell's centre, from -1 to 1; (16, 2)."""
    line = torch.linspace(-1, 1, GRID)
    down, across = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([across.flatten(), down.flatten()], dim=1)

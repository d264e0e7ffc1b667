"""Images: players, baselines, files, and what a person sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18
from torchvision.transforms import Compose, Normalize, ToTensor, v2
from torchvision.transforms._presets import ImageClassification

from hoi_captum import adapt, image_example, zoo
from hoi_captum.adapters.torchvision import ImageClassifierAdapter, read_image
from hoi_captum.core.games import MaskedGame
from hoi_captum.errors import InputError, PlayerError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def cnn(channels: int = 3, classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, classes),
    )


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 7, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------ players


@pytest.mark.parametrize("players", [(1, 1), (2, 3), (3, 3), (10, 7), (4, 5), 3])
def test_a_grid_cuts_the_image_into_even_cells(players):
    example = ImageClassifierAdapter(cnn()).example(torch.rand(3, 10, 7), players=players)
    mask = example.feature_mask
    assert mask.shape == (1, 1, 10, 7)
    rows, columns = players if isinstance(players, tuple) else (players, players)
    assert len(example.names) == rows * columns
    assert example.names[:2] == ("r1c1", "r1c2")[: len(example.names)] or columns == 1
    assert example.names[-1] == f"r{rows}c{columns}"
    boxes = set()
    for player in range(rows * columns):
        cells = (mask[0, 0] == player).nonzero()
        top, left = cells.min(0).values.tolist()
        height, width = (cells.max(0).values - cells.min(0).values + 1).tolist()
        assert len(cells) == height * width  # a rectangle
        assert 10 // rows <= height <= -(-10 // rows)
        assert 7 // columns <= width <= -(-7 // columns)
        boxes.add((top, left))
    assert len(boxes) == rows * columns
    assert sorted(boxes) == [
        (int((mask[0, 0] == p).nonzero()[0, 0]), int((mask[0, 0] == p).nonzero()[0, 1]))
        for p in range(len(boxes))
    ]  # in reading order
    assert torch.equal(example.layout.mask, mask[0, 0])


def test_a_given_mask_with_background():
    mask = np.full((10, 7), -1, dtype=np.int32)
    mask[2:4, 1:3], mask[6:, 5:] = 0, 1
    image = torch.rand(3, 10, 7)
    adapter = ImageClassifierAdapter(cnn())
    example = adapter.example(image, players=mask, baseline=0.5)
    assert example.names == ("region 0", "region 1")
    present = MaskedGame(adapter.forward_func, **example, target=0).table()[0]
    for row, (a, b) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        masked = image.clone()
        if not a:
            masked[:, 2:4, 1:3] = 0.5
        if not b:
            masked[:, 6:, 5:] = 0.5
        expected = adapter.forward_func(masked.unsqueeze(0))[0, 0]
        assert present[row].item() == pytest.approx(expected.item(), abs=1e-6)
    background = torch.from_numpy(mask) < 0
    assert torch.equal(example.baselines[0][:, background], image[:, background])


def mask_of(value: int, shape=(10, 7)) -> torch.Tensor:
    return torch.full(shape, value)


@pytest.mark.parametrize(
    ("players", "says"),
    [
        (mask_of(0, (7, 10)), r"shape \(10, 7\), got torch.int64 \(7, 10\)"),
        (mask_of(0).float(), "torch.float32"),
        (mask_of(-1), "no player"),
        (mask_of(1), "missing"),
        (mask_of(-2), "-2"),
        ((0, 3), "between 1 x 1 and 10 x 7, got 0 x 3"),
        ((11, 7), "got 11 x 7"),
        (8, "got 8 x 8"),
        ((3, 3, 3), r"\(3,\)"),
        ([3, 3], r"\(2,\)"),
        ("words", "grid"),
        ({"a": 1}, "grid"),
        (None, "grid"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_players_that_cannot_be_used(players, says):
    with pytest.raises(PlayerError, match=says):
        ImageClassifierAdapter(cnn()).example(torch.rand(3, 10, 7), players=players)


# ------------------------------------------------------------------------------ baselines


def test_baselines():
    image = torch.rand(3, 10, 7, generator=torch.Generator().manual_seed(0))
    own = torch.rand(3, 10, 7)

    def baseline(value):
        return ImageClassifierAdapter(cnn()).example(image, baseline=value).baselines[0]

    for zero in ("zero", None, 0, 0.0):
        assert baseline(zero).eq(0).all()
    mean = image.mean((1, 2))
    torch.testing.assert_close(baseline("mean"), mean.view(3, 1, 1).expand_as(image))
    assert baseline(0.25).eq(0.25).all()
    assert baseline(torch.tensor(2.0)).eq(2).all()
    assert torch.equal(baseline(own), own)
    assert torch.equal(baseline(own.numpy()), own)
    blurred = baseline("blur")
    assert blurred.shape == image.shape
    assert (blurred.std((1, 2)) < image.std((1, 2)) / 2).all()
    assert blurred.min() >= image.min()
    assert blurred.max() <= image.max()


def test_a_blur_is_a_weighted_mean_with_the_edges_continued():
    image = torch.rand(1, 5, 4, dtype=torch.float64)
    blurred = (
        ImageClassifierAdapter(cnn(1).double()).example(image, players=2, baseline="blur").baselines[0, 0]
    )
    deviation = 0.25 * 4
    weight = {d: np.exp(-0.5 * (d / deviation) ** 2) for d in range(-3, 4)}
    total = sum(weight.values())
    for y in range(5):
        for x in range(4):
            expected = sum(
                weight[dy] * weight[dx] / total**2
                * image[0, min(max(y + dy, 0), 4), min(max(x + dx, 0), 3)].item()
                for dy in weight
                for dx in weight
            )  # fmt: skip
            assert blurred[y, x].item() == pytest.approx(expected, abs=1e-6)  # its weights are float32


def test_a_blur_leaves_a_plain_image_alone():
    plain = torch.full((3, 9, 12), 0.3)
    example = ImageClassifierAdapter(cnn()).example(plain, baseline="blur")
    torch.testing.assert_close(example.baselines[0], plain)
    tiny = torch.rand(3, 1, 1)
    torch.testing.assert_close(
        ImageClassifierAdapter(cnn()).example(tiny, players=1, baseline="blur").baselines[0], tiny
    )


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        ("black", "zero, mean, blur, a number or a Tensor, got 'black'"),
        (torch.zeros(3), r"shape \(3, 10, 7\), got \(3,\)"),
        (torch.zeros(1, 3, 10, 7), r"got \(1, 3, 10, 7\)"),
        (np.zeros((10, 7, 3)), r"got \(10, 7, 3\)"),
        ({}, "name, a number or a Tensor"),
        (object(), "name, a number or a Tensor"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_unusable_baselines(baseline, says):
    with pytest.raises(InputError, match=says):
        ImageClassifierAdapter(cnn()).example(torch.rand(3, 10, 7), baseline=baseline)


# ------------------------------------------------------------------------------ images


def test_an_image_is_the_same_from_a_file_pil_and_arrays(tmp_path, picture):
    expected = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    Image.fromarray(picture).save(tmp_path / "picture.png")
    adapter = ImageClassifierAdapter(cnn())
    for raw in (
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
        Image.fromarray(picture),
        Image.fromarray(picture).convert("RGBA"),
        picture,
        picture.astype(np.int64),
        picture.astype(np.float32) / 255,
        expected,
    ):
        example = adapter.example(raw)
        torch.testing.assert_close(example.inputs, expected.unsqueeze(0))
        torch.testing.assert_close(example.layout.image, expected.permute(1, 2, 0))


@pytest.mark.parametrize("shape", [(10, 7), (10, 7, 1)])
def test_grey_images(tmp_path, shape):
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = torch.from_numpy(grey).view(1, 10, 7).float() / 255
    for model, channels in ((cnn(1), 1), (cnn(3), 3)):
        example = ImageClassifierAdapter(model).example(grey)
        torch.testing.assert_close(example.inputs[0], expected.expand(channels, -1, -1))
        assert example.layout.image.shape == (10, 7, 3)


def test_a_grey_image_for_a_model_of_colour_images():
    preset = ImageClassification(crop_size=8, resize_size=8)
    adapter = ImageClassifierAdapter(cnn(), transforms=preset)
    for image in (
        Image.new("L", (8, 8), 51),
        Image.new("RGBA", (8, 8), (51, 51, 51, 255)),
        Image.new("1", (8, 8)),
    ):
        example = adapter.example(image)
        assert example.inputs.shape == (1, 3, 8, 8)
    torch.testing.assert_close(
        adapter.example(Image.new("L", (8, 8), 51)).layout.image, torch.full((8, 8, 3), 0.2)
    )


@pytest.mark.parametrize(
    "transforms",
    [
        ImageClassification(crop_size=8, resize_size=8),
        Compose([ToTensor(), Normalize(MEAN, STD)]),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
        Compose([ToTensor(), Normalize(torch.tensor(MEAN), torch.tensor(STD))]),
    ],
    ids=["preset", "compose", "v2", "tensors"],
)
def test_normalisation_is_undone_for_the_eye(transforms):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    example = ImageClassifierAdapter(cnn(), transforms=transforms).example(picture)
    seen = torch.from_numpy(picture).float() / 255
    torch.testing.assert_close(example.layout.image, seen, rtol=1e-4, atol=1e-5)
    normal = (seen - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(example.inputs[0].permute(1, 2, 0), normal, rtol=1e-4, atol=1e-5)
    assert example.inputs.min() < 0  # what the model sees is not what a person sees
    again = ImageClassifierAdapter(cnn(), transforms=transforms).example(
        example.inputs[0]
    )  # transformed already
    torch.testing.assert_close(again.layout.image, seen, rtol=1e-4, atol=1e-5)


def test_a_tensor_out_of_range_is_scaled_for_the_eye():
    image = torch.rand(3, 6, 6) * 9 - 4
    seen = ImageClassifierAdapter(cnn()).example(image).layout.image
    assert seen.min() == 0
    assert seen.max() == 1
    assert ImageClassifierAdapter(cnn()).example(torch.full((3, 6, 6), 7.0)).layout.image.isfinite().all()


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_images_with_other_channels_can_be_explained(channels):
    example = ImageClassifierAdapter(cnn(channels)).example(torch.rand(channels, 6, 6))
    assert example.inputs.shape == (1, channels, 6, 6)
    assert example.layout.image.shape == (6, 6, 3)


def test_unreadable_files(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    good = tmp_path / "good.png"
    Image.new("RGB", (64, 64), (1, 2, 3)).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    for name in ("text.png", "cut.png", "missing.png", "."):
        with pytest.raises(InputError, match="cannot read an image from"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (np.zeros(5), r"got shape \(5,\)"),
        (np.zeros((2, 3, 4, 4)), r"got shape \(2, 3, 4, 4\)"),
        (np.zeros((8, 8, 7), dtype=np.uint8), r"with 1, 3 or 4 channels, got shape \(8, 8, 7\)"),
        (np.full((8, 8, 3), 128.0), r"floats in 0\.\.1, got float64 in 128\.\.128"),
        (np.full((8, 8, 3), -2.0), "floats in 0"),
        (np.full((8, 8, 3), np.nan), "floats in 0"),
        (np.full((8, 8, 3), 300), r"integers in 0\.\.255"),
        (None, "got NoneType"),
        (3, "got int"),
        (torch.zeros(8, 8), r"\(C, H, W\), got shape \(8, 8\)"),
        (torch.zeros(1, 3, 8, 8), r"got shape \(1, 3, 8, 8\)"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_is_no_image(raw, says):
    with pytest.raises(InputError, match=says):
        ImageClassifierAdapter(cnn()).example(raw)


def test_transforms_that_give_no_tensor():
    with pytest.raises(InputError, match=r"expected transforms to give a Tensor .* got Image"):
        ImageClassifierAdapter(cnn(), transforms=lambda image: image).example(Image.new("RGB", (8, 8)))


# ------------------------------------------------------------------------------ models


@pytest.mark.parametrize("name", ["digits-resnet", "digits-vgg"])
def test_the_zoos_digits(name):
    model, transforms = zoo.load(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    image, label = zoo.samples(name, 1)[0]
    example = image_example(model, image, transforms=transforms, players=(4, 4))
    assert all(m.training for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.eval()
    assert len(example.names) == 16
    assert example.inputs.shape == (1, 1, 28, 28)
    adapter = adapt(model, transforms=transforms)
    assert adapter.label(adapter.objective(None, example).target) == label
    same_image = adapt(f"zoo:{name}").example(image, players=(4, 4))
    assert torch.equal(same_image.inputs, example.inputs)
    expected = torch.from_numpy(np.array(image)).float() / 255
    torch.testing.assert_close(example.layout.image, expected.unsqueeze(-1).expand(28, 28, 3))


def test_inputs_take_the_models_type():
    image = torch.rand(3, 8, 8, dtype=torch.float64)
    example = ImageClassifierAdapter(cnn().double()).example(image)
    assert example.inputs.dtype == example.baselines.dtype == torch.float64
    assert torch.equal(example.inputs[0], image)
    assert example.layout.image.dtype == torch.float32
    example = ImageClassifierAdapter(cnn().bfloat16()).example(torch.rand(3, 8, 8), baseline="blur")
    assert example.inputs.dtype == example.baselines.dtype == torch.bfloat16


def test_the_default_layer_is_the_last_convolution():
    model = resnet18(weights=None)
    assert ImageClassifierAdapter(model).default_layer() is model.layer4[1].conv2
    with pytest.raises(InputError, match="no convolution"):
        ImageClassifierAdapter(nn.Flatten()).default_layer()

"""torchvision's classifiers by their name, with weights in torch's own cache."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

import hoi_captum as hoi
from hoi_captum.cli import main
from hoi_captum.errors import InputError

WEIGHTS = SqueezeNet1_1_Weights.DEFAULT
NAME = "torchvision:squeezenet1_1"


@pytest.fixture
def squeezenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network whose weights lie where torch keeps those that it has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    model = squeezenet1_1().eval()
    file = tmp_path / "hub" / "checkpoints" / WEIGHTS.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)
    return model


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def test_the_value_is_that_of_torchvisions_own_calls(squeezenet: nn.Module, image: Path) -> None:
    explanation = hoi.explain(NAME, image, players=(2, 2), output="logit")
    with torch.no_grad():
        pixels = WEIGHTS.transforms()(Image.open(image)).unsqueeze(0)
        shown, masked = squeezenet(pixels)[0], squeezenet(torch.zeros_like(pixels))[0]
    best = int(shown.argmax())
    source = explanation.interactions.provenance
    assert source.target == WEIGHTS.meta["categories"][best]
    assert source.model == ("squeezenet1_1",)
    assert explanation.interactions.scores.sum() == pytest.approx(float(shown[best] - masked[best]), abs=1e-4)


def test_on_the_command_line(squeezenet: nn.Module, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["explain", NAME, str(image), "--players", "2x2", "--target", "goldfish", "--dry-run", "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["forward_passes"] == 16


def test_labels_and_transforms_of_the_user_win(squeezenet: nn.Module) -> None:
    adapter = hoi.adapt(
        NAME, labels=[f"class {i}" for i in range(1000)], transforms=lambda _: torch.ones(3, 64, 64)
    )
    assert adapter.target("class 7") == 7
    assert adapter.example(Image.new("RGB", (9, 9)), players=(2, 2)).inputs.shape == (1, 3, 64, 64)


def test_no_such_network() -> None:
    with pytest.raises(InputError, match=r"no classifier 'resnet19'; did you mean torchvision:resnet18\?"):
        hoi.adapt("torchvision:resnet19")
    with pytest.raises(InputError, match="no classifier 'deeplabv3_resnet50'"):  # which segments
        hoi.adapt("torchvision:deeplabv3_resnet50")


def test_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / WEIGHTS.url.rpartition("/")[2]).write_bytes(b"PK broken")
    with pytest.raises(
        InputError, match="cannot get the weights of torchvision:squeezenet1_1, which come from"
    ):
        hoi.adapt(NAME)

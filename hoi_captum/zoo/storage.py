"""A small network's directory: its arguments in config.json, its weights in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def read_config(directory: Path) -> dict[str, Any]:
    """The arguments that the network was built with."""
    config: dict[str, Any] = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    return config


def load_weights(model: nn.Module, directory: Path) -> None:
    """Give ``model`` the stored weights in float32, and put it in eval mode."""
    stored = load_file(directory / WEIGHTS_FILE)
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored.items()})
    model.float().eval()


def save(model: nn.Module, config: dict[str, Any], directory: Path) -> None:
    """Write ``config.json`` and the weights in half precision."""
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    state = model.state_dict()
    save_file(
        {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state.items()},
        directory / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )

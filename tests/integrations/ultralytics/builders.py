"""What these tests share: names, networks with lively weights, pictures, a tiny data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tests.docs.pages import REPOSITORY

PAGE = REPOSITORY / "docs" / "ultralytics.md"
QUIET = {"verbose": False, "plots": False, "workers": 0, "device": "cpu"}


def at_scale(name: str, letter: str) -> str:
    """A model file's name with a scale: ``yolo11-ghostnetv3.yaml`` becomes ``yolo11n-ghostnetv3.yaml``."""
    return re.sub(r"^(yolov?\d+)", rf"\1{letter}", name)


def network(package: Any, name: str, letter: str = "n") -> Any:
    """The network of a model file at a scale, as that package builds it."""
    return package.YOLO(at_scale(name, letter), verbose=False).model


def pictures(dtype: torch.dtype = torch.float32, width: int = 96) -> Tensor:
    """One picture of noise, always the same: (1, 3, 64, width), 0 to 1."""
    return torch.rand(1, 3, 64, width, generator=torch.Generator().manual_seed(0)).to(dtype)


def enliven(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and weights of a network that has learned: no batch norm is an identity, no tunnel is shut."""
    generator = torch.Generator().manual_seed(seed)

    def between(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(like.shape, generator=generator)).to(like.dtype)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(between(module.running_mean, -0.2, 0.2))
                module.running_var.copy_(between(module.running_var, 0.8, 1.2))
                module.weight.copy_(between(module.weight, 0.8, 1.2))
                module.bias.copy_(between(module.bias, -0.1, 0.1))
            if type(module).__name__ == "Tunnel":
                module.gate.fill_(0.5)
    return model.eval()


def write_squares(folder: Path) -> Path:
    """Eight pictures to train on and four to validate on, each a square of one of two colours; their data.yaml."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for index in range(count):
            picture = generator.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            picture[16:48, 16:48] = [(0, 80, 255), (255, 80, 0)][index % 2]
            cv2.imwrite(str(folder / "images" / split / f"{index}.png"), picture)
            (folder / "labels" / split / f"{index}.txt").write_text(f"{index % 2} 0.5 0.5 0.5 0.5\n")
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [red, blue]\n")
    return data

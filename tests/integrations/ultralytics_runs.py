"""What the tests of the ultralytics integration share: the package, networks with lively weights, a tiny data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

QUIET = {"verbose": False, "plots": False, "workers": 0, "device": "cpu"}


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

"""Tiny students and teachers of several widths, strides and heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel, build_model
from ghostyolo.models.registry import register_backbone, register_neck
from ghostyolo.models.weights import save_checkpoint
from tests.train import tiny

HEADS: dict[str, dict[str, Any]] = {
    "dfl": {"type": "dfl", "bins": 4},
    "more bins": {"type": "dfl", "bins": 6},
    "end2end": {"type": "end2end", "bins": 4},
    "yolox": {"type": "yolox", "width": 0.0625},
    "anchor": {"type": "anchor"},
    "other anchors": {"type": "anchor", "anchors": [[[9, 9]], [[30, 30]], [[90, 90]]]},
}


@register_backbone("test-wide")
class Wide(tiny.Convs):
    """Other widths on two of three levels."""

    channels, strides = (12, 8, 20), (8, 16, 32)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__(in_channels)
        self.fine = nn.Sequential(nn.Conv2d(in_channels, 12, 8, 8), nn.BatchNorm2d(12), nn.SiLU())
        self.middle = nn.Sequential(nn.Conv2d(12, 8, 2, 2), nn.BatchNorm2d(8), nn.SiLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 20, 2, 2), nn.SiLU())


@register_backbone("test-coarse")
class Coarse(nn.Module):
    """Levels of which one is the student's, and one needs larger pictures."""

    channels, strides = (8, 8), (32, 64)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(in_channels, 8, 32, 32), nn.Conv2d(8, 8, 2, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.first(images)
        return [first, self.second(first)]


@register_backbone("test-fine")
class Fine(Coarse):
    """Levels of which none is the student's."""

    strides = (2, 4)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, 8, 2, 2)


@register_neck("test-any")
class AnyNeck(tiny.NoNeck):
    def __init__(self, in_channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__(in_channels)


def network(
    head: str = "dfl", backbone: str = "test-convs", *, classes: int = 2, channels: int = 3, seed: int = 0
) -> DetectionModel:
    """A network with batch norm statistics of its own, and scores all over 0..1."""
    torch.manual_seed(seed)
    parts = {"name": "tiny", "backbone": backbone, "neck": "test-any", "head": HEADS[head]}
    built = build_model(DetectorConfig.from_dict(parts, "tests"), num_classes=classes, in_channels=channels)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for layer in built.head.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.5)
    return built


def save(model: DetectionModel, path: Path, class_names: list[str] | None = None, deployed: bool = False) -> Path:
    metadata = ModelMetadata(
        model="tiny",
        class_names=class_names or tiny.CLASS_NAMES,
        imgsz=64,
        in_channels=model.in_channels,
        deployed=deployed,
    )
    save_checkpoint(model, metadata, path)
    return path

"""A detector of a few thousand weights and a data set of coloured squares, so that a whole run takes seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel, build_model
from ghostyolo.models.registry import register_backbone, register_neck
from ghostyolo.train.recipe import TrainRecipe

CLASS_NAMES = ["red", "green"]
CONFIG = DetectorConfig.from_dict(
    {"name": "tiny", "backbone": "test-convs", "neck": "test-none", "head": {"type": "dfl", "bins": 4}},
    "tests",
)
RECIPE = {
    "epochs": 4, "imgsz": 64, "batch": 2, "nominal_batch": 4, "warmup_epochs": 1.0, "close_mosaic": 1,
    "device": "cpu", "plots": False, "tensorboard": False,
}  # fmt: skip


@register_backbone("test-convs")
class Convs(nn.Module):
    """Strided convolutions with batch norm; dropout on the coarsest level, to see that its randomness resumes."""

    channels, strides = (8, 8, 16), (8, 16, 32)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(in_channels, 8, 8, 8), nn.BatchNorm2d(8), nn.SiLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 2, 2), nn.BatchNorm2d(8), nn.SiLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 16, 2, 2), nn.SiLU(), nn.Dropout(0.2))

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images)
        middle = self.middle(fine)
        return [fine, middle, self.coarse(middle)]


@register_neck("test-none")
class NoNeck(nn.Module):
    def __init__(self, in_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = in_channels

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return features


def make_confident(model: DetectionModel) -> None:
    """Spread an untrained network's scores over 0..1, so that it detects something, and not everywhere."""
    images = torch.rand(4, model.in_channels, 96, 96, generator=torch.Generator().manual_seed(0))
    images *= torch.linspace(0, 1, 96)
    model.eval()
    with torch.no_grad():
        for level, feature in enumerate(model.features(images)):
            branch = model.head.cls[level]  # type: ignore[union-attr, index]
            logits = branch(feature)
            mean, deviation = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
            branch[-1].weight *= (2 / deviation)[:, None, None, None]
            branch[-1].bias.copy_((branch[-1].bias - mean) * 2 / deviation - 2)


def model_and_metadata(in_channels: int = 3, imgsz: int = 64, seed: int = 0) -> tuple[DetectionModel, ModelMetadata]:
    torch.manual_seed(seed)
    model = build_model(CONFIG, num_classes=len(CLASS_NAMES), in_channels=in_channels)
    metadata = ModelMetadata(model="tiny", class_names=CLASS_NAMES, imgsz=imgsz, in_channels=in_channels)
    return model, metadata


def recipe(**changes: Any) -> TrainRecipe:
    return TrainRecipe.from_dict({**RECIPE, **changes})


def squares(root: Path, train: int = 6, val: int = 2, empty: bool = False) -> DetectionData:
    """Grey pictures of 64 x 48, each with one square of a class's colour, or none at all."""
    splits: dict[str, list[ImageRecord]] = {"train": [], "val": []}
    for number in range(train + val):
        split = "train" if number < train else "val"
        label = number % 2
        left, top = 4 + 5 * (number % 4), 4 + 3 * (number % 3)
        pixels = np.full((48, 64, 3), 128, np.uint8)
        if not empty:
            pixels[top : top + 24, left : left + 28] = ((40, 40, 220), (40, 220, 40))[label]  # BGR for OpenCV
        path = root / split / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
        count = 0 if empty else 1
        boxes = np.array([[left, top, left + 28, top + 24]], np.float32)[:count]
        labels = np.array([label], np.int64)[:count]
        splits[split].append(ImageRecord(path, 64, 48, boxes, labels, np.zeros(count, bool), number))
    return DetectionData(root, "yolo", CLASS_NAMES, splits)


def without_split(data: DetectionData, split: str) -> DetectionData:
    return dataclasses.replace(data, splits={k: v for k, v in data.splits.items() if k != split})


def write_yolo(data: DetectionData) -> Path:
    """Write the labels and data.yaml that a command needs beside the pictures of :func:`squares`."""
    for records in data.splits.values():
        for record in records:
            rows = []
            for (x1, y1, x2, y2), label in zip(record.boxes_xyxy.tolist(), record.labels.tolist(), strict=True):
                centre_x, centre_y = (x1 + x2) / 2 / record.width, (y1 + y2) / 2 / record.height
                rows.append(f"{label} {centre_x} {centre_y} {(x2 - x1) / record.width} {(y2 - y1) / record.height}")
            record.path.with_suffix(".txt").write_text("\n".join(rows))
    (data.root / "data.yaml").write_text("path: .\ntrain: train\nval: val\nnames: [red, green]\n")
    return data.root

"""A detector whose scores mean something without training: each test gets it with pictures to calibrate on."""

from __future__ import annotations

import numpy as np
import torch

from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel, build_model
from tests.models.test_ghostnet import scramble_norms
from tests.train import tiny  # registers the parts of bare networks

HEADS = {
    "dfl": {"type": "dfl", "bins": 8},
    "end2end": {"type": "end2end", "bins": 8},
    "yolox": {"type": "yolox", "width": 0.125},
    "anchor": {"type": "anchor"},
}


def detector(head: str = "dfl") -> tuple[DetectionModel, ModelMetadata]:
    torch.manual_seed(0)
    parts = {"backbone": "test-convs", "neck": "test-none", "head": HEADS[head]}
    model = build_model(DetectorConfig.from_dict(parts, "test"), num_classes=2).eval()
    with torch.no_grad():
        scramble_norms(model)
    return model, ModelMetadata(model="test", class_names=tiny.CLASS_NAMES, imgsz=64)


def canvases(count: int = 8, side: int = 64) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random((1, 3, side, side), dtype=np.float32) for _ in range(count)]

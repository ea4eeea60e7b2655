"""What the tests of formats for phones share: a tiny detector that finds things, and how far a file is from it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from ghostyolo.export.deployed import fold_for_device
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.run import ExportResult, export_network
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.runtime.engine import Engine
from ghostyolo.runtime.weights import resolve_weights
from tests.models.test_ghostnet import scramble_norms
from tests.train import tiny


@functools.cache
def confident_model() -> tuple[DetectionModel, ModelMetadata]:
    """An untrained network whose scores spread over 0..1, so that it has detections to compare."""
    model, metadata = tiny.model_and_metadata()
    with torch.no_grad():
        scramble_norms(model)
        for branch in model.head.cls:
            branch[-1].weight.mul_(30)
            branch[-1].bias.zero_()
    return model.eval(), metadata


@functools.cache
def folded() -> DetectionModel:
    return fold_for_device(confident_model()[0])


def export(path: Path, format: str, **options: object) -> ExportResult:
    """Write the tiny detector."""
    return export_network(*confident_model(), path, format, ExportOptions(**options))


def export_builtin(path: Path, format: str, **options: object) -> ExportResult:
    """Write the detector of blood cells that the package holds."""
    model, metadata = load_checkpoint(resolve_weights("bccd", suffixes=(".safetensors",)))
    return export_network(model, metadata, path, format, ExportOptions(**options))


def differences(engine: Engine, shape: tuple[int, ...] = (1, 3, 64, 64)) -> tuple[float, float]:
    """Largest difference to the tiny network, of boxes in pixels and of scores, on noise."""
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in folded()(torch.from_numpy(images))]
    boxes, scores = engine(images)
    assert boxes.shape == expected[0].shape
    assert scores.shape == expected[1].shape
    assert expected[1].max() > 0.5
    return float(np.abs(boxes - expected[0]).max()), float(np.abs(scores - expected[1]).max())

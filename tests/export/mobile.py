"""What the tests of formats for phones share: a tiny detector that finds things, and how far a file is from it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ghostyolo.data.formats import load_dataset
from ghostyolo.data.images import read_image
from ghostyolo.data.letterbox import apply_letterbox
from ghostyolo.evaluate import evaluate
from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.exporter import ExportResult, export_network
from ghostyolo.export.formats import find_format
from ghostyolo.export.options import ExportOptions
from ghostyolo.files import size_in_megabytes
from ghostyolo.metadata import ExportInfo, ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.runtime.engines import Engine, open_engine
from ghostyolo.runtime.predictor import Predictor, plan_batch
from ghostyolo.runtime.weights import resolve_weights
from tests.models.test_ghostnet import scramble_norms
from tests.train import tiny

Quantiser = Callable[[ExportJob, Path, list[np.ndarray], frozenset[str]], None]


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


def int8_job(format: str, batch: int | None = 1) -> ExportJob:
    """The tiny detector as a quantiser is given it; ``batch`` None leaves batch and size open."""
    size = {"height": 64, "width": 64} if batch else {}
    info = ExportInfo(format=format, precision="int8", batch=batch, **size)
    metadata = confident_model()[1].model_copy(update={"deployed": True, "export": info})
    return ExportJob(DeployedModel(folded(), "decoded"), metadata, ExportOptions())


def noise(count: int = 4) -> list[np.ndarray]:
    """Pictures to calibrate on."""
    generator = np.random.default_rng(0)
    return [generator.random((1, 3, 64, 64), dtype=np.float32) for _ in range(count)]


def builtin_int8(path: Path, format: str, quantise: Quantiser, bccd: Path) -> tuple[float, float, float]:
    """Quantise the detector of blood cells on 16 pictures; AP of the float file and of the INT8 one, and its share."""
    model, metadata = load_checkpoint(resolve_weights("bccd", suffixes=(".safetensors",)))
    data = load_dataset(bccd)
    job, files = None, []
    for precision in ("fp32", "int8"):
        info = ExportInfo(format=format, precision=precision, batch=1, height=metadata.imgsz, width=metadata.imgsz)
        described = metadata.model_copy(update={"deployed": True, "export": info})
        job = ExportJob(DeployedModel(fold_for_device(model), "decoded"), described, ExportOptions())
        files.append(path.with_name(f"{precision}{path.name}"))
        if precision == "fp32":
            find_format(format).write_file(job, files[0])
    canvases = []
    for record in data.splits["train"][:16]:
        picture = read_image(record.path, channels=3)
        (plan,) = plan_batch([picture.shape[1::-1]], (metadata.imgsz, metadata.imgsz), metadata.stride, rect=False)
        canvases.append(apply_letterbox(picture, plan).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
    quantise(job, files[1], canvases, frozenset())
    scores = [evaluate(Predictor(open_engine(file)), data.splits["val"], data.class_names).metrics.AP for file in files]
    return scores[0], scores[1], size_in_megabytes(files[1]) / size_in_megabytes(files[0])

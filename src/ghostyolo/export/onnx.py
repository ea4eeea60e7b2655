"""Write a detector as ONNX: folded, decoded in the graph, dynamic batch and size, metadata inside, checked.

Input ``images`` (B, C, H, W) float32, RGB in 0..1, H and W multiples of the stride. Outputs ``boxes`` (B, A, 4) xyxy in
input pixels and ``scores`` (B, A, classes) in 0..1. NMS is left to the reader (:mod:`ghostyolo.runtime.postprocess`),
where the metadata says that it is needed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import torch

from ghostyolo.errors import GhostYoloError
from ghostyolo.export.half_storage import round_to_half, store_half
from ghostyolo.files import atomic_path
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.nn.reparam import fold

TOLERANCE_PIXELS = 0.05
TOLERANCE_SCORE = 1e-4


class ExportError(GhostYoloError):
    """The exported file does not give the network's answers."""


@dataclass(frozen=True)
class Parity:
    """Largest differences between the exported file and the folded network.

    Attributes:
        pixels: of a box corner, at the sizes that were compared.
        score: of a class score.
    """

    pixels: float
    score: float


def export_onnx(
    model: DetectionModel,
    metadata: ModelMetadata,
    path: str | Path,
    *,
    opset: int = 18,
    half_weights: bool = False,
) -> Parity:
    """Fold, export, slim, check, and compare with ONNX Runtime before the file takes its place.

    Args:
        model: trained network; it is not changed.
        metadata: written into the file, with ``deployed`` set.
        path: target ``.onnx``; replaced only when all went well.
        opset: ONNX operator set, 18 or newer.
        half_weights: store weights as float16 (half the file) and still compute in float32; the comparison is
            then with a network whose weights are rounded the same way.

    Raises:
        ExportError: outputs differ by more than 0.05 pixels or 1e-4 of score.
        OutputError: the file cannot be written.
    """
    folded = fold(model.cpu().float())
    if half_weights:
        round_to_half(folded)
    proto = _trace(folded, model, metadata.imgsz, opset)
    deployed = metadata.model_copy(
        update={"deployed": True, "nms": model.needs_nms, "config": model.config.model_dump(mode="json")}
    )
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {METADATA_KEY: deployed.to_json()})
    proto.producer_name, proto.producer_version = "ghostyolo", deployed.version
    if half_weights:
        proto = store_half(proto)
    onnx.checker.check_model(proto)
    with atomic_path(path) as temporary:
        onnx.save(proto, temporary)
        parity = compare(folded, temporary, metadata.imgsz, model.stride, model.in_channels)
        if parity.pixels > TOLERANCE_PIXELS or parity.score > TOLERANCE_SCORE:
            raise ExportError(
                f"{path} was not written: it differs from the network by {parity.pixels:.3g} pixels and "
                f"{parity.score:.3g} in score (allowed {TOLERANCE_PIXELS} and {TOLERANCE_SCORE}); try another --opset"
            )
    return parity


def _trace(folded: torch.nn.Module, model: DetectionModel, imgsz: int, opset: int) -> onnx.ModelProto:
    # An example that is not square, so that height and width cannot be taken for one number.
    example = torch.zeros(2, model.in_channels, imgsz, imgsz + model.stride)
    batch, rows, columns = (torch.export.Dim(name, min=1, max=limit) for name, limit in
                            (("batch", 1024), ("rows", 256), ("columns", 256)))  # fmt: skip
    shapes = ({0: batch, 2: model.stride * rows, 3: model.stride * columns},)
    with _quiet():
        program = torch.onnx.export(
            folded,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=["images"],
            output_names=["boxes", "scores"],
            dynamic_shapes=shapes,
            verbose=False,
        )
        assert program is not None
        return onnxslim.slim(program.model_proto)


def compare(folded: torch.nn.Module, path: Path, imgsz: int, stride: int, in_channels: int, seed: int = 0) -> Parity:
    """Run the file and the network on noise at three shapes, among them a batch and a wide picture."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(seed)
    pixels = score = 0.0
    small = max(stride, imgsz // 2 // stride * stride)
    for batch, height, width in ((1, imgsz, imgsz), (2, small, imgsz), (1, stride * 3, stride * 2)):
        images = generator.random((batch, in_channels, height, width), dtype=np.float32)
        boxes, scores = session.run(None, {"images": images})
        with torch.no_grad():
            expected_boxes, expected_scores = folded(torch.from_numpy(images))
        pixels = max(pixels, float(np.abs(boxes - expected_boxes.numpy()).max()))
        score = max(score, float(np.abs(scores - expected_scores.numpy()).max()))
    return Parity(pixels, score)


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter prints its stages and warns of things that a user cannot act on."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

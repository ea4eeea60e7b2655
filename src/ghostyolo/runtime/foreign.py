"""Detectors that other programs wrote, taken where the layout of their outputs is one of the field's few.

    boxes, scores       (B, A, 4) xyxy in pixels, (B, A, classes)             by these two names
    (B, 4 + classes, A) cx, cy, w, h in pixels, class scores                  YOLOv8, 11, 12, 13 of Ultralytics
    (B, A, 5 + classes) cx, cy, w, h in pixels, objectness, class scores      YOLOv5, YOLOv7
    (B, M, 6)           xyxy in pixels, score, class; M at most 1000          YOLOv10, YOLO26 and other end-to-end heads
    (N, 7)              picture, xyxy in pixels, class, score                 YOLOv7 with NMS

The input must be one (B, C, H, W) tensor of RGB in 0..1. Class names, image size and stride come from Ultralytics'
metadata (``names``, ``imgsz``, ``stride``) where the file has it; else classes are numbered, the size is the input's
(640 where that is dynamic) and the stride 32.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import ExportInfo, ModelMetadata
from ghostyolo.runtime.engines.exported import spread_detections

Array = npt.NDArray[np.float32]
Shape = Sequence[int | None]
Layout = Literal["boxes and scores", "channels first", "objectness", "end-to-end", "suppressed"]
MOST_DETECTIONS = 1000


@dataclass(frozen=True)
class Foreign:
    """A file of another program whose layout was recognised.

    Attributes:
        layout: of its outputs.
        metadata: as if the file were ours, as far as it can be known.
    """

    layout: Layout
    metadata: ModelMetadata

    def interpret(self, outputs: Mapping[str, Array], batch: int) -> tuple[Array, Array]:
        """boxes_xyxy (B, A, 4) in pixels and scores (B, A, classes)."""
        if self.layout == "boxes and scores":
            return outputs["boxes"], outputs["scores"]
        (output,) = outputs.values()
        classes = len(self.metadata.class_names)
        if self.layout == "channels first":
            flat = output.transpose(0, 2, 1)  # a view: the best score of each anchor is faster found this way round
            return _corners(flat[..., :4]), flat[..., 4:]
        if self.layout == "objectness":
            return _corners(output[..., :4]), output[..., 4:5] * output[..., 5:]
        if self.layout == "suppressed":
            return spread_detections(output[:, [0, 1, 2, 3, 4, 6, 5]], batch, classes)
        rows = np.concatenate([np.insert(part, 0, owner, axis=1) for owner, part in enumerate(output)])
        return spread_detections(rows, batch, classes)


def recognise(
    where: str,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    properties: Mapping[str, str],
    kind: str = "onnx",
) -> Foreign:
    """Work out what a file without our metadata is.

    Args:
        where: the file, for messages.
        inputs, outputs: name and shape of each; None where a size is free.
        properties: metadata of the file as text.
        kind: name of the format.

    Raises:
        WeightsError: not a detector of a layout that is known.
    """
    if len(inputs) != 1 or len(next(iter(inputs.values()))) != 4:
        raise _unknown(where, "it does not take one (B, C, H, W) picture", outputs)
    if properties.get("task", "detect") != "detect":
        raise _unknown(where, f"its task is '{properties['task']}'", outputs)
    names = _names(properties.get("names"))
    batch, channels, height, width = next(iter(inputs.values()))
    layout, classes = _layout(where, outputs, names)
    if names is not None and classes is not None and len(names) != classes:
        raise _unknown(where, f"it names {len(names)} classes and has scores for {classes}", outputs)
    if names is None and classes is None:
        raise _unknown(where, "its classes cannot be counted", outputs)
    sides = _sides(properties.get("imgsz"))
    metadata = ModelMetadata(
        model=properties.get("description") or "foreign",
        class_names=names or [f"class {number}" for number in range(classes or 0)],
        imgsz=max(height or 0, width or 0) or (max(sides) if sides else 640),
        stride=int(float(properties.get("stride", 32))),
        in_channels=channels or 3,
        deployed=True,
        nms=layout in ("boxes and scores", "channels first", "objectness"),
        export=ExportInfo(format=kind, batch=batch, height=height, width=width, outputs=list(outputs)),
    )
    return Foreign(layout, metadata)


def _layout(where: str, outputs: Mapping[str, Shape], names: list[str] | None) -> tuple[Layout, int | None]:
    """The layout, and the number of classes where the shapes tell it."""
    if set(outputs) == {"boxes", "scores"}:
        return "boxes and scores", list(outputs["scores"])[-1]
    shapes = [tuple(shape) for shape in outputs.values()]
    if len(shapes) != 1:
        raise _unknown(where, f"it has {len(shapes)} outputs", outputs)
    (shape,) = shapes
    if len(shape) == 2 and shape[1] == 7:
        return "suppressed", None
    if len(shape) != 3:
        raise _unknown(where, "its output is no list of boxes", outputs)
    rows, columns = shape[1:]
    known = len(names) if names else None
    if columns == 6 and (rows is None or rows <= MOST_DETECTIONS) and known != 1:
        return "end-to-end", None
    if rows is not None and rows > 4 and (columns is None or rows < columns) and known in (None, rows - 4):
        return "channels first", rows - 4
    if columns is not None and columns > 5 and (rows is None or columns < rows) and known in (None, columns - 5):
        return "objectness", columns - 5
    raise _unknown(where, "its output is no list of boxes", outputs)


def _unknown(where: str, why: str, outputs: Mapping[str, Shape]) -> WeightsError:
    shapes = "; ".join(f"{name} ({', '.join(str(size or '?') for size in shape)})" for name, shape in outputs.items())
    return WeightsError(
        f"{where} was not written by ghostyolo and is no detector of a known layout: {why} (outputs: {shapes}); "
        "the layouts that can be taken are in docs/export.md"
    )


def _names(text: str | None) -> list[str] | None:
    """Ultralytics writes ``{0: 'person', ...}``."""
    try:
        value = ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return None
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    return [str(name) for name in value] if isinstance(value, list) and value else None


def _sides(text: str | None) -> list[int] | None:
    try:
        value = ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return None
    value = [value] if isinstance(value, int) else value
    return [int(side) for side in value] if isinstance(value, list | tuple) and value else None


def _corners(boxes_cxcywh: Any) -> Array:
    middle, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return np.concatenate((middle - half, middle + half), -1)

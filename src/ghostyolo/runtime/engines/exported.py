"""The part that engines of exported files share.

It handles fixed batches and canvases, and the three kinds of output. An engine of one format gives named arrays
(:meth:`ExportedEngine.run`); here they become boxes (B, A, 4) and scores (B, A, classes), whatever the file was written
with (:class:`ghostyolo.metadata.ExportInfo`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, GhostYoloError, WeightsError
from ghostyolo.metadata import ExportInfo, ModelMetadata
from ghostyolo.runtime.raw_outputs import decode_maps

Array = npt.NDArray[np.float32]


class ExportedEngine(ABC):
    """Base of the engines; a subclass sets ``name`` and ``metadata`` and runs its file.

    Attributes:
        path: the file, for messages.
    """

    name: str
    metadata: ModelMetadata
    path: Path

    @abstractmethod
    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        """Run (B, C, H, W) float32 in 0..1; return its outputs in their order.

        The size is one that the file takes.
        """

    @property
    def export(self) -> ExportInfo:
        """How the file was written."""
        return self.metadata.export or ExportInfo(format="onnx")

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Run (B, C, H, W) in 0..1; return boxes_xyxy (B, A, 4) in pixels, scores (B, A, classes).

        Raises:
            ConfigError: a size that the file does not take.
            WeightsError: outputs that are not what the metadata says.
        """
        export, (height, width) = self.export, images.shape[2:]
        if export.canvas not in (None, (height, width)):
            raise ConfigError(
                f"{self.path} takes {export.width} x {export.height} pixels only, not {width} x {height}: "
                "export it for that size, or without a fixed one"
            )
        # Some runtimes read memory as it lies, whatever the strides say: pictures come as (H, W, C) from their files.
        images = np.ascontiguousarray(images)
        if export.batch is None or export.batch == len(images):
            return self._answer(images)
        boxes, scores = [], []
        for start in range(0, len(images), export.batch):
            part = images[start : start + export.batch]
            filled = np.zeros((export.batch, *images.shape[1:]), images.dtype)
            filled[: len(part)] = part
            one = self._answer(filled)
            boxes.append(one[0][: len(part)])
            scores.append(one[1][: len(part)])
        return _stack(boxes), _stack(scores)

    def _answer(self, images: Array) -> tuple[Array, Array]:
        """Run pictures as many as the file takes."""
        try:
            outputs = self.run(images)
        except GhostYoloError:
            raise
        except Exception as error:  # engines' own errors share no base class but this
            reason = " ".join(str(error).split())[-200:]
            raise WeightsError(f"{self.path} cannot be run: damaged, or of another runtime ({reason})") from error
        height, width = images.shape[2:]
        boxes, scores = self._interpret(self._named(outputs), len(images), (height, width))
        classes = len(self.metadata.class_names)
        if scores.ndim != 3 or scores.shape[2] != classes or boxes.shape != (*scores.shape[:2], 4):
            raise WeightsError(
                f"{self.path} gives boxes {boxes.shape} and scores {scores.shape}, which do not belong to "
                f"{len(images)} pictures and {classes} classes: export it again"
            )
        return boxes, scores

    def _named(self, outputs: Sequence[npt.NDArray[Any]]) -> dict[str, Array]:
        names = self.export.outputs
        if len(outputs) != len(names):
            raise WeightsError(
                f"{self.path} has {len(outputs)} outputs, its metadata names {', '.join(names)}: export it again"
            )
        return {
            name: np.asarray(output).astype(np.float32, copy=False) for name, output in zip(names, outputs, strict=True)
        }

    def _interpret(self, outputs: dict[str, Array], batch: int, canvas: tuple[int, int]) -> tuple[Array, Array]:
        if self.export.output == "raw":
            return decode_maps(outputs, self.metadata, str(self.path))
        if self.export.output == "nms":
            return spread_detections(outputs["detections"], batch, len(self.metadata.class_names))
        return outputs["boxes"], outputs["scores"]


def spread_detections(detections: Array, batch: int, classes: int) -> tuple[Array, Array]:
    """Turn a batch's detections into boxes and scores of the usual shapes.

    It goes picture by picture.

    Args:
        detections: (N, 7): index of the picture, x1, y1, x2, y2 in pixels, score, class.

    Returns:
        boxes (B, M, 4) and scores (B, M, classes), M being the most detections of a picture; the rest is zero.

    Raises:
        WeightsError: a class that there is not.
    """
    labels = detections[:, 6]
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise WeightsError(f"the network found class {labels.max():g}, but its metadata names {classes} classes")
    owner = detections[:, 0].astype(np.int64)
    boxes, scores = [], []
    for picture in range(batch):
        own = detections[owner == picture]
        one = np.zeros((len(own), classes), np.float32)
        one[np.arange(len(own)), own[:, 6].astype(np.int64)] = own[:, 5]
        boxes.append(own[None, :, 1:5])
        scores.append(one[None])
    return _stack(boxes), _stack(scores)


def _stack(parts: list[Array]) -> Array:
    """Join arrays (B, M, K) along B; M, as many rows as the fullest picture has, may differ between calls."""
    rows = max((part.shape[1] for part in parts), default=0)
    if all(part.shape[1] == rows for part in parts):
        return np.concatenate(parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, rows - part.shape[1]), (0, 0))) for part in parts])

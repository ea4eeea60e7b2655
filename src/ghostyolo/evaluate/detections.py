"""A picture's detections as plain arrays, and the overlap of boxes.

No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import WeightsError


@dataclass(frozen=True)
class ImageDetections:
    """The detections of one picture, highest score first.

    Attributes:
        boxes_xyxy: (N, 4) float32, corners in pixels of the original picture.
        scores: (N,) float32 in 0..1.
        labels: (N,) int64, indices into the data set's class names.
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> ImageDetections:
        """No detections."""
        return cls.from_arrays([], [], [])

    @classmethod
    def from_arrays(cls, boxes_xyxy: npt.ArrayLike, scores: npt.ArrayLike, labels: npt.ArrayLike) -> ImageDetections:
        """Take (N, 4), (N,) and (N,) arrays or lists in any order.

        Equal scores keep their order.
        """
        boxes = np.asarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
        values = np.asarray(scores, dtype=np.float32).reshape(-1)
        order = np.argsort(-values, kind="stable")
        return cls(boxes[order], values[order], np.asarray(labels, dtype=np.int64).reshape(-1)[order])

    @classmethod
    def from_supervision(cls, detections: Any) -> ImageDetections:
        """Take a ``supervision.Detections`` (its ``xyxy``, ``confidence`` and ``class_id``)."""
        if len(detections) == 0:
            return cls.empty()
        return cls.from_arrays(detections.xyxy, detections.confidence, detections.class_id)

    def above(self, confidence: float) -> ImageDetections:
        """The detections that score at least ``confidence``."""
        keep = self.scores >= confidence
        return ImageDetections(self.boxes_xyxy[keep], self.scores[keep], self.labels[keep])

    def check_finite(self, path: Path) -> None:
        """Refuse NaN and infinity, which would sort anywhere and quietly spoil every metric.

        Raises:
            WeightsError: a box or a score is not a finite number.
        """
        if not (np.isfinite(self.boxes_xyxy).all() and np.isfinite(self.scores).all()):
            raise WeightsError(
                f"the model's boxes or scores for {path} are not finite numbers: its weights are damaged, or "
                "training has diverged; use another checkpoint"
            )


def box_areas(boxes_xyxy: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Width times height of (N, 4) boxes: (N,) in square pixels."""
    boxes = boxes_xyxy.astype(np.float64)
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def box_overlaps(
    found_xyxy: npt.NDArray[Any], truth_xyxy: npt.NDArray[Any], crowd: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Overlap of every detection with every object, as COCO defines it.

    Args:
        found_xyxy: (N, 4) detections.
        truth_xyxy: (M, 4) objects.
        crowd: (M,) regions of many objects: the intersection is divided by the detection's own area there.

    Returns:
        (N, M) in 0..1: IoU, or intersection over detection where ``crowd``.
    """
    found, truth = found_xyxy.astype(np.float64), truth_xyxy.astype(np.float64)
    corner_low = np.maximum(found[:, None, :2], truth[None, :, :2])
    corner_high = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    intersection = np.prod(np.clip(corner_high - corner_low, 0.0, None), axis=2)
    area_found, area_truth = box_areas(found)[:, None], box_areas(truth)[None, :]
    union = np.where(crowd[None, :], area_found, area_found + area_truth - intersection)
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))

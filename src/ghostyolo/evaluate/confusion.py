"""Which class is taken for which. No torch.

A detection and an object make a pair where they overlap by the IoU threshold, whatever their classes; pairs
are taken by falling IoU, each detection and each object once. Among equal overlaps a pair of the same class
comes first, so a box that is reported under two classes is not held against the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ghostyolo.data.records import ImageRecord
from ghostyolo.evaluate.detections import ImageDetections, box_overlaps
from ghostyolo.thresholds import SELECTION


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of what objects were taken for.

    Attributes:
        class_names: C names; index C is the background.
        counts: (C + 1, C + 1) int64. Row: what it is; column: what it was taken for. The last column holds
            objects that were missed, the last row detections of nothing; its corner is 0.
        iou, confidence: the thresholds.
    """

    class_names: list[str]
    counts: npt.NDArray[np.int64]
    iou: float
    confidence: float


def compute_confusion(
    records: Sequence[ImageRecord],
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    iou: float = 0.5,
    confidence: float = SELECTION.confidence,
) -> ConfusionMatrix:
    """Count over a split.

    Args:
        records: the pictures' labels; ignored objects count neither way, nor do detections on them.
        detections: what was found in each, same order.
        class_names: one name for each label.
        iou: the overlap that makes a pair.
        confidence: detections that score less are left out.
    """
    background = len(class_names)
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    for record, found in zip(records, detections, strict=True):
        _count_image(counts, record, found.above(confidence), iou)
    return ConfusionMatrix(list(class_names), counts, iou, confidence)


def _count_image(counts: np.ndarray, record: ImageRecord, found: ImageDetections, iou: float) -> None:
    background = len(counts) - 1
    overlaps = box_overlaps(found.boxes_xyxy, record.boxes_xyxy, record.crowd)
    rows, columns = np.nonzero((overlaps >= iou) & ~record.ignore[None, :])
    same_class = found.labels[rows] == record.labels[columns]
    detection_free, object_free = np.ones(len(found), dtype=bool), ~record.ignore
    # lexsort takes its last key first; the rows, sorted by score, break what is still equal.
    for pair in np.lexsort((rows, ~same_class, -overlaps[rows, columns])):
        detection, target = rows[pair], columns[pair]
        if detection_free[detection] and object_free[target]:
            detection_free[detection] = object_free[target] = False
            counts[record.labels[target], found.labels[detection]] += 1
    np.add.at(counts[:, background], record.labels[object_free], 1)
    on_ignored = (overlaps[:, record.ignore] >= iou).any(axis=1)
    np.add.at(counts[background], found.labels[detection_free & ~on_ignored], 1)

"""Precision against recall, and F1 against confidence, of each class.

At one IoU threshold. No torch.

The mean of a class's precision over the 101 recall points is its AP50 in :mod:`ghostyolo.evaluate.coco` (the
tests hold the two together).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ghostyolo.data.records import ImageRecord
from ghostyolo.evaluate.detections import ImageDetections
from ghostyolo.evaluate.true_positives import IGNORED, RIGHT, match


@dataclass(frozen=True)
class Curves:
    """Curves of every class; a class without objects has NaN throughout.

    Attributes:
        class_names: C names.
        recall: (101,) 0, 0.01 .. 1.
        precision: (C, 101), the best precision at that recall or a higher one.
        confidence: (1001,) 0, 0.001 .. 1.
        reported: (C, 1001), detections that score at least that.
        hits: (C, 1001), those of them that are right.
        objects: (C,) counting objects.
        iou: the overlap that makes a detection right.
    """

    class_names: list[str]
    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    reported: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    iou: float

    @cached_property
    def f1(self) -> npt.NDArray[np.float64]:
        """(C, 1001) harmonic mean of precision and recall."""
        both = self.reported + self.objects[:, None]  # 2PR / (P + R) without its division by zero
        return np.where(self.present[:, None], 2 * self.hits / np.maximum(both, 1), np.nan)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(C,) classes that have objects."""
        return self.objects > 0

    def average_precision(self) -> npt.NDArray[np.float64]:
        """(C,) AP at this IoU, NaN for classes without objects."""
        return np.asarray(self.precision.mean(axis=1))

    def best_confidence(self) -> tuple[float, float]:
        """Return the confidence with the highest mean F1, and that F1.

        They are (0, 0) where no class has objects.
        """
        if not self.present.any():
            return 0.0, 0.0
        mean = self.f1[self.present].mean(axis=0)
        best = self.best_place(mean)
        return float(self.confidence[best]), float(mean[best])

    @staticmethod
    def best_place(values: npt.NDArray[np.float64]) -> int:
        """Return the place of the highest value.

        Of several in a row it is the middle, which is furthest from getting worse.
        """
        first = int(np.argmax(values))
        lower = np.flatnonzero(values[first:] < values[first])
        length = int(lower[0]) if len(lower) else len(values) - first
        return first + (length - 1) // 2


def compute_curves(
    records: Sequence[ImageRecord],
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    iou: float = 0.5,
) -> Curves:
    """Compute the curves of a split.

    Args:
        records: the pictures' labels.
        detections: what was found in each, same order.
        class_names: one name for each label.
        iou: the overlap that makes a detection right.
    """
    count = len(class_names)
    recall_points, confidence_points = np.linspace(0.0, 1.0, 101), np.linspace(0.0, 1.0, 1001)
    objects = np.zeros(count, dtype=np.int64)
    scores: list[list[np.ndarray]] = [[np.empty(0)] for _ in range(count)]
    right: list[list[np.ndarray]] = [[np.empty(0, dtype=bool)] for _ in range(count)]
    pictures = sorted(zip(records, detections, strict=True), key=lambda pair: (pair[0].image_id, str(pair[0].path)))
    for record, found in pictures:
        np.add.at(objects, record.labels[~record.ignore], 1)
        verdict = match(record, found, iou)
        for label in np.unique(found.labels):
            counted = (found.labels == label) & (verdict != IGNORED)
            scores[label].append(found.scores[counted])
            right[label].append(verdict[counted] == RIGHT)

    precision = np.full((count, len(recall_points)), np.nan)
    reported, right_ones = np.zeros((2, count, len(confidence_points)), dtype=np.int64)
    for label in np.flatnonzero(objects):
        class_scores = np.concatenate(scores[label])
        by_score = np.argsort(-class_scores, kind="stable")
        hits = np.cumsum(np.concatenate(right[label])[by_score])
        found_so_far = np.arange(1, len(hits) + 1)
        precision[label] = _at_recalls(hits / found_so_far, hits / objects[label], recall_points)
        kept = np.searchsorted(-class_scores[by_score], -confidence_points, side="right")
        reported[label], right_ones[label] = kept, np.concatenate([[0], hits])[kept]
    return Curves(list(class_names), recall_points, precision, confidence_points, reported, right_ones, objects, iou)


def _at_recalls(precision: np.ndarray, recall: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate as COCO does: the best precision at the recall or above it, 0 where it is never reached."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return np.asarray(envelope[np.searchsorted(recall, points, side="left")])

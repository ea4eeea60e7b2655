"""The confidence threshold with the highest F1, of each class and of all together.

At one IoU threshold, that of the curves. F1 is the harmonic mean of precision, the share of the detections that are
right, and recall, the share of the objects that are found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ghostyolo.evaluate.curves import Curves
from ghostyolo.metadata import BestConfidence

_RATES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Point:
    """What is reached at one confidence; all values in 0..1."""

    confidence: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class BestPoints:
    """The points with the highest F1.

    Attributes:
        overall: means over the classes at one confidence for all; None where no class has objects.
        per_class: of each class that has objects, at its own confidence; of one that is never found, at that of all.
    """

    overall: Point | None
    per_class: dict[str, Point]

    def confidences(self) -> BestConfidence | None:
        """Return what a weights file remembers; None where there is nothing to remember."""
        if self.overall is None:
            return None
        return BestConfidence(
            overall=round(self.overall.confidence, 4),
            per_class={name: round(point.confidence, 4) for name, point in self.per_class.items() if point.f1 > 0},
        )


def find_best_points(curves: Curves) -> BestPoints:
    """Look up the highest F1 of curves."""
    present = [int(label) for label in np.flatnonzero(curves.present)]
    if not present:
        return BestPoints(None, {})
    shared = int(np.searchsorted(curves.confidence, curves.best_confidence()[0]))
    points = [_point(curves, label, shared) for label in present]
    rates = (float(np.mean([getattr(point, rate) for point in points])) for rate in _RATES)
    own = {}
    for label in present:
        place = curves.best_place(curves.f1[label]) if curves.f1[label].any() else shared
        own[curves.class_names[label]] = _point(curves, label, place)
    return BestPoints(Point(float(curves.confidence[shared]), *rates), own)


def _point(curves: Curves, label: int, place: int) -> Point:
    hits, reported = int(curves.hits[label, place]), int(curves.reported[label, place])
    return Point(
        confidence=float(curves.confidence[place]),
        precision=hits / reported if reported else 0.0,
        recall=hits / int(curves.objects[label]),
        f1=float(curves.f1[label, place]),
    )

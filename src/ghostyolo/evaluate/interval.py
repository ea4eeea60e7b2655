"""How far AP may be off for want of pictures, by a bootstrap.

The pictures are drawn again with replacement, as many as there are, and AP is computed each time; the interval holds
the middle 95 % of these values (Efron's percentile method). It says how much another choice of pictures of the same
kind would change the figure; it knows nothing of another seed of the training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ghostyolo.data.records import ImageRecord
from ghostyolo.evaluate.detections import ImageDetections
from ghostyolo.evaluate.true_positives import IGNORED, RIGHT, match

DRAWS = 200
_IOUS, _RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
_FEWEST_PICTURES = 5


def ap_interval(
    records: Sequence[ImageRecord],
    detections: Sequence[ImageDetections],
    class_count: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the bounds of the 95 % interval of AP, in 0..1.

    Args:
        records: the pictures' labels.
        detections: what was found in each, same order.
        class_count: labels are below it.
        draws: of the bootstrap.
        seed: same seed, same interval.

    Returns:
        None where there are fewer than five pictures or no objects.
    """
    count = len(records)
    if count < _FEWEST_PICTURES or all(record.ignore.all() for record in records):
        return None
    sheets = _sheets(records, detections, class_count)
    generator = np.random.default_rng(seed)
    values = [_mean_ap(sheets, generator.multinomial(count, np.full(count, 1 / count))) for _ in range(draws)]
    defined = [value for value in values if not np.isnan(value)]
    if not defined:
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


class _Sheet:
    """The judged detections of one class, by falling score.

    Attributes:
        picture: (N,) where each was found.
        right, counts: (10, N) at each IoU threshold, whether it is right, and whether it counts at all.
        objects: (pictures,) counting objects.
    """

    def __init__(self, picture: npt.NDArray[np.int64], verdict: npt.NDArray[np.int8], objects: npt.NDArray[np.int64]):
        counted = (verdict != IGNORED).any(axis=0)
        self.picture, verdict = picture[counted], verdict[:, counted]
        self.right, self.counts = verdict == RIGHT, verdict != IGNORED
        self.objects = objects

    def ap(self, weights: npt.NDArray[np.int64]) -> float:
        """AP where each picture stands there so many times; NaN without objects."""
        objects = int((weights * self.objects).sum())
        if not objects:
            return float("nan")
        times = weights[self.picture].astype(np.float64)
        hits = np.cumsum(self.right * times, axis=1)
        reported = np.cumsum(self.counts * times, axis=1)
        precision = hits / np.maximum(reported, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = hits / objects
        total = 0.0
        for row, reached in zip(envelope, recall, strict=True):
            places = np.searchsorted(reached, _RECALLS, side="left")
            total += float(row[places[places < len(row)]].sum())
        return total / (len(recall) * len(_RECALLS))


def _sheets(records: Sequence[ImageRecord], detections: Sequence[ImageDetections], class_count: int) -> list[_Sheet]:
    verdicts = [
        np.stack([match(record, found, iou) for iou in _IOUS])
        for record, found in zip(records, detections, strict=True)
    ]
    sheets = []
    for label in range(class_count):
        objects = np.array([int((record.labels[~record.ignore] == label).sum()) for record in records])
        if not objects.sum():
            continue
        counts = [int((found.labels == label).sum()) for found in detections]
        picture = np.repeat(np.arange(len(detections)), counts)
        scores = np.concatenate([found.scores[found.labels == label] for found in detections])
        judged = np.concatenate(
            [verdict[:, found.labels == label] for verdict, found in zip(verdicts, detections, strict=True)], axis=1
        )
        order = np.argsort(-scores, kind="stable")
        sheets.append(_Sheet(picture[order], judged[:, order], objects))
    return sheets


def _mean_ap(sheets: Sequence[_Sheet], weights: npt.NDArray[np.int64]) -> float:
    values = [value for sheet in sheets if not np.isnan(value := sheet.ap(weights))]
    return float(np.mean(values)) if values else float("nan")

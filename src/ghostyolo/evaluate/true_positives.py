"""Which detections are right at one IoU threshold, by COCO's greedy rule.

The curves use it. No torch.

Source: the matching of https://cocodataset.org/#detection-eval. Detections of a class in a picture are taken
by falling score; each takes the free object of its class that it overlaps most, at or above the threshold.
Objects to be ignored come second, may be taken any number of times, and their detections count neither way:
those on a difficult object (VOC) by IoU, those in a crowd (COCO) by their share in it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ghostyolo.data.records import ImageRecord
from ghostyolo.evaluate.detections import ImageDetections, box_overlaps

WRONG, RIGHT, IGNORED = 0, 1, 2


def match(record: ImageRecord, detections: ImageDetections, iou: float, limit: int = 100) -> npt.NDArray[np.int8]:
    """Judge every detection of one picture.

    Args:
        record: the picture's objects (M).
        detections: what was found (N), sorted by score.
        iou: the overlap that makes a detection right.
        limit: detections a class that count, as in COCO; the rest is ``IGNORED``.

    Returns:
        (N,) of ``RIGHT``, ``WRONG`` or ``IGNORED``.
    """
    return match_objects(record, detections, iou, limit)[0]


def match_objects(
    record: ImageRecord, detections: ImageDetections, iou: float, limit: int = 100
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Judge every detection and every object of one picture.

    Args:
        record, detections, iou, limit: see :func:`match`.

    Returns:
        What :func:`match` returns, and (M,) whether an object was found.
    """
    verdict = np.full(len(detections), IGNORED, dtype=np.int8)
    is_found = np.zeros(len(record.labels), dtype=bool)
    for label in np.unique(detections.labels):
        of_class = np.flatnonzero(detections.labels == label)[:limit]
        objects = np.flatnonzero(record.labels == label)
        ignore = record.ignore[objects]
        overlaps = box_overlaps(detections.boxes_xyxy[of_class], record.boxes_xyxy[objects], record.crowd[objects])
        overlaps[overlaps < iou] = -1.0
        for position, row in zip(of_class, overlaps, strict=True):
            # Counting objects first; among equal overlaps the last one, as pycocotools does.
            for group, outcome in ((~ignore, RIGHT), (ignore, IGNORED)):
                candidates = np.flatnonzero(group & (row >= 0))
                if len(candidates):
                    taken = candidates[len(candidates) - 1 - np.argmax(row[candidates][::-1])]
                    if outcome == RIGHT:
                        overlaps[:, taken] = -1.0
                        is_found[objects[taken]] = True
                    verdict[position] = outcome
                    break
            else:
                verdict[position] = WRONG
    return verdict, is_found

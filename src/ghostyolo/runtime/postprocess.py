"""Turns raw boxes and scores into a short list of detections.

It applies a threshold and NMS class by class; the best comes first. Boxes are xyxy in pixels; arrays are numpy. Two
boxes of one class suppress each other when their IoU is above ``iou``; boxes of different classes never do. A network
that finds each object once needs no suppression.

Suppression is exact for any number of candidates, and near linear in it: only pairs that can overlap enough are
compared. Two boxes of widths w and v with an IoU above t have a width ratio above t, and their overlap is wider
than t max(w, v); so their middles are less than w * max(1 - t, (1 / t - 1) / 2) apart.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.thresholds import Selection

Chosen = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]
Boxes = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_FIRST_BLOCK, _LARGEST_BLOCK = 64, 4096  # candidates that are settled at a time
_PAIRS_AT_ONCE = 1 << 16  # compared in one step; so few are not worth sorting, and more would not fit the cache


def select_detections(
    boxes_xyxy: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    selection: Selection,
    *,
    nms: bool = True,
    multi_label: bool = False,
    floors: npt.NDArray[np.float32] | None = None,
) -> Chosen:
    """Choose the detections of one picture.

    Boxes without area are left out.

    Args:
        boxes_xyxy: (A, 4).
        scores: (A, classes) in 0..1.
        selection: the limits, and whether boxes vote.
        nms: suppress the weaker of two boxes of a class that overlap.
        multi_label: every class above the threshold makes a candidate of an anchor (for metrics), not only
            its best.
        floors: (classes,) the score that each class's detections must exceed, in place of the selection's confidence.

    Returns:
        boxes (N, 4) float32, scores (N,) float32 and labels (N,) int64, by falling score.

    Raises:
        WeightsError: a score, or a box that scores high enough, is not a finite number.
    """
    confidence, max_detections = selection.confidence if floors is None else floors.min(), selection.max_detections
    iou = selection.iou if nms else None
    # The maximum is several times cheaper than the argmax, which few anchors then need; it is NaN where any score is.
    best = scores.max(axis=1, initial=0)
    anchors = np.flatnonzero(~(best <= confidence))
    if multi_label:
        rows, labels = np.nonzero(scores[anchors] > confidence)
        anchors = anchors[rows]
    else:
        labels = scores[anchors].argmax(axis=1) if len(anchors) else np.zeros(0, dtype=np.int64)
    confidences, boxes = scores[anchors, labels], boxes_xyxy[anchors]
    if not (np.isfinite(best).all() and np.isfinite(boxes).all()):
        broken = int((~np.isfinite(best)).sum() + (~np.isfinite(boxes)).any(axis=1).sum())
        raise WeightsError(
            f"the network's boxes or scores are not finite numbers ("
            f"{broken} of {len(best)}): its weights are damaged, "
            "training has diverged, or half precision overflows; use another checkpoint or precision"
        )
    usable = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if floors is not None:
        usable &= confidences > floors[labels]
    if not usable.all():
        boxes, confidences, labels = boxes[usable], confidences[usable], labels[usable]
    if iou is None:
        keep = _best(confidences, max_detections)
    else:
        # Greedy NMS of the best k gives the beginning of the NMS of all: stop as soon as that is enough.
        count = 4 * max_detections
        while True:
            candidates = _best(confidences, count)
            keep = candidates[suppress(boxes[candidates], labels[candidates], iou, max_detections)]
            if len(keep) >= max_detections or count >= len(confidences):
                break
            count *= 4
        if selection.vote and len(keep):
            boxes[keep] = _voted(boxes, confidences, labels, keep, candidates, iou)
    return (
        boxes[keep].astype(np.float32, copy=False),
        confidences[keep].astype(np.float32, copy=False),
        labels[keep].astype(np.int64, copy=False),
    )


def join_mirrored(plain: tuple[Boxes, Boxes], mirrored: tuple[Boxes, Boxes], width: int) -> tuple[Boxes, Boxes]:
    """Join what a network gives for pictures and for the mirrored ones.

    Args:
        plain, mirrored: boxes_xyxy (B, A, 4) and scores (B, A, classes).
        width: of the canvas in pixels.
    """
    boxes = mirrored[0].copy()
    boxes[..., 0], boxes[..., 2] = width - mirrored[0][..., 2], width - mirrored[0][..., 0]
    return np.concatenate((plain[0], boxes), axis=1), np.concatenate((plain[1], mirrored[1]), axis=1)


def suppress(
    boxes_xyxy: npt.NDArray[Any], labels: npt.NDArray[Any], iou: float, max_detections: int | None = None
) -> Indices:
    """Indices that greedy NMS keeps of candidates sorted by falling score.

    Args:
        boxes_xyxy: (N, 4), finite and with an area.
        labels: (N,); boxes of different labels leave each other alone.
        iou: a box goes that overlaps a better one by more than this, 0..1.
        max_detections: stop after so many; None: settle all.
    """
    field = _Field(boxes_xyxy.astype(np.float64), labels, iou)
    most = len(boxes_xyxy) if max_detections is None else max_detections
    keep: list[int] = []
    waiting, size = np.arange(len(boxes_xyxy)), _FIRST_BLOCK
    while len(waiting) and len(keep) < most:
        block, waiting = waiting[:size], waiting[size:]
        better, worse = field.overlapping(block, block)
        alive = [True] * len(block)
        for strong, weak in zip(better.tolist(), worse.tolist(), strict=True):  # by rising position of the better one
            if strong < weak and alive[strong]:
                alive[weak] = False
        kept = block[alive]
        keep += kept.tolist()
        if len(waiting) and len(keep) < most:
            gone = np.zeros(len(waiting), dtype=bool)
            gone[field.overlapping(kept, waiting)[1]] = True
            waiting = waiting[~gone]
        size = min(2 * size, _LARGEST_BLOCK)
    return np.asarray(keep[:most], dtype=np.int64)


def _voted(
    boxes_xyxy: npt.NDArray[Any],
    confidences: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    keep: Indices,
    candidates: Indices,
    iou: float,
) -> npt.NDArray[np.float64]:
    """Means of the boxes around each kept one (Gidaris and Komodakis, arXiv 1505.01749, section 5.2)."""
    kept, voter = _Field(boxes_xyxy.astype(np.float64), labels, iou).overlapping(keep, candidates)
    weights = confidences[candidates[voter]].astype(np.float64)
    total = np.bincount(kept, weights, len(keep))
    sums = [np.bincount(kept, weights * side, len(keep)) for side in boxes_xyxy[candidates[voter]].T]
    # At an IoU of 1 not even the box itself is above the threshold.
    return np.where(total[:, None] > 0, np.stack(sums, 1) / np.maximum(total, 1e-12)[:, None], boxes_xyxy[keep])


class _Field:
    """Boxes that can be asked which of them overlap."""

    def __init__(self, boxes_xyxy: npt.NDArray[np.float64], labels: npt.NDArray[Any], iou: float) -> None:
        self._sides, self._labels, self._iou = np.ascontiguousarray(boxes_xyxy.T), labels, iou
        self._sizes = self._sides[2:] - self._sides[:2]
        self._areas = self._sizes[0] * self._sizes[1]

    def overlapping(self, first: Indices, second: Indices) -> tuple[Indices, Indices]:
        """Return the pairs of one class that overlap too much, as positions in ``first``, rising, and ``second``."""
        if len(first) * len(second) <= _PAIRS_AT_ONCE:
            left, right = np.nonzero(self._above(first[:, None], second))
            return left, right
        places, reach = self._line
        order = np.argsort(places[second])
        line = places[second][order]
        low = np.searchsorted(line, places[first] - reach[first], "left")
        counts = np.searchsorted(line, places[first] + reach[first], "right") - low
        ends = np.cumsum(counts)
        parts: list[tuple[Indices, Indices]] = []
        start = 0
        while start < len(first):
            done = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
            number = counts[start:stop]
            left = np.repeat(np.arange(start, stop), number)
            shift = low[start:stop] - (ends[start:stop] - number - done)
            right = order[np.arange(len(left)) + np.repeat(shift, number)]
            above = self._above(first[left], second[right])
            parts.append((left[above], right[above]))
            start = stop
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    @functools.cached_property
    def _line(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where each box lies on a line, and how far from there another may lie that overlaps it enough."""
        middles = (self._sides[2:] + self._sides[:2]) / 2
        # Along the side on which the boxes are spread more, counted in boxes; far beyond it lies the next class.
        axis = int(np.argmax(np.ptp(middles, axis=1) / np.median(self._sizes, axis=1)))
        width = float(np.ptp(middles[axis]))
        bound = max(1 - self._iou, (1 / self._iou - 1) / 2) if self._iou > 0 else np.inf
        # A little more than the bound, so that rounding never hides a pair; and never more than the whole field.
        reach = np.minimum(self._sizes[axis] * bound * 1.001, width) + 1e-6 * (width + 1)
        return middles[axis] + self._labels * (4 * width + 4), reach

    def _above(self, first: Indices, second: Indices) -> npt.NDArray[np.bool_]:
        left, top, right, bottom = self._sides
        widths = np.minimum(right[first], right[second])
        widths -= np.maximum(left[first], left[second])
        heights = np.minimum(bottom[first], bottom[second])
        heights -= np.maximum(top[first], top[second])
        shared = np.maximum(widths, 0, out=widths)
        shared *= np.maximum(heights, 0, out=heights)
        both = np.add(self._areas[first], self._areas[second], out=heights)
        both -= shared
        both *= self._iou
        return np.asarray((shared > both) & (self._labels[first] == self._labels[second]))


def _best(confidences: npt.NDArray[Any], count: int) -> Indices:
    """Indices of the best ``count``, by falling score, equal ones in their order."""
    if count >= len(confidences):
        return np.argsort(-confidences, kind="stable")
    least = np.partition(confidences, len(confidences) - count)[len(confidences) - count]
    above = np.flatnonzero(confidences > least)
    equal = np.flatnonzero(confidences == least)[: count - len(above)]
    chosen = np.sort(np.concatenate((above, equal)))
    return chosen[np.argsort(-confidences[chosen], kind="stable")]

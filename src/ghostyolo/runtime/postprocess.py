"""From raw boxes and scores to a short list of detections: threshold, class-wise NMS (OpenCV), best first.

Boxes are xyxy in pixels; arrays are numpy. Two boxes of one class suppress each other when their IoU is above
``iou``; boxes of different classes never do. A network that finds each object once needs no suppression.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Selection = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]


def select_detections(
    boxes_xyxy: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    *,
    confidence: float,
    iou: float | None,
    max_detections: int,
    multi_label: bool = False,
    max_candidates: int = 3000,
) -> Selection:
    """Choose the detections of one picture.

    Boxes without area and values that are not finite are left out.

    Args:
        boxes_xyxy: (A, 4).
        scores: (A, classes) in 0..1.
        confidence: scores must be above this.
        iou: NMS threshold; None: nothing is suppressed.
        max_detections: at most so many are returned, the best by score.
        multi_label: every class above the threshold makes a candidate of an anchor (for metrics), not only
            its best.
        max_candidates: the best so many enter NMS, where there is one.

    Returns:
        boxes (N, 4) float32, scores (N,) float32 and labels (N,) int64, by falling score.
    """
    if multi_label:
        anchors, labels = np.nonzero(scores > confidence)
        confidences = scores[anchors, labels]
    else:
        # The maximum is several times cheaper than the argmax, which few anchors then need.
        anchors = np.flatnonzero(scores.max(axis=1, initial=0) > confidence)
        labels = scores[anchors].argmax(axis=1) if len(anchors) else np.zeros(0, dtype=np.int64)
        confidences = scores[anchors, labels]
    boxes = boxes_xyxy[anchors]
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    order = np.flatnonzero(usable)
    most = max_detections if iou is None else max_candidates
    order = order[np.argsort(-confidences[order], kind="stable")[:most]]
    boxes, confidences, labels = boxes[order], confidences[order], labels[order]
    keep = np.arange(len(order)) if iou is None else _nms(boxes, confidences, labels, iou, max_detections)
    return (
        boxes[keep].astype(np.float32, copy=False),
        confidences[keep].astype(np.float32, copy=False),
        labels[keep].astype(np.int64, copy=False),
    )


def _nms(
    boxes_xyxy: npt.NDArray[np.float32],
    confidences: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    iou: float,
    max_detections: int,
) -> npt.NDArray[np.int64]:
    """Indices that survive among candidates sorted by falling score, at most ``max_detections``."""
    if len(boxes_xyxy) == 0:
        return np.zeros(0, dtype=np.int64)
    # OpenCV keeps classes apart by shifting each past the largest coordinate: none may be below 0.
    corners = boxes_xyxy.astype(np.float64)
    corners -= corners.min()
    boxes_xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    classes = labels.astype(np.int32)
    # Greedy NMS of the best k gives the beginning of the NMS of all: stop as soon as that is enough.
    count = 2 * max_detections
    while True:
        keep = cv2.dnn.NMSBoxesBatched(
            boxes_xywh[:count],  # type: ignore[arg-type]  # arrays are taken, the stubs do not know
            confidences[:count],  # type: ignore[arg-type]
            classes[:count],  # type: ignore[arg-type]
            score_threshold=-1.0,
            nms_threshold=iou,
        )
        if len(keep) >= max_detections or count >= len(boxes_xywh):
            return np.asarray(keep, dtype=np.int64)[:max_detections]
        count *= 2

"""COCO detection metrics of a whole split, by faster-coco-eval.

They equal pycocotools' on the same detections.

Conventions, as in https://cocodataset.org/#detection-eval: AP is the mean over IoU thresholds 0.50:0.05:0.95
of the precision at 101 recall points, averaged over the classes that have objects; at most 100 detections a
class and picture count; small is up to 32 x 32 pixels, large from 96 x 96. An object's area is the stated one
(COCO's is the mask's), else its box's. An object of ``ImageRecord.ignore`` is neither demanded nor are detections
on it punished: in a crowd (COCO) those that lie in it by the threshold's share of their own area, on a difficult
object (VOC) those that reach the threshold as IoU.

A figure that is undefined, such as the AP of small objects where there are none, is None (pycocotools: -1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.evaluate.detections import ImageDetections, box_areas, box_overlaps

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)  # the order of COCO's area ranges
_SHOWN = ("AP", "AP50", "AP75")
_IOU_50, _IOU_75 = 0, 5  # positions in 0.50:0.05:0.95


@dataclass(frozen=True)
class ClassMetrics:
    """One class.

    Attributes:
        AP, AP50: in 0..1; None where the split has no object of the class.
        objects: labelled objects that count (not ignored).
        images: pictures that hold at least one of them.
    """

    AP: float | None
    AP50: float | None
    objects: int
    images: int


@dataclass(frozen=True, repr=False)
class Metrics:
    """COCO metrics of a split, in 0..1; None where undefined.

    Attributes:
        AP, AP50, AP75: over IoU 0.50:0.95, at 0.50, at 0.75.
        APs, APm, APl: AP of small, medium and large objects.
        AR100: recall over IoU 0.50:0.95 with at most 100 detections a class and picture.
        per_class: by class name, in the order of the labels.
        images, objects: how many pictures and counting objects were evaluated.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR100: float | None
    per_class: dict[str, ClassMetrics]
    images: int
    objects: int

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{key} {'-' if (value := getattr(self, key)) is None else f'{value:.3f}'}" for key in _SHOWN
        )
        return f"Metrics({scores}; {self.images} images, {self.objects} objects)"

    def to_json(self) -> dict[str, Any]:
        """Return the metrics with exactly the documented keys.

        Every value is in 0..1 or None.
        """
        return {
            **{key: getattr(self, key) for key in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")},
            "per_class": {name: {"AP": one.AP, "AP50": one.AP50} for name, one in self.per_class.items()},
        }


class CocoEvaluator:
    """Collects pictures with their detections, then computes the metrics.

    The order in which pictures are added does not matter: they are scored in the order of their ids.

    Args:
        class_names: one name for each label.

    Raises:
        ConfigError: two classes have the same name, so that results by name would be ambiguous.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        repeated = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
        if repeated:
            raise ConfigError(f"class name {repeated[0]!r} is given twice; rename one of the two in the data set")
        self._added: list[tuple[ImageRecord, ImageDetections]] = []

    def add(self, record: ImageRecord, detections: ImageDetections) -> None:
        """Add one picture.

        Args:
            record: the picture's labels.
            detections: what was found in it, boxes in pixels of the original picture.

        Raises:
            DataError: a label of the picture is outside the class names.
            ConfigError: a detection's label is.
            WeightsError: a box or a score is not finite.
        """
        count = len(self.class_names)
        for labels, error, what in (
            (record.labels, DataError, "an object"),
            (detections.labels, ConfigError, "a detection"),
        ):
            outside = labels[(labels < 0) | (labels >= count)]
            if len(outside):
                raise error(f"{record.path}: {what} has class {int(outside[0])}, but there are {count} classes")
        detections.check_finite(record.path)
        self._added.append((record, detections))

    def compute(self) -> Metrics:
        """Return the metrics of all pictures added so far."""
        added = sorted(self._added, key=lambda pair: (pair[0].image_id, str(pair[0].path)))
        objects, images = self._count([record for record, _ in added])
        if not any(len(record.labels) for record, _ in added):
            # Nothing to find: every figure is undefined, and the library is not made for it.
            precision, recall = -np.ones((10, 101, len(self.class_names), 4)), -np.ones((10, 1, 4))
        else:
            precision, recall = _accumulate(added, len(self.class_names))
        per_class = {
            name: ClassMetrics(
                AP=_mean(precision[:, :, label, _ALL]),
                AP50=_mean(precision[_IOU_50, :, label, _ALL]),
                objects=int(objects[label]),
                images=int(images[label]),
            )
            for label, name in enumerate(self.class_names)
        }
        return Metrics(
            AP=_mean(precision[..., _ALL]),
            AP50=_mean(precision[_IOU_50, ..., _ALL]),
            AP75=_mean(precision[_IOU_75, ..., _ALL]),
            APs=_mean(precision[..., _SMALL]),
            APm=_mean(precision[..., _MEDIUM]),
            APl=_mean(precision[..., _LARGE]),
            AR100=_mean(recall[..., _ALL]),
            per_class=per_class,
            images=len(added),
            objects=int(objects.sum()),
        )

    def _count(self, records: list[ImageRecord]) -> tuple[np.ndarray, np.ndarray]:
        """Count objects and pictures for each class, ignored objects left out."""
        by_image = np.zeros((len(records), len(self.class_names)), dtype=np.int64)
        for row, record in zip(by_image, records, strict=True):
            np.add.at(row, record.labels[~record.ignore], 1)
        return by_image.sum(axis=0), (by_image > 0).sum(axis=0)


def _mean(values: np.ndarray) -> float | None:
    """Mean over the defined entries (those above -1)."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _annotations(boxes_xyxy: np.ndarray, areas: np.ndarray, labels: np.ndarray, image_id: int) -> list[dict[str, Any]]:
    """COCO's dictionaries, in float64 so that areas and overlaps are those of pycocotools."""
    boxes = boxes_xyxy.astype(np.float64)
    boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
        for box, area, label in zip(boxes_xywh, areas.tolist(), labels.tolist(), strict=True)
    ]


def _accumulate(added: list[tuple[ImageRecord, ImageDetections]], class_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Run faster-coco-eval.

    Returns:
        precision (10 IoU thresholds, 101 recalls, classes, 4 areas) and recall (10, classes, 4); -1 where
        undefined.
    """
    from faster_coco_eval import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image_id, (record, detections) in enumerate(added):
        objects = _annotations(record.boxes_xyxy, record.areas, record.labels, image_id)
        for annotation, ignored in zip(objects, record.ignore.tolist(), strict=True):
            annotation["iscrowd"] = int(ignored)
        truth += objects
        results = _annotations(detections.boxes_xyxy, box_areas(detections.boxes_xyxy), detections.labels, image_id)
        for annotation, score in zip(results, detections.scores.tolist(), strict=True):
            annotation["score"] = score
        found += results
    for group in (truth, found):
        for number, annotation in enumerate(group):
            annotation["id"] = number + 1  # 0 means "unmatched" inside COCO's evaluation

    def dataset(group: list[dict[str, Any]]) -> Any:
        return COCO(
            {
                "images": [
                    {"id": image_id, "width": record.width, "height": record.height}
                    for image_id, (record, _) in enumerate(added)
                ],
                "categories": [{"id": label, "name": str(label)} for label in range(class_count)],
                "annotations": group,
            }
        )

    evaluation = COCOeval_faster(dataset(truth), dataset(found), iouType="bbox", print_function=_silent)
    _overlap_difficult_by_iou(evaluation, added)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., -1], np.asarray(evaluation.eval["recall"])[..., -1]


def _overlap_difficult_by_iou(evaluation: Any, added: list[tuple[ImageRecord, ImageDetections]]) -> None:
    """Give the library VOC's overlaps of difficult objects: it knows only crowds, whose overlap is another."""
    compute_overlaps = evaluation.computeIoU

    def overlaps(image_id: int, label: int) -> Any:
        record, detections = added[image_id]
        of_class = record.labels == label
        if record.difficult is None or not record.difficult[of_class].any() or not (detections.labels == label).any():
            return compute_overlaps(image_id, label)
        # As the library: detections by falling score, the first hundred.
        boxes_xyxy = detections.boxes_xyxy[detections.labels == label][: evaluation.params.maxDets[-1]]
        return box_overlaps(boxes_xyxy, record.boxes_xyxy[of_class], record.crowd[of_class])

    evaluation.computeIoU = overlaps


def _silent(*_: object) -> None:
    """Swallow the library's progress lines."""

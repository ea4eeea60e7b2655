"""Labelled pictures and detections made up for the evaluation tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ghostyolo.data.records import ImageRecord
from ghostyolo.evaluate import ImageDetections


def record(
    boxes=(),
    labels=(),
    ignore=None,
    image_id=0,
    width=640,
    height=480,
    path=None,
    difficult=None,
    area=None,
) -> ImageRecord:
    return ImageRecord(
        path=Path(path or f"picture{image_id}.jpg"),
        width=width,
        height=height,
        boxes_xyxy=np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.asarray(labels, dtype=np.int64).reshape(-1),
        ignore=np.zeros(len(labels), dtype=bool) if ignore is None else np.asarray(ignore, dtype=bool),
        image_id=image_id,
        difficult=difficult if difficult is None else np.asarray(difficult, dtype=bool),
        area=area if area is None else np.asarray(area, dtype=np.float64),
    )


def random_boxes(rng: np.random.Generator, count: int, width: int = 640, height: int = 480) -> np.ndarray:
    """(count, 4) boxes of all of COCO's sizes, inside the picture."""
    sides = np.exp(rng.uniform(np.log(6), np.log(300), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def random_split(
    rng: np.random.Generator, images: int = 30, classes: int = 4, ignored: float = 0.15
) -> tuple[list[ImageRecord], list[ImageDetections]]:
    """Pictures with 0..12 objects; detections are moved objects, doubles, boxes of nothing, with ties."""
    records, detections = [], []
    for image_id in range(1, images + 1):
        count = int(rng.integers(0, 13)) if image_id % 5 else 0
        truth = record(
            random_boxes(rng, count),
            rng.integers(0, classes, count),
            rng.random(count) < ignored,
            image_id=image_id,
        )
        records.append(truth)
        detections.append(perturbed(rng, truth, classes))
    return records, detections


def perturbed(rng: np.random.Generator, truth: ImageRecord, classes: int) -> ImageDetections:
    """A stand-in for a network: each object twice, moved, sometimes of another class, and more boxes."""
    boxes = np.repeat(truth.boxes_xyxy, 2, axis=0)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + rng.normal(0, 0.08, boxes.shape) * sides
    labels = np.repeat(truth.labels, 2)
    labels = np.where(rng.random(len(labels)) < 0.15, rng.integers(0, classes, len(labels)), labels)
    extra = int(rng.integers(0, 6))
    boxes = np.concatenate([boxes, random_boxes(rng, extra)])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = np.concatenate([labels, rng.integers(0, classes, extra)])
    keep = rng.random(len(labels)) < 0.85
    scores = np.round(rng.random(len(labels)), 2)
    return ImageDetections.from_arrays(boxes[keep], scores[keep], labels[keep])


class FakePredictor:
    """Answers with prepared detections; the value of a picture's top left pixel says which."""

    def __init__(self, class_names: list[str], answers: dict[int, ImageDetections]) -> None:
        self.class_names = class_names
        self.answers = answers
        self.calls: list[tuple[list[tuple[int, ...]], dict]] = []

    def detect(self, images, **options):
        self.calls.append(([image.shape for image in images], options))
        found = [self.answers.get(int(image[0, 0, 0]), ImageDetections.empty()) for image in images]
        return [Found(one) for one in found]


class Found(SimpleNamespace):
    """What evaluation reads of a ``supervision.Detections``."""

    def __init__(self, one: ImageDetections) -> None:
        super().__init__(xyxy=one.boxes_xyxy, confidence=one.scores, class_id=one.labels)

    def __len__(self) -> int:
        return len(self.confidence)


def load_fake_image(truth: ImageRecord) -> np.ndarray:
    """A picture of the record's size whose pixels hold its id."""
    return np.full((truth.height, truth.width, 3), truth.image_id, dtype=np.uint8)

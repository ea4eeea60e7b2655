"""Describes a data set in the numbers that training is planned from.

No torch.

Boxes are measured against their picture's longer side, so that they are pixels of the network's input once that is
multiplied by ``imgsz``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ghostyolo.config import StrictModel
from ghostyolo.data.balance import class_shares
from ghostyolo.data.images import read_image
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.data.similar import group_pictures
from ghostyolo.errors import DataError

LOOKED_AT = 12  # pictures that are decoded to see whether there is any colour
MOST_PIXELS = 500_000_000  # of all pictures together, to look for copies: several seconds
_GREY_DIFFERENCE = 4  # of 255, between channels: JPEG's rounding makes as much of a grey picture
_FEW = 10  # boxes of a class that tell how much its size varies


class DataFingerprint(StrictModel):
    """A training split in numbers.

    Attributes:
        pictures, val_pictures: in "train" and "val".
        boxes: objects to learn; crowds and difficult ones are not counted.
        class_names: of the data set.
        class_share: of each class, the share of training pictures that show it, among those of its data set.
        class_boxes: boxes of each class.
        long_side: pixels of the pictures' longer sides, the median.
        one_size: all pictures have the same width and height.
        small_box, median_box: side (root of the area) of a box as a share of its picture's longer side, the 10th and
            the 50th percentile; 0 without boxes.
        size_spread: deviation of log(side) within a class, the median over classes: about the relative range of sizes
            in which a class is seen.
        place_spread: deviation of box centres as a share of the picture's sides; 0.29 where they lie anywhere.
        boxes_a_picture: the mean.
        grey: none of the pictures that were looked at has colour.
        sets: data sets that are trained on together.
        copies, val_copies: training pictures that are near-duplicates of another one or frames of its video, and
            validation pictures that are of a training picture; None: there were too many pictures to look.
    """

    pictures: int
    val_pictures: int
    boxes: int
    class_names: list[str]
    class_share: list[float]
    class_boxes: list[int]
    long_side: float
    one_size: bool
    small_box: float
    median_box: float
    size_spread: float
    place_spread: float
    boxes_a_picture: float
    grey: bool
    sets: int
    copies: int | None = None
    val_copies: int | None = None


def take_fingerprint(data: DetectionData) -> DataFingerprint:
    """Measure the training split.

    A few pictures are decoded; of the others the labels alone are looked at.
    """
    records = data.splits.get("train", [])
    classes = len(data.class_names)
    labels = [record.labels[~record.ignore] for record in records]
    each = np.concatenate([np.zeros(0, np.int64), *labels])
    sides, centres = _box_sides(records), _box_centres(records)
    small, median = np.percentile(sides, [10, 50]).tolist() if len(sides) else (0.0, 0.0)
    return DataFingerprint(
        pictures=len(records),
        val_pictures=len(data.splits.get("val", [])),
        boxes=len(each),
        class_names=list(data.class_names),
        class_share=class_shares(records, classes).round(4).tolist(),
        class_boxes=np.bincount(each, minlength=classes).tolist(),
        long_side=float(np.median([max(record.width, record.height) for record in records])) if records else 0.0,
        one_size=len({(record.width, record.height) for record in records}) == 1,
        small_box=round(small, 4),
        median_box=round(median, 4),
        size_spread=round(_spread_within(np.log(np.maximum(sides, 1e-6)), each), 3),
        place_spread=round(float(centres.std(axis=0).mean()), 3) if len(centres) else 0.0,
        boxes_a_picture=round(len(each) / max(len(records), 1), 2),
        grey=_all_grey(records),
        sets=max(1, len(data.sources)),
        **_copies(data),
    )


def _copies(data: DetectionData) -> dict[str, int]:
    train, val = data.splits.get("train", []), data.splits.get("val", [])
    if val is train:
        return {}
    records = [*train, *val]
    if not train or sum(record.width * record.height for record in records) > MOST_PIXELS:
        return {}
    groups = group_pictures([record.path for record in records]).of
    own = groups[: len(train)]
    return {
        "copies": len(train) - len(np.unique(own)),
        "val_copies": int(np.isin(groups[len(train) :], own).sum()),
    }


def _box_sides(records: Sequence[ImageRecord]) -> npt.NDArray[np.float64]:
    sides = [np.zeros(0)]
    for record in records:
        boxes = record.boxes_xyxy[~record.ignore].astype(np.float64)
        sides.append(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)) / max(record.width, record.height))
    return np.concatenate(sides)


def _box_centres(records: Sequence[ImageRecord]) -> npt.NDArray[np.float64]:
    centres = [np.zeros((0, 2))]
    for record in records:
        boxes = record.boxes_xyxy[~record.ignore].astype(np.float64)
        centres.append((boxes[:, :2] + boxes[:, 2:]) / 2 / [record.width, record.height])
    return np.concatenate(centres)


def _spread_within(values: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Deviation of values within a class, the median over classes with enough of them; else of all together."""
    groups = [values[labels == label] for label in np.unique(labels)]
    enough = [float(group.std()) for group in groups if len(group) >= _FEW]
    if enough:
        return float(np.median(enough))
    return float(values.std()) if len(values) else 0.0


def _all_grey(records: Sequence[ImageRecord]) -> bool:
    """Whether pictures from all over the split have equal channels; one that cannot be read does not count."""
    seen = False
    for record in records[:: max(1, len(records) // LOOKED_AT)][:LOOKED_AT]:
        try:
            pixels = read_image(record.path, pixel_range=record.pixel_range).astype(np.int16)
        except DataError:
            continue
        seen = True
        if np.mean(pixels.max(axis=2) - pixels.min(axis=2)) > _GREY_DIFFERENCE:
            return False
    return seen

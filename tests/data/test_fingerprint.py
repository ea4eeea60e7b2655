"""What is measured of a data set, on pictures whose answers are known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ghostyolo.data.fingerprint import take_fingerprint
from ghostyolo.data.records import DetectionData, ImageRecord


def data(root: Path, boxes: list[list[list[float]]], labels: list[list[int]], colour: bool = True) -> DetectionData:
    """Pictures of 200 x 100 with these boxes."""
    records = []
    for number, (each, of_class) in enumerate(zip(boxes, labels, strict=True)):
        path = root / f"{number}.png"
        pixels = np.full((100, 200, 3), (20, 90, 160) if colour else (90, 90, 90), np.uint8)
        cv2.imwrite(str(path), pixels)
        records.append(
            ImageRecord(
                path, 200, 100, np.array(each, np.float32).reshape(-1, 4), np.array(of_class, np.int64),
                np.zeros(len(of_class), bool), number,
            )
        )  # fmt: skip
    return DetectionData(root, "yolo", ["a", "b"], {"train": records, "val": records[:1]})


def test_boxes_are_measured_against_the_longer_side(tmp_path) -> None:
    seen = take_fingerprint(data(tmp_path, [[[0, 0, 20, 20]], [[10, 10, 50, 20], [0, 0, 40, 40]]], [[0], [0, 1]]))
    assert (seen.pictures, seen.val_pictures, seen.boxes, seen.boxes_a_picture) == (2, 1, 3, 1.5)
    assert (seen.long_side, seen.one_size) == (200, True)
    assert seen.median_box == pytest.approx(20 / 200)
    assert seen.class_share == [1, 0.5]
    assert seen.class_boxes == [2, 1]


def test_spread_of_sizes_is_within_a_class_not_between_classes(tmp_path) -> None:
    small, large = [0, 0, 10, 10], [0, 0, 90, 90]
    alike = take_fingerprint(data(tmp_path, [[small] * 10 + [large] * 10], [[0] * 10 + [1] * 10]))
    assert alike.size_spread == 0
    mixed = take_fingerprint(data(tmp_path, [[small, large] * 10], [[0] * 10 + [1] * 10]))
    assert mixed.size_spread == pytest.approx(np.log(9) / 2, abs=0.01)


def test_grey_pictures_are_seen(tmp_path) -> None:
    boxes, labels = [[[0, 0, 20, 20]]] * 3, [[0]] * 3
    assert take_fingerprint(data(tmp_path, boxes, labels, colour=False)).grey
    assert not take_fingerprint(data(tmp_path, boxes, labels)).grey


def test_no_boxes_and_unreadable_pictures_are_no_error(tmp_path) -> None:
    empty = data(tmp_path, [[]], [[]])
    empty.splits["train"][0].path.write_bytes(b"no picture")
    seen = take_fingerprint(empty)
    assert (seen.boxes, seen.small_box, seen.size_spread, seen.grey) == (0, 0, 0, False)


def test_crowds_are_no_objects(tmp_path) -> None:
    crowded = data(tmp_path, [[[0, 0, 20, 20], [0, 0, 90, 90]]], [[0, 1]])
    crowded.splits["train"][0].ignore[1] = True
    seen = take_fingerprint(crowded)
    assert (seen.boxes, seen.class_share, seen.class_boxes) == (1, [1, 0], [1, 0])
    assert seen.median_box == pytest.approx(0.1)


def test_copies_are_counted_in_train_and_between_the_splits(tmp_path) -> None:
    read = data(tmp_path, [[[0, 0, 20, 20]]] * 4, [[0]] * 4)
    random = np.random.default_rng(0)
    for place, seed_picture in enumerate((0, 1, 1, 2)):
        scene = np.random.default_rng(seed_picture).integers(0, 255, (5, 10, 3), np.uint8)
        pixels = cv2.resize(scene, (200, 100), interpolation=cv2.INTER_LINEAR)
        noise = random.integers(0, 3, pixels.shape, np.uint8)
        cv2.imwrite(str(read.splits["train"][place].path), np.minimum(pixels, 250) + noise)
    train = read.splits["train"]
    seen = take_fingerprint(DetectionData(tmp_path, "yolo", ["a", "b"], {"train": train[:3], "val": train[2:]}))
    assert (seen.copies, seen.val_copies) == (1, 1)
    assert take_fingerprint(DetectionData(tmp_path, "yolo", ["a", "b"], {"train": train, "val": train})).copies is None

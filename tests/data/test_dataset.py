"""DetectionDataset and collate: sizes, targets, the cache, and pictures that cannot be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ghostyolo.data.augment.batch import BatchAugment
from ghostyolo.data.augment.config import AugmentConfig
from ghostyolo.data.dataset import DetectionDataset, Missing, Sample, collate
from ghostyolo.data.records import ImageRecord
from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError


def record(path: Path, width: int, height: int, boxes=(), labels=(), ignore=None) -> ImageRecord:
    return ImageRecord(
        path=path,
        width=width,
        height=height,
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        ignore=np.array(ignore if ignore is not None else [False] * len(labels), dtype=bool),
        image_id=0,
    )


@pytest.fixture
def red_picture(tmp_path: Path) -> Path:
    """100 x 50 pixels, red."""
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((50, 100, 3), (0, 0, 255), dtype=np.uint8))
    return path


@pytest.fixture
def broken_picture(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture at all")
    return path


@pytest.mark.parametrize("imgsz", [64, 100, 160])
def test_the_long_side_becomes_imgsz_and_boxes_follow(red_picture: Path, imgsz: int):
    data = DetectionDataset([record(red_picture, 100, 50, [[10, 20, 50, 40]], [3])], imgsz)
    sample = data[0]
    assert sample.image.shape == (3, imgsz // 2, imgsz)
    assert sample.image.dtype == torch.uint8
    assert sample.image[:, 0, 0].tolist() == [255, 0, 0]
    ratio = imgsz / 100
    torch.testing.assert_close(sample.boxes, torch.tensor([[10.0, 20, 50, 40]]) * ratio)
    assert sample.labels.tolist() == [3]
    assert sample.index == 0


def test_boxes_follow_the_rounding_of_the_short_side(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((33, 100, 3), dtype=np.uint8))
    sample = DetectionDataset([record(tmp_path / "a.png", 100, 33, [[0, 0, 100, 33]], [0])], 50)[0]
    assert sample.image.shape == (3, 16, 50)
    assert sample.boxes.tolist() == [[0, 0, 50, 16]]


def test_objects_to_ignore_become_regions_to_ignore(red_picture: Path):
    boxes = [[0, 0, 10, 10], [0, 0, 20, 20], [0, 0, 30, 30]]
    sample = DetectionDataset([record(red_picture, 100, 50, boxes, [0, 1, 2], [False, True, False])], 100)[0]
    assert sample.labels.tolist() == [0, ~1, 2]
    assert sample.boxes[:, 2].tolist() == [10, 20, 30]
    targets = Targets.from_lists([sample.boxes], [sample.labels])
    assert targets.real()[1].tolist() == [0, 2]


def test_a_picture_without_objects_has_empty_targets(red_picture: Path):
    sample = DetectionDataset([record(red_picture, 100, 50)], 64)[0]
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == (0,)


def test_grey_and_many_channels(red_picture: Path, tmp_path: Path):
    assert DetectionDataset([record(red_picture, 100, 50)], 64, channels=1)[0].image.shape == (1, 32, 64)
    pixels = np.zeros((50, 100, 6), dtype=np.uint8)
    pixels[...] = np.arange(6) * 10
    np.save(tmp_path / "six.npy", pixels)
    image = DetectionDataset([record(tmp_path / "six.npy", 100, 50)], 64, channels=6)[0].image
    assert image.shape == (6, 32, 64)
    assert image[:, 5, 5].tolist() == [0, 10, 20, 30, 40, 50]


def test_the_cache_keeps_pictures_and_no_cache_reads_again(red_picture: Path):
    records = [record(red_picture, 100, 50)]
    cached, uncached = DetectionDataset(records, 64), DetectionDataset(records, 64, cache="none")
    assert isinstance(cached[0], Sample)
    assert isinstance(uncached[0], Sample)
    assert cached.cache_bytes == 3 * 32 * 64
    red_picture.unlink()
    assert isinstance(cached[0], Sample)
    assert isinstance(uncached[0], Missing)


def test_a_limited_cache_keeps_as_many_pictures_as_fit_and_reads_the_others_again(red_picture: Path):
    data = DetectionDataset([record(red_picture, 100, 50)] * 3, 64)
    one = 3 * 32 * 64
    assert data.limit_cache(2 * one + 1) == 2
    data.preload()
    assert isinstance(data[2], Sample)
    red_picture.unlink()
    assert [type(data[index]) for index in range(3)] == [Sample, Sample, Missing]


def test_preload_reads_everything_and_finds_what_is_broken(red_picture: Path, broken_picture: Path):
    data = DetectionDataset([record(red_picture, 100, 50), record(broken_picture, 10, 10)], 64)
    data.preload(threads=2)
    assert list(data.broken) == [broken_picture]
    red_picture.unlink()
    assert isinstance(data[0], Sample)


def test_a_broken_picture_is_left_out_counted_and_reported_once(
    red_picture: Path, broken_picture: Path, caplog: pytest.LogCaptureFixture
):
    data = DetectionDataset([record(red_picture, 100, 50), record(broken_picture, 10, 10)], 64)
    for _ in range(2):
        batch = collate([data[0], data[1]])
    assert batch.indices == [0]
    assert [missing.index for missing in batch.missing] == [1]
    assert list(data.broken) == [broken_picture]
    assert "cannot be decoded" in data.broken[broken_picture]
    assert caplog.text.count("broken.jpg") == 1


def test_a_batch_of_broken_pictures_goes_through_augmentation(broken_picture: Path):
    data = DetectionDataset([record(broken_picture, 10, 10)] * 2, 64)
    batch = collate([data[0], data[1]])
    assert len(batch) == 0
    images, targets = BatchAugment(AugmentConfig(), 64)(
        batch.images, batch.boxes, batch.labels, generator=torch.Generator(), mosaic=True
    )
    assert images.shape == (0, 3, 64, 64)
    assert len(targets.mask) == 0


def test_worker_processes_report_what_they_could_not_read(red_picture: Path, broken_picture: Path):
    data = DetectionDataset([record(red_picture, 100, 50), record(broken_picture, 10, 10)], 64)
    for batch in DataLoader(data, batch_size=2, collate_fn=collate, num_workers=1):
        assert data.broken == {}
        data.report(batch)
        assert batch.to("cpu").indices == [0]
    assert list(data.broken) == [broken_picture]


def test_an_empty_split_has_no_items():
    data = DetectionDataset([], 64)
    assert len(data) == 0
    assert data.cache_bytes == 0
    data.preload()
    assert not data.broken


@pytest.mark.parametrize("settings", [{"imgsz": 0}, {"imgsz": 64, "cache": "disk"}])
def test_impossible_settings_are_refused(settings: dict):
    with pytest.raises(ConfigError):
        DetectionDataset([], **settings)

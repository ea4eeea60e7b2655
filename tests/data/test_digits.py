"""Digit scenes: labels fit the ink, val's handwriting is its own, same seed gives same bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ghostyolo.data.formats import load_dataset
from ghostyolo.data.scenes import backgrounds, digits, generate_scenes, handwriting
from ghostyolo.errors import ConfigError, MissingExtraError, OutputError
from ghostyolo.extras import install_command

pytest.importorskip("sklearn", reason="digit scenes need the scenes extra")
pytest.importorskip("skimage", reason="digit scenes need the scenes extra")


def test_handwriting_of_val_never_appears_in_train():
    train, val = set(handwriting.sample_indices("train")), set(handwriting.sample_indices("val"))
    assert train.isdisjoint(val)
    assert len(train | val) == 1797
    for number in range(30):
        assert set(digits.draw_digits("train", number, 96, 0).samples) <= train
        assert set(digits.draw_digits("val", number, 96, 0).samples) <= val


def test_every_digit_is_in_both_splits():
    for split in ("train", "val"):
        assert {handwriting.digit_of(index) for index in handwriting.sample_indices(split)} == set(range(10))


def test_ink_fills_its_box_and_has_the_asked_height():
    for index in (0, 1, 9, 500):
        ink = handwriting.draw(index, height=60, degrees=0, aspect=1, slant=0, weight=0)
        seen = ink > 0.25
        assert seen[0].any() and seen[-1].any() and seen[:, 0].any() and seen[:, -1].any()  # noqa: PT018
        assert abs(ink.shape[0] - 60) <= 3
        assert ink.max() > 0.9


def test_ink_is_turned_counter_clockwise():
    upright = handwriting.draw(1, height=80, degrees=0, aspect=1, slant=0, weight=0)  # a "1"
    turned = handwriting.draw(1, height=80, degrees=20, aspect=1, slant=0, weight=0)

    def lean(ink: np.ndarray) -> float:
        """Mean x of the upper half less that of the lower half."""
        columns = np.arange(ink.shape[1])
        upper, lower = np.array_split(ink, 2)
        return float((upper.sum(0) @ columns) / upper.sum() - (lower.sum(0) @ columns) / lower.sum())

    assert lean(turned) < lean(upright) - 5


def test_boxes_are_tight_around_the_ink(monkeypatch):
    # On a plain background without camera effects the pixels that differ are the ink.
    monkeypatch.setattr(
        backgrounds, "draw_background", lambda rng, side, split: np.full((side, side, 3), 20.0, np.float32)
    )
    monkeypatch.setattr(digits, "_photographed", lambda rng, canvas: np.rint(canvas).astype(np.uint8))
    checked = 0
    for number in range(20):
        scene = digits.draw_digits("train", number, 192, 3)
        strength = np.abs(scene.image.astype(int) - 20).max(axis=2)
        outside = strength.copy()
        for x1, y1, x2, y2 in scene.boxes_xyxy.astype(int).tolist():
            patch = strength[y1:y2, x1:x2] > 15
            assert patch[0].any() and patch[-1].any() and patch[:, 0].any() and patch[:, -1].any()  # noqa: PT018
            outside[y1:y2, x1:x2] = 0
            checked += 1
        assert outside.max() == 0  # no ink outside the boxes
    assert checked > 30


def test_scenes_vary_within_their_bounds():
    drawn = [digits.draw_digits("train", number, 128, 0) for number in range(60)]
    counts = [len(scene.labels) for scene in drawn]
    assert 0 in counts
    assert max(counts) >= 6
    boxes = np.concatenate([scene.boxes_xyxy for scene in drawn])
    assert boxes.min() >= 0
    assert boxes.max() <= 128
    heights = boxes[:, 3] - boxes[:, 1]
    assert heights.min() >= 128 / 9 * 0.75  # turning a wide digit may lower it a little
    assert heights.max() <= 128 / 3 * 1.35
    for scene in drawn:
        for index, box in enumerate(scene.boxes_xyxy.astype(int).tolist()):
            for other in scene.boxes_xyxy.astype(int).tolist()[index + 1 :]:
                assert digits._overlap(tuple(box), tuple(other)) <= 0.03


def test_ink_stands_out_from_what_is_below():
    rng = np.random.default_rng(0)
    ink = handwriting.draw(0, height=30, degrees=0, aspect=1, slant=0, weight=0)
    for brightness in (0, 60, 128, 200, 255):
        patch = np.full((*ink.shape, 3), float(brightness), np.float32)
        digits._write_ink(rng, patch, ink)
        assert abs(patch[ink > 0.9].mean() - brightness) > 50


@pytest.mark.parametrize("layout", ["yolo", "coco", "voc"])
def test_written_scenes_are_read_back_the_same(tmp_path, layout):
    made = generate_scenes(tmp_path / "set", of="digits", train=4, val=2, imgsz=96, layout=layout, seed=5)
    read = load_dataset(tmp_path / "set")
    assert (read.layout, read.class_names) == (layout, list("0123456789"))
    assert {split: len(records) for split, records in read.splits.items()} == {"train": 4, "val": 2}
    for split, records in made.splits.items():
        for record, again in zip(records, read.splits[split], strict=True):
            assert (record.path, record.width, record.height) == (again.path, again.width, again.height)
            np.testing.assert_allclose(again.boxes_xyxy, record.boxes_xyxy, atol=1e-3)
            assert again.labels.tolist() == record.labels.tolist()


def test_same_seed_same_bytes_and_more_scenes_begin_with_the_same(tmp_path):
    def files(name: str, **options) -> dict[str, bytes]:
        generate_scenes(tmp_path / name, of="digits", imgsz=64, **options)
        return {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}

    first = files("a", train=3, val=2, seed=1)
    assert files("b", train=3, val=2, seed=1) == first
    longer = files("c", train=5, val=2, seed=1)
    assert all(longer[name] == content for name, content in first.items())
    assert files("d", train=3, val=2, seed=2) != first


@pytest.mark.parametrize(
    "options",
    [{"train": 0, "val": 0}, {"train": -1}, {"imgsz": 8}, {"layout": "x"}, {"seed": -1}, {"without": ["glyphs"]}],
)
def test_impossible_options_are_refused(tmp_path, options):
    with pytest.raises(ConfigError):
        generate_scenes(tmp_path / "set", of="digits", **options)
    assert not (tmp_path / "set").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "old.txt").write_text("x")
    with pytest.raises(OutputError, match="is not empty"):
        generate_scenes(tmp_path, of="digits", train=1, val=0)


def test_without_the_extra_the_line_to_type_is_printed(tmp_path, monkeypatch):
    monkeypatch.setattr("ghostyolo.extras.available", lambda extra: False)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("scenes"))):
        generate_scenes(tmp_path / "set", of="digits", train=1, val=0)


def test_photographs_come_from_the_installed_wheel_without_a_download():
    found = backgrounds.available_photographs()
    assert len(found) >= 5
    assert all(path.is_file() for path in found)

"""Splits: every class on both sides, what belongs together on one, and kept where val and a resume find it."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.similar import group_pictures
from ghostyolo.data.split import load_split, resplit, split_groups, split_records, with_validation
from ghostyolo.errors import ConfigError, DataError
from tests.data.builders import text


def scene(seed: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A picture of coarse blobs, which no other seed resembles."""
    blobs = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path, pixels, quality: int = 95):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def pan(count: int, step: int = 6) -> list[np.ndarray]:
    """Frames of a camera that moves over a scene of many blobs."""
    blobs = np.random.default_rng(99).integers(0, 255, (4, 6 + count, 3), dtype=np.uint8)
    wide = cv2.resize(blobs, (16 * (6 + count), 64), interpolation=cv2.INTER_CUBIC)
    return [wide[:, step * index : step * index + 96] for index in range(count)]


# What belongs together


def test_copies_of_a_picture_are_one_group_however_they_were_changed(tmp_path):
    pixels = scene(0)
    noisy = np.clip(pixels.astype(int) + np.random.default_rng(1).normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)
    changed = [pixels, cv2.resize(pixels, (48, 32)), pixels[:, ::-1], np.rot90(pixels), pixels // 2 + 60, noisy]
    paths = [save(tmp_path / f"copy{'abcdef'[index]}.jpg", image, 60) for index, image in enumerate(changed)]
    paths += [save(tmp_path / f"other{seed}.jpg", scene(seed)) for seed in range(5, 25)]
    groups = group_pictures(paths)
    assert len(set(groups.of[:6].tolist())) == 1
    assert len(set(groups.of[6:].tolist())) == 20
    assert groups.copies == 5


def test_exported_copies_are_known_by_their_names(tmp_path):
    names = ["a_jpg.rf.0a1b.jpg", "a_jpg.rf.9c8d.jpg", "b_png.rf.77.jpg", "b.jpg"]
    groups = group_pictures([save(tmp_path / name, scene(seed)) for seed, name in enumerate(names)])
    assert groups.of.tolist() == [0, 0, 1, 2]


def test_frames_of_a_video_are_one_group_and_numbered_pictures_that_are_independent_are_not(tmp_path):
    frames = [save(tmp_path / f"video_{index:04d}.jpg", pixels) for index, pixels in enumerate(pan(30))]
    singles = [save(tmp_path / f"img_{seed:04d}.jpg", scene(seed)) for seed in range(40)]
    groups = group_pictures([*singles, *frames])
    assert len(set(groups.of[:40].tolist())) == 40
    assert len(set(groups.of[40:].tolist())) == 1
    assert groups.frames + groups.copies >= 29


def test_pictures_of_one_fixed_camera_are_not_all_copies(tmp_path):
    """Everything is alike here, so that alone says nothing."""
    background = scene(3)
    paths = []
    for index in range(30):
        pixels = background.copy()
        x, y = np.random.default_rng(index).integers(0, [70, 40])
        pixels[y : y + 24, x : x + 26] = np.random.default_rng(index).integers(0, 255, 3)
        paths.append(save(tmp_path / f"cam_{index:03d}.jpg", pixels))
    assert len(set(group_pictures(paths).of.tolist())) > 20


def test_plain_and_broken_pictures_stand_alone(tmp_path):
    paths = [save(tmp_path / f"{name}.jpg", np.full((40, 60, 3), 90, np.uint8)) for name in "ab"]
    paths += [text(tmp_path / "broken.jpg", "no picture"), tmp_path / "gone.jpg"]
    assert len(set(group_pictures(paths).of.tolist())) == 4


# Dealing out


def test_every_class_has_its_share_in_every_part():
    rng = np.random.default_rng(0)
    labels = [rng.choice(4, rng.integers(1, 5), p=[0.6, 0.3, 0.07, 0.03]) for _ in range(400)]
    parts = split_groups(np.arange(400), labels, {"val": 0.2, "test": 0.1}, 4)
    for name, share in (("val", 0.2), ("test", 0.1), ("train", 0.7)):
        assert abs((parts == name).mean() - share) < 0.03
        for label in range(4):
            objects = [int((found == label).sum()) for found in labels]
            own = [count for count, part in zip(objects, parts, strict=True) if part == name]
            assert abs(sum(own) / sum(objects) - share) < 0.04


def test_groups_stay_together_and_equal_seeds_give_equal_splits():
    groups = np.repeat(np.arange(50), 4)
    labels = [np.array([index % 3]) for index in range(200)]
    parts = split_groups(groups, labels, {"val": 0.2}, 3)
    assert all(len(set(parts[groups == group])) == 1 for group in range(50))
    assert (parts == split_groups(groups, labels, {"val": 0.2}, 3)).all()
    assert (parts != split_groups(groups, labels, {"val": 0.2}, 3, seed=1)).any()


def test_a_class_of_one_picture_is_for_training():
    labels = [np.array([0])] * 30 + [np.array([1])]
    assert split_groups(np.arange(31), labels, {"val": 0.2}, 2)[30] == "train"


def folder(root, count: int = 20, draw=scene):
    """A flat YOLO folder of pictures that are not alike."""
    for index in range(count):
        save(root / f"img_{index:03d}.jpg", draw(index))
        text(root / f"img_{index:03d}.txt", f"{index % 2} 0.5 0.5 0.2 0.2")
    text(root / "classes.txt", "cat\ndog")
    return root


def names(records) -> list[str]:
    return [record.path.name for record in records]


def test_one_video_is_cut_into_stretches_and_said(tmp_path):
    frames = pan(40)
    data = load_dataset(folder(tmp_path, 40, lambda index: frames[index]))
    faults = FaultList()
    parts = split_records(data.splits["all"], {"val": 0.2}, 2, faults=faults, where=tmp_path)
    numbers = sorted(int(name[4:7]) for name in names(parts["val"]))
    assert 4 <= len(numbers) <= 12
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert [fault.kind for fault in faults] == ["held-out", "cut-group"]


# Training's own


def test_data_without_val_hold_a_fifth_out_and_say_so(tmp_path):
    data = with_validation(load_dataset(folder(tmp_path)))
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 16, "val": 4}
    assert data.made_split
    assert any("held-out" in line and "16 train, 4 val pictures, seed 0" in line for line in data.summary())


def test_few_pictures_are_trained_and_validated_on_with_a_warning(tmp_path):
    data = with_validation(load_dataset(folder(tmp_path, 9)))
    assert names(data.splits["train"]) == names(data.splits["val"])
    assert any("9 pictures are too few to hold any out" in line for line in data.summary())


def test_data_with_both_splits_stay_as_they_are(tmp_path):
    for index, split in enumerate(("train", "val", "test")):
        folder(tmp_path / split, 3 + index)
    data = load_dataset(tmp_path)
    assert with_validation(data).splits == data.splits


def test_a_test_split_is_never_touched_and_trainval_is_for_training(tmp_path):
    folder(tmp_path / "trainval", 15)
    folder(tmp_path / "test", 5, lambda index: scene(100 + index))
    data = with_validation(load_dataset(tmp_path))
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 12, "val": 3, "test": 5}


def test_data_of_val_alone_name_the_remedy(tmp_path):
    folder(tmp_path / "val", 3)
    with pytest.raises(
        DataError, match=r"has no training pictures: its splits are val; `ghostyolo data split .* makes"
    ):
        with_validation(load_dataset(tmp_path))


def test_a_kept_split_is_read_as_a_data_set_and_from_another_place(tmp_path):
    from ghostyolo.data.split import lists_of

    root = folder(tmp_path / "data")
    data = with_validation(load_dataset(root))
    for name, content in lists_of(data).items():
        text(tmp_path / "run/split" / name, content)
    kept = load_dataset(tmp_path / "run/split")
    assert {split: names(records) for split, records in kept.splits.items()} == {
        split: names(records) for split, records in data.splits.items()
    }
    assert names(load_split(root, "val", tmp_path / "run/best.safetensors").splits["val"]) == names(data.splits["val"])
    shutil.copytree(root, tmp_path / "elsewhere")
    folder(tmp_path / "elsewhere", 25)  # five more since
    again = with_validation(load_dataset(tmp_path / "elsewhere"), tmp_path / "run")
    assert names(again.splits["val"]) == names(data.splits["val"])
    assert len(again.splits["train"]) == 21
    (tmp_path / "elsewhere" / names(data.splits["val"])[0]).unlink()
    with pytest.raises(DataError, match=r"has no picture img_.*, which is in the split of"):
        with_validation(load_dataset(tmp_path / "elsewhere"), tmp_path / "run")


def test_val_of_data_without_one_is_what_training_held_out(tmp_path):
    root = folder(tmp_path / "data")
    held_out = with_validation(load_dataset(root)).splits["val"]
    assert names(load_split(root).splits["val"]) == names(held_out)
    assert len(load_split(root, "all").splits["all"]) == 20
    with pytest.raises(DataError, match="has no split 'vla'"):
        load_split(root, "vla")


@pytest.mark.parametrize(("val", "test"), [(0, 0), (1, 0), (0.6, 0.4), (-0.1, 0.2)])
def test_shares_that_leave_nothing_are_refused(tmp_path, val, test):
    data = load_dataset(folder(tmp_path, 5))
    with pytest.raises(ConfigError, match="something must be left to train on"):
        resplit(data, val, test, 0)


def test_too_few_pictures_for_a_part_are_refused(tmp_path):
    data = load_dataset(folder(tmp_path, 2))
    with pytest.raises(DataError, match="2 pictures are too few: none is left for"):
        resplit(data, 0.2, 0.2, 0)

"""Augmented pictures of a classifier: the same for the same epoch and position, broken ones left out."""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ghostyolo.data.augment.config import ClassAugment
from ghostyolo.data.class_transforms import training_transform, validation_transform
from ghostyolo.data.classification import ClassDataset, KeySampler, collate
from ghostyolo.data.formats.classes import load_classes
from ghostyolo.data.labelled import LabelledImage
from ghostyolo.data.sampler import EpochSampler
from ghostyolo.errors import ConfigError
from tests.train.class_pictures import encoded, picture

STRONG = {"randaugment": "rand-m9-n2-mstd0.5-inc1", "erase": 0.9, "color_jitter": 0.3}


def records(count: int = 4) -> list[LabelledImage]:
    return [LabelledImage(Path(f"all.parquet, row {i}"), i % 2, encoded("red", i)) for i in range(count)]


def dataset(seed: int = 0, **augment: object) -> ClassDataset:
    transform = training_transform(ClassAugment.model_validate({**STRONG, **augment}), 32)
    return ClassDataset(records(), transform, seed=seed)


def test_pictures_are_a_function_of_seed_epoch_and_position() -> None:
    first = dataset()[3, 1].image
    random.random(), np.random.rand(), torch.rand(1)
    other = dataset()
    assert not torch.equal(other[0, 1].image, first)
    assert torch.equal(other[3, 1].image, first)
    assert not torch.equal(dataset(seed=1)[3, 1].image, first)


def test_worker_processes_see_the_same_pictures_in_every_epoch() -> None:
    seen = []
    for workers in (0, 2):
        sampler = KeySampler(EpochSampler(4, seed=0))
        sampler.set_epoch(5)
        loader = DataLoader(dataset(), batch_size=2, sampler=sampler, collate_fn=collate, num_workers=workers)
        batches = list(loader)
        seen.append((torch.cat([batch.images for batch in batches]), [i for batch in batches for i in batch.indices]))
    assert seen[0][1] == seen[1][1]
    assert torch.equal(seen[0][0], seen[1][0])


def test_pictures_stay_whole_bytes_unless_they_may_be_erased() -> None:
    assert dataset(erase=0.0)[0, 0].image.dtype == torch.uint8
    erased = dataset(erase=1.0, fliplr=0.0, randaugment="", color_jitter=0.0, crop="padded", padding=0)[0, 0].image
    assert erased.dtype == torch.float32
    assert 0 <= float(erased.min()) <= float(erased.max()) <= 1
    plain = torch.from_numpy(picture("red", 0)[:, :, ::-1].copy()).permute(2, 0, 1) / 255
    share = float((erased - plain).abs().amax(0).gt(1e-3).float().mean())
    assert 0.01 < share < 0.4  # timm erases 2 % to a third of the picture


def test_padded_crop_without_padding_is_the_picture_itself() -> None:
    still = {"crop": "padded", "padding": 0, "fliplr": 0.0, "erase": 0.0, "randaugment": "", "color_jitter": 0.0}
    expected = torch.from_numpy(picture("red", 2)[:, :, ::-1].copy()).permute(2, 0, 1)
    assert torch.equal(dataset(**still)[0, 2].image, expected)


def test_validation_takes_the_middle() -> None:
    from PIL import Image

    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255
    image = validation_transform(20, 1.0)(Image.fromarray(pixels))
    assert image.shape == (3, 20, 20)
    assert int(image[:, :, 1:-1].min()) == 255
    assert validation_transform(20, 0.5)(Image.fromarray(pixels)).shape == (3, 20, 20)


def test_strongest_posterizing_runs_on_every_pillow() -> None:
    transform = training_transform(ClassAugment.model_validate({"randaugment": "rand-m10-n9-p1.0-inc1"}), 32)
    pictures = ClassDataset(records(), transform, seed=0)
    assert len([pictures[epoch, 0].image for epoch in range(12)]) == 12


@pytest.mark.parametrize("description", ["strong", "rand-q9"])
def test_unknown_randaugment_is_refused(description) -> None:
    with pytest.raises(ConfigError, match="which timm does not take"):
        training_transform(ClassAugment.model_validate({"randaugment": description}), 32)


def test_broken_pictures_are_left_out_and_named_by_file_and_row() -> None:
    broken = [
        LabelledImage(Path("a.parquet, row 0"), 0, b""),
        LabelledImage(Path("a.parquet, row 1"), 1, b"\x89PNG no"),
    ]
    pictures = ClassDataset([*broken, *records(1)], validation_transform(32, 1.0), seed=0)
    batch = collate([pictures[0, index] for index in range(3)])
    assert batch.indices == [2]
    assert [str(path) for path in pictures.broken] == ["a.parquet, row 0", "a.parquet, row 1"]
    assert "the file is empty" in pictures.broken[Path("a.parquet, row 0")]
    assert len(collate([pictures[0, 0]])) == 0


def test_grey_pictures_and_the_cache(tmp_path) -> None:
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), picture("blue", 0))
    pictures = ClassDataset([LabelledImage(path, 0)], validation_transform(32, 1.0), seed=0, channels=1, cache="ram")
    first = pictures[0, 0].image
    assert first.shape == (1, 32, 32)
    path.unlink()
    assert torch.equal(pictures[1, 0].image, first)


def test_grey_pictures_are_augmented_as_coloured_ones_are() -> None:
    transform = training_transform(ClassAugment.model_validate({**STRONG, "randaugment": "rand-m9-n9-p1.0"}), 32)
    pictures = ClassDataset(records(), transform, seed=0, channels=1)
    assert {tuple(pictures[epoch, 0].image.shape) for epoch in range(9)} == {(1, 32, 32)}


def test_deep_pictures_of_class_folders_have_one_range(tmp_path):
    for split in ("train", "val"):
        for name, value in (("dark", 1000), ("bright", 4000)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                cv2.imwrite(str(tmp_path / split / name / f"{number}.png"), np.full((8, 8), value, np.uint16))
    data = load_classes(tmp_path)
    assert data.pixel_range == (0, 4095)
    pictures = ClassDataset(data.splits["val"], validation_transform(8, 1.0), seed=0, pixel_range=data.pixel_range)
    bright, dark = (float(pictures[0, index].image.float().mean()) for index in (0, 2))
    assert (dark, bright) == (pytest.approx(255 * 1000 / 4095, abs=1), pytest.approx(255 * 4000 / 4095, abs=1))

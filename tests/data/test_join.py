"""Several data sets as one: classes, what each picture's labels know, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ghostyolo.data.join import join_datasets, load_datasets
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import ConfigError, DataError
from tests.data.builders import yolo


def data(*names: str, pictures: int = 1, split: str = "train") -> DetectionData:
    records = [
        ImageRecord(
            Path(f"{number}.png"),
            8,
            8,
            np.array([[0, 0, 4, 4]] * len(names), np.float32),
            np.arange(len(names)),
            np.zeros(len(names), bool),
            number,
        )
        for number in range(pictures)
    ]
    return DetectionData(Path("/sets") / names[0], "yolo", list(names), {split: records})


def test_each_picture_knows_the_classes_of_its_own_set():
    joined = join_datasets([data("cat", "dog"), data("car", pictures=2)], ["a", "b"])
    assert joined.class_names == ["cat", "dog", "car"]
    first, second, third = joined.splits["train"]
    assert first.known.tolist() == [True, True, False]
    assert third.known.tolist() == [False, False, True]
    assert second.labels.tolist() == [2]
    assert [record.source for record in joined.splits["train"]] == [0, 1, 1]
    assert joined.sources == ["/sets/cat", "/sets/car"]


def test_classes_of_one_name_are_two_unless_they_are_joined():
    sets = [data("cat", "dog"), data("dog", "car")]
    apart = join_datasets(sets, ["a", "b"])
    assert apart.class_names == ["cat", "a:dog", "b:dog", "car"]
    assert apart.splits["train"][1].known.tolist() == [False, False, True, True]
    together = join_datasets(sets, ["a", "b"], join_classes=True)
    assert together.class_names == ["cat", "dog", "car"]
    assert together.splits["train"][1].labels.tolist() == [1, 2]


def test_sets_of_the_same_classes_know_all_when_joined():
    joined = join_datasets([data("cat", "dog"), data("dog", "cat")], ["a", "b"], join_classes=True)
    assert [record.known for record in joined.splits["train"]] == [None, None]
    assert joined.splits["train"][1].labels.tolist() == [1, 0]


@pytest.mark.parametrize("other", ["Dog", "d og", "DOG_"])
def test_names_that_differ_in_spelling_alone_are_kept_apart_and_not_joined(other):
    sets = [data("cat", "dog"), data(other)]
    assert join_datasets(sets, ["a", "b"]).class_names == ["cat", "a:dog", f"b:{other}"]
    with pytest.raises(ConfigError, match=f"'dog' of a and '{other}' of b differ in spelling alone"):
        join_datasets(sets, ["a", "b"], join_classes=True)


def test_names_without_letters_are_compared_as_they_are():
    assert join_datasets([data("--", "-"), data("---")], ["a", "b"], join_classes=True).class_names == [
        "--",
        "-",
        "---",
    ]


def test_a_set_without_training_pictures_is_named():
    with pytest.raises(DataError, match="/sets/dog has no training pictures: its splits are val"):
        join_datasets([data("cat"), data("dog", split="val")], ["a", "b"])


def test_one_path_is_read_as_it_is_and_none_or_the_same_twice_are_refused(tmp_path):
    root = yolo(tmp_path / "a", {"train/x": "0 0.5 0.5 0.2 0.2"})
    alone = load_datasets([root])
    assert alone.splits["train"][0].known is None
    assert alone.sources == []
    with pytest.raises(ConfigError, match="--data PATH"):
        load_datasets([])
    with pytest.raises(ConfigError, match="is given twice"):
        load_datasets([root, f"{root}/."])


def test_sets_are_called_after_their_folders(tmp_path):
    roots = [yolo(tmp_path / place, {"train/x": "0 0.5 0.5 0.2 0.2"}) for place in ("x/farm", "y/farm", "town")]
    names = load_datasets(roots).class_names
    assert names == ["farm1:cat", "farm1:dog", "farm2:cat", "farm2:dog", "town:cat", "town:dog"]


def test_sets_of_more_than_8_bits_share_the_widest_range():
    deep = []
    for name, ends in (("cat", (10.0, 900.0)), ("dog", (0.0, 700.0))):
        one = data(name)
        records = [dataclasses.replace(record, pixel_range=ends) for record in one.splits["train"]]
        deep.append(dataclasses.replace(one, splits={"train": records}, pixel_range=ends))
    joined = join_datasets([*deep, data("car")], ["a", "b", "c"])
    assert joined.pixel_range == (0.0, 900.0)
    assert [record.pixel_range for record in joined.splits["train"]] == [(0.0, 900.0), (0.0, 900.0), None]

"""YOLO layout: what is read, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import DataError
from tests.data.builders import picture, text, yolo


def test_rows_become_boxes_in_pixels(tmp_path):
    data = load_dataset(yolo(tmp_path, {"train/a": "1 0.5 0.5 0.2 0.4\n0 0.1 0.2 0.2 0.4\n", "val/b": ""}))
    assert (data.layout, data.class_names, list(data.splits)) == ("yolo", ["cat", "dog"], ["train", "val"])
    (record,) = data.splits["train"]
    assert (record.width, record.height) == (100, 50)
    np.testing.assert_allclose(record.boxes_xyxy, [[40, 15, 60, 35], [0, 0, 20, 20]], atol=1e-5)
    assert record.boxes_xyxy.dtype == np.float32
    assert record.labels.tolist() == [1, 0]
    assert record.ignore.tolist() == [False, False]


@pytest.mark.parametrize("rows", ["", None, "\n \n"])
def test_a_picture_without_objects_is_kept(tmp_path, rows):
    (record,) = load_dataset(yolo(tmp_path, {"train/a": rows})).splits["train"]
    assert record.boxes_xyxy.shape == (0, 4)
    assert record.labels.shape == record.ignore.shape == (0,)


def test_a_polygon_becomes_its_enclosing_box(tmp_path):
    data = load_dataset(yolo(tmp_path, {"train/a": "0 0.1 0.2 0.5 0.1 0.3 0.9"}))
    np.testing.assert_allclose(data.splits["train"][0].boxes_xyxy, [[10, 5, 50, 45]], atol=1e-5)


def test_boxes_are_clipped_and_those_without_area_dropped(tmp_path):
    rows = "0 0.0 0.5 0.2 0.2\n0 0.5 0.5 0 0.1\n1 1.5 0.5 0.2 0.2\n"
    (record,) = load_dataset(yolo(tmp_path, {"train/a": rows})).splits["train"]
    np.testing.assert_allclose(record.boxes_xyxy, [[0, 20, 10, 30]], atol=1e-5)
    assert record.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 2: class 2 is not one of 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "line 2: class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "line 2: class 0.5"),
        ("0 nan 0.5 0.1 0.1", "line 2: .*NaN"),
        ("0 inf 0.5 0.1 0.1", "line 2: .*infinity"),
        ("0 0.5 x 0.1 0.1", "line 2: .*not all numbers"),
        ("0 0.5 0.5 0.1", "line 2: 4 numbers, expected 5"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(tmp_path, row, message):
    yolo(tmp_path, {"train/a": f"0 0.5 0.5 0.1 0.1\n{row}\n"})
    with pytest.raises(DataError, match=rf"a\.txt: {message}") as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}"])
def test_names_may_be_a_list_or_numbered(tmp_path, names):
    assert load_dataset(yolo(tmp_path, {"train/a": ""}, names)).class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("{0: cat, 2: dog}", "without gaps"),
        ("[]", "is empty"),
        ("cat", "has no names"),
        ("[a]\nnc: 2", "nc: is 2"),
    ],
)
def test_wrong_names_are_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        load_dataset(yolo(tmp_path, {"train/a": ""}, names))


def test_splits_may_be_text_files_and_lists_of_folders(tmp_path):
    for index, name in enumerate(["one/images/a", "two/images/b", "c"]):
        picture(tmp_path / f"{name}.png", seed=index)
    text(tmp_path / "one/labels/a.txt", "0 0.5 0.5 0.1 0.1")
    text(tmp_path / "c.txt", "0 0.5 0.5 0.2 0.2")  # beside its picture
    text(tmp_path / "lists/val.txt", "../c.png\none/images/a.png\n\n")
    text(tmp_path / "my.yaml", "train: [one/images, two/images]\nval: lists/val.txt\nnames: [x]")
    data = load_dataset(tmp_path)
    assert [record.path.stem for record in data.splits["train"]] == ["a", "b"]
    assert [record.path.stem for record in data.splits["val"]] == ["c", "a"]
    assert [len(record.labels) for record in data.splits["val"]] == [1, 1]
    assert [record.image_id for record in data.splits["val"]] == [0, 1]


def test_an_exporters_stray_dots_and_valid_folder_are_understood(tmp_path):
    picture(tmp_path / "set/valid/images/a.png")
    text(tmp_path / "set/valid/labels/a.txt", "0 0.5 0.5 0.1 0.1")
    text(tmp_path / "set/data.yaml", "val: ../valid/images\ntest: ../test/images\nnames: [x]")
    data = load_dataset(tmp_path / "set")
    assert len(data.splits["val"][0].labels) == 1
    assert [fault.message for fault in data.faults if fault.kind == "missing-split"] == [
        "test: ../test/images does not exist"
    ]


def test_path_in_the_yaml_is_relative_to_the_yaml(tmp_path):
    yolo(tmp_path / "pictures", {"train/a": "0 0.5 0.5 0.1 0.1"})
    text(tmp_path / "descriptions/mine.yaml", "path: ../pictures\ntrain: images/train\nnames: [x]")
    assert len(load_dataset(tmp_path / "descriptions/mine.yaml").splits["train"][0].labels) == 1


def test_unreadable_and_missing_pictures_are_skipped_and_named(tmp_path):
    yolo(tmp_path, {"train/a": "0 0.5 0.5 0.1 0.1", "train/b": ""})
    (tmp_path / "images/train/b.png").write_bytes(b"no picture")
    text(tmp_path / "labels/train/gone.txt", "0 0.5 0.5 0.1 0.1")
    data = load_dataset(tmp_path)
    assert [record.path.stem for record in data.splits["train"]] == ["a"]
    assert {path.name for path, _ in data.skipped} == {"b.png"}
    assert [fault.path.name for fault in data.faults if fault.kind == "labels-without-image"] == ["gone.txt"]


def test_only_the_wanted_split_is_read_and_an_unknown_one_is_refused(tmp_path):
    yolo(tmp_path, {"train/a": "nonsense", "val/b": ""})
    assert list(load_dataset(tmp_path, ["val"]).splits) == ["val"]
    with pytest.raises(DataError, match=r"no split 'vla': did you mean val\?"):
        load_dataset(tmp_path, ["vla"])


def test_an_empty_split_is_refused(tmp_path):
    yolo(tmp_path, {"train/a": ""})
    (tmp_path / "images/train/a.png").unlink()
    with pytest.raises(DataError, match="empty data set"):
        load_dataset(tmp_path)


def test_damaged_yaml_is_refused_with_its_line(tmp_path):
    text(tmp_path / "data.yaml", "names: [a\ntrain: x\n: :")
    with pytest.raises(DataError, match=r"data\.yaml line \d+ is not readable YAML"):
        load_dataset(tmp_path)

"""data check: each fault is found once, named, and gone from the clean copy."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from ghostyolo.data.check import check_dataset, write_clean_copy
from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import DataError, OutputError
from tests.data.builders import coco, text, voc_xml, yolo

GOOD = "0 0.5 0.5 0.2 0.4\n1 0.2 0.2 0.1 0.1\n"


def kinds(report) -> dict[str, int]:
    names = [problem.kind for problem in report.problems]
    return {name: names.count(name) for name in sorted(set(names))}


def test_a_clean_data_set_has_no_problems(tmp_path):
    report = check_dataset(yolo(tmp_path, {"train/a": GOOD, "val/b": GOOD}))
    assert report.problems == []
    assert report.objects("train") == {"cat": 1, "dog": 1}


@pytest.mark.parametrize(
    ("rows", "kind", "level", "words"),
    [
        ("7 0.5 0.5 0.1 0.1", "unknown-class", "error", "line 3: class 7"),
        ("0 nan 0.5 0.1 0.1", "bad-label", "error", "line 3"),
        ("0 0.5 0.5 0.0 0.1", "zero-area-box", "warning", "line 3: no area"),
        ("0 0.0 0.5 0.2 0.1", "box-outside", "warning", "line 3: leaves a.png"),
        ("0 1.5 0.5 0.2 0.1", "box-outside", "warning", "line 3: lies outside of a.png"),
        ("0 32 36 32 48", "wrong-unit", "error", "line 3: '0 32 36 32 48' is in pixels"),
        ("0 0.5 0.5 0.2 0.4", "duplicate-box", "warning", "line 3: same box"),
    ],
)
def test_a_bad_row_is_found_and_mended(tmp_path, rows, kind, level, words):
    yolo(tmp_path / "in", {"train/a": GOOD + rows, "val/b": GOOD})
    report = check_dataset(tmp_path / "in")
    (problem,) = [problem for problem in report.problems if problem.kind != "many-clipped"]
    assert (problem.kind, problem.level, problem.path.name, problem.split) == (kind, level, "a.txt", "train")
    assert problem.message.startswith(words)
    write_clean_copy(report, tmp_path / "out")
    assert check_dataset(tmp_path / "out").problems == []


def test_rounding_at_the_border_is_no_problem(tmp_path):
    assert check_dataset(yolo(tmp_path, {"train/a": GOOD + "0 0.096 0.5 0.2 0.1"})).problems == []


def test_truncated_missing_and_orphaned_files_are_found(tmp_path):
    yolo(tmp_path, {"train/a": GOOD, "train/cut": GOOD, "train/gone": GOOD, "train/bare": None})
    whole = (tmp_path / "images/train/cut.png").read_bytes()
    (tmp_path / "images/train/cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images/train/gone.png").unlink()
    report = check_dataset(tmp_path)
    assert kinds(report) == {"image-without-objects": 1, "labels-without-image": 1, "unreadable-image": 1}
    assert [record.path.stem for record in report.data.splits["train"]] == ["a", "bare"]
    assert report.count("error") == 2


def test_a_picture_in_two_splits_stays_in_val(tmp_path):
    yolo(tmp_path / "in", {"train/a": GOOD, "train/b": GOOD, "val/c": GOOD})
    shutil.copy(tmp_path / "in/images/val/c.png", tmp_path / "in/images/train/b.png")
    report = check_dataset(tmp_path / "in")
    assert kinds(report) == {"image-in-two-splits": 1}
    assert "same picture as c.png in val" in report.problems[0].message
    clean = write_clean_copy(report, tmp_path / "out")
    assert {split: [record.path.stem for record in records] for split, records in clean.splits.items()} == {
        "train": ["a"],
        "val": ["c"],
    }


def test_a_picture_twice_in_one_split_is_a_warning(tmp_path):
    yolo(tmp_path, {"train/a": GOOD, "train/b": GOOD})
    shutil.copy(tmp_path / "images/train/a.png", tmp_path / "images/train/b.png")
    assert kinds(check_dataset(tmp_path)) == {"duplicate-image": 1}


def test_a_class_without_objects_is_named(tmp_path):
    (problem,) = check_dataset(yolo(tmp_path, {"train/a": "0 0.5 0.5 0.1 0.1"})).problems
    assert problem.kind == "class-without-objects"
    assert problem.message == "train has no object of 1 of 2 classes: dog"


def test_labels_without_a_picture_and_xml_that_is_none_are_found(tmp_path):
    annotation = {"id": 1, "image_id": 99, "category_id": 3, "bbox": [1, 1, 5, 5]}
    good = [{"id": n, "image_id": 1, "category_id": n, "bbox": [1, 1, 5, 5]} for n in (3, 7)]
    images = [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}]
    assert kinds(check_dataset(coco(tmp_path / "coco", images, [annotation, *good]))) == {"labels-without-image": 1}
    text(tmp_path / "voc/Annotations/a.xml", voc_xml([("x", (1, 1, 9, 9), 0)]))
    text(tmp_path / "voc/Annotations/b.xml", "<broken")
    report = check_dataset(tmp_path / "voc")
    assert kinds(report) == {"bad-label": 1, "missing-image": 1}


def test_the_report_is_plain_json(tmp_path):
    report = check_dataset(yolo(tmp_path, {"train/a": GOOD + "7 0 0 1 1", "train/b": ""}))
    content = json.loads(json.dumps(report.to_json()))
    assert content["errors"] == 1
    assert content["splits"]["train"] == {
        "images": 2,
        "objects": 2,
        "images_without_objects": 1,
        "classes": {"cat": 1, "dog": 1},
    }
    assert {problem["kind"] for problem in content["problems"]} == {"unknown-class", "image-without-objects"}


def test_the_original_is_never_changed_and_never_overwritten(tmp_path):
    yolo(tmp_path / "in", {"train/a": GOOD + "7 0 0 1 1"})
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    report = check_dataset(tmp_path / "in")
    with pytest.raises(OutputError, match="is not empty"):
        write_clean_copy(report, tmp_path / "in")
    write_clean_copy(report, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()} == before
    (record,) = load_dataset(tmp_path / "out").splits["train"]
    np.testing.assert_allclose(record.boxes_xyxy, [[40, 15, 60, 35], [15, 7.5, 25, 12.5]], atol=1e-3)


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="empty"):
        check_dataset(tmp_path)

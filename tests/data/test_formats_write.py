"""Writing a data set and reading it back gives the same records, in every layout."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ghostyolo.data.formats import load_dataset, write_dataset
from ghostyolo.data.formats.write import image_folder
from ghostyolo.errors import ConfigError, OutputError
from tests.data.builders import coco, yolo

ROWS = "1 0.5 0.5 0.21 0.4\n0 0.1 0.2 0.2 0.4\n"


@pytest.mark.parametrize("layout", ["yolo", "coco", "voc"])
def test_round_trip_keeps_boxes_labels_pixels_and_names(tmp_path, layout):
    data = load_dataset(yolo(tmp_path / "in", {"train/a": ROWS, "train/b": "", "val/c": "1 0.5 0.5 0.3 0.3"}))
    written = write_dataset(data, tmp_path / "out", layout)
    back = load_dataset(tmp_path / "out")
    assert (back.layout, back.class_names) == (layout, ["cat", "dog"])
    for split, records in data.splits.items():
        for record, copy, again in zip(records, written.splits[split], back.splits[split], strict=True):
            assert copy.path == again.path
            assert again.path.read_bytes() == record.path.read_bytes()
            np.testing.assert_allclose(again.boxes_xyxy, record.boxes_xyxy, atol=0.006)
            assert again.labels.tolist() == record.labels.tolist()
            assert (again.width, again.height) == (100, 50)


@pytest.mark.parametrize(("layout", "kept"), [("coco", [True]), ("voc", [True]), ("yolo", [])])
def test_ignored_objects_stay_ignored_or_are_left_out(tmp_path, layout, kept):
    crowd = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30], "iscrowd": 1}
    data = load_dataset(coco(tmp_path / "in", [{"id": 1, "file_name": "a.png"}], [crowd]))
    write_dataset(data, tmp_path / "out", layout)
    assert load_dataset(tmp_path / "out").splits["val"][0].ignore.tolist() == kept


@pytest.mark.parametrize("layout", ["yolo", "coco", "voc"])
def test_pictures_of_the_same_name_do_not_overwrite_each_other(tmp_path, layout):
    labels = {
        "train/x/a": "0 0.5 0.5 0.1 0.1",
        "train/y/a": "1 0.5 0.5 0.2 0.2",
        "val/a": "1 0.5 0.5 0.3 0.3",
    }
    write_dataset(load_dataset(yolo(tmp_path / "in", labels)), tmp_path / "out", layout)
    back = load_dataset(tmp_path / "out")
    widths = [round(float(record.boxes_xyxy[0, 2] - record.boxes_xyxy[0, 0])) for record in back.splits["train"]]
    assert sorted(widths) == [10, 20]
    assert back.splits["val"][0].boxes_xyxy[0].tolist() == pytest.approx([35, 17.5, 65, 32.5], abs=0.01)
    assert len({record.path for records in back.splits.values() for record in records}) == 3


def test_coco_json_has_the_sizes_areas_and_ids_that_scorers_need(tmp_path):
    write_dataset(load_dataset(yolo(tmp_path / "in", {"val/a": "1 0.5 0.5 0.2 0.4"})), tmp_path / "out", "coco")
    content = json.loads((tmp_path / "out/annotations/instances_val.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}]
    (annotation,) = content["annotations"]
    assert annotation == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [40, 15, 20, 20], "area": 400, "iscrowd": 0,
    }  # fmt: skip


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    data = load_dataset(yolo(tmp_path / "in", {"val/a": ""}))
    with pytest.raises(OutputError, match="is not empty"):
        write_dataset(data, tmp_path / "in")


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown layout 'ylo': did you mean yolo\?"):
        image_folder(tmp_path, "ylo", "train")

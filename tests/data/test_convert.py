"""Converting keeps every picture, box, class and name, in every layout, and says what a layout cannot hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostyolo.data.convert import TARGETS, convert_dataset
from ghostyolo.data.formats import load_dataset, write_dataset
from ghostyolo.errors import ConfigError, DataError, OutputError
from tests.data.builders import coco, text, voc_xml, yolo
from tests.data.layout_folders import WRITERS
from tests.data.test_any_data_set import QUICK, data_sets

ROW = "0 0.5 0.5 0.2 0.4\n"


def contents(data) -> dict:
    """Pictures by split and bytes, with class names, corners to a hundredth of a pixel, and what is ignored."""
    return {
        split: sorted(
            (record.path.read_bytes(), sorted((data.class_names[label], *np.round(box, 2).tolist(), bool(ignore))
             for label, box, ignore in zip(record.labels, record.boxes_xyxy, record.ignore, strict=True)))
            for record in records
        )
        for split, records in data.splits.items()
    }  # fmt: skip


@settings(QUICK, max_examples=20)
@given(st.data(), st.sampled_from(TARGETS), st.sampled_from(["yolo", "coco", "voc"]))
def test_nothing_is_lost_whatever_the_names(data, target, source):
    pytest.importorskip("pyarrow", reason="Parquet needs the parquet extra")
    with tempfile.TemporaryDirectory() as folder:
        given_data = data.draw(data_sets(Path(folder) / "in"))
        write_dataset(given_data, Path(folder) / "source", source)
        converted = convert_dataset(Path(folder) / "source", Path(folder) / "out", target)
        place = Path(folder) / "out"
        if target == "parquet":
            convert_dataset(place, Path(folder) / "back", "yolo")
            place = Path(folder) / "back"
        back = load_dataset(place)
        assert back.class_names == given_data.class_names
        # A tenth of a hundredth of a pixel may be rounded to either side.
        for split, pictures in contents(given_data).items():
            for (pixels, boxes), (again, found) in zip(pictures, contents(back)[split], strict=True):
                assert pixels == again
                assert [box[0] for box in boxes] == [box[0] for box in found]
                np.testing.assert_allclose([box[1:5] for box in boxes], [box[1:5] for box in found], atol=0.02)
        assert sum(sum(classes.values()) for _, classes in converted.counts.values()) == sum(
            len(record.labels) for records in given_data.splits.values() for record in records
        )


@pytest.mark.parametrize("name", ["labelimg_beside_pictures", "roboflow_coco", "open_images", "label_studio_json"])
@pytest.mark.parametrize("target", ["yolo", "coco", "voc"])
def test_a_strangers_folder_becomes_any_layout_with_its_splits(tmp_path, name, target):
    WRITERS[name][2](tmp_path / "in")
    convert_dataset(tmp_path / "in", tmp_path / "out", target)
    assert contents(load_dataset(tmp_path / "out")) == contents(load_dataset(tmp_path / "in"))


def test_what_a_layout_cannot_hold_is_said_with_numbers(tmp_path):
    crowd = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30], "iscrowd": 1}
    other = {**crowd, "id": 2, "iscrowd": 0}
    source = coco(tmp_path / "in", [{"id": 1, "file_name": "a.png"}], [crowd, other])
    converted = convert_dataset(source, tmp_path / "yolo", "yolo")
    assert converted.notes == ["1 crowds are left out: YOLO labels cannot mark them"]
    assert converted.counts == {"val": (1, {"cat": 1, "dog": 0})}
    assert convert_dataset(source, tmp_path / "coco", "coco").notes == []
    assert convert_dataset(source, tmp_path / "voc", "voc").notes == ["1 crowds are marked difficult"]


def test_crowd_and_difficult_survive_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs the parquet extra")
    from tests.data.builders import picture

    picture(tmp_path / "in/a.png")
    text(tmp_path / "in/a.xml", voc_xml([("cat", (1, 1, 9, 9), 1), ("dog", (2, 2, 9, 9), 0)]))
    convert_dataset(tmp_path / "in", tmp_path / "parquet", "parquet")
    convert_dataset(tmp_path / "parquet", tmp_path / "voc", "voc")
    assert contents(load_dataset(tmp_path / "voc")) == contents(load_dataset(tmp_path / "in"))
    with pytest.raises(DataError, match=r"holds its pictures inside: `ghostyolo data convert .* --to yolo"):
        load_dataset(tmp_path / "parquet")


def test_refusals_are_one_line_and_leave_nothing(tmp_path):
    source = yolo(tmp_path / "in", {"train/a": ROW})
    with pytest.raises(ConfigError, match=r"unknown layout 'vok': did you mean voc\?"):
        convert_dataset(source, tmp_path / "out", "vok")
    with pytest.raises(OutputError, match="is not empty"):
        convert_dataset(source, tmp_path / "in", "coco")
    text(tmp_path / "in/labels/train/a.txt", "9 0.5 0.5 0.2 0.2")
    with pytest.raises(DataError, match="class 9 is not one of"):
        convert_dataset(source, tmp_path / "out", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_result_that_is_not_what_was_read_is_refused_and_removed(tmp_path, monkeypatch):
    source = yolo(tmp_path / "in", {"train/a": ROW, "train/b": ROW})
    monkeypatch.setattr("ghostyolo.data.formats.write._write_voc", lambda out, names, splits: None)
    with pytest.raises((OutputError, DataError)):
        convert_dataset(source, tmp_path / "out", "voc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

"""Training says what it reads, and refuses what it could not learn from, before anything is built or written."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from ghostyolo.errors import DataError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.train.detection import start
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.run_folder import begin
from tests.data.builders import picture, text, yolo

ROW = "0 0.5 0.5 0.2 0.4\n"


class Built(Exception):
    """The network was asked for: all that is looked at before is done."""


def said(monkeypatch, data, out) -> str:
    """What is printed before the network is built."""

    def build(*_, **__):
        raise Built

    monkeypatch.setattr(start, "prepare", build)
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(Built):
        start.train_detector(data, "ghostyolo-p", out=out, console=console)
    assert not out.exists()
    return console.file.getvalue()


def test_pictures_boxes_and_faults_of_each_split_are_printed_before_the_first_step(tmp_path, monkeypatch):
    yolo(tmp_path / "data", {"train/a": ROW + "0 0 0.5 0.2 0.2", "train/b": None, "val/c": ROW}, "[cat]")
    (tmp_path / "data/images/train/d.png").write_bytes(b"none")
    lines = said(monkeypatch, tmp_path / "data", tmp_path / "out").splitlines()
    assert lines[:2] == [
        "train: 2 pictures, 2 boxes, 1 picture without labels",
        "val: 1 picture, 1 box, 0 pictures without labels",
    ]
    assert any(line.startswith("train: 1 unreadable-image, left out: ") and "d.png" in line for line in lines)
    assert any(line.startswith("train: 1 box-outside, clipped") and "a.txt: line 2" in line for line in lines)


def test_a_missing_val_folder_is_named_as_such(tmp_path, monkeypatch):
    yolo(tmp_path / "data", {"train/a": ROW}, "[cat]\nval: images/val")
    printed = said(monkeypatch, tmp_path / "data", tmp_path / "out")
    assert "val: 1 missing-split, not there: " in printed
    assert "val: images/val does not exist" in printed


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"train/a": None, "train/b": ""}, "train has no box in 2 pictures: 1 have no label file"),
        ({"train/a": "0 32.0 36.0 32 48"}, "is in pixels"),
        ({"train/a": "0 1.7 0.5 0.1 0.1"}, "train has no box in 1 pictures"),
    ],
)
def test_nothing_to_learn_is_refused_with_its_cause(tmp_path, monkeypatch, labels, message):
    yolo(tmp_path / "data", labels)
    monkeypatch.setattr(start, "prepare", None)
    with pytest.raises(DataError, match=message):
        start.train_detector(tmp_path / "data", "ghostyolo-p", out=tmp_path / "out", console=Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_crowds_alone_are_refused(tmp_path):
    picture(tmp_path / "data/images/a.png")
    crowd = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 9, 9], "iscrowd": 1}
    images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 3, "name": "x"}]
    content = {"images": images, "annotations": [crowd], "categories": categories}
    text(tmp_path / "data/annotations/instances_train.json", json.dumps(content))
    with pytest.raises(DataError, match="all 1 objects are crowd or difficult"):
        start.train_detector(tmp_path / "data", "ghostyolo-p", out=tmp_path / "out", console=Console(quiet=True))


def test_the_same_data_at_another_place_may_be_resumed_and_other_data_not(tmp_path):
    from ghostyolo.data.formats import load_dataset
    from ghostyolo.errors import ConfigError
    from ghostyolo.train.loop import describe_run
    from ghostyolo.train.run_folder import records_digest

    def described(data):
        records = data.splits["train"]
        return describe_run(metadata, str(data.root), data.splits, records_digest(records), None)

    metadata = ModelMetadata(model="m", class_names=["cat", "dog"], imgsz=64)
    here = load_dataset(yolo(tmp_path / "here", {"train/a": ROW}))
    begin(tmp_path / "out", TrainRecipe(), described(here), resume=False)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = load_dataset(tmp_path / "there")
    begin(tmp_path / "out", TrainRecipe(), described(moved), resume=True)
    other = load_dataset(yolo(tmp_path / "other", {"train/a": "1 0.5 0.5 0.2 0.4\n"}))
    with pytest.raises(ConfigError, match="another 'labels_digest'"):
        begin(tmp_path / "out", TrainRecipe(), described(other), resume=True)


@pytest.mark.parametrize("model", ["ghostyolo-p", "yolov8n-ghostnetv3-e2e"])
@pytest.mark.parametrize(("imgsz", "warned"), [(960, False), (1280, True)])
def test_boxes_longer_than_the_heads_bins_reach_are_said(tmp_path, monkeypatch, model, imgsz, warned):
    """16 bins of stride 32 on both sides of the middle: 2 x 15 x 32 = 960 pixels."""
    yolo(tmp_path / "data", {"train/a": "0 0.5 0.5 1 1\n0 0.5 0.5 0.1 0.1\n"}, "[cat]")

    def fit(*_, **__):
        raise Built

    monkeypatch.setattr(start, "fit", fit)
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(Built):
        start.train_detector(tmp_path / "data", model, out=tmp_path / "out", options={"imgsz": imgsz}, console=console)
    printed = console.file.getvalue()
    assert ("1 of 2 training boxes are longer than 960 pixels at imgsz 1280" in printed) is warned

"""``ghostyolo data check``, ``digits`` and ``anchors`` from the command line, end to end."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from ghostyolo.data.fit_anchors import anchor_recall, box_sizes
from ghostyolo.data.formats import load_dataset
from ghostyolo.models.default_anchors import default_anchors
from tests.data import builders, layout_folders


def test_digits_then_check_then_fix(type_cli, tmp_path):
    pytest.importorskip("sklearn", reason="digit scenes need the scenes extra")
    pytest.importorskip("skimage", reason="digit scenes need the scenes extra")
    scenes = tmp_path / "scenes"
    made = type_cli("data", "digits", "--out", scenes, "--train", 12, "--val", 4, "--imgsz", 96, "--layout", "voc")
    assert made.returncode == 0, made.stderr
    assert "train 12 images" in made.stdout
    assert len(load_dataset(scenes).splits["train"]) == 12

    clean = type_cli("data", "check", scenes)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "Objects" in clean.stdout

    broken = scenes / "JPEGImages/train_00003.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    report, copy = tmp_path / "report.json", tmp_path / "clean"
    found = type_cli("data", "check", scenes, "--json", report, "--fix", copy)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "unreadable-image" in found.stdout
    content = json.loads(report.read_text())
    assert [p["kind"] for p in content["problems"] if p["level"] == "error"] == ["unreadable-image"]
    assert type_cli("data", "check", copy).returncode == 0
    assert len(load_dataset(copy).splits["train"]) == 11


def test_check_of_nothing_is_one_line_and_status_2(run_cli, tmp_path):
    result = run_cli("data", "check", tmp_path / "none")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"error: {tmp_path / 'none'} does not exist: give the folder of a data set")


def flat_boxes(root, count):
    """A train split of one 100 x 50 picture a box, all of them ten times as wide as high."""
    rows = {f"train/{n}": f"0 0.5 0.5 {0.2 + n / 100} {0.04 + n / 500}" for n in range(count)}
    return builders.yolo(root, rows)


def test_anchors_are_yaml_for_a_model_file(type_cli, tmp_path):
    pytest.importorskip("sklearn", reason="fitting anchors needs the scenes extra")
    data = flat_boxes(tmp_path / "flat", 12)
    done = type_cli("data", "anchors", data, "--imgsz", 128)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    recall = r"# 12 boxes at 128 pixels: recall (\S+) with the default anchors, (\S+) with these"
    before, after = map(float, re.fullmatch(recall, first).groups())
    head = yaml.safe_load(done.stdout)["head"]
    assert head["type"] == "anchor"
    sizes = box_sizes(load_dataset(data).splits["train"], 128)
    assert before == pytest.approx(anchor_recall(sizes, default_anchors((8, 16, 32))), abs=5e-4)
    assert after == pytest.approx(anchor_recall(sizes, head["anchors"]), abs=5e-4)
    assert before < after

    done = type_cli("data", "anchors", data, "--imgsz", 128, "--count", 6, "--json")
    content = json.loads(done.stdout)
    assert [len(level) for level in content["anchors"]] == [2, 2, 2]
    assert (content["boxes"], content["imgsz"]) == (12, 128)
    assert content["recall_default"] == pytest.approx(before, abs=5e-4)
    assert content["recall"] == anchor_recall(sizes, content["anchors"])


def test_anchors_of_too_little_are_one_line_and_status_2(type_cli, tmp_path):
    pytest.importorskip("sklearn", reason="fitting anchors needs the scenes extra")
    few, none = flat_boxes(tmp_path / "few", 3), builders.yolo(tmp_path / "none", {"val/a": "0 0.5 0.5 0.2 0.2"})
    for arguments, message in (
        ((few,), "3 boxes are too few for 9 anchors"),
        ((few, "--count", 4), "4 anchors do not go into 3 levels"),
        ((none,), "has no boxes in a train split"),
        ((tmp_path / "missing",), "does not exist"),
    ):
        done = type_cli("data", "anchors", *arguments)
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("error: ")
        assert message in line


def test_a_video_of_digits_comes_with_its_tracks(type_cli, tmp_path):
    pytest.importorskip("sklearn")
    done = type_cli("data", "digits", "--out", tmp_path / "v", "--video", "5", "--imgsz", "64")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["gt.txt", "video.mp4"]
    again = type_cli("data", "digits", "--out", tmp_path / "w", "--video", "5", "--imgsz", "64")
    assert again.returncode == 0
    assert (tmp_path / "v" / "gt.txt").read_bytes() == (tmp_path / "w" / "gt.txt").read_bytes()
    assert (tmp_path / "v" / "video.mp4").read_bytes() == (tmp_path / "w" / "video.mp4").read_bytes()


def test_split_writes_lists_that_are_a_data_set_or_a_copy(type_cli, tmp_path):
    data = tmp_path / "pets"
    layout_folders.labelimg_beside_pictures(data)
    done = type_cli("data", "split", data, "--val", 0.4)
    assert done.returncode == 0, done.stderr
    assert "held-out, val made of training pictures" in done.stdout
    assert f"next: ghostyolo train --data {tmp_path / 'pets-split'}" in done.stdout
    parts = load_dataset(tmp_path / "pets-split").splits
    assert {split: len(records) for split, records in parts.items()} == {"train": 3, "val": 2}
    copied = type_cli("data", "split", data, "--val", 0.4, "--copy", "--out", tmp_path / "copy")
    assert copied.returncode == 0, copied.stderr
    copy = load_dataset(tmp_path / "copy")
    assert copy.layout == "yolo"
    assert {len(item.labels) for item in copy.splits["val"]} == {len(item.labels) for item in parts["val"]}
    again = type_cli("data", "split", data)
    assert again.returncode == 2
    assert "is not empty: choose a new folder" in again.stderr


def test_convert_copies_into_another_layout_and_counts(type_cli, tmp_path):
    layout_folders.roboflow_csv(tmp_path / "pets")
    done = type_cli("data", "convert", tmp_path / "pets", "--to", "voc", "--out", tmp_path / "voc")
    assert done.returncode == 0, done.stderr
    assert f"train: 3 pictures with 5 boxes, read again from {tmp_path / 'voc'}" in done.stdout
    assert load_dataset(tmp_path / "voc").class_names == ["cat", "dog"]
    refused = type_cli("data", "convert", tmp_path / "pets", "--to", "kitti", "--out", tmp_path / "other")
    assert (refused.returncode, (tmp_path / "other").exists()) == (2, False)
    assert "unknown layout 'kitti': valid: coco, parquet, voc, yolo" in refused.stderr


def test_show_writes_one_page_and_says_that_it_is_a_sample(type_cli, tmp_path):
    layout_folders.label_studio_coco(tmp_path / "pets")
    done = type_cli("data", "show", tmp_path / "pets", "--out", tmp_path / "pets.html", "--sample", 2)
    assert done.returncode == 0, done.stderr
    assert f"written: {tmp_path / 'pets.html'} (2 pictures, a sample of 5 (--sample 0 shows all))" in done.stdout
    assert (tmp_path / "pets.html").read_text(encoding="utf-8").startswith("<!doctype html>")

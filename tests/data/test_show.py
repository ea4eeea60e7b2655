"""The page of a data set holds its pictures, boxes, faults and numbers, whatever names are in it."""

from __future__ import annotations

import base64
import json
import re

import cv2
import numpy as np
import pytest

from ghostyolo.data.show import CELLS, show_dataset
from ghostyolo.errors import DataError
from tests.data.builders import picture, text, yolo

ROW = "0 0.5 0.5 0.2 0.4\n"


def content(page) -> dict:
    """The data inside a page."""
    html = page.read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>") == 2
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)[1])


def test_pictures_boxes_and_counts_are_in_the_page(tmp_path):
    yolo(tmp_path / "pets", {"train/a": ROW + "1 0.25 0.25 0.5 0.5", "train/b": None, "val/c": "1 0.5 0.5 1 0.1"})
    page = show_dataset(tmp_path / "pets", tmp_path / "page.html")
    assert (page.shown, page.pictures) == (3, 3)
    data = content(page.path)
    assert (data["name"], data["classes"], data["counts"]) == ("pets", ["cat", "dog"], {"train": 2, "val": 1})
    first = data["pictures"][0]
    assert (first["name"], first["split"], first["width"]) == ("images/train/a.png", "train", 100)
    assert first["boxes"] == [[0, 40, 15, 60, 35, 0], [1, 0, 0, 50, 25, 0]]
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(first["small"]), np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (50, 100, 3)
    cat = next(row for row in data["statistics"] if (row["split"], row["label"]) == ("train", 0))
    # The cat's sides are 20 x 20 of 100 x 50 pixels: 28 % of the picture; its centre is in the middle.
    assert (cat["objects"], cat["pictures"], sum(cat["sizes"])) == (1, 1, 1)
    assert data["borders"]["sizes"][cat["sizes"].index(1)] == 28
    assert cat["places"] == {str(CELLS // 2 * CELLS + CELLS // 2): 1}
    assert [sum(row["objects"] for row in data["statistics"]), len(data["statistics"])] == [3, 3]


def test_large_pictures_are_small_copies(tmp_path):
    picture(tmp_path / "a.png", 1200, 300)
    text(tmp_path / "a.txt", ROW)
    (entry,) = content(show_dataset(tmp_path, tmp_path / "page.html").path)["pictures"]
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(entry["small"]), np.uint8), cv2.IMREAD_COLOR)
    assert (pixels.shape, entry["width"]) == ((100, 400, 3), 1200)


def test_faults_stand_at_their_pictures_and_labels_that_training_refuses_too(tmp_path):
    yolo(tmp_path / "pets", {"train/a": "9 0.5 0.5 0.2 0.2", "train/b": ROW + "0 0.9 0.5 0.4 0.2", "train/c": ROW})
    data = content(show_dataset(tmp_path / "pets", tmp_path / "page.html").path)
    kinds = {entry["name"][-5:]: {fault[0] for fault in entry["faults"]} for entry in data["pictures"]}
    assert "unknown-class" in kinds["a.png"]
    assert kinds["b.png"] == {"box-outside"}
    assert kinds["c.png"] == set()
    assert data["faults"][0]["kind"] == "unknown-class"


def test_a_sample_is_of_all_splits_with_the_faulty_ones_and_counts_are_of_all(tmp_path):
    labels = {f"{split}/{index}": ROW for split in ("train", "val") for index in range(20)}
    labels["train/7"] = "0 0.9 0.5 0.4 0.2"
    page = show_dataset(yolo(tmp_path / "pets", labels), tmp_path / "page.html", sample=10)
    data = content(page.path)
    assert (page.shown, page.pictures, len(data["pictures"])) == (10, 40, 10)
    assert {entry["split"] for entry in data["pictures"]} == {"train", "val"}
    assert "images/train/7.png" in [entry["name"] for entry in data["pictures"]]
    assert sum(row["objects"] for row in data["statistics"]) == 40
    assert show_dataset(tmp_path / "pets", tmp_path / "page.html", sample=0).shown == 40


def test_names_cannot_break_out_of_the_page(tmp_path):
    name = '</script><script>alert("x")<'
    picture(tmp_path / "pets/<b>&.png")
    text(tmp_path / "pets/<b>&.txt", ROW)
    text(tmp_path / "pets/classes.txt", name)
    data = content(show_dataset(tmp_path / "pets", tmp_path / "page.html").path)
    assert (data["classes"], data["pictures"][0]["name"]) == ([name], "<b>&.png")


def test_broken_pictures_and_no_pictures_are_said(tmp_path):
    path = picture(tmp_path / "pets/a.png")
    text(tmp_path / "pets/a.txt", ROW)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (entry,) = content(show_dataset(tmp_path / "pets", tmp_path / "page.html").path)["pictures"]
    assert entry["small"] == ""
    path.write_bytes(b"no picture")
    picture(tmp_path / "half/train/b.png")
    text(tmp_path / "half/train/b.txt", ROW)
    text(tmp_path / "half/val/c.txt", ROW)
    text(tmp_path / "half/val/c.png", "no picture")
    assert content(show_dataset(tmp_path / "half", tmp_path / "page.html").path)["splits"] == ["train"]
    with pytest.raises(DataError, match="is an empty data set"):
        show_dataset(tmp_path / "pets", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()

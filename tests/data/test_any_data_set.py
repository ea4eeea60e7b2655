"""Properties of any data set: what is written is read again, and a clean copy keeps every sound box once."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostyolo.data.check import check_dataset, write_clean_copy
from ghostyolo.data.formats import load_dataset, write_dataset
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.text import printable

WIDTH, HEIGHT = 40, 30
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

letters = st.characters(blacklist_characters="/", blacklist_categories=["Cs"])
class_names = st.lists(
    st.text(letters, min_size=1, max_size=12).map(str.strip).filter(lambda name: name and printable(name) == name)
    | st.sampled_from(["no", "010", "1e3", "2024-01-01", "~", "a: b", "# x", "null", "'", '"', "<&>"]),
    min_size=1,
    max_size=4,
    unique=True,
)
stems = st.lists(
    st.text(letters.filter(lambda letter: letter != "\x00"), min_size=1, max_size=20)
    | st.sampled_from(["a 1", "a", "a.jpg", "my%20dog", "._a", "x" * 240, "é", "e\u0301", "A", "classes", " b", "b\n"]),
    min_size=1,
    max_size=4,
    unique=True,
)


def picture(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


@st.composite
def boxes(draw, count: int = 3) -> np.ndarray:
    """(M, 4) boxes of at least one pixel on a grid of half pixels, so that no two are nearly one."""
    found = []
    for _ in range(draw(st.integers(0, count))):
        x1, y1 = draw(st.integers(0, 2 * WIDTH - 4)), draw(st.integers(0, 2 * HEIGHT - 4))
        x2, y2 = draw(st.integers(x1 + 2, 2 * WIDTH)), draw(st.integers(y1 + 2, 2 * HEIGHT))
        found.append((x1 / 2, y1 / 2, x2 / 2, y2 / 2))
    return np.array(found, np.float32).reshape(-1, 4)


@st.composite
def data_sets(draw, root: Path) -> DetectionData:
    names = draw(class_names)
    splits: dict[str, list[ImageRecord]] = {}
    for index, stem in enumerate(draw(stems)):
        found = draw(boxes())
        labels = np.array([draw(st.integers(0, len(names) - 1)) for _ in found], np.int64)
        path = picture(root / f"{index}" / f"{stem}.png", index)
        split = draw(st.sampled_from(["train", "val"]))
        record = ImageRecord(path, WIDTH, HEIGHT, found, labels, np.zeros(len(found), bool), index)
        splits.setdefault(split, []).append(record)
    return DetectionData(root, "yolo", names, splits)


@QUICK
@given(st.data(), st.sampled_from(["yolo", "coco", "voc"]))
def test_what_is_written_is_read_again_whatever_the_names(data, layout):
    with tempfile.TemporaryDirectory() as folder:
        given_data = data.draw(data_sets(Path(folder) / "in"))
        write_dataset(given_data, Path(folder) / "out", layout)
        back = load_dataset(Path(folder) / "out")
        assert back.class_names == given_data.class_names
        assert not [fault for fault in back.faults if fault.level == "error" and fault.kind != "no-objects"]
        assert {split: len(records) for split, records in back.splits.items()} == {
            split: len(records) for split, records in given_data.splits.items()
        }
        for split, records in given_data.splits.items():
            of_pixels = {record.path.read_bytes(): record for record in back.splits[split]}
            for record in records:
                again = of_pixels[record.path.read_bytes()]
                np.testing.assert_allclose(again.boxes_xyxy, record.boxes_xyxy, atol=2e-3)
                assert again.labels.tolist() == record.labels.tolist()


FAULTY_ROWS = [
    *("9 0.5 0.5 0.1 0.1", "0 nan 0.5 0.1 0.1", "0 0.5", "x"),
    *("0 0.5 0.5 0 0.1", "0 1.7 0.5 0.1 0.1", "0 30 20 9 9"),
]


@QUICK
@given(st.data())
def test_a_clean_copy_keeps_every_sound_box_once(data):
    """Any mix of bad rows, repeated rows, listed repeats, copies with and without labels, and broken files."""
    draw = data.draw
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "in"
        sound: dict[int, Counter] = {}
        listed: dict[str, list[str]] = {"train": [], "val": []}
        for number in range(draw(st.integers(1, 6))):
            seed = draw(st.integers(0, 2))  # equal seeds: equal pictures
            split = draw(st.sampled_from(["train", "val"]))
            path = picture(root / "images" / split / f"{number}.png", seed)
            listed[split] += [f"images/{split}/{number}.png"] * draw(st.integers(1, 2))
            own = {(draw(st.integers(0, 1)), *box) for box in draw(boxes()).tolist()}
            rows = [
                f"{label} {(x1 + x2) / 2 / WIDTH:.8f} {(y1 + y2) / 2 / HEIGHT:.8f} "
                f"{(x2 - x1) / WIDTH:.8f} {(y2 - y1) / HEIGHT:.8f}"
                for label, x1, y1, x2, y2 in own
            ]
            rows += draw(st.lists(st.sampled_from(FAULTY_ROWS + rows), max_size=3))
            labels = root / "labels" / split / f"{number}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            if draw(st.integers(0, 9)) == 0:
                path.write_bytes(path.read_bytes()[:60])  # broken: its labels are of nothing
            else:
                sound.setdefault(seed, Counter()).update(own)
            if rows or draw(st.booleans()):
                labels.write_text("\n".join(draw(st.permutations(rows))))
        lines = ["names: [a, b]"]
        for split, names in listed.items():
            if names:
                (root / f"{split}.txt").write_text("\n".join(draw(st.permutations(names))))
                lines.append(f"{split}: {split}.txt")
        (root / "data.yaml").write_text("\n".join(lines))
        if not sound:
            return
        write_clean_copy(check_dataset(root), Path(folder) / "out")
        clean = load_dataset(Path(folder) / "out")
        kept: dict[int, Counter] = {}
        whole = {picture(Path(folder) / "whole.png", seed).read_bytes(): seed for seed in sound}
        for records in clean.splits.values():
            for record in records:
                seed = whole[record.path.read_bytes()]
                assert seed not in kept, "a picture is there twice"
                corners = (np.round(record.boxes_xyxy * 2) / 2).tolist()
                kept[seed] = Counter((label, *box) for label, box in zip(record.labels.tolist(), corners, strict=True))
        assert kept == {seed: Counter(dict.fromkeys(found, 1)) for seed, found in sound.items()}
        assert os.path.exists(root)

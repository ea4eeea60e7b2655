"""Result files: what is in them, that none replaces another, and that none is half-written."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import supervision
from PIL import Image

from ghostyolo.errors import OutputError
from ghostyolo.runtime import writers
from ghostyolo.runtime.drawing import class_palette, draw_detections
from ghostyolo.runtime.prediction import Prediction
from ghostyolo.runtime.sources import Fault, Frame
from ghostyolo.runtime.writers import ResultWriter
from tests.runtime.videos import read_video

BOX = [10, 20, 50, 60]


def detections(*boxes, label=1):
    count = len(boxes)
    return supervision.Detections(
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.full(count, 0.75, np.float32),
        class_id=np.full(count, label),
        data={"class_name": np.array(["cell, round"] * count, dtype=str)},
    )


def prediction(name="a.png", found=None, width=100, height=80, **frame):
    image = np.full((height, width, 3), 90, np.uint8)
    return Prediction(Frame(image, name, **frame), detections(BOX) if found is None else found, 1.0)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_json_has_pictures_and_their_objects(tmp_path):
    with ResultWriter(tmp_path, save=False, json=True) as writer:
        writer.write(prediction(path=tmp_path / "in" / "a.png"))
        writer.write(prediction("b.png", detections()))
    assert json.loads((tmp_path / "detections.json").read_text()) == [
        {
            "image": str(tmp_path / "in" / "a.png"),
            "width": 100,
            "height": 80,
            "objects": [{"box_xyxy": BOX, "score": 0.75, "class_id": 1, "class": "cell, round"}],
        },
        {"image": "b.png", "width": 100, "height": 80, "objects": []},
    ]
    assert writer.written == [tmp_path / "detections.json"]


def test_csv_has_a_row_for_each_object(tmp_path):
    with ResultWriter(tmp_path, save=False, csv=True) as writer:
        writer.write(prediction(found=detections(BOX, BOX)))
        writer.write(prediction("b.png", detections()))
        writer.write(prediction("v.mp4", frame_index=0, fps=10.0))
    with open(tmp_path / "detections.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["frame"]) for row in rows] == [("a.png", ""), ("a.png", ""), ("v.mp4", "0")]
    assert [float(rows[0][key]) for key in ("x1", "y1", "x2", "y2")] == BOX
    assert (rows[0]["score"], rows[0]["class_id"], rows[0]["class"]) == ("0.75", "1", "cell, round")
    assert (rows[0]["width"], rows[0]["height"]) == ("100", "80")


def test_yolo_text_is_class_centre_size_and_confidence_as_fractions(tmp_path):
    with ResultWriter(tmp_path, save=False, txt=True) as writer:
        writer.write(prediction())
        writer.write(prediction("b.png", detections()))
        writer.write(prediction("v.mp4", frame_index=0, fps=10.0))
    # Box 10..50 x 20..60 on 100 x 80.
    assert (tmp_path / "yolo/a.txt").read_text() == "1 0.300000 0.500000 0.400000 0.500000 0.75000\n"
    assert (tmp_path / "yolo/b.txt").read_text() == ""
    assert files(tmp_path) == ["yolo/a.txt", "yolo/b.txt", "yolo/v_000000.txt"]


def test_annotated_picture_has_the_size_of_its_source_and_its_boxes(tmp_path):
    with ResultWriter(tmp_path) as writer:
        writer.write(prediction("a.jpg"))
        writer.write(prediction("b.tif"))
    assert files(tmp_path) == ["a.jpg", "b.png"]
    drawn = np.asarray(Image.open(tmp_path / "b.png"))
    assert drawn.shape == (80, 100, 3)
    assert (drawn[70:, 60:] == 90).all()  # far from the box
    colour = class_palette().by_idx(1)
    assert drawn[60, 30].tolist() == [colour.r, colour.g, colour.b]  # its lower edge, in RGB


def test_picture_without_objects_is_written_unchanged(tmp_path):
    with ResultWriter(tmp_path) as writer:
        writer.write(prediction(found=detections()))
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 90).all()


def test_drawing_leaves_the_frame_alone_and_takes_any_channels():
    for channels in (1, 3, 5):
        image = np.zeros((80, 100, channels), np.uint8)
        assert draw_detections(image, detections(BOX)).shape == (80, 100, 3)
        assert not image.any()


def test_every_class_has_its_colour_and_the_first_ones_differ_clearly():
    colors = [(color.r, color.g, color.b) for color in class_palette().colors]
    assert len(set(colors)) == len(colors) == len(supervision.ColorPalette.DEFAULT.colors)
    first = np.array(colors[:4], float)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(first) for b in first[:i]]
    assert min(distances) > 150


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (4000, 3000)])
def test_labels_at_the_edges_stay_on_the_picture(size):
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    corner = [width * 0.8, 0, width, height * 0.2]  # a label above or right of this box would be lost
    drawn = draw_detections(image, detections(corner))
    colour = class_palette().by_idx(1)
    painted = (drawn == [colour.r, colour.g, colour.b]).all(axis=2)
    assert painted[0].sum() > width * 0.1  # the label's upper edge
    assert painted.sum() > 600


def test_sources_of_one_name_do_not_replace_each_other(tmp_path):
    with ResultWriter(tmp_path, txt=True) as writer:
        for name in ("a.png", "a.png", "A.png", "a.jpg"):
            writer.write(prediction(name))
    assert files(tmp_path) == [
        *("A-3.png", "a-2.png", "a-4.jpg", "a.png"),
        *("yolo/A-3.txt", "yolo/a-2.txt", "yolo/a-4.txt", "yolo/a.txt"),
    ]


def test_a_source_in_the_output_folder_is_never_replaced(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"precious")
    with ResultWriter(tmp_path, sources=[source]) as writer:
        writer.write(prediction(path=source))
    assert source.read_bytes() == b"precious"
    assert files(tmp_path) == ["a-2.png", "a.png"]


def test_videos_are_annotated_and_keep_size_length_and_speed(tmp_path):
    with ResultWriter(tmp_path) as writer:
        for _ in range(2):  # two videos of the same name, one after the other
            for index in range(3):
                writer.write(prediction("v.avi", frame_index=index, fps=12.0))
        writer.write(prediction("a.png"))
    assert files(tmp_path) == ["a.png", "v-2.mp4", "v.mp4"]
    assert sorted(path.name for path in writer.written) == ["a.png", "v-2.mp4", "v.mp4"]
    frames, fps = read_video(tmp_path / "v-2.mp4")
    assert (len(frames), fps, frames[0].shape) == (3, 12, (80, 100, 3))
    assert np.ptp(frames[2], axis=2).max() > 60  # the picture is grey, only the drawing has colour


def test_failure_in_the_middle_of_a_video_leaves_no_half_video(tmp_path):
    def fail():
        with ResultWriter(tmp_path, json=True) as writer:
            writer.write(prediction("v.mp4", frame_index=0, fps=10.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert files(tmp_path) == []


def test_earlier_video_survives_a_later_failure(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"from yesterday")

    def fail():
        with ResultWriter(tmp_path) as writer:
            writer.write(prediction("v.mp4", frame_index=0, fps=10.0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "v.mp4").read_bytes() == b"from yesterday"
    assert files(tmp_path) == ["v.mp4"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writers.Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"), ResultWriter(tmp_path) as writer:
        writer.write(prediction())
    assert files(tmp_path) == []


def test_folder_that_cannot_be_made_is_found_before_any_work(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write to .*taken"):
        ResultWriter(tmp_path / "taken")


def test_bytes_that_are_no_text_are_escaped_and_long_names_cut(tmp_path):
    with ResultWriter(tmp_path, json=True, csv=True, txt=True) as writer:
        for name in ("a\udcb2\n.png", "x" * 250 + ".png", "x" * 240 + "y.png"):
            writer.write(prediction(name))
    images = {path.stem for path in tmp_path.glob("*.png")}
    assert images == {"a\\xb2\\u000a", "x" * 200, "x" * 200 + "-2"}
    assert {path.stem for path in (tmp_path / "yolo").iterdir()} == images
    assert json.loads((tmp_path / "detections.json").read_text("utf-8"))[0]["image"] == "a\udcb2\n.png"


def test_what_could_not_be_read_stands_in_the_json(tmp_path):
    with ResultWriter(tmp_path, json=True, csv=True) as writer:
        writer.write(prediction())
        writer.write_faults([Fault("in/v.mp4", "v.mp4", "cut", (5, 8)), Fault("in/b.png", "b.png", "broken")])
    assert json.loads((tmp_path / "detections.json").read_text())[1:] == [
        {"image": "in/v.mp4", "error": "cut", "frames_read": 5, "frames": 8, "objects": []},
        {"image": "in/b.png", "error": "broken", "objects": []},
    ]
    assert len((tmp_path / "detections.csv").read_text().splitlines()) == 2

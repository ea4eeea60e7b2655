"""Tracks: identities that last, in every output."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ghostyolo.errors import ConfigError, MissingExtraError
from ghostyolo.runtime import tracking
from ghostyolo.runtime.prediction import Prediction
from ghostyolo.runtime.sources import Frame
from ghostyolo.runtime.tracking import INSTALL, TRACKERS, Tracker, check_tracker, track
from ghostyolo.runtime.writers import ResultWriter

sv = pytest.importorskip("supervision")
needs_trackers = pytest.mark.skipif(
    tracking.importlib.util.find_spec("trackers") is None, reason=f"the package trackers is not installed: {INSTALL}"
)
IMAGE = np.zeros((120, 200, 3), np.uint8)


def walking(frame: int, count: int = 2) -> sv.Detections:
    """Objects that go to the right, one below the other, in changing order."""
    order = range(count) if frame % 2 else reversed(range(count))
    boxes = np.array([[10 + 3 * frame, 50 * row, 40 + 3 * frame, 50 * row + 40] for row in order], np.float32)
    return sv.Detections(
        xyxy=boxes.reshape(-1, 4),
        confidence=np.full(count, 0.9, np.float32),
        class_id=np.zeros(count, int),
        data={"class_name": np.array(["cell"] * count)},
    )


def predictions(name: str = "a.mp4", frames: int = 12, count: int = 2) -> list[Prediction]:
    return [Prediction(Frame(IMAGE, name, None, number, 30.0), walking(number, count), 1.0) for number in range(frames)]


@needs_trackers
@pytest.mark.parametrize("name", TRACKERS)
def test_an_object_keeps_its_number(name):
    rows: dict[int, set[float]] = {}
    for prediction in track(predictions(), name):
        for item in prediction:
            if item.track is not None:
                rows.setdefault(item.track, set()).add(item.box_xyxy[1])
    assert len(rows) == 2
    assert all(len(tops) == 1 for tops in rows.values())


@needs_trackers
def test_frames_without_objects_and_frames_left_out_are_no_end():
    tracker = Tracker("bytetrack", 30)
    for number in range(4):
        found = tracker.update(walking(number, 1), IMAGE, number / 30)
    before = found.tracker_id.tolist()
    for number in (4, 5):
        empty = tracker.update(walking(number, 0), IMAGE, number / 30)
        assert (len(empty), len(empty.tracker_id), len(empty.data["class_name"])) == (0, 0, 0)
    assert tracker.update(walking(8, 1), IMAGE, 8 / 30).tracker_id.tolist() == before == [0]
    tracker.update(walking(9, 1), IMAGE, 2 / 30)  # a clock that was set back


@needs_trackers
def test_each_video_begins_anew_and_pictures_are_left_alone():
    picture = Prediction(Frame(IMAGE, "b.png"), walking(0), 1.0)
    done = list(track([*predictions(), picture, *predictions("c.mp4")], "bytetrack"))
    assert done[12].detections.tracker_id is None
    assert {item.track for item in done[11]} == {item.track for item in done[-1]} == {0, 1}


@needs_trackers
def test_settings_are_the_trackers_own():
    check_tracker("bytetrack", {"minimum_consecutive_frames": 5})
    with pytest.raises(ConfigError, match="did you mean bytetrack"):
        check_tracker("bytetrak")
    with pytest.raises(ConfigError, match="no setting 'frames'"):
        check_tracker("bytetrack", {"frames": 5})
    with pytest.raises(ConfigError, match="must be like"):
        check_tracker("bytetrack", {"minimum_consecutive_frames": "many"})


def test_a_missing_package_is_named_with_the_line_to_type(monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="--no-deps"):
        check_tracker("sort")


@needs_trackers
def test_every_file_holds_the_tracks(tmp_path):
    with ResultWriter(tmp_path, json=True, csv=True, txt=True) as writer:
        for prediction in track(predictions(), "bytetrack"):
            writer.write(prediction)
    records = json.loads((tmp_path / "detections.json").read_text())
    assert [item["track"] for item in records[0]["objects"]] == [None, None]
    assert {item["track"] for item in records[-1]["objects"]} == {0, 1}
    assert (tmp_path / "detections.csv").read_text().splitlines()[-1].split(",")[-1] in "01"
    assert {line.split()[-1] for line in (tmp_path / "yolo" / "a_000011.txt").read_text().splitlines()} == {"0", "1"}
    rows = [line.split(",") for line in (tmp_path / "mot" / "a.txt").read_text().splitlines()]
    assert rows[-1][0] == "12"
    assert {row[1] for row in rows} == {"1", "2"}
    assert prediction.to_pandas()["track"].tolist() == [item.track for item in prediction]


@needs_trackers
def test_tracks_of_known_movement_score_well(tmp_path):
    """MOTA, IDF1 and HOTA by the package's own evaluation, on true boxes that a tracker must put together."""
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    from trackers.eval import evaluate_mot_sequence

    from ghostyolo.data.scenes.moving import generate_digit_video, moving_digits
    from ghostyolo.runtime.writers import mot_text

    video = generate_digit_video(tmp_path / "scene", frames=120, imgsz=96, seed=3)
    tracker = Tracker("bytetrack", 30)
    lines = []
    for number, frame in enumerate(moving_digits(120, 96, 3)):
        found = sv.Detections(
            xyxy=frame.boxes_xyxy.astype(np.float32),
            confidence=np.full(len(frame.labels), 0.9, np.float32),
            class_id=frame.labels,
        )
        lines.append(mot_text(number, tracker.update(found, frame.image, number / 30)))
    (tmp_path / "tracks.txt").write_text("".join(lines))
    scores = evaluate_mot_sequence(
        video.with_name("gt.txt"), tmp_path / "tracks.txt", metrics=["CLEAR", "HOTA", "Identity"]
    )
    assert scores.CLEAR.MOTA > 0.85
    assert scores.Identity.IDF1 > 0.85
    assert scores.HOTA.HOTA > 0.85

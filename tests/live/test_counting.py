"""Lines and zones: what crosses and enters them is counted by class and direction."""

from __future__ import annotations

import csv
import importlib.util
from collections import Counter

import numpy as np
import pytest

import ghostyolo
from ghostyolo.errors import ConfigError
from ghostyolo.live.counting import Region, RegionCounter, draw_regions, find_regions
from ghostyolo.runtime.tracking import INSTALL, Tracker
from tests.live.servers import frame_at
from tests.runtime.colour_model import MODEL_PATH
from tests.runtime.videos import write_video

sv = pytest.importorskip("supervision")
needs_trackers = pytest.mark.skipif(
    importlib.util.find_spec("trackers") is None, reason=f"the package trackers is not installed: {INSTALL}"
)


def objects(*places: tuple[int, float, float, str]) -> sv.Detections:
    """Tracks at centres: (track, x, y, class)."""
    boxes = np.array([[x - 5, y - 5, x + 5, y + 5] for _, x, y, _ in places], np.float32).reshape(-1, 4)
    return sv.Detections(
        xyxy=boxes,
        confidence=np.ones(len(places), np.float32),
        class_id=np.array([len(name) for *_, name in places], int),
        tracker_id=np.array([track for track, *_ in places], int),
        data={"class_name": np.array([name for *_, name in places])},
    )


def walk(counter: RegionCounter, *frames: sv.Detections):
    for number, found in enumerate(frames):
        result = counter.update(found, (100, 100), number / 10)
    return {(one.region, one.direction, one.class_name): one.count for one in result[0]}, result[1]


def test_a_line_is_crossed_to_its_left_and_to_its_right():
    # From the bottom to the top: its left is the picture's left.
    counter = RegionCounter([Region("door", ((0.5, 1), (0.5, 0)))])
    counts, _ = walk(counter, *[objects((1, x, 50, "cat"), (2, 100 - x, 30, "bird")) for x in (80, 60, 40, 20, 10)])
    assert counts == {("door", "in", "cat"): 1, ("door", "out", "bird"): 1}


def test_a_box_that_trembles_on_a_line_is_not_counted():
    counter = RegionCounter([Region("door", ((0.5, 1), (0.5, 0)))])
    counts, _ = walk(counter, *[objects((1, x, 50, "cat")) for x in (60, 58, 48, 52, 49, 55, 60)])
    assert counts == {}


def test_a_zone_counts_each_track_once_and_says_how_many_are_inside():
    counter = RegionCounter([Region("yard", ((50, 50), (99, 50), (99, 99), (50, 99)))])
    counts, inside = walk(
        counter,
        objects((1, 20, 20, "cat"), (-1, 70, 70, "cat")),
        objects((1, 70, 70, "cat")),
        objects(),
        objects((1, 20, 20, "cat")),
        objects((1, 70, 70, "cat"), (4, 80, 80, "bird")),
    )
    assert counts == {("yard", "entered", "cat"): 1, ("yard", "entered", "bird"): 1}
    assert inside == {"yard": 2}


def test_regions_of_options_and_a_file(tmp_path):
    path = tmp_path / "regions.yaml"
    path.write_text("lines:\n  gate: [0, 0.5, 1, 0.5]\nzones:\n  yard: [0, 0, 100, 0, 100, 100]\n")
    regions = find_regions(["10,20,30,40", "exit=0,0,1,1"], [], str(path))
    assert [(region.name, region.is_line) for region in regions] == [
        ("line 1", True), ("exit", True), ("gate", True), ("yard", False),
    ]  # fmt: skip
    assert regions[2].pixels(201, 101).tolist() == [[0, 50], [200, 50]]
    assert regions[0].pixels(201, 101).tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,0,1", r"write \[NAME=\]x1,y1,x2,y2"),
        ("a,b,c,d", r"write \[NAME=\]x1,y1,x2,y2"),
        ("-1,0,5,5", "lies outside"),
        ("nan,0,5,5", "lies outside"),
        ("5,5,5,5", "the same point twice"),
        ("door=0,0,1,1", "two regions are called 'door'"),
    ],
)
def test_lines_that_cannot_be_are_refused(line, message):
    with pytest.raises(ConfigError, match=message):
        find_regions(["door=0,0,1,0.5", line], [], None)


@pytest.mark.parametrize("text", ["line: {}", "lines: [1]", "zones:\n  a: [1, 2, 3, 4]", "zones:\n  a: west"])
def test_a_file_of_another_form_is_refused(text, tmp_path):
    (tmp_path / "regions.yaml").write_text(text)
    with pytest.raises(ConfigError):
        find_regions([], [], str(tmp_path / "regions.yaml"))


def test_drawn_regions_change_the_picture_inside_alone():
    image = np.zeros((100, 100, 3), np.uint8)
    drawn = draw_regions(image, [Region("a", ((0.5, 0.5), (1, 0.5), (1, 1)))], [], {"a": 1})
    assert drawn[80, 95].any()
    assert not drawn[90, 20].any()


@needs_trackers
def test_crossings_of_known_movement_are_counted_also_of_every_fourth_frame():
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    from ghostyolo.data.scenes.moving import moving_digits

    middle = [Region("middle", ((0.5, 1), (0.5, 0)))]
    parts = {every: (Tracker("bytetrack", 30), RegionCounter(middle)) for every in (1, 4)}
    sides: dict[int, bool] = {}
    true: Counter[str] = Counter()
    counted: dict[int, Counter[str]] = {}
    for number, frame in enumerate(moving_digits(200, 96, 0)):
        for box, identity in zip(frame.boxes_xyxy, frame.identities, strict=True):
            left = bool(box[0] + box[2] < 95)
            if sides.setdefault(int(identity), left) != left:
                true["in" if left else "out"] += 1
            sides[int(identity)] = left
        for every, (tracker, counter) in parts.items():
            if number % every:
                continue
            found = sv.Detections(
                xyxy=frame.boxes_xyxy.astype(np.float32),
                confidence=np.full(len(frame.labels), 0.9, np.float32),
                class_id=frame.labels,
                data={"class_name": frame.labels.astype(str)},
            )
            seconds = number / 30
            counts, _ = counter.update(tracker.update(found, frame.image, seconds), (96, 96), seconds)
            counted[every] = Counter()
            for count in counts:
                counted[every][count.direction] += count.count
    assert sum(true.values()) >= 3
    assert counted == {1: true, 4: true}


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", [frame_at(number) for number in range(20)], fps=20)


@needs_trackers
def test_counts_are_in_every_output(clip, tmp_path):
    watch = ghostyolo.watch(
        clip, MODEL_PATH, every_frame=True, zones=["left=0,0,0.5,0,0.5,1,0,1"], counts=str(tmp_path / "counts.csv")
    )
    assert watch.notes[0].startswith("objects are followed with bytetrack")
    *_, last = watch
    assert last.record()["counts"] == [{"region": "left", "direction": "entered", "class": "red", "count": 1}]
    assert last.record()["inside"] == {"left": 1}
    assert [item["track"] for item in last.record()["objects"]] == [0]
    rows = list(csv.DictReader((tmp_path / "counts.csv").open()))
    assert rows == [
        {"minute": "0", "source": "clip.mp4", "region": "left", "direction": "entered", "class": "red", "count": "1"}
    ]


@needs_trackers
def test_a_region_outside_the_picture_ends_the_watch(clip):
    with pytest.raises(ConfigError, match="outside the picture, which is 128 x 96"):
        ghostyolo.watch(clip, MODEL_PATH, lines=["0,0,500,20"]).run()


def test_counting_without_a_region_is_refused(clip, tmp_path):
    with pytest.raises(ConfigError, match="nothing to count at"):
        ghostyolo.watch(clip, MODEL_PATH, counts=str(tmp_path / "counts.csv"))
    with pytest.raises(ConfigError, match="but no tracker"):
        ghostyolo.watch(clip, MODEL_PATH, track_options={"frame_rate": 3})

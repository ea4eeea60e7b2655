"""Our COCO metrics against pycocotools, and by hand where there is nothing to compare."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from ghostyolo.errors import ConfigError, DataError, WeightsError
from ghostyolo.evaluate import CocoEvaluator, ImageDetections
from ghostyolo.evaluate.curves import compute_curves
from tests.evaluate.scenes import random_boxes, random_split, record

NAMES = ["red", "green", "blue", "grey"]
EMPTY = ImageDetections.empty()


def score(records, detections, names=NAMES):
    evaluator = CocoEvaluator(names)
    for truth, found in zip(records, detections, strict=True):
        evaluator.add(truth, found)
    return evaluator.compute()


def score_with_pycocotools(records, detections, class_count):
    """Return (stats, precision) of pycocotools' COCOeval, with results loaded as from a file."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations, results = [], []
    for truth, found in zip(records, detections, strict=True):
        for box, label, ignored, area in zip(truth.boxes_xyxy, truth.labels, truth.ignore, truth.areas, strict=True):
            x1, y1, x2, y2 = (float(value) for value in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": truth.image_id,
                    "category_id": int(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(area),
                    "iscrowd": int(ignored),
                }
            )
        for box, confidence, label in zip(found.boxes_xyxy, found.scores, found.labels, strict=True):
            x1, y1, x2, y2 = (float(value) for value in box)
            results.append(
                {
                    "image_id": truth.image_id,
                    "category_id": int(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(confidence),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = coco.COCO()
        truth_set.dataset = {
            "images": [{"id": r.image_id, "width": r.width, "height": r.height} for r in records],
            "categories": [{"id": label, "name": str(label)} for label in range(class_count)],
            "annotations": annotations,
        }
        truth_set.createIndex()
        if results:
            found_set = truth_set.loadRes(results)
        else:  # loadRes refuses an empty list
            found_set = coco.COCO()
            found_set.dataset = {**truth_set.dataset, "annotations": []}
            found_set.createIndex()
        evaluation = cocoeval.COCOeval(truth_set, found_set, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats, evaluation.eval["precision"]


def assert_equal_to_pycocotools(records, detections, names=NAMES):
    ours = score(records, detections, names)
    stats, precision = score_with_pycocotools(records, detections, len(names))
    theirs = dict(zip(("AP", "AP50", "AP75", "APs", "APm", "APl"), stats[:6], strict=True))
    theirs["AR100"] = stats[8]

    def same(mine, reference, what):
        if reference == -1:
            assert mine is None, what
        else:
            assert mine == pytest.approx(reference, rel=0, abs=1e-9), what

    for key, reference in theirs.items():
        same(getattr(ours, key), reference, key)
    for label, name in enumerate(names):
        for key, part in (("AP", precision[:, :, label, 0, 2]), ("AP50", precision[:1, :, label, 0, 2])):
            defined = part[part > -1]
            same(getattr(ours.per_class[name], key), defined.mean() if defined.size else -1, f"{name} {key}")
    return ours


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools_on_random_pictures_with_crowds_and_empty_ones(seed):
    records, detections = random_split(np.random.default_rng(seed))
    ours = assert_equal_to_pycocotools(records, detections)
    assert 0.05 < ours.AP < 0.95  # a comparison of zeros or ones would prove nothing
    assert None not in (ours.APs, ours.APm, ours.APl)


def test_equals_pycocotools_with_more_than_100_detections_of_a_class_in_a_picture():
    rng = np.random.default_rng(0)
    truth = record(random_boxes(rng, 30), np.zeros(30), image_id=1)
    boxes = np.concatenate([random_boxes(rng, 250), truth.boxes_xyxy])
    found = ImageDetections.from_arrays(boxes, np.linspace(1, 0.1, len(boxes)), np.zeros(len(boxes)))
    assert assert_equal_to_pycocotools([truth], [found], ["one"]).AR100 < 0.5  # the last 30 are cut off


def test_equals_pycocotools_without_any_detection():
    records, _ = random_split(np.random.default_rng(1))
    ours = assert_equal_to_pycocotools(records, [EMPTY] * len(records))
    assert (ours.AP, ours.AR100) == (0.0, 0.0)


def test_without_any_object_every_figure_is_undefined():
    _, detections = random_split(np.random.default_rng(2), images=4)
    records = [record(image_id=number) for number in range(1, 5)]
    ours = assert_equal_to_pycocotools(records, detections)
    assert ours.AP is None
    assert (ours.images, ours.objects) == (4, 0)


def test_with_ignored_objects_only_every_figure_is_undefined():
    rng = np.random.default_rng(3)
    truth = record(random_boxes(rng, 5), [0, 1, 2, 3, 0], [True] * 5, image_id=1)
    found = ImageDetections.from_arrays(truth.boxes_xyxy, [0.9] * 5, truth.labels)
    assert assert_equal_to_pycocotools([truth], [found]).AP is None


def test_without_any_picture_every_figure_is_undefined():
    ours = score([], [])
    assert (ours.AP, ours.AR100, ours.per_class["red"].AP50, ours.images) == (None, None, None, 0)


def test_a_class_without_objects_is_undefined_and_not_part_of_the_mean():
    truth = record([[10, 10, 50, 50]], [0], image_id=1)
    found = ImageDetections.from_arrays([[10, 10, 50, 50], [100, 100, 150, 150]], [0.9, 0.8], [0, 1])
    ours = assert_equal_to_pycocotools([truth], [found])
    assert ours.AP == 1.0
    assert ours.per_class["green"].AP is None


def test_a_box_of_iou_0_6_counts_for_three_of_the_ten_thresholds():
    # 100 x 100 object, found as its upper 60 rows: IoU is 0.6, so right at 0.50, 0.55 and 0.60.
    truth = record([[0, 0, 100, 100]], [0], image_id=1)
    ours = score([truth], [ImageDetections.from_arrays([[0, 0, 100, 60]], [0.7], [0])])
    assert pytest.approx(0.3) == ours.AP
    assert (ours.AP50, ours.AP75) == (1.0, 0.0)
    assert (ours.APs, ours.APm, ours.APl) == (None, None, pytest.approx(0.3))


def test_a_stronger_wrong_box_halves_the_precision():
    truth = record([[0, 0, 100, 100]], [0], image_id=1)
    found = ImageDetections.from_arrays([[200, 200, 300, 300], [0, 0, 100, 100]], [0.9, 0.8], [0, 0])
    assert pytest.approx(0.5) == score([truth], [found]).AP


def test_a_detection_on_an_ignored_object_is_not_punished():
    boxes = [[0, 0, 100, 100], [200, 200, 300, 300]]
    found = ImageDetections.from_arrays(boxes, [0.8, 0.9], [0, 0])
    assert score([record(boxes, [0, 0], [False, True], image_id=1)], [found]).AP == 1.0


def test_equals_pycocotools_where_the_annotations_state_areas_smaller_than_the_boxes():
    rng = np.random.default_rng(7)
    records, detections = random_split(rng)
    masks = [replace(truth, area=truth.areas * rng.uniform(0.2, 0.9, len(truth.labels))) for truth in records]
    ours = assert_equal_to_pycocotools(masks, detections)
    assert ours.AP == score(records, detections).AP
    assert ours.APs != score(records, detections).APs


def test_a_difficult_object_forgives_only_detections_that_reach_the_iou():
    # Twenty boxes of 10 x 10 in a difficult object of 100 x 100: IoU 0.01, and wholly inside.
    boxes = [[0, 0, 100, 100], [200, 200, 300, 300]]
    corners = [(200 + 12 * (number % 8), 200 + 12 * (number // 8)) for number in range(20)]
    inside = [[x, y, x + 10, y + 10] for x, y in corners]
    found = ImageDetections.from_arrays([*inside, boxes[0]], [0.9] * 20 + [0.8], [0] * 21)
    truth = record(boxes, [0, 0], [False, True], image_id=1, difficult=[False, True])
    ours = score([truth], [found])
    assert (ours.AP50, ours.objects) == (pytest.approx(1 / 21), 1)
    # In a crowd they are forgiven.
    assert score([replace(truth, difficult=None)], [found]).AP50 == 1.0
    # A difficult object forgives any number of good detections.
    again = ImageDetections.from_arrays([boxes[1]] * 5 + [boxes[0]], [0.9] * 5 + [0.8], [0] * 6)
    assert score([truth], [again]).AP50 == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_difficult_objects_score_as_in_the_plain_matching(seed):
    rng = np.random.default_rng(seed)
    records, detections = random_split(rng, ignored=0.5)
    records = [replace(truth, difficult=truth.ignore & (rng.random(len(truth.ignore)) < 0.6)) for truth in records]
    ours = score(records, detections)
    curves = compute_curves(records, detections, NAMES)
    assert [one.AP50 for one in ours.per_class.values()] == pytest.approx(curves.average_precision().tolist())
    assert ours.AP != score([replace(truth, difficult=None) for truth in records], detections).AP


def test_counts_say_how_many_objects_and_pictures_each_class_has():
    box = [0, 0, 10, 10]
    records = [
        record([box, box, box], [0, 0, 1], [False, False, True], image_id=1),
        record([box], [0], image_id=2),
        record(image_id=3),
    ]
    ours = score(records, [EMPTY] * 3)
    assert (ours.per_class["red"].objects, ours.per_class["red"].images) == (3, 2)
    assert (ours.per_class["green"].objects, ours.per_class["green"].images) == (0, 0)
    assert (ours.images, ours.objects) == (3, 3)


def test_the_order_of_the_pictures_does_not_matter_even_with_tied_scores():
    records, detections = random_split(np.random.default_rng(4))
    order = np.random.default_rng(5).permutation(len(records))
    shuffled = score([records[i] for i in order], [detections[i] for i in order])
    assert shuffled == score(records, detections)


def test_json_has_exactly_the_documented_keys_and_null_for_what_is_undefined():
    truth = record([[0, 0, 20, 20]], [0], image_id=1)
    found = ImageDetections.from_arrays([[0, 0, 20, 20]], [0.9], [0])
    value = json.loads(json.dumps(score([truth], [found], ["red", "green"]).to_json()))
    assert value == {
        "AP": 1.0,
        "AP50": 1.0,
        "AP75": 1.0,
        "APs": 1.0,
        "APm": None,
        "APl": None,
        "AR100": 1.0,
        "per_class": {"red": {"AP": 1.0, "AP50": 1.0}, "green": {"AP": None, "AP50": None}},
    }


def test_nothing_is_printed(capfd):
    records, detections = random_split(np.random.default_rng(0), images=5)
    score(records, detections)
    assert capfd.readouterr() == ("", "")


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="'red' is given twice"):
        CocoEvaluator(["red", "green", "red"])


def test_labels_beyond_the_names_are_refused():
    evaluator = CocoEvaluator(["red"])
    with pytest.raises(DataError, match="an object has class 1, but there are 1 classes"):
        evaluator.add(record([[0, 0, 9, 9]], [1]), EMPTY)
    with pytest.raises(ConfigError, match="a detection has class 7"):
        evaluator.add(record(), ImageDetections.from_arrays([[0, 0, 9, 9]], [0.5], [7]))


@pytest.mark.parametrize(("box", "confidence"), [([0, 0, 9, np.nan], 0.5), ([0, 0, 9, 9], np.inf)])
def test_detections_that_are_not_finite_are_refused(box, confidence):
    with pytest.raises(WeightsError, match=r"picture0\.jpg are not finite"):
        CocoEvaluator(["red"]).add(record(), ImageDetections.from_arrays([box], [confidence], [0]))

"""Running a detector over a split; the detector is a stand-in that answers with prepared detections."""

from __future__ import annotations

import dataclasses
import logging

import cv2
import numpy as np
import pytest

from ghostyolo.errors import ConfigError, DataError
from ghostyolo.evaluate import CocoEvaluator, ImageDetections, evaluate
from ghostyolo.thresholds import Selection
from tests.evaluate.scenes import FakePredictor, load_fake_image, random_split, record

NAMES = ["red", "green", "blue", "grey"]
BOX = [10, 10, 50, 50]


@pytest.fixture
def split():
    """Pictures, what is found in each, and a predictor that finds it."""
    records, detections = random_split(np.random.default_rng(0))
    answers = {truth.image_id: found for truth, found in zip(records, detections, strict=True)}
    return records, detections, FakePredictor(NAMES, answers)


def run(predictor, records, names=NAMES, **options):
    return evaluate(predictor, records, names, load_image=load_fake_image, **options)


def test_metrics_are_those_of_the_detections_and_both_are_handed_back(split):
    records, detections, predictor = split
    evaluator = CocoEvaluator(NAMES)
    for truth, found in zip(records, detections, strict=True):
        evaluator.add(truth, found)
    result = run(predictor, records, batch=7)
    assert result.metrics == evaluator.compute()
    assert result.records == records
    for one, expected in zip(result.detections, detections, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, expected.boxes_xyxy)
    assert result.detect_seconds > 0
    assert result.skipped == []


def test_neither_the_order_of_the_pictures_nor_the_batch_matters(split):
    records, _, predictor = split
    shuffled = [records[i] for i in np.random.default_rng(1).permutation(len(records))]
    assert run(predictor, shuffled, batch=1).metrics == run(predictor, records, batch=16).metrics


def test_options_reach_the_detector_and_batches_have_their_size():
    records = [record([BOX], [0], image_id=number) for number in range(5)]
    predictor = FakePredictor(NAMES, {})
    limits = {"confidence": 0.01, "iou": 0.6, "max_detections": 50, "vote": True, "tta": False}
    evaluate(predictor, records, NAMES, Selection(**limits), batch=2, imgsz=96, load_image=load_fake_image)
    assert [len(shapes) for shapes, _ in predictor.calls] == [2, 2, 1]
    options = {**dict(Selection(**limits)), "imgsz": 96, "rect": True, "multi_label": True}
    assert predictor.calls[0][1] == options


def test_pictures_of_like_shape_share_a_batch():
    wide, tall = {"width": 80, "height": 40}, {"width": 40, "height": 80}
    records = [record([BOX], [0], image_id=n, **(wide if n % 2 else tall)) for n in range(8)]
    predictor = FakePredictor(NAMES, {})
    run(predictor, records, batch=4)
    assert [set(shapes) for shapes, _ in predictor.calls] == [{(80, 40, 3)}, {(40, 80, 3)}]


def test_progress_counts_up_to_all_pictures(split):
    records, _, predictor = split
    seen = []
    run(predictor, records, batch=16, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 30), (30, 30)]


def test_labels_are_translated_where_the_model_has_the_names_in_another_order():
    truth = record([BOX], [0], image_id=1)
    predictor = FakePredictor(["dog", "cat"], {1: ImageDetections.from_arrays([BOX], [0.9], [1])})
    result = run(predictor, [truth], ["cat", "dog"])
    assert result.detections[0].labels.tolist() == [0]
    assert result.metrics.per_class["cat"].AP == 1.0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat"], r"the model has 4 classes \(red, green, blue, grey\), the data 1 \(cat\)"),
        (
            ["red", "green", "blue", "pink"],
            "class 'grey' is not in the data, and the data's 'pink' is not in",
        ),
    ],
)
def test_other_classes_than_the_models_are_refused_in_one_line(names, message):
    with pytest.raises(ConfigError, match=message) as caught:
        run(FakePredictor(NAMES, {}), [record()], names)
    assert "\n" not in str(caught.value)


def test_pictures_that_cannot_be_read_are_skipped_counted_and_reported(tmp_path, caplog):
    good, broken, missing = (tmp_path / name for name in ("good.png", "broken.png", "missing.png"))
    cv2.imwrite(str(good), np.full((60, 80, 3), 1, np.uint8))
    broken.write_bytes(good.read_bytes()[:40])
    records = [
        record([BOX], [0], image_id=number, path=path, width=80, height=60)
        for number, path in enumerate((broken, good, missing))
    ]
    predictor = FakePredictor(NAMES, {1: ImageDetections.from_arrays([BOX], [0.9], [0])})
    with caplog.at_level(logging.WARNING):
        result = evaluate(predictor, records, NAMES, batch=1)
    assert sorted(path.name for path, _ in result.skipped) == ["broken.png", "missing.png"]
    assert [one.path for one in result.records] == [good]
    assert (result.metrics.AP, result.metrics.images) == (1.0, 1)
    assert str(broken) in caplog.text


def test_no_picture_or_no_readable_one_is_an_error(tmp_path):
    predictor = FakePredictor(NAMES, {})
    with pytest.raises(DataError, match="there is no picture to evaluate on"):
        evaluate(predictor, [], NAMES)
    with pytest.raises(DataError, match="none of the 2 pictures can be read"):
        evaluate(predictor, [record(path=tmp_path / "a.jpg"), record(path=tmp_path / "b.jpg")], NAMES)


def test_a_batch_below_one_is_refused():
    with pytest.raises(ConfigError, match="batch is 0"):
        run(FakePredictor(NAMES, {}), [record()], batch=0)


def test_pictures_without_detections_or_objects_are_evaluated():
    result = run(FakePredictor(NAMES, {}), [record(image_id=1), record([BOX], [2], image_id=2)])
    assert result.metrics.AP == 0.0
    assert [len(one) for one in result.detections] == [0, 0]


def test_evaluation_needs_neither_torch_nor_matplotlib():
    import subprocess
    import sys

    code = (
        "import sys, ghostyolo.evaluate, ghostyolo.evaluate.plots, ghostyolo.cli.val\n"
        "print([m for m in ('torch', 'matplotlib', 'cv2', 'faster_coco_eval') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_classes_that_a_picture_s_labels_do_not_know_are_not_scored():
    partly = dataclasses.replace(record([BOX], [0], image_id=1), known=np.array([True, False, True, True]))
    found = ImageDetections(np.array([BOX, BOX], np.float32), np.array([0.9, 0.8], np.float32), np.array([0, 1]))
    result = run(FakePredictor(NAMES, {1: found}), [partly])
    assert result.detections[0].labels.tolist() == [0]
    assert result.metrics.AP == 1.0

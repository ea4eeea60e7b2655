"""Curves by hand, and held together with the COCO metrics."""

from __future__ import annotations

import numpy as np
import pytest

from ghostyolo.evaluate import CocoEvaluator, ImageDetections
from ghostyolo.evaluate.curves import compute_curves
from ghostyolo.evaluate.true_positives import IGNORED, RIGHT, WRONG, match
from tests.evaluate.scenes import random_split, record

NAMES = ["red", "green", "blue", "grey"]
LEFT, MIDDLE, FAR = [0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]


@pytest.mark.parametrize("seed", range(6))
def test_mean_precision_at_iou_0_5_is_the_ap50_of_coco(seed):
    records, detections = random_split(np.random.default_rng(seed))
    evaluator = CocoEvaluator(NAMES)
    for truth, found in zip(records, detections, strict=True):
        evaluator.add(truth, found)
    expected = [evaluator.compute().per_class[name].AP50 for name in NAMES]
    curves = compute_curves(records, detections, NAMES)
    np.testing.assert_allclose(curves.average_precision(), expected, rtol=0, atol=1e-9)


def test_precision_and_f1_of_a_right_a_wrong_and_a_right_detection():
    truth = record([LEFT, MIDDLE], [0, 0])
    found = ImageDetections.from_arrays([LEFT, FAR, MIDDLE], [0.9, 0.8, 0.7], [0, 0, 0])
    curves = compute_curves([truth], [found], ["red"])
    # Precision 1 up to recall 1/2, then 2 of 3 up to recall 1.
    assert curves.precision[0, 50] == 1
    assert curves.precision[0, 51] == curves.precision[0, 100] == pytest.approx(2 / 3)
    # F1 = 2 hits / (detections + objects): 3 detections 4/5, two 2/4, one 2/3, none 0.
    for confidence, f1 in ((0.5, 0.8), (0.75, 0.5), (0.85, 2 / 3), (0.95, 0)):
        assert curves.f1[0, round(confidence * 1000)] == pytest.approx(f1)
    # The best F1 is had from 0 to 0.7: the middle is safest.
    assert curves.best_confidence() == (pytest.approx(0.35, abs=0.002), pytest.approx(0.8))


def test_recall_that_is_never_reached_has_precision_zero():
    found = ImageDetections.from_arrays([LEFT], [0.9], [0])
    curves = compute_curves([record([LEFT, MIDDLE], [0, 0])], [found], ["red"])
    assert curves.precision[0, 50] == 1
    assert curves.precision[0, 51] == 0


def test_a_class_without_objects_has_no_curve_and_is_left_out_of_the_best_confidence():
    found = ImageDetections.from_arrays([LEFT, LEFT], [0.9, 0.8], [0, 1])
    curves = compute_curves([record([LEFT], [0])], [found], ["red", "green"])
    assert np.isnan(curves.precision[1]).all()
    assert np.isnan(curves.f1[1]).all()
    assert curves.present.tolist() == [True, False]
    assert curves.best_confidence()[1] == 1.0


def test_objects_without_detections_score_zero_and_nothing_at_all_is_undefined():
    curves = compute_curves([record([LEFT], [0])], [ImageDetections.empty()], ["red"])
    assert curves.precision.max() == curves.f1.max() == 0
    assert compute_curves([], [], ["red"]).best_confidence() == (0.0, 0.0)


def test_a_second_detection_of_an_object_is_wrong():
    found = ImageDetections.from_arrays([LEFT, LEFT], [0.9, 0.8], [0, 0])
    assert match(record([LEFT], [0]), found, 0.5).tolist() == [RIGHT, WRONG]


def test_an_ignored_object_may_be_taken_again_but_a_counting_one_comes_first():
    truth = record([LEFT, LEFT], [0, 0], [True, False])
    found = ImageDetections.from_arrays([LEFT, LEFT, LEFT], [0.9, 0.8, 0.7], [0, 0, 0])
    assert match(truth, found, 0.5).tolist() == [RIGHT, IGNORED, IGNORED]


def test_a_detection_takes_the_object_it_fits_best():
    truth = record([[0, 0, 100, 100], [0, 0, 100, 80]], [0, 0])
    found = ImageDetections.from_arrays([[0, 0, 100, 82], [0, 0, 100, 100]], [0.9, 0.8], [0, 0])
    assert match(truth, found, 0.9).tolist() == [RIGHT, RIGHT]


def test_detections_beyond_the_limit_of_a_class_do_not_count():
    found = ImageDetections.from_arrays([FAR, MIDDLE, LEFT], [0.9, 0.8, 0.7], [0, 0, 0])
    assert match(record([LEFT], [0]), found, 0.5, limit=2).tolist() == [WRONG, WRONG, IGNORED]

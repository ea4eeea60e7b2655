"""Confusion matrices counted by hand."""

from __future__ import annotations

from ghostyolo.evaluate import ImageDetections
from ghostyolo.evaluate.confusion import compute_confusion
from tests.evaluate.scenes import record

LEFT, MIDDLE, RIGHT = [0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]


def count(truth, found, **options):
    return compute_confusion([truth], [found], ["cat", "dog"], **options).counts.tolist()


def test_right_wrong_missed_and_invented_each_have_their_cell():
    truth = record([LEFT, MIDDLE, RIGHT], [0, 1, 1])
    found = ImageDetections.from_arrays([LEFT, MIDDLE, [0, 200, 50, 250]], [0.9, 0.8, 0.7], [0, 0, 1])
    # cat as cat; dog as cat; dog missed; a dog of nothing.
    assert count(truth, found) == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_detections_below_the_confidence_are_left_out():
    found = ImageDetections.from_arrays([LEFT, MIDDLE], [0.3, 0.2], [0, 0])
    assert count(record([LEFT], [0]), found) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert count(record([LEFT], [0]), found, confidence=0.5) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_a_pair_needs_the_iou():
    found = ImageDetections.from_arrays([[0, 0, 100, 40]], [0.9], [0])  # IoU 0.4
    assert count(record([LEFT], [0]), found) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert count(record([LEFT], [0]), found, iou=0.4) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_an_object_is_paired_once_with_the_box_that_fits_best():
    found = ImageDetections.from_arrays([[0, 0, 100, 80], LEFT], [0.9, 0.5], [1, 0])
    assert count(record([LEFT], [0]), found) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_of_one_box_under_two_classes_the_right_one_makes_the_pair():
    found = ImageDetections.from_arrays([LEFT, LEFT], [0.9, 0.5], [1, 0])
    assert count(record([LEFT], [0]), found) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_ignored_objects_are_not_missed_and_boxes_on_them_not_invented():
    truth = record([LEFT, RIGHT], [0, 1], [True, True])
    small_inside = ImageDetections.from_arrays([[10, 10, 30, 30], MIDDLE], [0.9, 0.8], [0, 1])
    assert count(truth, small_inside) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_pictures_without_objects_or_detections_count_nothing():
    assert count(record(), ImageDetections.empty()) == [[0, 0, 0]] * 3
    assert count(record([LEFT], [1]), ImageDetections.empty()) == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert compute_confusion([], [], ["cat"]).counts.tolist() == [[0, 0], [0, 0]]

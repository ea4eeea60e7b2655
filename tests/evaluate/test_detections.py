"""Arrays of detections and the overlap of boxes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ghostyolo.evaluate.detections import ImageDetections, box_areas, box_overlaps


def test_detections_are_sorted_by_score_and_equal_scores_keep_their_order():
    found = ImageDetections.from_arrays([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0.5, 0.9, 0.5], [7, 8, 9])
    assert found.labels.tolist() == [8, 7, 9]
    assert found.boxes_xyxy[:, 2].tolist() == [2, 1, 3]


def test_empty_detections_keep_their_shapes():
    empty = ImageDetections.empty()
    assert (empty.boxes_xyxy.shape, empty.scores.shape, empty.labels.shape) == ((0, 4), (0,), (0,))
    assert len(empty.above(0.5)) == 0


def test_supervision_detections_are_taken_also_when_empty():
    supervision = pytest.importorskip("supervision")
    assert len(ImageDetections.from_supervision(supervision.Detections.empty())) == 0
    one = supervision.Detections(
        xyxy=np.array([[1.0, 2.0, 3.0, 4.0]]), confidence=np.array([0.25]), class_id=np.array([3])
    )
    found = ImageDetections.from_supervision(one)
    assert (found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels.tolist()) == (
        [[1, 2, 3, 4]],
        [0.25],
        [3],
    )


def test_above_keeps_scores_equal_to_the_threshold():
    found = ImageDetections.from_arrays(np.zeros((3, 4)), [0.75, 0.5, 0.25], [0, 1, 2])
    assert found.above(0.5).labels.tolist() == [0, 1]


def test_overlap_is_iou_for_objects_and_a_share_of_the_detection_for_ignored_ones():
    found = np.array([[0, 0, 10, 10], [20, 20, 30, 30]])
    truth = np.array([[5, 0, 15, 10], [5, 0, 15, 10]])
    overlaps = box_overlaps(found, truth, np.array([False, True]))
    # 50 in common: of a union of 150, and of the detection's own 100.
    np.testing.assert_allclose(overlaps, [[1 / 3, 1 / 2], [0, 0]])


def test_boxes_without_area_overlap_nothing():
    point = np.array([[5, 5, 5, 5]])
    assert box_areas(point).tolist() == [0.0]
    assert box_overlaps(point, point, np.array([False])).tolist() == [[0.0]]
    assert box_overlaps(np.zeros((0, 4)), point, np.array([False])).shape == (0, 1)

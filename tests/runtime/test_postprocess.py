"""Threshold and class-wise NMS, by hand and against torchvision."""

from __future__ import annotations

import numpy as np
import pytest

from ghostyolo.runtime.postprocess import select_detections


def select(boxes, scores, **options):
    options = {"confidence": 0.1, "iou": 0.5, "max_detections": 300} | options
    return select_detections(np.array(boxes, np.float32), np.array(scores, np.float32), **options)


def test_the_weaker_of_two_overlapping_boxes_goes():
    # IoU of 0..10 and 2..12: 8 x 10 / (100 + 100 - 80) = 0.667.
    boxes, scores, labels = select([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], [[0.6], [0.9], [0.3]])
    assert boxes.tolist() == [[2, 0, 12, 10], [50, 50, 60, 60]]
    assert scores.tolist() == pytest.approx([0.9, 0.3])
    assert labels.tolist() == [0, 0]


def test_overlap_at_the_threshold_is_kept():
    # IoU of 0..10 and 0..5 is exactly 0.5: only more than the threshold suppresses.
    assert len(select([[0, 0, 10, 10], [0, 0, 5, 10]], [[0.9], [0.8]])[0]) == 2
    assert len(select([[0, 0, 10, 10], [0, 0, 5.1, 10]], [[0.9], [0.8]])[0]) == 1


def test_boxes_of_different_classes_do_not_suppress_each_other():
    boxes, _, labels = select([[0, 0, 10, 10], [0, 0, 10, 10]], [[0.9, 0.0], [0.0, 0.8]])
    assert labels.tolist() == [0, 1]
    assert len(boxes) == 2


def test_classes_stay_apart_left_of_and_above_the_picture():
    # Boxes may begin outside; a class must not reach into its neighbour's range there.
    boxes = [[-100, -100, -1, -1], [-100, -100, -1, -1]]
    assert sorted(select(boxes, [[0.9, 0], [0, 0.8]])[2].tolist()) == [0, 1]


def test_confidence_must_be_exceeded():
    assert select([[0, 0, 10, 10]], [[0.25]], confidence=0.25)[0].shape == (0, 4)
    assert len(select([[0, 0, 10, 10]], [[0.25]], confidence=0.2499)[0]) == 1


def test_one_box_is_one_detection_unless_multi_label():
    assert select([[0, 0, 10, 10]], [[0.3, 0.9, 0.5]])[2].tolist() == [1]
    boxes, scores, labels = select([[0, 0, 10, 10]], [[0.3, 0.9, 0.05]], multi_label=True)
    assert labels.tolist() == [1, 0]
    assert scores.tolist() == pytest.approx([0.9, 0.3])
    assert boxes.shape == (2, 4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_nothing_found_gives_empty_arrays_of_the_right_shape(multi_label):
    for anchors in (0, 5):
        boxes, scores, labels = select(
            np.zeros((anchors, 4)), np.zeros((anchors, 3)), multi_label=multi_label, confidence=0
        )
        assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
        assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)


def test_without_a_threshold_nothing_is_suppressed_and_the_best_are_kept():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 50, 60]]
    scores = [[0.3, 0.0], [0.9, 0.2], [0.6, 0.0], [0.8, 0.0]]
    assert select(boxes, scores, iou=None)[1].tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert select(boxes, scores, iou=None, max_detections=2)[1].tolist() == pytest.approx([0.9, 0.6])
    found = select(boxes, scores, iou=None, multi_label=True)
    assert found[1].tolist() == pytest.approx([0.9, 0.6, 0.3, 0.2])
    assert found[2].tolist() == [0, 0, 0, 1]
    assert [values.dtype for values in found] == [np.float32, np.float32, np.int64]
    assert select(boxes, scores, iou=None, confidence=0.95)[0].shape == (0, 4)


def test_boxes_without_area_or_not_finite_are_left_out():
    boxes = [[5, 5, 5, 9], [9, 9, 5, 5], [0, 0, np.nan, 5], [0, 0, np.inf, 5], [0, 0, 4, 4], [9, 9, 12, 12]]
    scores = [[0.9], [0.9], [0.9], [0.9], [0.5], [np.nan]]
    assert select(boxes, scores)[0].tolist() == [[0, 0, 4, 4]]


def test_the_best_detections_are_the_ones_kept():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(50)]
    scores = np.random.default_rng(0).permutation(50)[:, None] / 100 + 0.2
    assert select(boxes, scores, max_detections=3)[1].tolist() == pytest.approx([0.69, 0.68, 0.67])


def test_only_the_best_candidates_enter_nms():
    # The second box would be suppressed by the first; with one candidate there is nothing else to return.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]
    assert len(select(boxes, [[0.9], [0.8], [0.7]])[0]) == 2
    assert len(select(boxes, [[0.9], [0.8], [0.7]], max_candidates=2)[0]) == 1


@pytest.mark.parametrize("max_detections", [5, 40, 1000])
@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_equals_torchvision(iou, max_detections):
    torch = pytest.importorskip("torch", reason="torchvision is the reference; it is not in the base install")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(1)
    corners = rng.uniform(-20, 200, (600, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 80, (600, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(600 * 3).reshape(600, 3).astype(np.float32) / 2000

    found = select_detections(boxes, scores, confidence=0.05, iou=iou, max_detections=max_detections, multi_label=True)

    anchors, labels = np.nonzero(scores > 0.05)
    confidences = scores[anchors, labels]
    keep = ops.batched_nms(
        torch.from_numpy(boxes[anchors]), torch.from_numpy(confidences), torch.from_numpy(labels), iou
    ).numpy()[:max_detections]
    np.testing.assert_array_equal(found[0], boxes[anchors][keep])
    np.testing.assert_array_equal(found[1], confidences[keep])
    np.testing.assert_array_equal(found[2], labels[keep])

"""Threshold and class-wise NMS, by hand and against torchvision."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostyolo.errors import WeightsError
from ghostyolo.runtime import postprocess
from ghostyolo.runtime.postprocess import select_detections
from ghostyolo.thresholds import Selection


def select(boxes, scores, **options):
    how = {key: options.pop(key) for key in ("nms", "multi_label") if key in options}
    selection = Selection.from_dict({"confidence": 0.1, "iou": 0.5} | options)
    return select_detections(np.array(boxes, np.float32), np.array(scores, np.float32), selection, **how)


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
    assert select(boxes, scores, nms=False)[1].tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert select(boxes, scores, nms=False, max_detections=2)[1].tolist() == pytest.approx([0.9, 0.6])
    found = select(boxes, scores, nms=False, multi_label=True)
    assert found[1].tolist() == pytest.approx([0.9, 0.6, 0.3, 0.2])
    assert found[2].tolist() == [0, 0, 0, 1]
    assert [values.dtype for values in found] == [np.float32, np.float32, np.int64]
    assert select(boxes, scores, nms=False, confidence=0.95)[0].shape == (0, 4)


def test_boxes_without_area_are_left_out():
    boxes = [[5, 5, 5, 9], [9, 9, 5, 5], [0, 0, 4, 4]]
    assert select(boxes, [[0.9], [0.9], [0.5]])[0].tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        ([[0, 0, 4, 4], [0, 0, 5, 5]], [[0.1], [np.nan]]),
        ([[0, 0, 4, 4], [0, 0, 5, 5]], [[0.1], [np.inf]]),
        ([[0, 0, np.nan, 4], [0, 0, 5, 5]], [[0.9], [0.8]]),
        ([[0, 0, np.inf, 4], [0, 0, 5, 5]], [[0.9], [0.8]]),
    ],
    ids=["score is not a number", "score is infinite", "box is not a number", "box is infinite"],
)
def test_a_network_of_not_a_number_is_an_error_not_an_empty_picture(boxes, scores, multi_label):
    with pytest.raises(WeightsError, match=r"not finite numbers \(1 of 2\): its weights are damaged"):
        select(boxes, scores, multi_label=multi_label)


def test_a_box_that_scores_too_little_to_matter_may_overflow():
    assert select([[0, 0, np.inf, 5], [0, 0, 4, 4]], [[0.01], [0.9]])[0].tolist() == [[0, 0, 4, 4]]


def test_the_best_detections_are_the_ones_kept():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(50)]
    scores = np.random.default_rng(0).permutation(50)[:, None] / 100 + 0.2
    assert select(boxes, scores, max_detections=3)[1].tolist() == pytest.approx([0.69, 0.68, 0.67])


def brute_force(boxes, labels, iou):
    """Greedy NMS as it is written in books: one box after the other, against all that are kept."""
    keep = []
    for i, (box, label) in enumerate(zip(np.asarray(boxes, np.float64).tolist(), labels, strict=True)):
        for j in keep:
            other = np.asarray(boxes[j], np.float64).tolist()
            width = max(min(box[2], other[2]) - max(box[0], other[0]), 0)
            height = max(min(box[3], other[3]) - max(box[1], other[1]), 0)
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
            if label == labels[j] and width * height > iou * (areas[0] + areas[1] - width * height):
                break
        else:
            keep.append(i)
    return keep


@st.composite
def crowds(draw):
    """Boxes of very different sizes in clusters and rows, on a grid that makes equal overlaps and exact thresholds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, spread = draw(st.integers(1, 120)), draw(st.sampled_from([1, 8, 60, 5000]))
    corners = rng.integers(-spread, spread + 1, (count, 2)) * rng.choice([0, 1, 1], 2)
    boxes = np.concatenate([corners, corners + rng.integers(1, draw(st.sampled_from([2, 6, 400])), (count, 2))], axis=1)
    return boxes.astype(np.float32), rng.integers(0, draw(st.integers(1, 3)), count)


@settings(deadline=None, max_examples=80)
@given(
    crowds(), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.7, 0.99, 1.0]), st.sampled_from([(2, 4, 16), (64, 4096, 65536)])
)
def test_equals_brute_force_whatever_the_block_size(crowd, iou, sizes):
    boxes, labels = crowd
    with mock.patch.multiple(postprocess, _FIRST_BLOCK=sizes[0], _LARGEST_BLOCK=sizes[1], _PAIRS_AT_ONCE=sizes[2]):
        keep = postprocess.suppress(boxes, labels, iou)
    assert keep.tolist() == brute_force(boxes, labels, iou)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 70))
def test_the_best_are_chosen_as_a_stable_sort_would(values, count):
    scores = np.array(values, np.float32) / 8
    assert postprocess._best(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()


@pytest.mark.parametrize(("objects", "boxes_each"), [(500, 10), (5000, 8)])
def test_every_object_of_a_crowd_is_found_however_many_boxes_it_has(objects, boxes_each):
    side = int(np.ceil(objects**0.5))
    corners = np.stack(np.unravel_index(np.arange(objects), (side, side)), 1).astype(np.float32) * 30
    corners = np.repeat(corners, boxes_each, axis=0)
    boxes = np.concatenate([corners, corners + 20], axis=1)
    scores = np.random.default_rng(0).uniform(0.3, 0.9, (len(boxes), 1)).astype(np.float32)
    found = select_detections(boxes, scores, Selection(max_detections=objects))
    assert len(np.unique(found[0], axis=0)) == len(found[0]) == objects


@pytest.mark.parametrize("max_detections", [5, 40, 1000])
@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_equals_torchvision(iou, max_detections):
    torch = pytest.importorskip("torch", reason="torchvision is the reference; it is not in the base install")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(1)
    corners = rng.uniform(-20, 200, (600, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 80, (600, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(600 * 3).reshape(600, 3).astype(np.float32) / 2000

    selection = Selection(confidence=0.05, iou=iou, max_detections=max_detections)
    found = select_detections(boxes, scores, selection, multi_label=True)

    anchors, labels = np.nonzero(scores > 0.05)
    confidences = scores[anchors, labels]
    keep = ops.batched_nms(
        torch.from_numpy(boxes[anchors]), torch.from_numpy(confidences), torch.from_numpy(labels), iou
    ).numpy()[:max_detections]
    np.testing.assert_array_equal(found[0], boxes[anchors][keep])
    np.testing.assert_array_equal(found[1], confidences[keep])
    np.testing.assert_array_equal(found[2], labels[keep])


def test_a_vote_is_the_mean_by_score_of_the_boxes_that_overlap_enough():
    boxes = [[2, 0, 12, 10], [0, 0, 10, 10], [50, 50, 60, 60], [2, 0, 12, 10]]
    scores = [[0.9, 0], [0.6, 0], [0.3, 0], [0, 0.8]]
    found = select(boxes, scores, vote=True)
    # IoU of the first two is 0.667; the last is of another class.
    np.testing.assert_allclose(found[0][0], [(2 * 0.9) / 1.5, 0, (12 * 0.9 + 10 * 0.6) / 1.5, 10], rtol=1e-6)
    assert found[0][1:].tolist() == [[2, 0, 12, 10], [50, 50, 60, 60]]
    assert found[1].tolist() == pytest.approx([0.9, 0.8, 0.3])


@pytest.mark.parametrize("iou", [0.7, 1.0])
def test_a_vote_of_boxes_that_agree_changes_nothing(iou):
    boxes = np.repeat([[0, 0, 10, 10], [20, 20, 40, 40]], 3, axis=0)
    found = select(boxes, np.full((6, 1), 0.5), vote=True, iou=iou)
    np.testing.assert_allclose(np.unique(found[0], axis=0), [[0, 0, 10, 10], [20, 20, 40, 40]], rtol=1e-6)

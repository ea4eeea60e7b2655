"""Suppression inside an ONNX graph chooses what the reader's would."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ghostyolo.export.onnx_graph import append_nms
from ghostyolo.runtime.engines.exported import spread_detections
from ghostyolo.runtime.postprocess import select_detections
from ghostyolo.thresholds import Selection


def suppress(boxes, scores, options, iou):
    """Run a graph that is nothing but suppression: (N, 7)."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, None]) for name in ("b", "s")]
    names = ("boxes", "scores")
    graph = helper.make_graph(
        [helper.make_node("Identity", [short], [name]) for short, name in zip("bs", names, strict=True)],
        "suppression",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, None]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    append_nms(model, options, iou)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"b": boxes, "s": scores})
    return found


@pytest.mark.parametrize("iou", [0.3, 0.7, 1.0])
def test_same_detections_as_the_reader_keeps(iou):
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 60, (2, 80, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + generator.uniform(5, 40, (2, 80, 2)).astype(np.float32)], -1)
    scores = generator.uniform(0, 1, (2, 80, 3)).astype(np.float32)
    found = suppress(boxes, scores, Selection(confidence=0.4, max_detections=300), iou)
    for picture in range(2):
        expected_boxes, expected_scores, expected_labels = select_detections(
            boxes[picture], scores[picture], Selection(confidence=0.4, iou=iou)
        )
        own = found[found[:, 0] == picture]
        own = own[np.argsort(-own[:, 5], kind="stable")]
        assert len(own) == len(expected_scores) >= 10
        np.testing.assert_allclose(own[:, 5], expected_scores)
        np.testing.assert_allclose(own[:, 1:5], expected_boxes)
        np.testing.assert_array_equal(own[:, 6], expected_labels)


def test_the_number_of_detections_is_of_each_class_and_nothing_is_nothing():
    boxes = np.arange(10, dtype=np.float32)[None, :, None] * 20 + np.array([0, 0, 10, 10], np.float32)
    scores = np.full((1, 10, 2), 0.5, np.float32)
    scores[0, :5, 0] = scores[0, 5:, 1] = 0.4
    assert len(suppress(boxes, scores, Selection(max_detections=3), 0.7)) == 6
    nothing = suppress(boxes, scores, Selection(confidence=0.6), 0.7)
    assert nothing.shape == (0, 7)
    assert spread_detections(nothing, 1, 2)[0].shape == (1, 0, 4)

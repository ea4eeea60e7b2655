"""ONNX files of other programs: the field's layouts are read, anything else is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the test models")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import ghostyolo  # noqa: E402
from ghostyolo.errors import WeightsError  # noqa: E402
from ghostyolo.runtime.engines import open_engine  # noqa: E402
from ghostyolo.runtime.foreign import recognise  # noqa: E402

BOX_XYXY = [10, 20, 30, 60]
BOX_CXCYWH = [20, 40, 20, 40]
NAMES = {"names": "{0: 'cat', 1: 'dog', 2: 'cow'}", "stride": "32", "imgsz": "[64, 64]", "task": "detect"}


def write(path, properties=None, size=64, channels=3, **outputs):
    """A model that answers each picture with the same arrays."""
    nodes = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value, np.float32)))
             for name, value in outputs.items()]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, np.shape(value)) for name, value in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, properties or {})
    onnx.save(model, path)
    return path


def channels_first(classes=3, anchors=21):
    output = np.zeros((1, 4 + classes, anchors))
    output[0, :4, 5], output[0, 4 + 1, 5] = BOX_CXCYWH, 0.75
    return output


def objectness(classes=3, label=1, anchors=21):
    output = np.zeros((1, anchors, 5 + classes))
    output[0, 5, :4], output[0, 5, 4], output[0, 5, 5 + label] = BOX_CXCYWH, 0.8, 0.9375
    return output


def end_to_end(count=12):
    output = np.zeros((1, count, 6))
    output[0, 0] = [*BOX_XYXY, 0.75, 1]
    return output


LAYOUTS = {
    "channels first": ({}, {"output0": channels_first()}),
    "channels first, named": (NAMES, {"output0": channels_first()}),
    "objectness": ({}, {"output0": objectness()}),
    "objectness, one class": ({"names": "['cat']"}, {"output0": objectness(classes=1, label=0)}),
    "end-to-end": (NAMES, {"output0": end_to_end()}),
    "suppressed": (NAMES, {"output": [[0, *BOX_XYXY, 1, 0.75]]}),
    "boxes and scores": ({}, {"boxes": [[BOX_XYXY]], "scores": [[[0, 0.75, 0]]]}),
}


@pytest.mark.parametrize(("properties", "outputs"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_known_layout_is_read(tmp_path, caplog, properties, outputs):
    predictor = ghostyolo.load(write(tmp_path / "theirs.onnx", properties, **outputs))
    assert "was not written by ghostyolo: read as a detector with the layout" in caplog.text
    (found,) = predictor.detect([np.zeros((64, 64, 3), np.uint8)])
    np.testing.assert_allclose(found.xyxy, [BOX_XYXY])
    np.testing.assert_allclose(found.confidence, [0.75])
    names = {"{": ["cat", "dog", "cow"], "[": ["cat"]}.get(properties.get("names", " ")[0])
    assert predictor.class_names == (names or ["class 0", "class 1", "class 2"])
    assert predictor.metadata.imgsz == 64


@pytest.mark.parametrize(
    ("properties", "outputs", "message"),
    [
        ({}, {"logits": np.zeros((1, 1000))}, "its output is no list of boxes"),
        ({}, {"a": np.zeros((1, 7, 21)), "b": np.zeros((1, 32, 16, 16))}, "it has 2 outputs"),
        ({"task": "segment"}, {"output0": channels_first()}, "its task is 'segment'"),
        ({}, {"output0": end_to_end()}, "its classes cannot be counted"),
        (NAMES, {"output0": channels_first(classes=9)}, "its output is no list of boxes"),
        ({"names": "{0: 'a'}"}, {"boxes": [[BOX_XYXY]], "scores": [[[0.0, 1.0]]]}, "it names 1 classes and has scores"),
    ],
)
def test_anything_else_is_refused_with_its_shapes(tmp_path, properties, outputs, message):
    path = write(tmp_path / "theirs.onnx", properties, **outputs)
    with pytest.raises(WeightsError, match=message) as error:
        open_engine(path)
    text = str(error.value)
    assert "\n" not in text
    assert "theirs.onnx was not written by ghostyolo" in text
    assert f"{next(iter(outputs))} (1, " in text


def test_an_input_that_is_no_picture_is_refused():
    with pytest.raises(WeightsError, match="does not take one"):
        recognise("x.onnx", {"tokens": [1, 128]}, {"output0": [1, 7, 21]}, {})


@pytest.mark.parametrize(("shape", "layout"), [([None, 84, None], "channels first"), ([None, None, 85], "objectness")])
def test_free_sizes_stay_free(shape, layout):
    foreign = recognise("x.onnx", {"images": [None, 3, None, None]}, {"output0": shape}, {})
    assert foreign.layout == layout
    assert len(foreign.metadata.class_names) == 80
    assert foreign.metadata.export.canvas is None
    assert foreign.metadata.imgsz == 640

"""ONNX files of other programs: known layouts are read, anything else is refused in one line with what was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the test models")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import ghostyolo  # noqa: E402
from ghostyolo.errors import ConfigError, WeightsError  # noqa: E402
from ghostyolo.evaluate.evaluation import match_class_names  # noqa: E402
from ghostyolo.runtime.foreign_onnx import Port, layout_names, recognise  # noqa: E402
from ghostyolo.runtime.layouts import LAYOUTS, cells  # noqa: E402

SIZE = 64
CELLS = cells((SIZE, SIZE), (8, 16, 32))
BOX_XYXY = [10, 20, 30, 60]
BOX_CXCYWH = [20, 40, 20, 40]
NAMES = {"names": "{0: 'cat', 1: 'dog', 2: 'cow'}", "stride": "32", "imgsz": "[64, 64]", "task": "detect"}
TYPES = {"float": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "double": TensorProto.DOUBLE,
         "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}  # fmt: skip


def write(path, properties=None, size=SIZE, channels=3, number="float", channels_last=False, **outputs):
    """A model that answers each picture with the same arrays."""
    nodes = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value, np.float32)))
             for name, value in outputs.items()]  # fmt: skip
    shape = [1, size, size, channels] if channels_last else [1, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("input", TYPES[number], shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, np.shape(value)) for name, value in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, properties or {})
    onnx.save(model, path)
    return path


def spread(count):
    """Middles over the canvas and sizes of 8 pixels, as background anchors have them."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(2, SIZE - 2, (count, 2)), np.full((count, 2), 8)], 1)


def channels_first(classes=3, further=0, anchors=CELLS):
    output = np.zeros((1, 4 + classes + further, anchors))
    output[0, :4] = spread(anchors).T
    output[0, :4, 5], output[0, 4 + min(1, classes - 1), 5] = BOX_CXCYWH, 0.75
    output[0, 4 + classes :] = 120
    return output


def objectness(classes=3, label=1, anchors=3 * CELLS, background=0.01):
    output = np.zeros((1, anchors, 5 + classes))
    output[0, :, :4], output[0, :, 4] = spread(anchors), background
    output[0, 5, :4], output[0, 5, 4], output[0, 5, 5 + label] = BOX_CXCYWH, 0.8, 0.9375
    return output


def sure():
    """YOLOv6's: an objectness of 1 everywhere."""
    output = objectness(anchors=CELLS, background=1)
    output[0, 5, 4:7] = 1, 0, 0.75
    return output


def offsets(classes=3):
    """YOLOX's: cell 3, 5 of stride 8 holds the middle 20, 40 where its offset is -0.5, 0."""
    output = np.zeros((1, CELLS, 5 + classes))
    output[0, :, 4] = 0.01
    output[0, 5 * 8 + 3, :6] = [-0.5, 0, np.log(20 / 8), np.log(40 / 8), 0.8, 0]
    output[0, 5 * 8 + 3, 6] = 0.9375
    return output


def end_to_end(count=300, further=0, label=1):
    output = np.zeros((1, count, 6 + further))
    output[0, 0, :6] = [*BOX_XYXY, 0.75, label]
    output[0, 1, :6] = [50, 50, 60, 60, 0.01, label]
    return output


def queries(classes=3, count=300):
    boxes = np.full((1, count, 4), 0.2)
    boxes[0, 7] = np.array(BOX_CXCYWH) / SIZE
    scores = np.full((1, count, classes), 0.01)
    scores[0, 7, min(1, classes - 1)] = 0.75
    return boxes, scores


def logits(background, count=300, classes=3):
    boxes, _ = queries(classes, count)
    scores = np.full((1, count, classes + background), -5.0)
    scores[0, :, -1] = 5.0 if background else -5.0
    scores[0, 7] = -30
    scores[0, 7, 1] = 0.0 if background else np.log(3)
    if background:
        scores[0, 7, -1] = np.log(1 / 3)
    return boxes, scores


KINDS = {
    "yolov8": ({}, {"output0": channels_first()}, "yolov8"),
    "yolov8, named": (NAMES, {"output0": channels_first()}, "yolov8"),
    "yolov8, other strides": ({}, {"o": channels_first(anchors=cells((64, 64), (8, 16, 32, 64)))}, "yolov8"),
    "yolov8, turned": (NAMES, {"o": channels_first().transpose(0, 2, 1)}, "yolov8-rows"),
    "pose": ({**NAMES, "task": "pose"}, {"output0": channels_first(further=51)}, "yolov8"),
    "segment": (
        {**NAMES, "task": "segment"},
        {"a": channels_first(further=32), "b": np.ones((1, 32, 16, 16))},
        "yolov8",
    ),
    "pose, end-to-end": ({**NAMES, "task": "pose"}, {"output0": end_to_end(further=51)}, "end-to-end"),
    "yolov5": ({}, {"output0": objectness()}, "yolov5"),
    "yolov5, one class": ({"names": "['cat']"}, {"output0": objectness(classes=1, label=0)}, "yolov5"),
    "yolov6": ({}, {"outputs": sure()}, "yolov6"),
    "yolox": ({}, {"output": offsets()}, "yolox"),
    "yolox, decoded": ({}, {"output": objectness(anchors=CELLS)}, "yolox-decoded"),
    "end-to-end": (NAMES, {"output0": end_to_end()}, "end-to-end"),
    "end-to-end, one class": ({"names": "['cat']"}, {"output0": end_to_end(label=0)}, "end-to-end"),
    "end-to-end, two classes": ({"names": "['cat', 'dog']"}, {"output0": end_to_end()}, "end-to-end"),
    "yolov7 with nms": (NAMES, {"output": [[0, *BOX_XYXY, 1, 0.75]]}, "yolov7-nms"),
    "boxes and scores": ({}, {"boxes": [[BOX_XYXY]], "scores": [[[0, 0.75, 0]]]}, "boxes-scores"),
    "rtdetr": (NAMES, {"output0": np.concatenate(queries(), -1)}, "rtdetr"),
    "rtdetr, two classes": ({"names": "['cat', 'dog']"}, {"output0": np.concatenate(queries(2), -1)}, "rtdetr"),
    "rtdetr of logits": ({}, dict(zip(("pred_boxes", "logits"), logits(False), strict=True)), "rtdetr-logits"),
    "detr": ({}, dict(zip(("pred_boxes", "logits"), logits(True), strict=True)), "detr"),
    "rf-detr": ({}, dict(zip(("dets", "labels"), logits(False), strict=True)), "rf-detr"),
}


@pytest.mark.parametrize(("properties", "outputs", "layout"), KINDS.values(), ids=KINDS)
def test_a_known_layout_is_read(tmp_path, caplog, properties, outputs, layout):
    predictor = ghostyolo.load(write(tmp_path / "theirs.onnx", properties, **outputs))
    assert f"was not written by ghostyolo: read as a detector with the layout '{layout}'" in caplog.text
    (found,) = predictor.detect([np.zeros((SIZE, SIZE, 3), np.uint8)])
    np.testing.assert_allclose(found.xyxy, [BOX_XYXY], atol=1e-3)
    np.testing.assert_allclose(found.confidence, [0.75], atol=1e-2)
    names = ["cat", "dog", "cow"] if properties.get("names", "").startswith("{") else ["cat", "dog"]
    counted = properties.get("names", "").count("'") // 2
    assert predictor.class_names == (names[:counted] or ["class 0", "class 1", "class 2"])
    assert predictor.metadata.imgsz == SIZE
    assert predictor.metadata.nms == (layout in ("yolov8", "yolov8-rows", "yolov5", "yolov6", "yolox", "yolox-decoded",
                                                 "boxes-scores"))  # fmt: skip


def test_every_layout_is_tried():
    assert {layout for _, _, layout in KINDS.values()} == set(layout_names())


REFUSED = {
    "a classifier": ({}, {"logits": np.zeros((1, 1000))}, "those of no known layout"),
    "two maps": ({}, {"a": np.zeros((1, 7, 21)), "b": np.zeros((1, 32, 16, 16))}, "those of no known layout"),
    "task": ({"task": "obb"}, {"output0": channels_first(further=1)}, "its task is 'obb'"),
    "uncounted": ({}, {"output0": end_to_end()}, "read as 'end-to-end' its classes cannot be counted"),
    "other classes": (NAMES, {"output0": channels_first(classes=9)}, "those of no known layout"),
    "other number": ({"names": "{0: 'a'}"}, {"boxes": [[BOX_XYXY]], "scores": [[[0.0, 1.0]]]}, "it names 1 classes"),
    "other cells": ({}, {"output0": channels_first(anchors=CELLS + 3)}, "those of no known layout"),
    "pose without metadata": ({}, {"output0": channels_first(1, 51)}, "its scores are from 0 to 120"),
    "scores of logits": ({}, {"output0": channels_first() - 3.0}, "its scores are from -3"),
    "boxes off the picture": ({}, {"output0": channels_first() * 60}, "scores are from|not on the picture"),
    "boxes of 0 to 1": ({}, {"output0": channels_first() / [[[64]] * 4 + [[1]] * 3]}, "not on the picture of 64 x 64"),
    "scores of one dimension": ({}, {"boxes": np.zeros((1, 300, 4)), "scores": np.zeros((1, 300))}, "no known layout"),
    "broken stride": (
        {**NAMES, "stride": "many"},
        {"output0": channels_first()},
        "stride = 'many', which is no number",
    ),
    "broken size": ({**NAMES, "imgsz": "[]"}, {"output0": channels_first()}, r"imgsz = '\[\]', which is no number"),
}


@pytest.mark.parametrize(("properties", "outputs", "message"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_with_what_was_seen(tmp_path, properties, outputs, message):
    path = write(tmp_path / "theirs.onnx", properties, **outputs)
    with pytest.raises(WeightsError, match=message) as error:
        ghostyolo.load(path)
    text = str(error.value)
    assert "\n" not in text
    assert "theirs.onnx" in text
    if "is no number" not in text:
        assert "input input (1, 3, 64, 64) float" in text
        assert "--layout NAME takes one of them: boxes-scores, yolov8, " in text


@pytest.mark.parametrize("number", ["float16", "double", "uint8"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_inputs_of_other_numbers_and_orders_are_fed(tmp_path, number, channels_last):
    path = write(tmp_path / "a.onnx", NAMES, number=number, channels_last=channels_last, output0=channels_first())
    (found,) = ghostyolo.load(path).detect([np.full((32, 48, 3), 200, np.uint8)])
    assert len(found) == 1


def test_an_input_of_whole_numbers_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="it takes pictures of int64, not of float, float16, double, uint8"):
        ghostyolo.load(write(tmp_path / "a.onnx", number="int64", output0=channels_first()))


@pytest.mark.parametrize("stride", ["32", "32.0", "[8, 16, 32]"])
def test_a_stride_may_be_a_number_or_those_of_all_levels(tmp_path, stride):
    path = write(tmp_path / "a.onnx", {**NAMES, "stride": stride}, output0=channels_first())
    assert ghostyolo.load(path).metadata.stride == 32


def test_only_rows_with_a_score_are_detections():
    def answer(images):
        output = end_to_end(count=3)
        output[0, 1:, 4] *= float(images[0, 0, 5, 5] > 0.5)  # a bright picture has another object
        return {"output0": output}

    foreign, _ = see({"images": Port([1, 3, 64, 64])}, answer, names=NAMES["names"])
    counts = [len(foreign.interpret(answer(np.full((1, 3, 8, 8), value)), 1, (64, 64))[0][0]) for value in (0, 1)]
    assert counts == [1, 2]


def test_metadata_that_is_no_text_is_one_line(tmp_path):
    path = write(tmp_path / "a.onnx", NAMES, output0=channels_first())
    path.write_bytes(path.read_bytes().replace(b"'cat'", b"'c\xfft'"))
    with pytest.raises(WeightsError, match="cannot be opened: truncated, damaged or not an ONNX file"):
        ghostyolo.load(path)


def test_a_class_beyond_the_names_is_one_line(tmp_path):
    predictor = ghostyolo.load(write(tmp_path / "a.onnx", NAMES, output0=end_to_end(label=7)), layout="end-to-end")
    with pytest.raises(WeightsError, match="found class 7, but its metadata names 3 classes"):
        predictor.detect([np.zeros((SIZE, SIZE, 3), np.uint8)])


def test_a_layout_that_is_named_is_taken_without_looking(tmp_path):
    path = write(tmp_path / "a.onnx", {}, output0=channels_first(anchors=CELLS + 3))
    assert ghostyolo.load(path, layout="yolov8").class_names == ["class 0", "class 1", "class 2"]
    with pytest.raises(WeightsError, match=r"its outputs are not \(N, 7\)"):
        ghostyolo.load(path, layout="yolov7-nms")
    with pytest.raises(ConfigError, match="there is no layout 'yolo8': did you mean yolov8"):
        ghostyolo.load(path, layout="yolo8")


def see(inputs, answer, names="", **options):
    fed = []

    def run(images):
        fed.append(images)
        return answer(images)

    return recognise("x.onnx", inputs, run, {"names": names} if names else {}, **options), fed


def test_an_input_that_is_no_picture_is_refused():
    with pytest.raises(WeightsError, match="does not take one"):
        see({"tokens": Port([1, 128])}, lambda images: {})


def test_a_deployment_that_takes_sizes_says_how_to_export_it():
    ports = {"images": Port([None, 3, 64, 64]), "orig_target_sizes": Port([None, 2], "int64")}
    with pytest.raises(WeightsError, match=r"'orig_target_sizes'.*without that step.*rtdetr-logits"):
        see(ports, lambda images: {})


def test_an_engine_that_fails_on_the_picture_is_one_line():
    with pytest.raises(WeightsError, match=r"cannot be run on a picture of \(1, 3, 64, 64\) float32: .*1"):
        see({"images": Port([1, 3, 64, 64])}, lambda images: {}[1])


def test_free_sizes_stay_free():
    def answer(images):
        boxes = np.zeros((1, 84, cells(images.shape[2:], (8, 16, 32))))
        boxes[:, :4] = 50
        return {"output0": boxes}

    foreign, fed = see({"images": Port([None, 3, None, None])}, answer)
    assert fed[0].shape == (1, 3, 640, 640)
    assert (foreign.layout.name, len(foreign.metadata.class_names)) == ("yolov8", 80)
    assert foreign.metadata.export.canvas is None
    assert foreign.metadata.imgsz == 640


def test_yolox_takes_blue_first_of_0_to_255_at_the_upper_left():
    foreign, fed = see({"images": Port([1, 3, 64, 64])}, lambda images: {"output": offsets()})
    assert foreign.metadata.place == "corner"
    assert fed[-1].max() > 100
    images = np.random.default_rng(0).random((2, 3, 4, 4), np.float32)
    np.testing.assert_allclose(foreign.feed(images), images[:, ::-1] * 255, rtol=1e-6)


def test_a_detr_takes_pixels_normalised_as_for_imagenet():
    boxes, scores = logits(True)
    foreign, _ = see({"x": Port([1, 3, 64, 64])}, lambda images: {"pred_logits": scores, "pred_boxes": boxes})
    white = foreign.feed(np.ones((1, 3, 2, 2), np.float32))
    np.testing.assert_allclose(white[0, :, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def test_a_file_that_names_no_classes_has_them_in_the_data_order(caplog):
    assert match_class_names(["class 0", "class 1"], ["dog", "cat"]).tolist() == [0, 1]
    assert "the weights name no classes" in caplog.text


def test_the_page_lists_every_layout():
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    for layout in LAYOUTS:
        assert f"| `{layout.name}` | {layout.shape} | {layout.writers} |" in page

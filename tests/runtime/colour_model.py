"""A tiny detector made by hand, so that the runtime can be tested without a trained one, and without torch.

It averages 32 x 32 cells; each cell is a box. Scores: how much redder, greener or bluer than the other
channels, and how white. Pure red, green, blue and white cells score 1 in their class; black and padding 0.

``colour_model.onnx`` beside this file is what ``python -m tests.runtime.colour_model`` writes (needs onnx).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ghostyolo.metadata import METADATA_KEY, ModelMetadata

CELL = 32
MODEL_PATH = Path(__file__).with_name("colour_model.onnx")
CLASS_NAMES = ["red", "green", "blue", "white"]
RED, GREEN, BLUE, WHITE = range(4)


def metadata(**changes) -> ModelMetadata:
    """What the committed file says about itself, with changes."""
    fields = {
        "version": "0.1.0",
        "model": "colours",
        "class_names": CLASS_NAMES,
        "imgsz": 128,
        "deployed": True,
    }
    return ModelMetadata(**(fields | changes))


class ColourEngine:
    """The same detector in numpy: an engine for tests that need other metadata."""

    name = "numpy"

    def __init__(self, **changes) -> None:
        self.metadata = metadata(**changes)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        batch, channels, height, width = images.shape
        cells = images.reshape(batch, channels, height // CELL, CELL, width // CELL, CELL).mean(axis=(3, 5))
        cells = cells.reshape(batch, channels, -1).transpose(0, 2, 1)
        if channels == 3:
            scores = cells @ _weights().T + _bias()
        else:  # "white" alone, so that one channel or many can be tested
            scores = np.zeros((*cells.shape[:2], 4), np.float32)
            scores[..., WHITE] = cells.mean(axis=-1) * 2 - 1
        ys, xs = np.mgrid[0 : height // CELL, 0 : width // CELL].reshape(2, -1) * CELL
        boxes = np.stack([xs, ys, xs + CELL, ys + CELL], axis=1).astype(np.float32)
        return np.broadcast_to(boxes, (batch, *boxes.shape)), np.clip(scores, 0, 1).astype(np.float32)


def picture(width: int, height: int, *cells: tuple[int, int, int]) -> np.ndarray:
    """A black picture with coloured cells (column, row, class)."""
    colours = {RED: (255, 0, 0), GREEN: (0, 255, 0), BLUE: (0, 0, 255), WHITE: (255, 255, 255)}
    image = np.zeros((height, width, 3), np.uint8)
    for column, row, label in cells:
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = colours[label]
    return image


def write_model(path: Path, header: str | None = None, boxes_name: str = "boxes") -> Path:
    """Write the detector as ONNX; ``header``: the metadata JSON, ``""`` for none."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name, value):
        return numpy_helper.from_array(np.asarray(value), name)

    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Conv", ["cells", "weights", "bias"], ["raw"]),
        helper.make_node("Clip", ["raw", "zero", "one"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "flat_scores"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["scores"], perm=[0, 2, 1]),
        helper.make_node("Split", ["cells"], ["first", "rest"], axis=1),
        helper.make_node("Mul", ["first", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "cell"], ["sides"]),
        helper.make_node("CumSum", ["sides", "axis_x"], ["x2"]),
        helper.make_node("CumSum", ["sides", "axis_y"], ["y2"]),
        helper.make_node("Sub", ["x2", "cell"], ["x1"]),
        helper.make_node("Sub", ["y2", "cell"], ["y1"]),
        helper.make_node("Concat", ["x1", "y1", "x2", "y2"], ["corners"], axis=1),
        helper.make_node("Reshape", ["corners", "flat_boxes"], ["columns"]),
        helper.make_node("Transpose", ["columns"], [boxes_name], perm=[0, 2, 1]),
    ]
    nodes[5].input.append("split")
    constants = [
        constant("weights", _weights()[:, :, None, None]),
        constant("bias", _bias()),
        constant("zero", np.float32(0)),
        constant("one", np.float32(1)),
        constant("cell", np.float32(CELL)),
        constant("axis_x", np.int64(3)),
        constant("axis_y", np.int64(2)),
        constant("split", np.array([1, 2])),
        constant("flat_scores", np.array([0, 4, -1])),
        constant("flat_boxes", np.array([0, 4, -1])),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            helper.make_tensor_value_info(boxes_name, TensorProto.FLOAT, ["batch", "anchors", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "anchors", 4]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    header = metadata().to_json() if header is None else header
    if header:
        model.metadata_props.add(key=METADATA_KEY, value=header)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _weights() -> np.ndarray:
    return np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1], [2 / 3, 2 / 3, 2 / 3]], np.float32)


def _bias() -> np.ndarray:
    return np.array([0, 0, 0, -1], np.float32)


if __name__ == "__main__":
    write_model(MODEL_PATH)

"""Non-maximum suppression at the end of an ONNX graph.

``boxes`` (B, A, 4) and ``scores`` (B, A, classes) become one output ``detections`` (N, 7) float32: index of the
picture, x1, y1, x2, y2 in input pixels, score, class. As when the reader suppresses, a box counts for its best class
only and boxes of different classes never suppress each other. The rows of a picture and class stand together, the best
first.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ghostyolo.selection import Selection

OUTPUT = "detections"


def append_nms(proto: onnx.ModelProto, options: Selection, iou: float) -> None:
    """Replace the outputs ``boxes`` and ``scores`` by ``detections``, in place.

    Args:
        options: confidence and number of detections.
        iou: overlap above which the weaker box of a class is dropped; 1 drops none.
    """
    graph = proto.graph

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"nms_{name}"))
        return f"nms_{name}"

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        graph.node.append(helper.make_node(kind, inputs, [f"nms_{output}"], f"nms_{output}", **attributes))
        return f"nms_{output}"

    best = node("ReduceMax", ["scores", constant("classes", np.array([2], np.int64))], "best", keepdims=1)
    is_best = node("GreaterOrEqual", ["scores", best], "is_best")
    of_best = node("Where", [is_best, "scores", constant("none", np.array(0, np.float32))], "of_best")
    class_scores = node("Transpose", [of_best], "class_scores", perm=[0, 2, 1])
    chosen = node(
        "NonMaxSuppression",
        [
            "boxes",
            class_scores,
            constant("max_detections", np.array([options.max_detections], np.int64)),
            constant("iou", np.array([iou], np.float32)),
            constant("confidence", np.array([options.confidence], np.float32)),
        ],
        "chosen",  # (N, 3): picture, class, anchor
        center_point_box=0,
    )
    columns = {
        name: constant(f"column_{name}", np.array(index, np.int64))
        for name, index in (("picture", [0]), ("class", [1]), ("picture_anchor", [0, 2]))
    }
    picture = node("Gather", [chosen, columns["picture"]], "picture", axis=1)
    label = node("Gather", [chosen, columns["class"]], "label", axis=1)
    anchor = node("Gather", [chosen, columns["picture_anchor"]], "anchor", axis=1)
    corners = node("GatherND", ["boxes", anchor], "corners")
    score = node(
        "Unsqueeze",
        [
            node("GatherND", [class_scores, chosen], "flat_score"),
            constant("last_axis", np.array([1], np.int64)),
        ],
        "score",
    )
    parts = [
        node("Cast", [picture], "picture_float", to=TensorProto.FLOAT),
        corners,
        score,
        node("Cast", [label], "label_float", to=TensorProto.FLOAT),
    ]
    graph.node.append(helper.make_node("Concat", parts, [OUTPUT], OUTPUT, axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["found", 7]))

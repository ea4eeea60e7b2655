"""Writes a detector as an ONNX graph, with the current torch exporter.

ONNX files and five other formats are made of it. Input ``images`` (B, C, H, W) float32, RGB in 0..1. Outputs are
``boxes`` (B, A, 4) xyxy in input pixels and ``scores`` (B, A, classes) in 0..1, or the raw maps of the head
(:mod:`ghostyolo.runtime.raw_outputs`), or ``detections`` (:func:`append_nms`).
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxslim
import torch
from onnx import TensorProto, helper, numpy_helper

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.silence import silence
from ghostyolo.thresholds import Selection

DEFAULT_OPSET = 18
DETECTIONS = "detections"


def to_onnx(job: ExportJob) -> onnx.ModelProto:
    """Return the graph in float32, without metadata.

    ONNX files and the formats that are made from ONNX begin with it.

    Raises:
        ExportError: the exporter cannot take the network.
    """
    return job.once("onnx", lambda: _make(job))


def _make(job: ExportJob) -> onnx.ModelProto:
    export = job.metadata.export
    program = _trace(job, dynamic=export is None or export.canvas is None)
    _name_after_layers(program)
    proto = onnxslim.slim(program)
    del proto.metadata_props[:]
    proto.producer_name, proto.producer_version = "ghostyolo", job.metadata.version
    if export is not None and export.output == "nms":
        # Boxes of a head that finds each object once overlap by more than 1 never, so none suppresses another.
        append_nms(proto, job.options.nms, iou=job.options.nms.iou if job.metadata.nms else 1.0)
    return proto


def _trace(job: ExportJob, dynamic: bool) -> onnx.ModelProto:
    example, shapes = job.example(), None
    if dynamic:
        stride = job.metadata.stride
        # An example that is not square, so that height and width cannot be taken for one number.
        example = torch.zeros(2, example.shape[1], example.shape[2], example.shape[3] + stride)
        batch, rows, columns = (torch.export.Dim(name, min=1, max=limit) for name, limit in
                                (("batch", 1024), ("rows", 256), ("columns", 256)))  # fmt: skip
        shapes = ({0: batch, 2: stride * rows, 3: stride * columns},)
    try:
        with silence():
            rewritten = job.rewritten(example, shapes)
            program = torch.onnx.export(
                job.model if rewritten is None else rewritten.program,
                (example,) if rewritten is None else (),
                dynamo=True,
                opset_version=job.options.opset or DEFAULT_OPSET,
                input_names=["images"],
                output_names=list(job.model.names),
                dynamic_shapes=shapes if rewritten is None else None,
                verbose=False,
            )
    except Exception as error:  # torch.export and the converter raise classes of their own for each thing
        raise ExportError(f"ONNX cannot express this network: {first_line(error)}") from error
    if program is None:
        raise ExportError("ONNX: the exporter gave no program")
    return program.model_proto


def _name_after_layers(program: onnx.ModelProto) -> None:
    """Put the module's path before each node's name, so that messages of other libraries say which layer they mean."""
    for node in program.graph.node:
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                # ['', 'network', 'network.backbone', 'network.backbone.fine.0', 'conv2d']
                modules = [part.strip(" '") for part in entry.value.strip("[]").split(",")][:-1]
                if modules and modules[-1]:
                    node.name = f"{modules[-1].removeprefix('network.')}/{node.name}"


def first_line(error: BaseException, length: int = 300) -> str:
    """The first line of a library's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:length]


def append_nms(proto: onnx.ModelProto, options: Selection, iou: float) -> None:
    """Replace the outputs ``boxes`` and ``scores`` by ``detections`` after suppression, in place.

    ``boxes`` (B, A, 4) and ``scores`` (B, A, classes) become ``detections`` (N, 7) float32: index of the picture, x1,
    y1, x2, y2 in input pixels, score, class. As when the reader suppresses, a box counts for its best class only and
    boxes of different classes never suppress each other. The rows of a picture and class stand together, the best
    first.

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
    graph.node.append(helper.make_node("Concat", parts, [DETECTIONS], DETECTIONS, axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(DETECTIONS, TensorProto.FLOAT, ["found", 7]))

"""Turns a static graph of opset 18 into one of opset 11.

The answers stay exactly the same; readers of that age take the new graph. What changed in between for the operators
that detectors use: axes, splits and the like moved from attributes to inputs (Split and Squeeze at 13, the other
reductions at 18); Softmax flattened what lies behind its axis until 13; Resize got attributes at 18 and needed its
inputs ``roi`` and ``scales`` before 13. Source: the operators' changelog,
https://github.com/onnx/onnx/blob/main/docs/Changelog.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, shape_inference

from ghostyolo.errors import ExportError

OPSET, IR_VERSION = 11, 6
_AXES_FROM_INPUT = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "ReduceL1",
                    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "Squeeze", "Unsqueeze")  # fmt: skip
# Attributes that opset 11 lacks, with the value that says what opset 11 does anyway.
_NEUTRAL: dict[str, Any] = {
    "noop_with_empty_axes": 0,
    "allowzero": 0,
    "antialias": 0,
    "keep_aspect_ratio_policy": b"stretch",
    "training_mode": 0,
}


def to_opset_11(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a graph with fixed shapes; the one given is changed.

    Raises:
        ExportError: an operator or an option that opset 11 cannot say.
    """
    proto = shape_inference.infer_shapes(proto)
    graph = _Graph(proto)
    nodes = [new for node in proto.graph.node for new in _rewritten(node, graph)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.constants.values() if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    del proto.graph.value_info[:]
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", OPSET))
    proto.ir_version = IR_VERSION
    return proto


class _Graph:
    """Constants and shapes by name."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        values = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
        self.shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
        self.shapes.update({name: list(tensor.dims) for name, tensor in self.constants.items()})

    def ints(self, node: onnx.NodeProto, position: int) -> list[int] | None:
        """The numbers of an input; None where there is no such input."""
        if len(node.input) <= position or not node.input[position]:
            return None
        return [int(value) for value in numpy_helper.to_array(self._constant(node, position)).reshape(-1)]

    def floats(self, node: onnx.NodeProto, position: int) -> list[float] | None:
        if len(node.input) <= position or not node.input[position]:
            return None
        return [float(value) for value in numpy_helper.to_array(self._constant(node, position)).reshape(-1)]

    def _constant(self, node: onnx.NodeProto, position: int) -> onnx.TensorProto:
        if node.input[position] not in self.constants:
            raise _cannot(node, "has parameters that depend on the picture")
        return self.constants[node.input[position]]

    def add(self, name: str, values: Any) -> str:
        self.constants[name] = numpy_helper.from_array(values, name)
        return name


def _rewritten(node: onnx.NodeProto, graph: _Graph) -> list[onnx.NodeProto]:
    new = onnx.NodeProto()
    new.CopyFrom(node)
    added = [new]
    if node.op_type in _AXES_FROM_INPUT and (axes := graph.ints(node, 1)) is not None:
        del new.input[1:]
        new.attribute.append(helper.make_attribute("axes", axes))
    elif node.op_type == "Split":
        _split(new, graph)
    elif node.op_type == "Resize":
        _resize(new, graph)
    elif node.op_type == "Softmax":
        added = _softmax(new, len(graph.shapes.get(node.input[0], [])))
    elif node.op_type == "Reshape" and 0 not in (graph.ints(node, 1) or []):
        _remove(new, "allowzero")  # which says what a 0 means
    elif node.op_type == "Pad" and len(node.input) > 3 and node.input[3]:
        raise _cannot(node, "names its axes")
    _drop_attributes(new)
    return added


def _split(node: onnx.NodeProto, graph: _Graph) -> None:
    parts = graph.ints(node, 1) or [graph.shapes[name][_attribute(node, "axis", 0)] for name in node.output]
    del node.input[1:]
    _remove(node, "num_outputs")
    node.attribute.append(helper.make_attribute("split", parts))


def _resize(node: onnx.NodeProto, graph: _Graph) -> None:
    scales, sizes = graph.floats(node, 2), graph.ints(node, 3)
    if any(one.name == "axes" for one in node.attribute):
        raise _cannot(node, "names its axes")
    if sizes is not None:
        before = graph.shapes.get(node.input[0], [])
        whole = len(before) == len(sizes) and all(
            old and new % old == 0 for old, new in zip(before, sizes, strict=True)
        )
        if whole:  # the two say the same, and more readers take scales
            scales, sizes = [new / old for old, new in zip(before, sizes, strict=True)], None
    output = node.output[0]
    del node.input[1:]
    node.input.append(graph.add("no_roi", np.zeros(0, np.float32)))
    node.input.append(graph.add(f"{output}_scales", np.asarray(scales if sizes is None else [], np.float32)))
    if sizes is not None:
        node.input.append(graph.add(f"{output}_sizes", np.asarray(sizes, np.int64)))


def _softmax(node: onnx.NodeProto, rank: int) -> list[onnx.NodeProto]:
    axis = _attribute(node, "axis", -1)
    axis = axis + rank if axis < 0 else axis
    _remove(node, "axis")
    node.attribute.append(helper.make_attribute("axis", rank - 1))
    if axis == rank - 1:
        return [node]
    order = [*(place for place in range(rank) if place != axis), axis]
    source, target = node.input[0], node.output[0]
    node.input[0], node.output[0] = f"{target}_last", f"{target}_weights"
    return [
        helper.make_node("Transpose", [source], [node.input[0]], f"{node.name}_before", perm=order),
        node,
        helper.make_node(
            "Transpose",
            [node.output[0]],
            [target],
            f"{node.name}_after",
            perm=[order.index(place) for place in range(rank)],
        ),
    ]


def _drop_attributes(node: onnx.NodeProto) -> None:
    try:
        known = defs.get_schema(node.op_type, OPSET, node.domain).attributes
    except defs.SchemaError as error:
        raise _cannot(node, f"came after opset {OPSET}") from error
    for attribute in list(node.attribute):
        if attribute.name in known:
            continue
        if helper.get_attribute_value(attribute) != _NEUTRAL.get(attribute.name):
            raise _cannot(node, f"needs its option {attribute.name}, which came after opset {OPSET}")
        node.attribute.remove(attribute)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(one.i) for one in node.attribute if one.name == name), default)


def _remove(node: onnx.NodeProto, name: str) -> None:
    for attribute in [one for one in node.attribute if one.name == name]:
        node.attribute.remove(attribute)


def _cannot(node: onnx.NodeProto, why: str) -> ExportError:
    return ExportError(f"ONNX of opset {OPSET} cannot say operator {node.op_type} of layer '{node.name}': it {why}")

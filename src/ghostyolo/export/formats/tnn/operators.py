"""What TNN's converter takes, and the check of a graph against it.

Facts from Tencent/TNN (BSD 3-Clause): ``doc/cn/user/support.md`` (ONNX column of the table of operators),
``doc/cn/user/onnx2tnn.md`` (limits), and the converters in ``tools/onnx2tnn/src/core/layer`` (what they read: axes,
splits and repeats from attributes or constants, Gemm with constant weights, Resize over rows and columns only).
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from ghostyolo.errors import ExportError

OPERATORS = frozenset((
    "Abs", "Acos", "Add", "ArgMax", "ArgMin", "Asin", "Atan", "AveragePool", "BatchNormalization", "BitShift",
    "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos",
    "DepthToSpace", "Div", "Dropout", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor",
    "Gather", "GatherND", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "InstanceNormalization",
    "LRN", "LSTM", "LeakyRelu", "Log", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "NonZero", "OneHot",
    "PRelu", "Pad", "Pow", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
    "Resize", "RoiAlign", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Softmax",
    "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tan", "Tanh", "Tile",
    "Transpose", "Unsqueeze", "Upsample", "Where",
))  # fmt: skip


def check_operators(proto: onnx.ModelProto) -> None:
    """See that TNN's converter has every operator, as it is used.

    Args:
        proto: of opset 11.

    Raises:
        ExportError: names the operator and the layer that does not fit.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        reason = None
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            reason = "is not in TNN's list of ONNX operators"
        elif node.op_type in _LIMITS:
            reason = _LIMITS[node.op_type](node, attributes, constants)
        if reason is not None:
            raise ExportError(
                f"TNN cannot take operator {node.op_type} of layer '{node.name}': it {reason}; "
                "try --output raw, or another network"
            )


def _gemm(node: onnx.NodeProto, attributes: dict[str, Any], constants: set[str]) -> str | None:
    if attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) not in (0, 1) or attributes.get("transA", 0):
        return "has a factor or a transposed input"
    return None if set(node.input[1:]) <= constants else "has weights that are not constant"


def _pool(node: onnx.NodeProto, attributes: dict[str, Any], constants: set[str]) -> str | None:
    pads = list(attributes.get("pads", []))
    return None if pads[: len(pads) // 2] == pads[len(pads) // 2 :] else "pads one side more than the other"


def _resize(node: onnx.NodeProto, attributes: dict[str, Any], constants: set[str]) -> str | None:
    if attributes.get("mode", b"nearest") not in (b"nearest", b"linear"):
        return f"resizes by {attributes['mode'].decode()}, not by nearest or linear"
    return None if set(node.input[1:]) - {""} <= constants else "has a size that depends on its input"


def _shape_is_constant(node: onnx.NodeProto, attributes: dict[str, Any], constants: set[str]) -> str | None:
    return None if set(node.input[1:]) - {""} <= constants else "has parameters that depend on its input"


_LIMITS = {
    "Gemm": _gemm,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "Resize": _resize,
    **dict.fromkeys(("Reshape", "Slice", "Tile", "Pad", "Clip", "Expand"), _shape_is_constant),
}

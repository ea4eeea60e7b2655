"""An ONNX graph that computes in float16 up to the last convolutions, for readers that take its types at their word.

Input, outputs and what follows the last convolution of each path (the decoding of boxes, whose coordinates go to
hundreds of pixels, where float16 has steps of a quarter) stay float32. Written with ONNX Runtime's converter.
"""

from __future__ import annotations

import onnx
from onnxruntime.transformers import float16

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def compute_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in float16; the one given may be changed."""
    return float16.convert_float_to_float16(proto, keep_io_types=True, node_block_list=after_the_last_weights(proto))


def after_the_last_weights(proto: onnx.ModelProto) -> list[str]:
    """Names of the nodes without a node of weights, and without any of their own, behind them."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    needed: set[str] = set()  # tensors that a node of weights depends on
    names = []
    for node in reversed(proto.graph.node):
        weighted = node.op_type in _WEIGHTED and any(name in constants for name in node.input)
        # A product with the numbers of the bins is a decoder's, not a layer's.
        if node.op_type == "MatMul":
            weighted = weighted and any(len(t.dims) > 1 and min(t.dims) > 1 for t in proto.graph.initializer
                                        if t.name in node.input)  # fmt: skip
        if weighted or needed.intersection(node.output):
            needed.update(node.input)
        else:
            names.append(node.name)
    return names

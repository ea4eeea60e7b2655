"""ONNX graphs in float16: weights stored in half, or the arithmetic in half too."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ghostyolo.errors import GhostYoloError

SMALLEST = 256  # elements; below that a Cast costs more bytes than it saves
LARGEST_HALF = 65504.0
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights as float16 and compute in float32.

    The file is half as large and runs in any engine. The model given is changed. Every large float32 initializer
    becomes a float16 one with a Cast behind it; engines fold the Cast once at load, so inference costs what it did. The
    weights themselves are rounded to float16 (about 3 decimal digits).

    Raises:
        GhostYoloError: a weight is too large for float16.
    """
    graph = model.graph
    casts = []
    for initializer in list(graph.initializer):
        if initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(initializer)
        if values.size < SMALLEST:
            continue
        if np.abs(values).max() > LARGEST_HALF:
            raise GhostYoloError(f"weight '{initializer.name}' exceeds float16: export with float32 weights")
        name = initializer.name
        stored = numpy_helper.from_array(values.astype(np.float16), f"{name}_half")
        graph.initializer.remove(initializer)
        graph.initializer.append(stored)
        casts.append(onnx.helper.make_node("Cast", [stored.name], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT))
    for position, cast in enumerate(casts):
        graph.node.insert(position, cast)
    return model


def compute_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in float16 up to the last convolutions.

    It is for readers that take a graph's types at their word. Input, outputs and what follows the last convolution of
    each path (the decoding of boxes, whose coordinates go to hundreds of pixels, where float16 has steps of a quarter)
    stay float32. The graph given may be changed.
    """
    from onnxruntime.transformers import float16

    return float16.convert_float_to_float16(proto, keep_io_types=True, node_block_list=after_the_last_weights(proto))


def after_the_last_weights(proto: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes behind the last weights.

    They have no weights, and no node behind them has.
    """
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

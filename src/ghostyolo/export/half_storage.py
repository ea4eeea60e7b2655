"""Store an ONNX model's weights as float16 and compute in float32: half the file, any engine, same graph.

Every large float32 initializer becomes a float16 one with a Cast behind it; engines fold the Cast once at load, so
inference costs what it did. The weights themselves are rounded to float16 (about 3 decimal digits).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ghostyolo.errors import GhostYoloError

SMALLEST = 256  # elements; below that a Cast costs more bytes than it saves
LARGEST_HALF = 65504.0


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with float16 storage; the one given is changed in place.

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

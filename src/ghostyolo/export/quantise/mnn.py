"""INT8 ``.mnn`` files: MNN's converter quantises the convolutions, with steps that are measured here.

Weights have a step for each output channel, activations one a tensor, the one of least squared error on the pictures of
calibration; all symmetric. What stays in float is stored in float16. MNN's own calibration tool is not used: its method
KL ends in a crash on some networks, its method EMA takes no layers to leave in float and lost 1.5 points of AP on BCCD
where these steps lose none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.mnn import convert_proto
from ghostyolo.export.onnx import to_onnx
from ghostyolo.export.quantise.mnn_parameters import LayerParameters, encode
from ghostyolo.export.quantise.thresholds import step_of, thresholds

Canvas = npt.NDArray[np.float32]
_FUSED = ("Relu", "Clip")  # activations that MNN makes part of the convolution ahead


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        ExportError: no layer is left to quantise, or MNN cannot take the network.
    """
    proto = to_onnx(job)
    chosen = [
        node
        for node in proto.graph.node
        if node.op_type == "Conv" and node.input[1].removeprefix("network.").removesuffix(".weight") not in keep_float
    ]
    if not chosen:
        raise ExportError("MNN: every convolution stays in float, so there is nothing to quantise")
    outputs = {node.output[0]: _names_of_output(node, proto.graph) for node in chosen}
    wanted = {node.input[0] for node in chosen} | {name for names in outputs.values() for name in names}
    batch = (job.metadata.export.batch if job.metadata.export else None) or 1
    found = thresholds(lambda: _run(proto, wanted, calibration, batch))
    steps = {name: float(step_of(threshold)) for name, threshold in found.items()}
    weights = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    layers = []
    for node in chosen:
        rows = np.abs(weights[node.input[1]]).reshape(len(weights[node.input[1]]), -1)
        weight_steps = tuple(step_of(rows.max(1)).tolist())
        # Whichever of the names is left by the converter's fusing is the one that it looks for.
        for name in outputs[node.output[0]]:
            one = LayerParameters(node.input[0], node.input[1], name, steps[node.input[0]], weight_steps, steps[name])
            layers.append(one)
    convert_proto(proto, path, job.metadata.to_json(), half=True, parameters=encode(layers))


def _names_of_output(node: onnx.NodeProto, graph: onnx.GraphProto) -> tuple[str, ...]:
    """The convolution's output, and that of an activation which may be fused into it."""
    readers = [other for other in graph.node if node.output[0] in other.input]
    if len(readers) == 1 and readers[0].op_type in _FUSED:
        return node.output[0], readers[0].output[0]
    return (node.output[0],)


def _run(
    proto: onnx.ModelProto, wanted: set[str], calibration: Sequence[Canvas], batch: int
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The tensors of the float network, picture by picture."""
    inner = sorted(wanted - {"images"})
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    for canvas in calibration:
        tensors = dict(zip(inner, session.run(inner, {"images": np.repeat(canvas, batch, axis=0)}), strict=True))
        if "images" in wanted:
            tensors["images"] = canvas
        yield tensors

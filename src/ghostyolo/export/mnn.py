"""Write a detector as ``.mnn`` through ONNX, with the metadata as its ``bizCode``.

``fp16`` stores weights in float16, the arithmetic of the engine here stays float32. A file without a fixed size is
reshaped by MNN at each call of another size.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.half_storage import LARGEST_HALF
from ghostyolo.export.mnn_tools import convert
from ghostyolo.export.onnx import to_onnx

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_UNSUPPORTED = re.compile(r"These Op Not Support: *(.+)")


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    export = job.metadata.export
    convert_proto(to_onnx(job), path, job.metadata.to_json(), half=export is not None and export.precision == "fp16")


def convert_proto(
    proto: onnx.ModelProto, path: Path, metadata: str, half: bool = False, parameters: bytes | None = None
) -> None:
    """Write an ONNX graph as ``.mnn``.

    Args:
        proto: in float32.
        path: to write.
        metadata: JSON to put inside.
        half: store weights in float16.
        parameters: of the layers to quantise (:mod:`ghostyolo.export.quantise.mnn_parameters`).

    Raises:
        ExportError: an operator that MNN lacks, or another complaint of its converter.
    """
    with tempfile.TemporaryDirectory() as room:
        onnx.save(_rounded_to_half(proto) if half and parameters is None else proto, Path(room) / "model.onnx")
        # The converter takes the metadata as an argument, which is not text but bytes on some systems.
        ascii_only = json.dumps(json.loads(metadata))
        flags = ["--fp16"] if half else []
        if parameters is not None:
            (Path(room) / "parameters.bin").write_bytes(parameters)
            flags += ["--compressionParamsFile", "parameters.bin"]
        lines = convert(
            *("-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", ascii_only),
            *flags,
            folder=Path(room),
        )
        written = Path(room) / "model.mnn"
        if not written.is_file():
            raise ExportError(f"MNN cannot take this network: {_reason(lines, proto)}")
        path.write_bytes(written.read_bytes())


def _rounded_to_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are the nearest float16 numbers: MNN cuts digits off, which lets errors add up."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(proto)
    # What MNN stores in half; constants of the decoding are not.
    names = {name for node in rounded.graph.node if node.op_type in _WEIGHTED for name in node.input[1:2]}
    for initializer in rounded.graph.initializer:
        if initializer.name not in names:
            continue
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.float32 and np.abs(values).max(initial=0.0) <= LARGEST_HALF:
            nearest = values.astype(np.float16).astype(np.float32)
            initializer.CopyFrom(numpy_helper.from_array(nearest, initializer.name))
    return rounded


def _reason(lines: list[str], proto: onnx.ModelProto) -> str:
    for line in lines:
        found = _UNSUPPORTED.search(line)
        if found:
            operators = [name.removeprefix("ONNX::") for name in re.split(r"[ ,]+", found.group(1).strip())]
            return "; ".join(f"it has no operator {name}{_where(name, proto)}" for name in operators)
    return (lines[-1] if lines else "its converter said nothing")[:300]


def _where(operator: str, proto: onnx.ModelProto) -> str:
    names = [node.name or node.output[0] for node in proto.graph.node if node.op_type == operator]
    return f" (layer {', '.join(names[:3])})" if names else ""

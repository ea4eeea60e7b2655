"""MNN files (``x.mnn``), through ONNX, with the metadata as its ``bizCode``.

``fp16`` stores weights in float16, the arithmetic of the engine here stays float32. A file without a fixed size is
reshaped by MNN at each call of another size.

``int8``: MNN's converter quantises the convolutions, with steps that are measured here.

Weights have a step for each output channel, activations one a tensor, the one of least squared error on the pictures of
calibration; all symmetric. What stays in float is stored in float16. MNN's own calibration tool is not used: its method
KL ends in a crash on some networks, its method EMA takes no layers to leave in float and lost 1.5 points of AP on BCCD
where these steps lose none.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ExportError
from ghostyolo.export.formats import ONNX_OPSETS, ExportFormat
from ghostyolo.runtime.engines.mnn import EXTRA

if TYPE_CHECKING:
    import onnx

    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.quantise import Canvas

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_UNSUPPORTED = re.compile(r"These Op Not Support: *(.+)")
_FUSED = ("Relu", "Clip")  # activations that MNN makes part of the convolution ahead
_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
LARGEST = 127
_TEXT, _FLOAT = 2, 5  # wire types of protobuf; 0 is an integer
_HALF_TO_EVEN = 2


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    from ghostyolo.export.onnx_graph import to_onnx

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
        parameters: of the layers to quantise (:func:`encode`).

    Raises:
        ExportError: an operator that MNN lacks, or another complaint of its converter.
    """
    import onnx

    with tempfile.TemporaryDirectory() as room:
        onnx.save(_rounded_to_half(proto) if half and parameters is None else proto, Path(room) / "model.onnx")
        # The converter takes the metadata as an argument, which is not text but bytes on some systems.
        ascii_only = json.dumps(json.loads(metadata))
        flags = ["--fp16"] if half else []
        if parameters is not None:
            (Path(room) / "parameters.bin").write_bytes(parameters)
            flags += ["--compressionParamsFile", "parameters.bin"]
        lines = run_converter(
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
    import onnx
    from onnx import numpy_helper

    from ghostyolo.export.half_precision import LARGEST_HALF

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
        match = _UNSUPPORTED.search(line)
        if match:
            operators = [name.removeprefix("ONNX::") for name in re.split(r"[ ,]+", match.group(1).strip())]
            return "; ".join(f"it has no operator {name}{_where(name, proto)}" for name in operators)
    return (lines[-1] if lines else "its converter said nothing")[:300]


def _where(operator: str, proto: onnx.ModelProto) -> str:
    names = [node.name or node.output[0] for node in proto.graph.node if node.op_type == operator]
    return f" (layer {', '.join(names[:3])})" if names else ""


def run_converter(*arguments: str, folder: Path) -> list[str]:
    """Run the converter in ``folder``; return the lines it printed.

    It has no exit status: look for its file. MNN's command ``mnnconvert`` (``MNN.tools``) runs pip to install a logging
    package and sends a report of each conversion to the maker. The extension module ``_tools`` beneath it does neither.
    It prints and may end the process, so it has one of its own.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        ExportError: no layer is left to quantise, or MNN cannot take the network.
    """
    from onnx import numpy_helper

    from ghostyolo.export.onnx_graph import to_onnx
    from ghostyolo.export.quantise.clipping import step_of, thresholds

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
    import onnx
    import onnxruntime

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


@dataclass(frozen=True)
class LayerParameters:
    """One convolution.

    Attributes:
        input, weight, output: names of tensors; the converter finds the layer by its output, an activation included
            that it fuses.
        input_step, output_step: float value of one int8 step, zero at zero.
        weight_steps: one for each output channel.
    """

    input: str
    weight: str
    output: str
    input_step: float
    weight_steps: tuple[float, ...]
    output_step: float


def encode(layers: Iterable[LayerParameters]) -> bytes:
    """Encode the parameters of quantised layers that MNN's converter reads (``--compressionParamsFile``), as protobuf.

    Written by hand, since MNN publishes no Python classes for it: a ``Pipeline`` (1 version, 2 algorithms) of one
    ``CompressionAlgo`` (1 type, 2 quantisation), whose ``QuantizeParams`` (1 rounding, 4 layers) hold for each layer
    its input (1), weights (2) and output (3), with their name (1), bits (2), float steps (3), and what they are clamped
    to. Source: ``MNN_compression.proto`` in MNN's repository.
    """
    quantisation = _integer(1, _HALF_TO_EVEN) + b"".join(_field(4, _layer(layer)) for layer in layers)
    algorithm = _integer(1, 0) + _field(2, quantisation)
    return _field(1, b"0.0.0") + _field(2, algorithm)


def _layer(layer: LayerParameters) -> bytes:
    return (
        _field(1, _tensor(layer.input, (layer.input_step,)) + _integer(4, 0) + _clamp(5))
        + _field(2, _tensor(layer.weight, layer.weight_steps) + _clamp(4))
        + _field(3, _tensor(layer.output, (layer.output_step,)) + _integer(4, 0) + _clamp(5))
    )


def _tensor(name: str, steps: tuple[float, ...]) -> bytes:
    floats = b"".join(_key(3, _FLOAT) + struct.pack("<f", step) for step in steps)
    return _field(1, name.encode()) + _integer(2, 8) + floats


def _clamp(number: int) -> bytes:
    return _integer(number, -LARGEST) + _integer(number + 1, LARGEST)


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _TEXT) + _varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value)


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written as 64 bits
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


FORMAT = ExportFormat("mnn", ".mnn", "mnn", write, quantise, needs=(EXTRA,), dynamic=True, opsets=ONNX_OPSETS)

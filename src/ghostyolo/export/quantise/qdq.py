"""ONNX graphs with QDQ nodes around convolutions, by ONNX Runtime's static quantisation.

Weights are int8, symmetric, one scale an output channel; activations uint8, one scale and zero point a tensor, which is
the pair that ONNX Runtime's kernels are made for on x86 with VNNI; CPUs with AVX2 alone may saturate where two products
are added in 16 bits. Ranges run from the least to the greatest value that was seen: on the built-in detectors, entropy
and percentiles gave no better AP and took 2 to 5 times as long.

Only dense convolutions are quantised. Depthwise ones stay in float: they hold few weights, and their INT8 kernels take
longer than the float ones. Whatever stays in float is stored in float16.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime import quantization

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import NETWORK, ExportJob
from ghostyolo.export.onnx_graph import first_line, to_onnx
from ghostyolo.export.quantise import Canvas
from ghostyolo.export.quantise.calibration import in_batches
from ghostyolo.silence import silence

_RANGES = "ONNX Runtime's ranges"


def with_qdq(
    job: ExportJob, calibration: Sequence[Canvas], keep_float: frozenset[str], symmetric: bool = False
) -> onnx.ModelProto:
    """The graph with QuantizeLinear and DequantizeLinear around its dense convolutions, without metadata.

    Args:
        symmetric: activations int8 around zero and biases in float, as TensorRT wants them.

    Raises:
        ExportError: no layer is left to quantise, or ONNX Runtime cannot quantise the graph.
    """
    proto = to_onnx(job)
    dense = convolutions(proto, dense=True)
    wanted = [name for name, layer in dense.items() if layer not in keep_float]
    if not wanted:
        raise ExportError("ONNX: every convolution stays in float, so there is nothing to quantise")
    with tempfile.TemporaryDirectory() as room:
        source, target = Path(room) / "float.onnx", Path(room) / "int8.onnx"
        onnx.save(proto, source)
        ranges, options = Path(room) / "ranges.json", {}
        if "calibration_cache_path" in inspect.signature(quantization.quantize_static).parameters:
            options["calibration_cache_path"] = ranges
            if _RANGES in job.made:
                ranges.write_text(job.made[_RANGES])
        try:
            with silence():  # its advice to pre-process: the graph is slimmed already
                quantization.quantize_static(
                    source,
                    target,
                    _Reader(in_batches(calibration, job)),
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=["Conv"],
                    nodes_to_quantize=wanted,
                    per_channel=True,
                    activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                    extra_options={"ActivationSymmetric": symmetric, "QuantizeBias": not symmetric},
                    **options,
                )
        except Exception as error:  # its checks raise ValueError, RuntimeError and ONNX Runtime's own classes
            raise ExportError(f"ONNX Runtime cannot quantise this network: {first_line(error)}") from error
        quantised = onnx.load(target)
        if ranges.exists():  # they are the same whatever stays in float
            job.made[_RANGES] = ranges.read_text()
    quantised.producer_name, quantised.producer_version = proto.producer_name, proto.producer_version
    return quantised


def convolutions(proto: onnx.ModelProto, dense: bool = False) -> dict[str, str]:
    """Map each convolution's node to the module of its weight.

    Keys are names of nodes, values paths of modules. A weight that the exporter renamed has its own name for a path.

    Args:
        dense: leave out grouped ones.
    """
    found = {}
    for node in proto.graph.node:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if node.op_type == "Conv" and not (dense and groups > 1):
            found[node.name] = node.input[1].removeprefix(f"{NETWORK}.").removesuffix(".weight")
    return found


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, canvases: Sequence[Canvas]) -> None:
        self._rest = iter(canvases)

    def get_next(self) -> dict[str, Canvas] | None:
        canvas = next(self._rest, None)
        return None if canvas is None else {"images": canvas}

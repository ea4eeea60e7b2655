"""OpenVINO folders (``x_openvino``): ``model.xml``, ``model.bin``, through ONNX; metadata in ``rt_info``.

``fp16`` stores weights in float16; the CPU computes in float32, a GPU or NPU as it can.

``int8`` is written by NNCF: weights int8, one scale an output channel; activations over observed ranges.

Ranges of weights and of inputs that can be negative are symmetric where that costs nothing, else not (NNCF's preset
MIXED, made for SiLU). Biases are corrected for the mean error of each layer by the fast rule; the slow one takes 3 to 4
times as long and was no better. Everything behind the last convolutions stays in float: in 8 bits a coordinate of up to
640 pixels would be 2.5 pixels wrong.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostyolo.errors import ExportError
from ghostyolo.export.formats import ONNX_OPSETS, ExportFormat
from ghostyolo.extras import Extra
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.runtime.engines.openvino import EXTRA, load_openvino
from ghostyolo.silence import silence

if TYPE_CHECKING:
    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.quantise import Canvas

XML = "model.xml"
_CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData")
_NEEDLESS = ("Constant", "Result", "Parameter")


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    import onnx

    from ghostyolo.export.onnx_graph import first_line, to_onnx

    openvino = load_openvino()
    proto = to_onnx(job)
    with tempfile.TemporaryDirectory() as room:
        source = Path(room) / "model.onnx"
        onnx.save(proto, source)
        try:
            model = openvino.convert_model(source)
        except Exception as error:  # its frontends raise several classes without a base
            raise ExportError(f"OpenVINO cannot take this network: {first_line(error)}") from error
        model.set_rt_info(job.metadata.to_json(), [METADATA_KEY])
        half = job.metadata.export is not None and job.metadata.export.precision == "fp16"
        path.mkdir()
        openvino.save_model(model, path / XML, compress_to_fp16=half)


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        ExportError: NNCF cannot quantise the graph.
    """
    openvino = load_openvino()
    import nncf
    import onnx

    from ghostyolo.export.onnx_graph import first_line, to_onnx
    from ghostyolo.export.quantise.calibration import in_batches
    from ghostyolo.export.quantise.qdq import convolutions

    proto = to_onnx(job)
    calls = in_batches(calibration, job)
    kept = [node for node, layer in convolutions(proto).items() if layer in keep_float]
    with tempfile.TemporaryDirectory() as room, silence():
        source = Path(room) / "model.onnx"
        onnx.save(proto, source)
        try:
            model = openvino.convert_model(source)
            quantised = nncf.quantize(
                model,
                nncf.Dataset(calls, lambda canvas: {"images": canvas}),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calls),
                fast_bias_correction=True,
                ignored_scope=nncf.IgnoredScope(names=_float_nodes(model, kept), validate=False),
            )
        except Exception as error:  # both libraries raise several classes without a base
            raise ExportError(f"NNCF cannot quantise this network: {first_line(error)}") from error
        _share_ranges(quantised)
        _store_half(quantised)
        quantised.set_rt_info(job.metadata.to_json(), [METADATA_KEY])
        path.mkdir()
        openvino.save_model(quantised, path / XML, compress_to_fp16=False)
    shorten(path / XML)


def shorten(xml: Path) -> None:
    """Drop the indentation of a network's description.

    It is a sixth of an INT8 file.
    """
    text = xml.read_text(encoding="utf-8")
    xml.write_text(re.sub(r">\s+<", "><", text), encoding="utf-8")


def _float_nodes(model: Any, kept: Sequence[str]) -> list[str]:
    """Names of what stays in float: these convolutions with what adds their bias, and all that no convolution follows.

    OpenVINO names the node of a convolution with a bias ``x/WithoutBiases``, and the sum ``x``.
    """
    names = {*kept, *(f"{name}/WithoutBiases" for name in kept)}
    decode: set[str] = set()
    for node in reversed(model.get_ordered_ops()):
        readers = [reader.get_node() for output in node.outputs() for reader in output.get_target_inputs()]
        if node.get_type_name() not in _CONVOLUTIONS and all(one.get_friendly_name() in decode for one in readers):
            decode.add(node.get_friendly_name())
    present = {
        node.get_friendly_name(): node for node in model.get_ordered_ops() if node.get_type_name() not in _NEEDLESS
    }
    return sorted((names | decode) & set(present))


def _store_half(model: Any) -> None:
    """Store the weights of convolutions that stay in float as float16, as ``save_model`` does for float files only."""
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() not in _CONVOLUTIONS:
            continue
        weight = node.input_value(1).get_node()
        if weight.get_type_name() == "Constant" and weight.data.dtype == np.float32:
            half = opset13.constant(weight.data.astype(np.float16))
            node.input(1).replace_source_output(opset13.convert(half, "f32").output(0))


def _share_ranges(model: Any) -> None:
    """Let input and output range of each rounding be one constant where they are equal: half of the constants."""
    for node in model.get_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        for given, same in ((1, 3), (2, 4)):
            own, other = (node.input_value(port) for port in (given, same))
            if own.get_node().get_type_name() == other.get_node().get_type_name() == "Constant" and np.array_equal(
                own.get_node().data, other.get_node().data
            ):
                node.input(same).replace_source_output(own)


FORMAT = ExportFormat(
    "openvino",
    "_openvino",
    "openvino",
    write,
    quantise,
    needs=(EXTRA,),
    int8_needs=(Extra("nncf", ("nncf",)),),
    dynamic=True,
    outputs=("decoded", "raw", "nms"),
    opsets=ONNX_OPSETS,
    rewritten=True,
)

"""ncnn folders (``x_ncnn``), through TorchScript and pnnx; their files: :mod:`ghostyolo.runtime.engines.ncnn`.

One size, one picture a call. Blob ``in0`` is the picture (C, H, W), RGB in 0..1; ``out0``, ``out1`` ... are the outputs
in the order of the metadata, without their batch: boxes (A, 4) and scores (A, classes), or maps (K, H, W). ``fp16``
stores weights in float16; the arithmetic of the engine here stays float32.

``int8`` is made here: ncnn's own tools for that are not published as a package.
Convolutions compute in int8, symmetric: weights with a scale for each output channel (for each group of grouped ones),
inputs with one scale a layer, which is the threshold of least squared error on the pictures of calibration. What stays
in float is stored in float16. ncnn quantises the input at each such layer and gives float32 back.

A ``.param`` is text: a magic number, the counts of layers and blobs, and one line a layer with its type, name, counts
of inputs and outputs, their blobs, and numbered parameters. A ``.bin`` is the layers' arrays one after the other, each
either bare float32, or with four bytes ahead that say how it is stored: float32 (0), float16 or int8, padded to four
bytes. (ncnn's wiki, "param and model file structure" and "operation param weight table".)
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ExportError
from ghostyolo.export.formats import ExportFormat
from ghostyolo.extras import Extra
from ghostyolo.runtime.engines import EngineSetup
from ghostyolo.runtime.engines.ncnn import BIN, EXTRA, PARAM, open_net, write_description
from ghostyolo.silence import silence

if TYPE_CHECKING:
    from torch import nn

    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.quantise import Canvas

FLOAT, HALF, INT8 = 0, 0x01306B47, 0x000D4B38
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
_LARGEST_HALF = 65504.0
_INT8_SCALES = "8"
_PER_LAYER = {"Convolution": "2", "ConvolutionDepthWise": "1"}


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    path.mkdir()
    convert(job, path, half=job.metadata.export is not None and job.metadata.export.precision == "fp16")
    write_description(path, job.metadata)


def convert(job: ExportJob, folder: Path, half: bool = False) -> None:
    """Put the graph and its weights into ``folder``.

    Raises:
        ExportError: an operator that ncnn lacks, or another complaint of pnnx.
    """
    import ncnn
    import pnnx
    import torch

    from ghostyolo.export.onnx_graph import first_line

    example = job.example()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        try:
            with silence():
                # Tracing again to compare would double the time; parity compares the file itself.
                torch.jit.trace(job.traceable(), example, check_trace=False).save(str(room / "model.pt"))
        except Exception as error:  # torch raises several classes without a base of their own
            raise ExportError(f"ncnn: this network cannot be traced: {first_line(error)}") from error
        shape = str(list(example.shape)).replace(" ", "")
        done = subprocess.run(
            [pnnx.EXEC_PATH, "model.pt", f"inputshape={shape}", f"fp16={int(half)}"],
            cwd=room,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        param, weights = room / PARAM, room / BIN
        if done.returncode != 0 or not param.is_file() or not weights.is_file():
            raise ExportError(f"ncnn: pnnx cannot convert this network: {_complaint(done.stdout, done.returncode)}")
        _check_operators(param, room / "model.pnnx.param")
        with silence() as printed:
            net = open_net(ncnn, param, weights)
        if net is None:
            reason = printed[0][:200] if printed else "no reason given"
            raise ExportError(f"ncnn cannot open what pnnx made of this network: {reason}")
        for file in (param, weights):
            (folder / file.name).write_bytes(file.read_bytes())


def _check_operators(param: Path, before: Path) -> None:
    """Refuse what pnnx could not put into ncnn's operators: it leaves those under torch's names, which have a dot."""
    lacking = [fields[:2] for fields in _layers(param) if "." in fields[0] or "::" in fields[0]]
    lacking = [fields for fields in lacking if fields[0] != "pnnx.Expression"] or lacking
    if lacking:
        operator, name = lacking[0]
        after = _module_before(name, before)
        where = f" (layer {name}{f', after {after}' if after else ''})"
        raise ExportError(f"ncnn has no operator {operator}{where}: it cannot take this network")


def _module_before(name: str, graph: Path) -> str | None:
    """The nearest module of the network ahead of a layer in pnnx's own graph, which keeps the modules' names."""
    module = None
    for fields in _layers(graph) if graph.is_file() else []:
        if fields[1] == name:
            return module
        if fields[0].startswith("nn."):
            module = fields[1]
    return None


def _layers(param: Path) -> list[list[str]]:
    lines = param.read_text(encoding="utf-8").splitlines()[2:]
    return [line.split() for line in lines if len(line.split()) > 1]


def _complaint(printed: str, status: int) -> str:
    """What pnnx said last that names an error; it prints its progress and tracebacks between."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "failed" in line or "not supported" in line]
    return (telling or lines or [f"it ended with status {status}"])[-1][:300]


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write the folder ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        ExportError: no layer is left to quantise, or the network has a layer that is not known here.
    """
    from ghostyolo.export.quantise.clipping import thresholds

    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        convert(job, room)
        layers = read_model(room / PARAM, room / BIN)
        kept = _layers_of(layers, job.model.network, keep_float)
        chosen = [layer for layer in layers if layer.kind in CONVOLUTIONS and layer.name not in kept]
        if not chosen:
            raise ExportError("ncnn: every convolution stays in float, so there is nothing to quantise")
        blobs = {layer.inputs[0] for layer in chosen}
        found = thresholds(lambda: _run(room, blobs, calibration))
    for layer in chosen:
        quantise_layer(layer, found[layer.inputs[0]])
    path.mkdir()
    write_model(layers, path / PARAM, path / BIN, half=True)
    write_description(path, job.metadata)


def quantise_layer(layer: Layer, threshold: float) -> None:
    """Put a convolution's weights and scales in int8; inputs beyond ``threshold`` are clipped."""
    from ghostyolo.export.quantise.clipping import LARGEST, step_of

    weights, groups = layer.arrays[0].values, layer.number(7, 1)
    rows = weights.reshape(groups if layer.kind == "ConvolutionDepthWise" else layer.number(0), -1)
    scales = (1 / step_of(np.abs(rows).max(1))).astype(np.float32)
    whole = np.clip(np.rint(rows * scales[:, None]), -LARGEST, LARGEST).astype(np.int8)
    layer.arrays[0] = Array(whole.ravel(), tagged=True)
    input_scale = (1 / step_of(np.array([threshold], np.float32))).astype(np.float32)
    layer.arrays += [Array(scales, tagged=False), Array(input_scale, tagged=False)]
    layer.parameters[_INT8_SCALES] = _PER_LAYER[layer.kind]


def _run(folder: Path, blobs: set[str], calibration: Sequence[Canvas]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The blobs of the float network, picture by picture."""
    import ncnn

    net = open_net(ncnn, folder / PARAM, folder / BIN, EngineSetup(threads=1))
    for canvas in calibration:
        extractor = net.create_extractor()
        extractor.set_light_mode(False)  # else blobs are freed as soon as they were used
        picture = np.ascontiguousarray(canvas[0])
        extractor.input("in0", ncnn.Mat(picture))
        yield {name: np.array(extractor.extract(name)[1]) for name in blobs}


def _layers_of(layers: Sequence[Layer], network: nn.Module, paths: frozenset[str]) -> set[str]:
    """Names of the layers that hold the weights of these modules: pnnx keeps the weights but not the names."""
    from torch import nn

    wanted = {
        module.weight.detach().numpy().astype("<f4").tobytes()
        for path, module in network.named_modules()
        if path in paths and isinstance(module, nn.Conv2d)
    }
    return {layer.name for layer in layers if layer.kind in CONVOLUTIONS and layer.arrays[0].values.tobytes() in wanted}


@dataclass
class Array:
    """One array of a layer.

    Attributes:
        values: flat, float32 or int8.
        tagged: whether its storage is said ahead of it; bare arrays are float32.
    """

    values: npt.NDArray[np.float32] | npt.NDArray[np.int8]
    tagged: bool

    def to_bytes(self, half: bool) -> bytes:
        """Return the bytes that ncnn reads.

        ``half`` stores float32 in float16 where it can say so and the values fit.
        """
        if not self.tagged:
            return self.values.astype("<f4").tobytes()
        if self.values.dtype == np.int8:
            return _padded(INT8, self.values.tobytes())
        if half and (self.values.size == 0 or np.abs(self.values).max() <= _LARGEST_HALF):
            return _padded(HALF, self.values.astype("<f2").tobytes())
        return _padded(FLOAT, self.values.astype("<f4").tobytes())


@dataclass
class Layer:
    """One line of the graph with its arrays.

    Attributes:
        kind, name: such as ``Convolution`` and ``conv_12``.
        inputs, outputs: names of blobs.
        parameters: text by number, in order.
        arrays: weights, bias, scales ... in the order of the file.
    """

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    parameters: dict[str, str]
    arrays: list[Array] = field(default_factory=list)

    def number(self, key: int, default: int = 0) -> int:
        """An integer parameter."""
        return int(self.parameters.get(str(key), default))

    def line(self) -> str:
        """As in the file."""
        counts = f"{len(self.inputs)} {len(self.outputs)}"
        parameters = [f"{key}={value}" for key, value in self.parameters.items()]
        return " ".join([f"{self.kind:<24} {self.name:<24} {counts}", *self.inputs, *self.outputs, *parameters])


def read_model(param: Path, weights: Path) -> list[Layer]:
    """Read both files.

    Raises:
        ExportError: a layer with weights that this reader does not know, so that the rest cannot be told apart.
    """
    layers = [_layer(line) for line in param.read_text(encoding="utf-8").splitlines()[2:] if line.strip()]
    data, offset = weights.read_bytes(), 0
    for layer in layers:
        for size, tagged in _arrays(layer):
            array, offset = _read(data, offset, size, tagged, layer.name)
            layer.arrays.append(array)
    if offset != len(data):
        raise ExportError("ncnn: the network has a layer whose weights our quantiser cannot read: export it as fp16")
    return layers


def write_model(layers: list[Layer], param: Path, weights: Path, half: bool) -> None:
    """Write both files."""
    blobs = sum(len(layer.outputs) for layer in layers)
    lines = ["7767517", f"{len(layers)} {blobs}", *(layer.line() for layer in layers)]
    param.write_text("\n".join(lines) + "\n", encoding="utf-8")
    weights.write_bytes(b"".join(array.to_bytes(half) for layer in layers for array in layer.arrays))


def _layer(line: str) -> Layer:
    kind, name, inputs, outputs, *rest = line.split()
    last_input, last_output = int(inputs), int(inputs) + int(outputs)
    pairs = (pair.partition("=") for pair in rest[last_output:])
    parameters = {key: value for key, _, value in pairs}
    return Layer(kind, name, rest[:last_input], rest[last_input:last_output], parameters)


def _arrays(layer: Layer) -> list[tuple[int, bool]]:
    """(size, whether tagged) of each array of a float layer."""
    number = layer.number
    if layer.kind in (*CONVOLUTIONS, "Deconvolution", "DeconvolutionDepthWise"):
        return [(number(6), True), *_bias(number(0), number(5))]
    if layer.kind == "InnerProduct":
        return [(number(2), True), *_bias(number(0), number(1))]
    if layer.kind == "MemoryData":
        size = max(number(0), 1) * max(number(1), 1) * max(number(11), 1) * max(number(2), 1)
        return [(size, number(21, 1) == 0)]
    if layer.kind == "Gemm":
        rows, columns, inner = number(7), number(8), number(9)
        third = {0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}.get(number(10), 0)
        sizes = ((number(4), rows * inner), (number(5), columns * inner), (number(6), third))
        return [(size, True) for constant, size in sizes if constant and size]
    if layer.kind == "BatchNorm":
        return [(number(0), False)] * 4
    if layer.kind == "PReLU":
        return [(number(0), False)]
    return []


def _bias(size: int, present: int) -> list[tuple[int, bool]]:
    return [(size, False)] if present else []


def _read(data: bytes, offset: int, size: int, tagged: bool, name: str) -> tuple[Array, int]:
    if tagged:
        if int.from_bytes(data[offset : offset + 4], "little") != FLOAT:
            raise ExportError(f"ncnn: weights of layer {name} are not float32: export it as fp16")
        offset += 4
    end = offset + 4 * size
    if end > len(data):
        raise ExportError(f"ncnn: weights of layer {name} reach past the end of the file: export it as fp16")
    return Array(np.frombuffer(data[offset:end], "<f4"), tagged), end


def _padded(tag: int, data: bytes) -> bytes:
    return tag.to_bytes(4, "little") + data + bytes(-len(data) % 4)


FORMAT = ExportFormat("ncnn", "_ncnn", "ncnn", write, quantise, needs=(Extra("pnnx", ("pnnx",)), EXTRA), batches=False)

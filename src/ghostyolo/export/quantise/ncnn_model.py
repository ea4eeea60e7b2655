"""Read and write ncnn's two files: which layer owns which bytes of the weights.

A ``.param`` is text: a magic number, the counts of layers and blobs, and one line a layer with its type, name, counts
of inputs and outputs, their blobs, and numbered parameters. A ``.bin`` is the layers' arrays one after the other, each
either bare float32, or with four bytes ahead that say how it is stored: float32 (0), float16 or int8, padded to four
bytes. (ncnn's wiki, "param and model file structure" and "operation param weight table".)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ExportError

FLOAT, HALF, INT8 = 0, 0x01306B47, 0x000D4B38
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
_LARGEST_HALF = 65504.0


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
        """As ncnn reads it; ``half`` stores float32 in float16 where it can say so and the values fit."""
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

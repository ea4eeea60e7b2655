"""The parameters of quantised layers that MNN's converter reads (``--compressionParamsFile``), as protobuf.

Written by hand, since MNN publishes no Python classes for it: a ``Pipeline`` (1 version, 2 algorithms) of one
``CompressionAlgo`` (1 type, 2 quantisation), whose ``QuantizeParams`` (1 rounding, 4 layers) hold for each layer its
input (1), weights (2) and output (3), with their name (1), bits (2), float steps (3), and what they are clamped to.
Source: ``MNN_compression.proto`` in MNN's repository.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

LARGEST = 127
_TEXT, _FLOAT = 2, 5  # wire types; 0 is an integer
_HALF_TO_EVEN = 2


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
    """The file's content."""
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

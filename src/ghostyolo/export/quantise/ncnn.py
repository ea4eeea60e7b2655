"""INT8 folders of ncnn's, made here: its own tools for that are not published as a package.

Convolutions compute in int8, symmetric: weights with a scale for each output channel (for each group of grouped ones),
inputs with one scale a layer, which is the threshold of least squared error on the pictures of calibration. What stays
in float is stored in float16. ncnn quantises the input at each such layer and gives float32 back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.ncnn import convert
from ghostyolo.export.quantise.ncnn_model import CONVOLUTIONS, Array, Layer, read_model, write_model
from ghostyolo.export.quantise.thresholds import LARGEST, step_of, thresholds
from ghostyolo.runtime.engines.ncnn import BIN, PARAM, open_net, write_description

Canvas = npt.NDArray[np.float32]
_INT8_SCALES = "8"
_PER_LAYER = {"Convolution": "2", "ConvolutionDepthWise": "1"}


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write the folder ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        ExportError: no layer is left to quantise, or the network has a layer that is not known here.
    """
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

    net = open_net(ncnn, folder / PARAM, folder / BIN, threads=1)
    for canvas in calibration:
        extractor = net.create_extractor()
        extractor.set_light_mode(False)  # else blobs are freed as soon as they were used
        picture = np.ascontiguousarray(canvas[0])
        extractor.input("in0", ncnn.Mat(picture))
        yield {name: np.array(extractor.extract(name)[1]) for name in blobs}


def _layers_of(layers: Sequence[Layer], network: nn.Module, paths: frozenset[str]) -> set[str]:
    """Names of the layers that hold the weights of these modules: pnnx keeps the weights but not the names."""
    wanted = {
        module.weight.detach().numpy().astype("<f4").tobytes()
        for path, module in network.named_modules()
        if path in paths and isinstance(module, nn.Conv2d)
    }
    return {layer.name for layer in layers if layer.kind in CONVOLUTIONS and layer.arrays[0].values.tobytes() in wanted}

"""INT8 folders of ncnn's, made here: its own tools for that are not published as a package.

Convolutions compute in int8, symmetric: weights with a scale for each output channel (for each group of grouped ones),
inputs with one scale a layer, which is the threshold of least squared error on the pictures of calibration. What stays
in float is stored in float16. ncnn quantises the input at each such layer and gives float32 back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.ncnn import convert
from ghostyolo.export.quantise.ncnn_model import CONVOLUTIONS, Array, Layer, read_model, write_model
from ghostyolo.runtime.ncnn_engine import open_net
from ghostyolo.runtime.ncnn_folder import BIN, PARAM, write_description

Canvas = npt.NDArray[np.float32]
LARGEST = 127
SMALLEST = 1e-30  # below that a scale has no float32, and the values no weight
BINS = 2048
SAMPLES = 16384  # of a blob, evenly spread
THRESHOLDS = 96
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
        thresholds = activation_thresholds(room, [layer.inputs[0] for layer in chosen], calibration)
    for layer in chosen:
        quantise_layer(layer, thresholds[layer.inputs[0]])
    path.mkdir()
    write_model(layers, path / PARAM, path / BIN, half=True)
    write_description(path, job.metadata)


def quantise_layer(layer: Layer, threshold: float) -> None:
    """Put a convolution's weights and scales in int8; inputs beyond ``threshold`` are clipped."""
    weights, groups = layer.arrays[0].values, layer.number(7, 1)
    rows = weights.reshape(groups if layer.kind == "ConvolutionDepthWise" else layer.number(0), -1)
    largest = np.abs(rows).max(1)
    scales = (LARGEST / np.where(largest > SMALLEST, largest, LARGEST)).astype(np.float32)
    whole = np.clip(np.rint(rows * scales[:, None]), -LARGEST, LARGEST).astype(np.int8)
    layer.arrays[0] = Array(whole.ravel(), tagged=True)
    input_scale = np.array([LARGEST / threshold if threshold > SMALLEST else 1.0], np.float32)
    layer.arrays += [Array(scales, tagged=False), Array(input_scale, tagged=False)]
    layer.parameters[_INT8_SCALES] = _PER_LAYER[layer.kind]


def activation_thresholds(folder: Path, blobs: Sequence[str], calibration: Sequence[Canvas]) -> dict[str, float]:
    """The clipping threshold of each blob of a float network, from its values on the pictures."""
    largest = dict.fromkeys(blobs, 0.0)
    for values in _run(folder, blobs, calibration):
        for name, one in values.items():
            largest[name] = max(largest[name], float(one.max(initial=0.0)))
    counts = {name: np.zeros(BINS) for name in largest}
    for values in _run(folder, blobs, calibration):
        for name, one in values.items():
            if largest[name] > 0:
                counts[name] += np.histogram(one, BINS, (0.0, largest[name]))[0]
    return {name: best_threshold(counts[name], largest[name]) for name in largest}


def best_threshold(counts: npt.NDArray[np.float64], largest: float) -> float:
    """Where to clip, for the least squared error of rounding and clipping together.

    Args:
        counts: histogram of magnitudes between 0 and ``largest``.
        largest: 0 for a blob that is always zero.
    """
    if largest == 0:
        return 0.0
    centers = (np.arange(len(counts)) + 0.5) * (largest / len(counts))
    errors = []
    candidates = largest * np.linspace(0.1, 1.0, THRESHOLDS)
    for threshold in candidates:
        step = threshold / LARGEST
        beyond = np.maximum(centers - threshold, 0)
        # Rounding errors are spread evenly over a step: its square over 12 is their mean square.
        errors.append(float(counts @ np.where(beyond > 0, beyond**2, step**2 / 12)))
    return float(candidates[int(np.argmin(errors))])


def _run(
    folder: Path, blobs: Sequence[str], calibration: Sequence[Canvas]
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Magnitudes of the blobs, picture by picture, at most :data:`SAMPLES` and the largest."""
    import ncnn

    net = open_net(ncnn, folder / PARAM, folder / BIN, threads=1)
    for canvas in calibration:
        extractor = net.create_extractor()
        extractor.set_light_mode(False)  # else blobs are freed as soon as they were used
        picture = np.ascontiguousarray(canvas[0])
        extractor.input("in0", ncnn.Mat(picture))
        yield {name: _sample(np.abs(np.array(extractor.extract(name)[1])).ravel()) for name in dict.fromkeys(blobs)}


def _sample(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    step = -(-values.size // SAMPLES)
    # A stride that shares no factor with rows of even length, so that it does not see the same columns only.
    return np.append(values[:: step | 1], values.max(initial=0.0)) if step > 1 else values


def _layers_of(layers: Sequence[Layer], network: nn.Module, paths: frozenset[str]) -> set[str]:
    """Names of the layers that hold the weights of these modules: pnnx keeps the weights but not the names."""
    wanted = {
        module.weight.detach().numpy().astype("<f4").tobytes()
        for path, module in network.named_modules()
        if path in paths and isinstance(module, nn.Conv2d)
    }
    return {layer.name for layer in layers if layer.kind in CONVOLUTIONS and layer.arrays[0].values.tobytes() in wanted}

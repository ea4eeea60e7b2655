"""Reads boxes and scores from the raw maps of a head, in numpy.

It is what ``export --output raw`` leaves to the reader. One output a level, named ``level_8``, ``level_16`` ... after
its stride: (B, K, H, W) logits. What the K channels are depends on the head (``metadata.config["head"]``):

    dfl, end2end    4 x bins of the left, top, right and bottom distance, then the classes
    yolox           dx, dy, dw, dh, objectness, then the classes
    anchor          for each anchor x, y, width, height, objectness and the classes

The arithmetic is that of the heads in torch (:mod:`ghostyolo.models.heads`), which the tests compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.default_anchors import default_anchors

Array = npt.NDArray[np.float32]
LEVEL = "level_"


def level_name(stride: int) -> str:
    """Name of the output of a level."""
    return f"{LEVEL}{stride}"


def decode_maps(maps: dict[str, Array], metadata: ModelMetadata, where: str) -> tuple[Array, Array]:
    """Decode all levels.

    Args:
        maps: (B, K, H, W) for each level, the finest first.
        metadata: its ``config`` says the head and its parameters.
        where: the file, for messages.

    Returns:
        boxes_xyxy (B, A, 4) in pixels and scores (B, A, classes) in 0..1.

    Raises:
        WeightsError: a head without a decoder here, or maps of another shape than it has.
    """
    head = metadata.config.get("head", {})
    kind, params = head.get("type"), head.get("params", {})
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise WeightsError(
            f"{where}: raw outputs of head '{kind}' cannot be decoded here; export with --output decoded"
        )
    classes, strides = len(metadata.class_names), [int(name.removeprefix(LEVEL)) for name in maps]
    if kind == "anchor" and not params.get("anchors"):
        params = {**params, "anchors": default_anchors(strides)}
    boxes, scores = [], []
    for number, (stride, (name, level)) in enumerate(zip(strides, maps.items(), strict=True)):
        try:
            one = decoder(level, stride, classes, params, number)
        except ValueError as error:
            raise WeightsError(f"{where}: output {name} of shape {level.shape} is not one of head '{kind}'") from error
        boxes.append(one[0])
        scores.append(one[1])
    return np.concatenate(boxes, 1), np.concatenate(scores, 1)


def _dfl(level: Array, stride: int, classes: int, params: dict[str, Any], number: int) -> tuple[Array, Array]:
    bins = params.get("bins", 16)
    flat = _cells_last(level)  # (B, A, 4 x bins + classes)
    if flat.shape[2] != 4 * bins + classes:
        raise ValueError
    logits = flat[..., : 4 * bins].reshape(*flat.shape[:2], 4, bins)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    distances = weights @ np.arange(bins, dtype=np.float32) * stride
    centers = (_cells(level) + 0.5) * stride
    boxes = np.concatenate((centers - distances[..., :2], centers + distances[..., 2:]), -1)
    return boxes, _sigmoid(flat[..., 4 * bins :])


def _yolox(level: Array, stride: int, classes: int, params: dict[str, Any], number: int) -> tuple[Array, Array]:
    flat = _cells_last(level)
    if flat.shape[2] != 5 + classes:
        raise ValueError
    middle = (_cells(level) + flat[..., :2]) * stride
    half = np.exp(flat[..., 2:4]) * (stride / 2)
    return np.concatenate((middle - half, middle + half), -1), _sigmoid(flat[..., 4:5]) * _sigmoid(flat[..., 5:])


def _anchor(level: Array, stride: int, classes: int, params: dict[str, Any], number: int) -> tuple[Array, Array]:
    sizes = np.asarray(params["anchors"][number], np.float32)
    batch, _, height, width = level.shape
    per_anchor = level.reshape(batch, len(sizes), 5 + classes, height * width).transpose(0, 1, 3, 2)
    unit = _sigmoid(per_anchor[..., :4]) * 2
    middle = (unit[..., :2] - 0.5 + _cells(level)) * stride
    half = unit[..., 2:] ** 2 * (sizes[:, None] / 2)
    boxes = np.concatenate((middle - half, middle + half), -1)
    scores = _sigmoid(per_anchor[..., 4:5]) * _sigmoid(per_anchor[..., 5:])
    return boxes.reshape(batch, -1, 4), scores.reshape(batch, -1, classes)


_Decoder = Callable[[Array, int, int, dict[str, Any], int], tuple[Array, Array]]
_DECODERS: dict[Any, _Decoder] = {
    "dfl": _dfl,
    "end2end": _dfl,
    "light": _dfl,
    "light_end2end": _dfl,
    "yolox": _yolox,
    "anchor": _anchor,
}


def _cells_last(level: Array) -> Array:
    return level.reshape(*level.shape[:2], -1).transpose(0, 2, 1)


def _cells(level: Array) -> Any:
    """Column and row of each cell: (H x W, 2)."""
    height, width = level.shape[2:]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.stack((columns, rows), -1).reshape(-1, 2)


def _sigmoid(logits: Array) -> Any:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and 1 / infinity the right answer
        return 1 / (1 + np.exp(-logits))

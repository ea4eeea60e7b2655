"""The layouts in which detectors of other programs answer.

Each is a row: how it is known, how it is read. A row is tried on what the file says and on one run on a built-in
picture (:class:`Answer`). ``classes`` counts the classes from the shapes; ``known`` says whether shapes, metadata and
values leave no other reading. Boxes are read as xyxy in pixels of the canvas, scores in 0..1. B pictures, A anchors or
queries, C classes.

A further layout is a further row. Sources: the exporters of the programs named in the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ghostyolo.data.letterbox import Place
from ghostyolo.runtime.engines.exported import spread_detections

Array = npt.NDArray[np.float32]
Read = tuple[Array, Array]

MOST_DETECTIONS = 1000
_STRIDES = (4, 8, 16, 32, 64)
_ALL_STRIDES = tuple(
    _STRIDES[first:last] for first in range(len(_STRIDES)) for last in range(first + 2, len(_STRIDES) + 1)
)


@dataclass(frozen=True)
class Answer:
    """What a network answered to pictures, and what its file says.

    Attributes:
        outputs: arrays by name.
        canvas: (height, width) of the pictures in pixels.
        batch: number of pictures.
        names: class names of the metadata; None: not said.
        task: Ultralytics' name for what the network does.
    """

    outputs: Mapping[str, Array]
    canvas: tuple[int, int]
    batch: int
    names: list[str] | None = None
    task: str = "detect"

    def only(self, dimensions: int) -> Array | None:
        """Return the only output, where it has so many dimensions.

        Of segmentation, the masks' prototypes are left out.
        """
        arrays = list(self.outputs.values())
        if self.task == "segment" and len(arrays) == 2 and arrays[1].ndim == 4:
            arrays = arrays[:1]
        return arrays[0] if len(arrays) == 1 and arrays[0].ndim == dimensions else None

    def count(self, columns: int, before: int) -> int | None:
        """Return the classes of rows with so many columns.

        Keypoints and mask coefficients stand behind their scores.
        """
        classes = columns - before
        if self.names is None:
            return classes if classes > 0 and self.task == "detect" else None
        further = self.task in ("pose", "segment")
        return len(self.names) if classes == len(self.names) or (further and classes > len(self.names)) else None


@dataclass(frozen=True)
class Layout:
    """One way to answer.

    Attributes:
        name: as ``--layout`` takes it.
        shape: of the outputs, for messages and docs.
        writers: the programs that write it.
        classes: number of classes, None where the outputs are not of this shape; -1: the outputs do not tell.
        known: whether an answer of this shape is this layout and no other.
        read: boxes (B, A, 4) and scores (B, A, C).
        nms: boxes of one object are still to be suppressed.
        pixels: what the network takes: RGB in 0..1, BGR in 0..255, or RGB normalised as for ImageNet.
        place: where a picture lies on the canvas.
    """

    name: str
    shape: str
    writers: str
    classes: Callable[[Answer], int | None]
    known: Callable[[Answer], bool]
    read: Callable[[Answer, int], Read]
    nms: bool = True
    pixels: Literal["rgb", "bgr255", "imagenet"] = "rgb"
    place: Place = "centre"


def cells(canvas: tuple[int, int], strides: tuple[int, ...]) -> int:
    """How many cells the maps of these strides have together."""
    height, width = canvas
    return sum(-(-height // stride) * -(-width // stride) for stride in strides)


def find_strides(count: int, canvas: tuple[int, int], anchors: int = 1) -> tuple[int, ...] | None:
    """Return the strides of which the maps have so many boxes.

    Each is twice the one before; None: there are none.
    """
    return next((strides for strides in _ALL_STRIDES if anchors * cells(canvas, strides) == count), None)


# ---- what the shapes say


def _channels_first(answer: Answer) -> int | None:
    output = answer.only(3)
    return None if output is None else answer.count(output.shape[1], 4)


def _channels_last(answer: Answer) -> int | None:
    output = answer.only(3)
    return None if output is None else answer.count(output.shape[2], 4)


def _with_objectness(answer: Answer) -> int | None:
    output = answer.only(3)
    return None if output is None else answer.count(output.shape[2], 5)


def _detections(answer: Answer) -> int | None:
    output = answer.only(3)
    fits = output is not None and output.shape[1] <= MOST_DETECTIONS and output.shape[2] >= 6
    return -1 if fits and (answer.task != "detect" or output.shape[2] == 6) else None  # type: ignore[union-attr]


def _numbered_detections(answer: Answer) -> int | None:
    output = answer.only(2)
    return -1 if output is not None and output.shape[1] == 7 else None


def _boxes_and_scores(answer: Answer) -> int | None:
    if set(answer.outputs) != {"boxes", "scores"}:
        return None
    boxes, scores = answer.outputs["boxes"], answer.outputs["scores"]
    fits = boxes.ndim == scores.ndim == 3 and boxes.shape == (*scores.shape[:2], 4)
    return scores.shape[2] if fits else None


def _pair(answer: Answer) -> tuple[Array, Array] | None:
    """Boxes (B, A, 4) and class logits (B, A, C) of two outputs in any order."""
    arrays = [array for array in answer.outputs.values() if array.ndim == 3]
    if len(arrays) != 2 or len(answer.outputs) != 2 or arrays[0].shape[:2] != arrays[1].shape[:2]:
        return None
    first, second = arrays
    named = next(iter(answer.outputs)) in ("pred_boxes", "dets", "boxes")
    if first.shape[2] == 4 and (second.shape[2] != 4 or named):
        return first, second
    return (second, first) if second.shape[2] == 4 else None


def _logits(answer: Answer) -> int | None:
    pair = _pair(answer)
    return None if pair is None else pair[1].shape[2]


def _logits_and_none(answer: Answer) -> int | None:
    classes = _logits(answer)
    return None if classes is None or classes < 2 else classes - 1


# ---- what the values say


def _grid(anchors: int, column: int) -> Callable[[Answer], bool]:
    """The number of boxes is that of the cells of some strides, or so many times that."""

    def known(answer: Answer) -> bool:
        output = answer.only(3)
        return output is not None and find_strides(output.shape[column], answer.canvas, anchors) is not None

    return known


def _in_pixels(boxes: Array, canvas: tuple[int, int]) -> bool:
    """Whether middles are spread over the canvas, and not offsets in a cell or parts of the whole."""
    return bool(np.abs(boxes[..., :2]).max(initial=0) > max(canvas) / 8)


def _anchor_free(decoded: bool, objectness: Callable[[Array], bool]) -> Callable[[Answer], bool]:
    def known(answer: Answer) -> bool:
        output = answer.only(3)
        return (
            _grid(1, 1)(answer)
            and output is not None
            and _in_pixels(output, answer.canvas) == decoded
            and objectness(output[..., 4])
        )

    return known


def _is_share(values: Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _is_one(values: Array) -> bool:
    return bool((values == 1).all())


def _holds_detections(box: int, score: int, label: int) -> Callable[[Answer], bool]:
    """Each row is empty or a box with its corners in order, a score and a whole number."""

    def known(answer: Answer) -> bool:
        (output,) = (array for array in list(answer.outputs.values())[:1])
        rows = output.reshape(-1, output.shape[-1])
        rows = rows[rows[:, score] != 0]
        corners = rows[:, box : box + 4]
        return bool(
            _is_share(rows[:, score])
            and (rows[:, label] == np.floor(rows[:, label])).all()
            and (rows[:, label] >= 0).all()
            and (corners[:, 2:] >= corners[:, :2]).all()
            and (not len(corners) or corners.max() > 2)
        )

    return known


def _is_normalised(boxes_cxcywh: Array) -> bool:
    return bool(np.abs(boxes_cxcywh).max(initial=0) <= 2 and (boxes_cxcywh[..., 2:] >= 0).all())


def _queries(answer: Answer) -> bool:
    output = answer.only(3)
    return (
        output is not None
        and output.shape[1] <= MOST_DETECTIONS
        and _is_normalised(output[..., :4])
        and _is_share(output[..., 4:])
        and bool((output[..., 4:] % 1 != 0).any())
    )


def _pair_of(background: bool, names: tuple[str, ...] = ()) -> Callable[[Answer], bool]:
    """Normalised boxes and logits; most queries of a DETR say "nothing", its last class."""

    def known(answer: Answer) -> bool:
        pair = _pair(answer)
        if pair is None or not _is_normalised(pair[0]) or _is_share(pair[1]):
            return False
        says_nothing = float((pair[1].argmax(-1) == pair[1].shape[2] - 1).mean()) > 0.5 and pair[1].shape[2] > 1
        return (set(answer.outputs) == set(names)) if names else (says_nothing == background)

    return known


# ---- how they are read


def _read_channels_first(answer: Answer, classes: int) -> Read:
    (output, *_) = answer.outputs.values()
    flat = output.transpose(0, 2, 1)  # a view: the best score of each anchor is faster found this way round
    return corners(flat[..., :4]), flat[..., 4 : 4 + classes]


def _read_channels_last(answer: Answer, classes: int) -> Read:
    (output, *_) = answer.outputs.values()
    return corners(output[..., :4]), output[..., 4 : 4 + classes]


def _read_objectness(answer: Answer, classes: int) -> Read:
    (output, *_) = answer.outputs.values()
    return corners(output[..., :4]), output[..., 4:5] * output[..., 5 : 5 + classes]


def _read_offsets(answer: Answer, classes: int) -> Read:
    """Offsets in cells and logarithms of sizes, both in strides; the cells of each level row by row."""
    (output,) = answer.outputs.values()
    strides = find_strides(output.shape[1], answer.canvas) or (8, 16, 32)
    places, steps = [], []
    for stride in strides:
        rows, columns = np.mgrid[: -(-answer.canvas[0] // stride), : -(-answer.canvas[1] // stride)].astype(np.float32)
        places.append(np.stack((columns, rows), -1).reshape(-1, 2))
        steps.append(np.full((len(places[-1]), 1), stride, np.float32))
    step = np.concatenate(steps)
    middle = (output[..., :2] + np.concatenate(places)) * step
    half = np.exp(np.minimum(output[..., 2:4], 20)) * step / 2
    return np.concatenate((middle - half, middle + half), -1), output[..., 4:5] * output[..., 5:]


def _read_detections(answer: Answer, classes: int) -> Read:
    (output, *_) = answer.outputs.values()
    rows = np.concatenate([np.insert(part[:, :6], 0, owner, axis=1) for owner, part in enumerate(output)])
    return spread_detections(rows[rows[:, 5] > 0], answer.batch, classes)


def _read_numbered(answer: Answer, classes: int) -> Read:
    (output,) = answer.outputs.values()
    return spread_detections(output[:, [0, 1, 2, 3, 4, 6, 5]], answer.batch, classes)


def _read_queries(answer: Answer, classes: int) -> Read:
    (output,) = answer.outputs.values()
    return _scaled(output[..., :4], answer.canvas), output[..., 4:]


def _read_sigmoid(answer: Answer, classes: int) -> Read:
    boxes, logits = _pair(answer) or (np.zeros((1, 0, 4), np.float32),) * 2
    return _scaled(boxes, answer.canvas), np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)


def _read_softmax(answer: Answer, classes: int) -> Read:
    boxes, logits = _pair(answer) or (np.zeros((1, 0, 4), np.float32),) * 2
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return _scaled(boxes, answer.canvas), (weights / weights.sum(-1, keepdims=True))[..., :classes]


def corners(boxes_cxcywh: Any) -> Array:
    """Corners of boxes given by their middle and size."""
    middle, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return np.concatenate((middle - half, middle + half), -1)


def _scaled(boxes_cxcywh: Array, canvas: tuple[int, int]) -> Array:
    height, width = canvas
    return corners(boxes_cxcywh) * np.array([width, height, width, height], np.float32)


def _always(answer: Answer) -> bool:
    return True


LAYOUTS = (
    Layout("boxes-scores", "boxes (B, A, 4), scores (B, A, C)", "ghostyolo, its metadata lost",
           _boxes_and_scores, _always, lambda answer, _: (answer.outputs["boxes"], answer.outputs["scores"])),
    Layout("yolov8", "(B, 4 + C, A): cx, cy, w, h, scores", "Ultralytics' YOLOv5u, 8, 9, 11, 12, 13",
           _channels_first, _grid(1, 2), _read_channels_first),
    Layout("yolov8-rows", "(B, A, 4 + C): the same, turned", "converters of those",
           _channels_last, lambda answer: _anchor_free(True, lambda _: True)(answer) and answer.names is not None,
           _read_channels_last),
    Layout("yolov5", "(B, 3 A, 5 + C): cx, cy, w, h, objectness, scores", "YOLOv5, YOLOv7",
           _with_objectness, _grid(3, 1), _read_objectness),
    Layout("yolov6", "(B, A, 5 + C): the same, an objectness of 1", "YOLOv6",
           _with_objectness, _anchor_free(True, _is_one), _read_objectness),
    Layout("yolox-decoded", "(B, A, 5 + C): cx, cy, w, h, objectness, scores", "YOLOX with --decode_in_inference",
           _with_objectness, _anchor_free(True, lambda values: _is_share(values) and not _is_one(values)),
           _read_objectness, pixels="bgr255", place="corner"),
    Layout("yolox", "(B, A, 5 + C): offsets in cells, logarithms of sizes, objectness, scores", "YOLOX",
           _with_objectness, _anchor_free(False, _is_share), _read_offsets, pixels="bgr255", place="corner"),
    Layout("end-to-end", "(B, up to 1000, 6): corners, score, class", "YOLOv10, YOLO26, Ultralytics with nms=True",
           _detections, _holds_detections(0, 4, 5), _read_detections, nms=False),
    Layout("yolov7-nms", "(N, 7): picture, corners, class, score", "YOLOv7 with --end2end",
           _numbered_detections, _holds_detections(1, 6, 5), _read_numbered, nms=False),
    Layout("rtdetr", "(B, queries, 4 + C): cx, cy, w, h of 0 to 1, scores", "Ultralytics' RT-DETR",
           _channels_last, _queries, _read_queries, nms=False, place="stretch"),
    Layout("rf-detr", "dets (B, queries, 4), labels (B, queries, C): cx, cy, w, h of 0 to 1, logits", "RF-DETR",
           _logits, _pair_of(False, ("dets", "labels")), _read_sigmoid, nms=False, pixels="imagenet", place="stretch"),
    Layout("detr", "(B, queries, C + 1) logits, (B, queries, 4): cx, cy, w, h of 0 to 1", "DETR",
           _logits_and_none, _pair_of(True), _read_softmax, nms=False, pixels="imagenet", place="stretch"),
    Layout("rtdetr-logits", "(B, queries, C) logits, (B, queries, 4): cx, cy, w, h of 0 to 1", "RT-DETR, D-FINE",
           _logits, _pair_of(False), _read_sigmoid, nms=False, place="stretch"),
)  # fmt: skip

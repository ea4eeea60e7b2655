"""Reads detectors that other programs wrote.

It finds out what they take, and which of the :mod:`layouts` they answer in. Nothing is guessed from shapes alone. The
file is run once on a built-in picture; a layout is taken where shapes, metadata and values leave no other, and where
its boxes and scores of that picture are sane. Class names, image size and stride come from Ultralytics' metadata
(``names``, ``imgsz``, ``stride``) where the file has it; else classes are numbered, the size is the input's (640 where
that is free) and the stride 32.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import read_image
from ghostyolo.data.letterbox import network_input, plan_letterbox
from ghostyolo.errors import ConfigError, WeightsError, suggest
from ghostyolo.metadata import ExportInfo, ModelMetadata, numbered_names
from ghostyolo.runtime.layouts import LAYOUTS, Answer, Layout, cells

Array = npt.NDArray[np.float32]
Shape = Sequence[int | None]
Run = Callable[[npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]

_TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "uint8": np.uint8}
_TASKS = ("detect", "pose", "segment")
_CHANNELS = (1, 3, 4)
# Second inputs of deployed detectors: RT-DETR, D-FINE and DEIM; Paddle's.
_SIZES_OF_PICTURES = ("orig_target_sizes", "target_sizes", "orig_size", "im_shape", "scale_factor")
_MEAN, _DEVIATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of ImageNet's pixels in 0..1


@dataclass(frozen=True)
class Port:
    """An input or output as its file declares it.

    Attributes:
        shape: None where a size is free.
        type: of the numbers, such as ``"float16"``.
    """

    shape: Shape
    type: str = "float"


@dataclass(frozen=True)
class Foreign:
    """A file of another program whose layout was recognised.

    Attributes:
        layout: of its outputs.
        metadata: as if the file were ours, as far as it can be known.
        number: the type of numbers that the input takes; whole ones are 0..255.
        channels_last: whether the input is (B, H, W, C).
        task: as in :class:`Answer`.
    """

    layout: Layout
    metadata: ModelMetadata
    number: type = np.float32
    channels_last: bool = False
    task: str = "detect"

    def feed(self, images: Array) -> npt.NDArray[Any]:
        """Turn RGB (B, C, H, W) in 0..1 into what the network takes."""
        if self.layout.pixels == "bgr255":
            images = images[:, ::-1] * np.float32(255)
        elif self.layout.pixels == "imagenet":
            mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (_MEAN, _DEVIATION))
            images = (images - mean) / deviation
        if self.number == np.uint8:
            images = np.rint(images * (1 if self.layout.pixels == "bgr255" else 255))
        if self.channels_last:
            images = images.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images, self.number)

    def interpret(self, outputs: Mapping[str, Array], batch: int, canvas: tuple[int, int]) -> tuple[Array, Array]:
        """boxes_xyxy (B, A, 4) in pixels and scores (B, A, classes)."""
        names = self.metadata.class_names
        return self.layout.read(Answer(outputs, canvas, batch, names, self.task), len(names))


def recognise(
    where: str,
    inputs: Mapping[str, Port],
    run: Run,
    properties: Mapping[str, str],
    layout: str | None = None,
    kind: str = "onnx",
) -> Foreign:
    """Work out what a file without our metadata is.

    Args:
        where: the file, for messages.
        inputs: what it takes.
        run: runs it on an array as its input takes it; returns its outputs by name, in their order.
        properties: metadata of the file as text.
        layout: name of the only layout to read it in, whatever the values say; None: find out.
        kind: name of the format.

    Raises:
        WeightsError: not a detector of a layout that is known.
        ConfigError: there is no such layout.
    """
    rows = [row for row in LAYOUTS if layout in (None, row.name)]
    if not rows:
        raise ConfigError(f"there is no layout '{layout}': {suggest(str(layout), layout_names())}")
    task = properties.get("task", "detect")
    if task not in _TASKS:
        raise _refusal(where, f"its task is '{task}'", inputs, {})
    names = _names(properties.get("names"))
    taken, channels_last = _input(where, inputs)
    batch, channels, height, width = taken.shape
    sides = _sides(where, properties.get("imgsz"), "imgsz")
    side = max(sides) if sides else 640
    stride = max(_sides(where, properties.get("stride"), "stride") or [32])
    canvas = (height or sides[0] if sides else height or side, width or sides[-1] if sides else width or side)
    metadata = ModelMetadata(
        model=properties.get("description") or "foreign",
        class_names=names or ["class 0"],
        imgsz=max(height or 0, width or 0) or side,
        stride=stride,
        in_channels=channels or 3,
        deployed=True,
        export=ExportInfo(format=kind, batch=batch, height=height, width=width),
    )
    why, outputs = "", {}
    for row in rows:
        foreign = Foreign(row, metadata, _TYPES[taken.type], channels_last, task)
        outputs = _run(where, run, foreign.feed(_picture(canvas, channels or 3, row.place, batch or 1)))
        answer = Answer(outputs, canvas, batch or 1, names, task)
        classes = row.classes(answer)
        if classes is None or (layout is None and not row.known(answer)):
            continue
        if classes < 0 and names is None:
            why = why or f"read as '{row.name}' its classes cannot be counted"
            continue
        if row.name == "boxes-scores" and names is not None and len(names) != classes:
            why = f"it names {len(names)} classes and has scores for {classes}"
            continue
        foreign = replace(foreign, metadata=_described(metadata, row, names, classes, list(outputs)))
        fault = None if layout is not None else _fault(*foreign.interpret(outputs, batch or 1, canvas), canvas)
        if fault is None:
            return foreign
        why = f"read as '{row.name}' {fault}"
        break  # what is known to be this layout is no other
    if layout is not None:
        why = why or f"its outputs are not {rows[0].shape}"
    raise _refusal(where, why or "its outputs are those of no known layout", inputs, outputs, canvas)


def layout_names() -> list[str]:
    """Names of the layouts, as ``--layout`` takes them."""
    return [row.name for row in LAYOUTS]


def _described(
    metadata: ModelMetadata, row: Layout, names: list[str] | None, classes: int, outputs: list[str]
) -> ModelMetadata:
    assert metadata.export is not None
    return metadata.model_copy(
        update={
            "class_names": names or numbered_names(classes),
            "nms": row.nms,
            "place": row.place,
            "export": metadata.export.model_copy(update={"outputs": outputs}),
        }
    )


def _input(where: str, inputs: Mapping[str, Port]) -> tuple[Port, bool]:
    """The input as (B, C, H, W), and whether its channels stand last."""
    sizes = next((name for name in inputs if name in _SIZES_OF_PICTURES), None)
    if sizes is not None:
        raise _refusal(
            where,
            f"it takes the pictures' sizes too ('{sizes}'), for a last step that hides how many classes there are; "
            "export it without that step, so that it answers with logits and boxes (layout 'rtdetr-logits')",
            inputs,
            {},
        )
    port = next(iter(inputs.values())) if len(inputs) == 1 else None
    if port is None or len(port.shape) != 4:
        raise _refusal(where, "it does not take one (B, C, H, W) picture", inputs, {})
    if port.type not in _TYPES:
        raise _refusal(where, f"it takes pictures of {port.type}, not of {', '.join(_TYPES)}", inputs, {})
    batch, first, second, last = port.shape
    if last in _CHANNELS and first not in _CHANNELS:
        return Port((batch, last, first, second), port.type), True
    return port, False


def _run(where: str, run: Run, images: npt.NDArray[Any]) -> dict[str, Array]:
    try:
        return {name: np.asarray(output).astype(np.float32) for name, output in run(images).items()}
    except Exception as error:  # engines' own errors share no base class but this
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{where} cannot be run on a picture of {images.shape} {images.dtype}: {reason}") from error


@cache
def _picture(canvas: tuple[int, int], channels: int, place: Any, batch: int) -> Array:
    from ghostyolo.runtime.weights import assets_folder

    path = min((assets_folder() / "pictures").iterdir())
    image = read_image(path)
    plan = plan_letterbox(image.shape[1], image.shape[0], canvas, place=place)
    rgb = network_input([image], [plan])[:, [number % 3 for number in range(channels)]]
    return np.repeat(rgb, batch, axis=0)


def _fault(boxes_xyxy: Array, scores: Array, canvas: tuple[int, int]) -> str | None:
    """What cannot be true of boxes and scores of a picture; None: nothing."""
    if not (np.isfinite(boxes_xyxy).all() and np.isfinite(scores).all()):
        return "its boxes and scores are not finite numbers"
    if scores.size and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
        return f"its scores are from {scores.min():.3g} to {scores.max():.3g}, not from 0 to 1"
    best = scores.reshape(-1, scores.shape[-1]).max(axis=1, initial=0)
    order = np.argsort(-best)[:20]
    boxes = boxes_xyxy.reshape(-1, 4)[order[best[order] > 0]]
    height, width = canvas
    middles, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    inside = ((middles > -0.5 * np.array([width, height])) & (middles < 1.5 * np.array([width, height]))).all(axis=1)
    large = ((sizes > 0.5) & (sizes < 10 * np.array([width, height]))).all(axis=1)
    if len(boxes) and (inside & large).mean() < 0.5:
        first = ", ".join(f"{value:.3g}" for value in boxes[0])
        return f"its boxes are not on the picture of {width} x {height}: the best is ({first})"
    return None


def _refusal(
    where: str,
    why: str,
    inputs: Mapping[str, Port],
    outputs: Mapping[str, Array],
    canvas: tuple[int, int] | None = None,
) -> WeightsError:
    seen = [f"input {name} {_shape(port.shape)} {port.type}" for name, port in inputs.items()]
    seen += [f"output {name} {_shape(output.shape)}" for name, output in outputs.items()]
    if canvas is not None:
        seen.append(f"cells of strides 8, 16 and 32 on {canvas[1]} x {canvas[0]}: {cells(canvas, (8, 16, 32))}")
    return WeightsError(
        f"{where} was not written by ghostyolo and is no detector of a known layout: {why} ({'; '.join(seen)}); "
        f"the layouts are described in docs/export.md, --layout NAME takes one of them: {', '.join(layout_names())}"
    )


def _shape(shape: Shape) -> str:
    return f"({', '.join(str(size or '?') for size in shape)})"


def _names(text: str | None) -> list[str] | None:
    """Ultralytics writes ``{0: 'person', ...}``."""
    value = _literal(text)
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=lambda key: (str(type(key)), key))]
    return [str(name) for name in value] if isinstance(value, list) and value else None


def _sides(where: str, text: str | None, key: str) -> list[int] | None:
    """Whole numbers of the metadata: ``32``, ``32.0`` or ``[640, 640]``."""
    if text is None:
        return None
    value = _literal(text)
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if not numbers or not all(isinstance(side, int | float) and side >= 1 and side % 1 == 0 for side in numbers):
        raise WeightsError(
            f"{where}: its metadata says {key} = {text!r}, which is no number of pixels; export it again"
        )
    return [int(side) for side in numbers]


def _literal(text: str | None) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None

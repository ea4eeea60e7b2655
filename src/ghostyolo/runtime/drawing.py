"""Draws detections on pictures, boxes and labels, and writes them.

They stay legible on small and large pictures alike.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.errors import OutputError
from ghostyolo.files import atomic_path
from ghostyolo.runtime.tracking import track_numbers

if TYPE_CHECKING:
    import supervision

_JPEG_QUALITY = 95


def draw_detections(image: npt.NDArray[np.uint8], detections: supervision.Detections) -> npt.NDArray[np.uint8]:
    """Draw each box with its class name and confidence.

    Args:
        image: (H, W, C) uint8; grey is drawn on in colour, of more than three channels the first three are
            shown.
        detections: boxes in pixels of the picture, with ``confidence``, ``class_id`` and
            ``data["class_name"]``.

    Returns:
        (H, W, 3) uint8, RGB; a new array.
    """
    import supervision

    scene = to_rgb(image)
    if len(detections) == 0:
        return scene
    height, width = scene.shape[:2]
    side = (height * width) ** 0.5
    # Below a scale of 0.4 OpenCV's strokes merge into blots.
    text_scale = max(0.4, side / 1300)
    text_thickness = max(1, round(text_scale * 1.5))
    padding = max(2, round(text_scale * 6))
    palette = class_palette()
    # Annotators take RGB colours and write BGR; on a BGR view of the RGB picture both are right.
    scene = np.ascontiguousarray(scene[:, :, ::-1])
    scene = supervision.BoxAnnotator(color=palette, thickness=max(1, round(side / 350))).annotate(scene, detections)
    labels = [
        f"{name} {confidence:.2f}" if track is None else f"#{track} {name} {confidence:.2f}"
        for name, confidence, track in zip(
            detections.data["class_name"], detections.confidence, track_numbers(detections), strict=True
        )
    ]
    annotator = supervision.LabelAnnotator(
        color=palette,
        text_color=supervision.ColorPalette([_readable_on(color) for color in palette.colors]),
        text_scale=text_scale,
        text_thickness=text_thickness,
        text_padding=padding,
    )
    anchors = _labels_inside(detections, labels, (width, height), text_scale, text_thickness, padding)
    scene = annotator.annotate(scene, anchors, labels=labels)
    return np.ascontiguousarray(scene[:, :, ::-1])


def class_palette() -> supervision.ColorPalette:
    """Return the library's colours in another order.

    Neighbours in the library's order are alike, classes 0, 1, 2 ... should not be.
    """
    import supervision

    colors = supervision.ColorPalette.DEFAULT.colors
    step = next(step for step in range(5, len(colors) + 6) if math.gcd(step, len(colors)) == 1)
    return supervision.ColorPalette([colors[index * step % len(colors)] for index in range(len(colors))])


def to_rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Make any (H, W, C) picture showable: a new (H, W, 3) array."""
    if image.shape[2] < 3:
        return np.repeat(image[:, :, :1], 3, axis=2)
    return image[:, :, :3].copy()


def _labels_inside(
    detections: supervision.Detections,
    labels: list[str],
    size: tuple[int, int],
    text_scale: float,
    text_thickness: int,
    padding: int,
) -> supervision.Detections:
    """Move corners so that labels, which are drawn above the top left one, stay on the picture."""
    import supervision

    boxes = detections.xyxy.copy()
    for box, label in zip(boxes, labels, strict=True):
        text = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, text_scale, text_thickness)[0]
        box[0] = max(0, min(box[0], size[0] - text[0] - 2 * padding))
        box[1] = max(box[1], text[1] + 2 * padding)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    return supervision.Detections(
        xyxy=boxes, confidence=detections.confidence, class_id=detections.class_id, data=dict(detections.data)
    )


def _readable_on(color: supervision.Color) -> supervision.Color:
    import supervision

    luminance = 0.299 * color.r + 0.587 * color.g + 0.114 * color.b
    return supervision.Color.BLACK if luminance > 140 else supervision.Color.WHITE


def shrink(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Make a picture's longer side at most so many pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encode_picture(image: npt.NDArray[np.uint8], suffix: str) -> bytes:
    """Return the bytes of a picture file.

    Args:
        image: (H, W, 3) uint8, RGB.
        suffix: of the format, such as ``".jpg"``.

    Raises:
        OutputError: OpenCV does not know the format.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix.lower() in (".jpg", ".jpeg") else []
    try:
        done, data = cv2.imencode(suffix or ".", np.ascontiguousarray(image[:, :, ::-1]), options)
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"cannot write a picture as '{suffix}': name it .jpg or .png")
    return data.tobytes()


def write_picture(path: str | Path, image: npt.NDArray[np.uint8]) -> None:
    """Write a picture file whole or not at all.

    Args:
        path: its suffix says the format.
        image: (H, W, 3) uint8, RGB.

    Raises:
        OutputError: it cannot be written, or OpenCV does not know the format.
    """
    data = encode_picture(image, Path(path).suffix)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)

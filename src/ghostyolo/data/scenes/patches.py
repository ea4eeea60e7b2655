"""Scenes, and what an object looks like before it is put into one.

Its opacity, and its shading or its colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
SIDE = 96  # objects are drawn once about this large, then shrunk or enlarged to each use
SPLIT_NUMBER = {"train": 0, "val": 1}  # for the seeds of a scene


@dataclass(frozen=True)
class Scene:
    """One picture and its objects.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        boxes_xyxy: (M, 4) float32, tight around what can be seen of each object, whole pixels.
        labels: (M,) int64, positions in the classes.
    """

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Patch:
    """One drawing of an object.

    Attributes:
        opacity: (h, w) uint8, cut to what can be seen.
        shade: (h, w) uint8, where it lies between the object's two colours; or (h, w, 3) uint8 RGB, its own colours.
    """

    opacity: Plane
    shade: npt.NDArray[np.uint8]


def cut(opacity: Plane, shade: npt.NDArray[np.uint8] | None = None) -> Patch:
    """A patch without its empty border; evenly shaded where no shade is given."""
    left, top, width, height = cv2.boundingRect((opacity > 64).astype(np.uint8))
    if width == 0:
        raise ValueError("the drawing is empty")
    window = np.s_[top : top + height, left : left + width]
    shade = np.zeros_like(opacity) if shade is None else shade
    return Patch(np.ascontiguousarray(opacity[window]), np.ascontiguousarray(shade[window]))


def to_plane(values: npt.NDArray[np.floating]) -> Plane:
    """Values of 0..1 as 0..255."""
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def polygon(points: npt.NDArray[np.floating], side: int = SIDE) -> Plane:
    """Fill a polygon, smooth at the edge; points (N, 2) in -1..1."""
    canvas = np.zeros((side, side), np.uint8)
    pixels = np.rint((points * 0.47 + 0.5) * side * 256).astype(np.int32)
    cv2.fillPoly(canvas, [pixels], 255, cv2.LINE_AA, 8)
    return canvas

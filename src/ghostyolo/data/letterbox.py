"""Fit a picture into the canvas a network takes, and bring its boxes back.

A picture is scaled with its aspect kept, up or down, until it fits a square of ``imgsz`` pixels, then
padded evenly on both sides with grey. A square canvas is ``imgsz x imgsz``; a rectangular one is padded
only to the next multiple of the network's stride, which saves the work spent on grey. Pictures are (H, W,
C) uint8, boxes xyxy in pixels. No torch.

How a picture is shrunk is part of what a network learned, so its metadata names it. Networks trained here see means
over all pixels (``area``). Of 2 x 2 neighbours (``bilinear``) a large picture keeps its grain and loses thin lines.
So is the place: ours lie in the middle, other programs' at the upper left (``corner``) or all over it (``stretch``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError

PAD_VALUE = 114

Resize = Literal["area", "bilinear"]
Place = Literal["centre", "corner", "stretch"]
TRAINED_RESIZE: Resize = "area"

_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies on its canvas.

    ``canvas = image * scale + (left, top)``, its sides in whole pixels.

    Attributes:
        scale: canvas pixels for one pixel of the picture; above 1 when it is enlarged.
        left, top: offset of the picture on the canvas in pixels.
        width, height: size of the padded canvas in pixels.
        resize: how the picture is shrunk.
        place: where on the canvas it lies.
    """

    scale: float
    left: int
    top: int
    width: int
    height: int
    resize: Resize = TRAINED_RESIZE
    place: Place = "centre"

    def boxes_to_canvas(self, boxes_xyxy: npt.NDArray, image_width: int, image_height: int) -> npt.NDArray[np.float32]:
        """Map (N, 4) boxes from pixels of the picture to pixels of the canvas."""
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        return (boxes * self._scales(image_width, image_height) + self._offset).astype(np.float32)

    def boxes_to_image(self, boxes_xyxy: npt.NDArray, image_width: int, image_height: int) -> npt.NDArray[np.float32]:
        """Map (N, 4) boxes from the canvas to the picture, clipped.

        Both in pixels.
        """
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        boxes = (boxes - self._offset) / self._scales(image_width, image_height)
        limits = np.array([image_width, image_height, image_width, image_height], dtype=np.float64)
        return np.clip(boxes, 0, limits).astype(np.float32)

    def on_canvas(self, image_width: int, image_height: int, width: int, height: int) -> Letterbox:
        """Return the same scale on another canvas.

        So pictures of several shapes share one batch.
        """
        left, top = _offset(self.place, width, height, *self.picture_size(image_width, image_height))
        return replace(self, left=left, top=top, width=width, height=height)

    def picture_size(self, image_width: int, image_height: int) -> tuple[int, int]:
        """Return width and height in pixels of the picture on the canvas."""
        if self.place == "stretch":
            return self.width, self.height
        return resized_size(image_width, image_height, self.scale)

    def _scales(self, image_width: int, image_height: int) -> npt.NDArray[np.float64]:
        """What whole pixels make of ``scale``, (4,) for x, y, x, y: of a thin picture the sides differ much."""
        width, height = self.picture_size(image_width, image_height)
        return np.array([width / image_width, height / image_height] * 2)

    @property
    def _offset(self) -> npt.NDArray[np.float64]:
        return np.array([self.left, self.top, self.left, self.top], dtype=np.float64)


def _offset(place: Place, width: int, height: int, picture_width: int, picture_height: int) -> tuple[int, int]:
    return (0, 0) if place == "corner" else ((width - picture_width) // 2, (height - picture_height) // 2)


def resized_size(image_width: int, image_height: int, scale: float) -> tuple[int, int]:
    """Return width and height of a picture scaled by ``scale``.

    They are whole pixels, each at least 1.
    """
    return max(1, round(image_width * scale)), max(1, round(image_height * scale))


def plan_letterbox(
    image_width: int,
    image_height: int,
    imgsz: int | tuple[int, int],
    stride: int = 32,
    rect: bool = False,
    resize: Resize = TRAINED_RESIZE,
    place: Place = "centre",
) -> Letterbox:
    """Work out scale and padding for one picture.

    Args:
        image_width, image_height: size of the picture in pixels.
        imgsz: side of the square to fit, or (height, width) of a rectangle.
        stride: with ``rect``, the canvas sides are multiples of this.
        rect: pad only to the next multiple of ``stride`` instead of to the whole of ``imgsz``.
        resize, place: how the picture is shrunk and where it lies, as the network's metadata says. A picture that
            fills its canvas makes it the whole of ``imgsz``.

    Raises:
        ConfigError: a size is not positive.
    """
    fit_height, fit_width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    if min(image_width, image_height, fit_width, fit_height, stride) <= 0:
        raise ConfigError(
            f"cannot fit a picture of {image_width} x {image_height} into {fit_width} x {fit_height}: "
            "every side must be at least 1 pixel"
        )
    scale = min(fit_width / image_width, fit_height / image_height)
    resized = (fit_width, fit_height) if place == "stretch" else resized_size(image_width, image_height, scale)
    width, height = fit_width, fit_height
    if rect and place != "stretch":
        width, height = (math.ceil(side / stride) * stride for side in resized)
    return Letterbox(scale, *_offset(place, width, height, *resized), width, height, resize, place)


def apply_letterbox(image: npt.NDArray[np.uint8], plan: Letterbox, pad_value: int = PAD_VALUE) -> npt.NDArray[np.uint8]:
    """Resize and pad an (H, W, C) uint8 picture as planned.

    It may have any channel count.

    Returns:
        (plan.height, plan.width, C) uint8.
    """
    image = _resized(image, plan)
    height, width, channels = image.shape
    if (width, height) == (plan.width, plan.height):
        return image
    canvas = np.full((plan.height, plan.width, channels), pad_value, dtype=np.uint8)
    canvas[plan.top : plan.top + height, plan.left : plan.left + width] = image
    return canvas


def network_input(
    images: list[npt.NDArray[np.uint8]], plans: list[Letterbox], out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Return pictures as a batch (B, C, H, W) float32 in 0..1.

    They have one channel count, their canvases one size.

    The values of :func:`apply_letterbox` divided by 255, written once: on a device this is a good part of what a
    picture costs outside the network.

    Args:
        out: memory to write into where its shape fits; new memory costs a third of all this.
    """
    shape = (len(images), images[0].shape[2], plans[0].height, plans[0].width)
    inputs = out if out is not None and out.shape == shape else np.empty(shape, dtype=np.float32)
    for planes, image, plan in zip(inputs, images, plans, strict=True):
        image = _resized(image, plan)
        bottom, right = plan.top + image.shape[0], plan.left + image.shape[1]
        grey = _UNIT[PAD_VALUE]
        planes[:, : plan.top], planes[:, bottom:] = grey, grey
        planes[:, plan.top : bottom, : plan.left], planes[:, plan.top : bottom, right:] = grey, grey
        for target, plane in zip(planes, cv2.split(image), strict=True):
            cv2.LUT(plane, _UNIT, dst=target[plan.top : bottom, plan.left : right])
    return inputs


def resize_picture(
    image: npt.NDArray[np.uint8], width: int, height: int, resize: Resize = TRAINED_RESIZE
) -> npt.NDArray[np.uint8]:
    """Resize an (H, W, C) uint8 picture of any channel count.

    This is the one way from a file's pixels to a network's.

    Args:
        width, height: of the result in pixels.
        resize: how it is shrunk; it is always enlarged bilinearly.

    Returns:
        (height, width, C) uint8; the picture itself where it has this size.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks and resize == "area" else cv2.INTER_LINEAR
    channels = image.shape[2]
    if channels <= 4:
        resized = cv2.resize(image, (width, height), interpolation=interpolation)
        return resized.reshape(height, width, channels)  # cv2 drops a channel axis of 1
    parts = [np.ascontiguousarray(image[:, :, first : first + 4]) for first in range(0, channels, 4)]  # cv2's limit
    resized_parts = [cv2.resize(part, (width, height), interpolation=interpolation) for part in parts]
    return np.concatenate([part.reshape(height, width, -1) for part in resized_parts], axis=2)


def _resized(image: npt.NDArray[np.uint8], plan: Letterbox) -> npt.NDArray[np.uint8]:
    width, height = plan.picture_size(image.shape[1], image.shape[0])
    return resize_picture(image, width, height, plan.resize)

"""One scene of digits: handwriting on a background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.scenes import backgrounds, handwriting
from ghostyolo.data.scenes.patches import SPLIT_NUMBER, Scene

CLASS_NAMES = [str(digit) for digit in range(10)]
MAX_DIGITS = 8
_EMPTY_SHARE = 0.04
_HEIGHTS = (1 / 9, 1 / 3)  # of a digit, as a share of the scene's side
_MAX_DEGREES = 20.0  # beyond, a 6 begins to look like a 9
_MAX_OVERLAP = 0.03  # intersection over the smaller of two boxes, so IoU stays below it too


@dataclass(frozen=True)
class DigitScene(Scene):
    """A scene whose labels are digits.

    Attributes:
        samples: which handwriting was used, indices into scikit-learn's digits.
    """

    samples: list[int]


def draw_digits(split: str, number: int, imgsz: int, seed: int) -> DigitScene:
    """Draw one scene.

    Args:
        split: ``"train"`` or ``"val"``: decides which handwriting and which parts of photographs may appear.
        number: which scene of the split, from 0.
        imgsz: side in pixels.
        seed: of the whole data set.
    """
    rng = np.random.default_rng([seed, SPLIT_NUMBER[split], number])
    canvas = backgrounds.draw_background(rng, imgsz, split)
    wanted = 0 if rng.random() < _EMPTY_SHARE else int(rng.integers(1, MAX_DIGITS + 1))
    allowed = handwriting.sample_indices(split)
    boxes: list[tuple[int, int, int, int]] = []
    samples: list[int] = []
    for _ in range(wanted):
        index = int(rng.choice(allowed))
        ink = random_ink(rng, index, imgsz)
        place = _find_place(rng, ink.shape, boxes, imgsz)
        if place is None:
            continue
        left, top = place
        height, width = ink.shape
        _write_ink(rng, canvas[top : top + height, left : left + width], ink)
        boxes.append((left, top, left + width, top + height))
        samples.append(index)
    return DigitScene(
        image=_photographed(rng, canvas),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([handwriting.digit_of(index) for index in samples], np.int64),
        samples=samples,
    )


def random_ink(rng: np.random.Generator, index: int, imgsz: int) -> handwriting.Mask:
    """Draw a sample in a size, pose and weight of chance."""
    shares = np.log(_HEIGHTS)
    return handwriting.draw(
        index,
        height=float(np.exp(rng.uniform(*shares))) * imgsz,
        degrees=float(rng.uniform(-_MAX_DEGREES, _MAX_DEGREES)),
        aspect=float(rng.uniform(0.85, 1.2)),
        slant=float(rng.uniform(-0.15, 0.15)),
        weight=float(rng.uniform(-0.6, 0.6)),
    )


def _find_place(
    rng: np.random.Generator, shape: tuple[int, ...], boxes: list[tuple[int, int, int, int]], imgsz: int
) -> tuple[int, int] | None:
    """Return (left, top) where the digit overlaps others hardly or not, or None after 40 tries."""
    height, width = shape[0], shape[1]
    if min(height, width) < 2 or max(height, width) > imgsz - 2:
        return None
    for _ in range(40):
        left = int(rng.integers(1, imgsz - width))
        top = int(rng.integers(1, imgsz - height))
        box = (left, top, left + width, top + height)
        if all(_overlap(box, other) <= _MAX_OVERLAP for other in boxes):
            return left, top
    return None


def _overlap(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Intersection over the smaller of two boxes xyxy: stricter than IoU for a small one beside a large."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return width * height / min(areas)


def _write_ink(rng: np.random.Generator, patch: backgrounds.Picture, ink: handwriting.Mask) -> None:
    """Blend ink into ``patch`` (h, w, 3) in place, dark on light or light on dark."""
    brightness = float(patch.mean())
    dark = brightness > 128 if abs(brightness - 128) > 30 else rng.random() < 0.5
    distance = rng.uniform(95, 170)  # from the mean below, in grey levels
    grey = brightness - distance if dark else brightness + distance
    colour = np.clip(grey + rng.normal(0, 25, 3), 0, 255)
    opacity = (ink * rng.uniform(0.88, 1.0))[:, :, None]
    patch += opacity * (colour.astype(np.float32) - patch)


def _photographed(rng: np.random.Generator, canvas: backgrounds.Picture) -> npt.NDArray[np.uint8]:
    """Add what a camera adds: uneven light, blur, noise. (S, S, 3) float 0..255 -> uint8."""
    side = canvas.shape[0]
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    slope = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
    light = rng.uniform(0.8, 1.15) * (1 + rng.uniform(0, 0.5) * slope)
    canvas = canvas * light[:, :, None].astype(np.float32)
    if rng.random() < 0.5:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.0) * side / 320 + 0.1)
    sigma = rng.uniform(0, 9)
    noise = rng.standard_normal((side, side, 3), np.float32) * sigma
    return np.clip(np.rint(canvas + noise), 0, 255).astype(np.uint8)

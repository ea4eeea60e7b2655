"""What the digits are written on.

Crops of photographs inside scikit-image's wheel, or textures drawn here.

Only photographs in the public domain or under CC0 are used, and none that shows figures. Train takes crops
from the left two thirds of each, val from the right third.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import read_image

# Sources and licences: the docstrings of skimage.data.
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "retina.jpg",
    "rocket.jpg",
)
_TRAIN_SHARE = 2 / 3

Picture = npt.NDArray[np.float32]


def available_photographs() -> list[Path]:
    """Photographs of the list that this scikit-image carries; older and newer wheels differ."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in PHOTOGRAPHS if (folder / name).is_file()]


def draw_background(rng: np.random.Generator, side: int, split: str) -> Picture:
    """Return a background for a scene of a split.

    It is (side, side, 3) float32 RGB, 0..255.
    """
    photographs = available_photographs()
    if photographs and rng.random() < 0.7:
        picture = _crop(_photograph(photographs[int(rng.integers(len(photographs)))]), rng, side, split)
    else:
        picture = _texture(rng, side)
    # Less contrast than the ink, so that digits stay readable on gravel too.
    mean = picture.mean(axis=(0, 1), keepdims=True)
    contrast = rng.uniform(0.35, 0.85)
    return np.clip(mean + (picture - mean) * contrast, 0, 255).astype(np.float32)


@lru_cache(maxsize=len(PHOTOGRAPHS))
def _photograph(path: Path) -> npt.NDArray[np.uint8]:
    return read_image(path)


def _crop(photograph: npt.NDArray[np.uint8], rng: np.random.Generator, side: int, split: str) -> Picture:
    border = round(photograph.shape[1] * _TRAIN_SHARE)
    region = photograph[:, border:] if split == "val" else photograph[:, :border]
    height, width = region.shape[:2]
    crop = max(int(min(height, width) * rng.uniform(0.45, 1.0)), 8)
    top, left = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
    part = region[top : top + crop, left : left + crop]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    interpolation = cv2.INTER_AREA if crop > side else cv2.INTER_CUBIC
    picture = cv2.resize(np.ascontiguousarray(part), (side, side), interpolation=interpolation)
    tint = 1 + rng.normal(0, 0.08, 3)
    return (picture * tint).astype(np.float32)


def _texture(rng: np.random.Generator, side: int) -> Picture:
    """Draw cloudy paper, stripes or a grid, in two colours."""
    first, second = rng.uniform(40, 225) + rng.normal(0, 25, 3), rng.uniform(-45, 45, 3)
    kind = rng.integers(3)
    if kind == 0:
        cells = int(rng.integers(2, 12))
        noise = rng.random((cells, cells), np.float32)
        pattern = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    else:
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        angle = rng.uniform(0, np.pi)
        period = side / rng.uniform(3, 14)
        phase = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        pattern = 0.5 + 0.5 * np.sin(2 * np.pi * along / period + phase)
        if kind == 2:  # squared paper: thin lines both ways
            across = np.cos(angle) * y - np.sin(angle) * x
            both = np.maximum(pattern, 0.5 + 0.5 * np.sin(2 * np.pi * across / period + phase))
            pattern = (both > 0.985).astype(np.float64)
    return (first + second * pattern[:, :, None]).astype(np.float32)

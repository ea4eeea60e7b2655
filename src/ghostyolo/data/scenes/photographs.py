"""Pieces of the photographs inside scikit-image's wheel, cut out by a soft outline.

Only photographs in the public domain, under CC0 or without known copyright restrictions: sources and licences are in
the docstrings of ``skimage.data`` and in docs/scenes.md.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import read_image
from ghostyolo.data.scenes.patches import SIDE, Patch, cut, polygon
from ghostyolo.data.scenes.shapes import Draw, blob_outline

# Windows x1 y1 x2 y2 in shares of the picture: an object of its own, or the whole for what is a stuff.
_WINDOWS = {
    "astronaut.png": (0.25, 0.0, 0.7, 0.6),
    "brick.png": (0.0, 0.0, 1.0, 1.0),
    "camera.png": (0.2, 0.05, 0.75, 1.0),
    "chelsea.png": (0.2, 0.0, 0.85, 0.95),
    "clock_motion.png": (0.1, 0.1, 0.9, 0.9),
    "coffee.png": (0.2, 0.05, 0.85, 0.95),
    "coins.png": (0.0, 0.0, 1.0, 1.0),
    "grass.png": (0.0, 0.0, 1.0, 1.0),
    "gravel.png": (0.0, 0.0, 1.0, 1.0),
    "hubble_deep_field.jpg": (0.0, 0.0, 1.0, 1.0),
    "moon.png": (0.0, 0.0, 1.0, 1.0),
    "retina.jpg": (0.0, 0.0, 1.0, 1.0),
    "rocket.jpg": (0.35, 0.05, 0.65, 0.75),
}


def _folder() -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data"


@lru_cache(maxsize=len(_WINDOWS))
def _window(name: str) -> npt.NDArray[np.uint8]:
    picture = read_image(_folder() / name)
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = _WINDOWS[name]
    return picture[int(y1 * height) : int(y2 * height), int(x1 * width) : int(x2 * width)]


def _piece(name: str, rng: np.random.Generator) -> Patch:
    window = _window(name)
    height, width = window.shape[:2]
    whole = _WINDOWS[name] != (0.0, 0.0, 1.0, 1.0)
    share = rng.uniform(0.8, 1.0) if whole else rng.uniform(0.2, 0.6)
    side_x, side_y = max(8, int(width * share)), max(8, int(height * share))
    left, top = int(rng.integers(width - side_x + 1)), int(rng.integers(height - side_y + 1))
    part = np.ascontiguousarray(window[top : top + side_y, left : left + side_x])
    part = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return cut(polygon(blob_outline(int(rng.integers(2, 6)), rng)), part)


def photographs() -> dict[str, Draw]:
    """Pieces of those photographs that this scikit-image has; older and newer wheels differ."""
    return {f"piece of {Path(name).stem}": partial(_piece, name) for name in _WINDOWS if (_folder() / name).is_file()}

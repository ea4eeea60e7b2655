"""Real handwriting as smooth ink, at any size and angle.

scikit-learn's 1797 digits of 8 x 8.

Every fifth sample is val's and never seen in train. That parts the samples, not the people: one hand may have
written samples of both, since the set does not say who wrote which.
Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, as scikit-learn ships it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

VAL_EVERY = 5  # samples 4, 9, 14 ... are val's
_SIDE = 96  # a digit is enlarged once to this square, then warped down to each use
_MARGIN = 2  # empty samples around the 8 x 8, so that the smooth ink is not cut at the edge

Mask = npt.NDArray[np.float32]


def sample_indices(split: str) -> npt.NDArray[np.int64]:
    """Return the indices of the handwriting that a split may use.

    Those of ``"val"`` and of all others never meet.
    """
    indices = np.arange(len(_load()[1]))
    is_val = indices % VAL_EVERY == VAL_EVERY - 1
    return indices[is_val] if split == "val" else indices[~is_val]


def digit_of(index: int) -> int:
    """The digit 0..9 that a sample shows."""
    return int(_load()[1][index])


def draw(index: int, height: float, degrees: float, aspect: float, slant: float, weight: float) -> Mask:
    """Draw a sample as ink.

    Args:
        index: which sample.
        height: of the upright ink in pixels.
        degrees: turned counter-clockwise by so much.
        aspect: width is multiplied by this.
        slant: the top is moved right by this share of the height.
        weight: thickness of the stroke: 0 as scanned, positive bolder, negative finer; within -1..1.

    Returns:
        (h, w) opacity 0..1, cut to the ink: every border row and column holds some (above 0.25).
    """
    smooth = _enlarged(index)
    # The grey of a sample's cell says how much of it the pen covered: a threshold recovers the stroke's edge.
    threshold = 0.42 - 0.12 * weight
    upright = np.flatnonzero(np.any(smooth > threshold, axis=1))
    scale = height / max(len(upright), 1)
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shape = np.array([[aspect, -slant], [0.0, 1.0]])
    linear = scale * (turn @ shape)
    side = math.ceil(_SIDE * 1.9 * scale) + 2
    offset = side / 2 - linear @ np.array([_SIDE / 2, _SIDE / 2])
    blurred = cv2.GaussianBlur(smooth, (0, 0), max(0.5 / scale, 0.3))  # against aliasing when drawn smaller
    warped = cv2.warpAffine(blurred, np.column_stack([linear, offset]), (side, side), flags=cv2.INTER_LINEAR)
    softness = 0.06 + 0.5 / max(height, 1.0)
    ink = 1 / (1 + np.exp(-(warped - threshold) / (softness * 0.5)))
    return cut_to_ink(ink.astype(np.float32))


def cut_to_ink(ink: Mask) -> Mask:
    """Cut an opacity map to the rows and columns with ink.

    Ink can be seen above 0.25.
    """
    seen = ink > 0.25
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(rows) == 0:
        return ink[:0, :0]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@lru_cache(maxsize=1)
def _load() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


@lru_cache(maxsize=2048)
def _enlarged(index: int) -> Mask:
    cells = np.pad(_load()[0][index], _MARGIN)
    smooth = cv2.resize(cells, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.GaussianBlur(smooth, (0, 0), _SIDE / len(cells) * 0.22), np.float32)

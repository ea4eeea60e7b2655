"""Channel counts: the rounding rules that the papers share."""

from __future__ import annotations

import math


def make_divisible(value: float, divisor: int) -> int:
    """Round to a multiple of ``divisor``, never below 90 % (MobileNetV2's rule).

    GhostNet rounds widths and squeeze-excite reductions this way, with divisor 4.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * value:
        rounded += divisor
    return rounded


def scale_channels(channels: int, width: float, max_channels: int) -> int:
    """YOLO's width rule: ``min(channels, max) x width``, rounded UP to a multiple of 8."""
    return math.ceil(min(channels, max_channels) * width / 8) * 8


def scale_repeats(repeats: int, depth: float) -> int:
    """YOLO's depth rule: ``max(round(n x depth), 1)``."""
    return max(round(repeats * depth), 1)

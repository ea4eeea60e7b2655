"""The default anchors, and what anchors must look like.

Anchors are the box sizes that an anchor head starts from. No torch.

Anchors are one list a level of [width, height] in pixels of the training pictures, as many on each level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostyolo.errors import ConfigError

Anchors = list[list[list[float]]]

# Of COCO at 640 pixels, by stride (YOLOv3 and YOLOv5).
COCO_ANCHORS: dict[int, list[list[float]]] = {
    8: [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    16: [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    32: [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
}


def default_anchors(strides: Sequence[int]) -> Anchors:
    """Return COCO's anchors of each stride.

    Those of a stride that COCO has none for are the nearest one's in proportion.
    """
    levels = []
    for stride in strides:
        known = min(COCO_ANCHORS, key=lambda other: max(other / stride, stride / other))
        levels.append([[side * stride / known for side in anchor] for anchor in COCO_ANCHORS[known]])
    return levels


def check_anchors(anchors: Any, levels: int) -> Anchors:
    """Anchors as floats.

    Raises:
        ConfigError: not as many lists as levels, lists of unequal lengths, or sizes that are not two positive numbers.
    """
    try:
        checked = [[[float(side) for side in anchor] for anchor in level] for level in anchors]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"anchors: {anchors!r} is not one list a level of [width, height] in pixels") from error
    if len(checked) != levels:
        raise ConfigError(f"anchors: {len(checked)} lists for {levels} levels: give each level its list of sizes")
    counts = {len(level) for level in checked}
    if len(counts) != 1 or counts == {0}:
        given = ", ".join(str(len(level)) for level in checked)
        raise ConfigError(f"anchors: every level needs as many, at least one, and these have {given}")
    for anchor in (anchor for level in checked for anchor in level):
        if len(anchor) != 2 or not all(0 < side < float("inf") for side in anchor):
            raise ConfigError(f"anchors: {anchor} is not [width, height], two sizes above 0 in pixels")
    return checked

"""The decoupled head that predicts box sides as distributions.

YOLOv8's and YOLOv13's; distributions from arXiv 2006.04388.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ghostyolo.models.heads.base import Head
from ghostyolo.models.heads.outputs import DflOutput
from ghostyolo.models.registry import register_head
from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.boxes import cell_centers, decode_ltrb, expected_distance


@register_head("dfl")
class DflHead(Head):
    """A head that predicts each side of a box as a distribution.

    Per level: two 3x3 to the box logits; to the class logits two (depthwise 3x3 + 1x1), or two dense 3x3.

    In training returns :class:`DflOutput`, else boxes (B, A, 4) xyxy in input pixels and scores (B, A, classes) after
    the sigmoid. Anchors are the cells of P3, then P4, then P5, each row by row.

    Args:
        in_channels: of the neck's levels.
        strides: pixels per cell of each level.
        bins: of each side's distribution, in whole strides 0..bins-1.
        cls_depthwise: the class branch of YOLOv13 and YOLOv10; False: the dense one of YOLOv8.
    """

    criterion = "dfl"

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        bins: int = 16,
        cls_depthwise: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes, self.bins, self.strides = num_classes, bins, tuple(strides)
        box_width = max(16, in_channels[0] // 4, 4 * bins)
        cls_width = max(in_channels[0], min(num_classes, 100))
        self.box = nn.ModuleList(
            nn.Sequential(
                Conv(channels, box_width, 3),
                Conv(box_width, box_width, 3),
                nn.Conv2d(box_width, 4 * bins, 1),
            )
            for channels in in_channels
        )
        self.cls = nn.ModuleList(
            nn.Sequential(
                *_class_layers(channels, cls_width, cls_depthwise),
                nn.Conv2d(cls_width, num_classes, 1),
            )
            for channels in in_channels
        )
        self.reset_biases()

    def reset_biases(self) -> None:
        """Set the biases to small boxes and few objects.

        Boxes of a few strides, and about five objects in a 640 x 640 picture.
        """
        for box, cls, stride in zip(self.box, self.cls, self.strides, strict=True):
            nn.init.constant_(cast(nn.Conv2d, cast(nn.Sequential, box)[-1]).bias, 1.0)  # type: ignore[arg-type]
            prior = math.log(5 / self.num_classes / (640 / stride) ** 2)
            nn.init.constant_(cast(nn.Conv2d, cast(nn.Sequential, cls)[-1]).bias, prior)  # type: ignore[arg-type]

    def walk(self, features: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        boxes = [box(feature) for box, feature in zip(self.box, features, strict=True)]
        return list(zip(boxes, [cls(feature) for cls, feature in zip(self.cls, features, strict=True)], strict=True))

    def arrange(self, levels: list[tuple[Tensor, ...]], features: Sequence[Tensor]) -> DflOutput:
        box_logits, cls_logits = (
            torch.cat([level.flatten(2) for level in maps], 2).transpose(1, 2) for maps in zip(*levels, strict=True)
        )
        return DflOutput(box_logits, cls_logits, *cell_centers(features, self.strides))

    def decode(self, output: DflOutput) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) xyxy in input pixels, scores (B, A, classes) in 0..1."""
        distances = expected_distance(output.box_logits, self.bins) * output.strides
        return decode_ltrb(output.centers, distances), output.cls_logits.sigmoid()


def _class_layers(in_channels: int, width: int, depthwise: bool) -> list[nn.Module]:
    if not depthwise:
        return [Conv(in_channels, width, 3), Conv(width, width, 3)]
    return [
        Conv(in_channels, in_channels, 3, groups=in_channels),
        Conv(in_channels, width),
        Conv(width, width, 3, groups=width),
        Conv(width, width),
    ]

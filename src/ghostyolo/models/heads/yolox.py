"""YOLOX's head: decoupled, anchor-free, with objectness.

Source: Ge et al., 2021, arXiv 2107.08430, section 2.1, figure 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ghostyolo.models.heads.base import Head
from ghostyolo.models.heads.outputs import YoloXOutput
from ghostyolo.models.registry import register_head
from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.boxes import cell_centers, decode_offsets
from ghostyolo.nn.channels import scale_channels
from ghostyolo.nn.csp import conv3x3

_HIDDEN = 256
_PRIOR = 0.01  # score of every class and cell before anything is learned (focal loss, arXiv 1708.02002, section 4.1)

_SCALES: dict[str, dict[str, Any]] = {
    "p": {"width": 0.25, "depthwise": True},
    "n": {"width": 0.375, "depthwise": False},
    "s": {"width": 0.5, "depthwise": False},
    "m": {"width": 0.75, "depthwise": False},
    "l": {"width": 1.0, "depthwise": False},
    "x": {"width": 1.25, "depthwise": False},
}


@register_head("yolox", scales=_SCALES)
class YoloXHead(Head):
    """A head with objectness, and offsets from cells.

    Per level: a 1x1 stem; from it two 3x3 to the class logits, and two 3x3 to the box and the objectness.

    In training returns :class:`YoloXOutput`, else boxes (B, A, 4) xyxy in input pixels and scores (B, A, classes),
    objectness x class, each after its sigmoid. Anchors are the cells of P3, then P4, then P5, each row by row.

    Args:
        in_channels: of the neck's levels.
        strides: pixels per cell of each level.
        width: the branches have 256 x width channels.
        depthwise: each 3x3 is depthwise 3x3 + 1x1 (nano).
    """

    criterion = "yolox"

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        width: float = 0.5,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes, self.strides = num_classes, tuple(strides)
        hidden = scale_channels(_HIDDEN, width, _HIDDEN)

        def tower() -> nn.Sequential:
            return nn.Sequential(
                conv3x3(hidden, hidden, depthwise=depthwise), conv3x3(hidden, hidden, depthwise=depthwise)
            )

        def every_level(build: Any) -> nn.ModuleList:
            return nn.ModuleList(build() for _ in in_channels)

        self.stem = nn.ModuleList(Conv(channels, hidden) for channels in in_channels)
        self.cls_tower, self.box_tower = every_level(tower), every_level(tower)
        self.cls = every_level(lambda: nn.Conv2d(hidden, num_classes, 1))
        self.box = every_level(lambda: nn.Conv2d(hidden, 4, 1))
        self.obj = every_level(lambda: nn.Conv2d(hidden, 1, 1))
        self.reset_biases()

    def reset_biases(self) -> None:
        """Start from an objectness and class scores of 1 %."""
        for layer in (*self.cls, *self.obj):
            nn.init.constant_(cast(Tensor, cast(nn.Conv2d, layer).bias), -math.log((1 - _PRIOR) / _PRIOR))

    def walk(self, features: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        levels: list[tuple[Tensor, ...]] = []
        for level, feature in enumerate(features):
            stem = self.stem[level](feature)
            box_map = self.box_tower[level](stem)
            cls_logits = self.cls[level](self.cls_tower[level](stem))
            levels.append((self.box[level](box_map), self.obj[level](box_map), cls_logits))
        return levels

    def arrange(self, levels: list[tuple[Tensor, ...]], features: Sequence[Tensor]) -> YoloXOutput:
        box_offsets, obj_logits, cls_logits = zip(*levels, strict=True)
        return YoloXOutput(
            torch.cat([level.flatten(2) for level in box_offsets], 2).transpose(1, 2),
            torch.cat([level.flatten(1) for level in obj_logits], 1),
            torch.cat([level.flatten(2) for level in cls_logits], 2).transpose(1, 2),
            *cell_centers(features, self.strides),
        )

    def decode(self, output: YoloXOutput) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) xyxy in input pixels, scores (B, A, classes) in 0..1."""
        boxes_xyxy = decode_offsets(output.centers, output.box_offsets, output.strides)
        return boxes_xyxy, output.obj_logits.sigmoid().unsqueeze(-1) * output.cls_logits.sigmoid()

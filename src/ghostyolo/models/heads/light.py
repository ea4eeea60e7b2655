"""The ghostyolo family's distribution head: depthwise 5x5 and 1x1 in each branch.

YOLOv8's box branch of two dense 3x3 costs a third of a nano detector's time; this one a fifth of that for the same
outputs, so that it trains, exports and distils as `dfl` does (docs/design/family.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.registry import register_head
from ghostyolo.nn.reparam import RepConv
from ghostyolo.nn.slim import relu


@register_head("light")
class LightHead(DflHead):
    """As :class:`DflHead`, in and out, with lighter branches.

    Args:
        in_channels: of the neck's levels.
        strides: pixels per cell of each level.
        bins: of each side's distribution, in whole strides 0..bins-1.
        box_width, cls_width: channels before the last 1x1 convolution of each branch.
        branches: of every convolution but the last in training.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        bins: int = 16,
        box_width: int = 32,
        cls_width: int = 64,
        branches: int = 3,
    ) -> None:
        nn.Module.__init__(self)
        self.num_classes, self.bins, self.strides = num_classes, bins, tuple(strides)
        self.box = nn.ModuleList(_branch(count, box_width, 4 * bins, branches) for count in in_channels)
        self.cls = nn.ModuleList(_branch(count, cls_width, num_classes, branches) for count in in_channels)
        self.reset_biases()


def _branch(in_channels: int, width: int, out_channels: int, branches: int) -> nn.Sequential:
    return nn.Sequential(
        RepConv(in_channels, in_channels, 5, groups=in_channels, act=relu, branches=branches),
        RepConv(in_channels, width, act=relu, branches=branches, identity=False),
        nn.Conv2d(width, out_channels, 1),
    )

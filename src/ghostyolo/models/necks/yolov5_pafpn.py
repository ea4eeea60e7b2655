"""YOLOv5's neck: a path aggregation network (arXiv 1803.01534) of C3 blocks without shortcut."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ghostyolo.models.backbones.yolov5 import MAX_CHANNELS, SCALES
from ghostyolo.models.registry import register_neck
from ghostyolo.nn.blocks import Conv, fit_channels
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.csp import C3


@register_neck("yolov5_pafpn", scales=SCALES)
class YoloV5Pafpn(nn.Module):
    """YOLOv5's neck.

    Top-down, then bottom-up fusion of three maps, each half the size of the one before.

    Input and output: P3, P4, P5. A level whose channels are not the neck's own is fitted by a 1x1 convolution.

    Args:
        in_channels: of the three maps.
        depth, width: the scale, see :mod:`ghostyolo.nn.channels`.
    """

    def __init__(self, *, in_channels: Sequence[int], depth: float = 0.33, width: float = 0.25) -> None:
        super().__init__()
        three = scale_repeats(3, depth)
        c256, c512, c1024 = self.channels = tuple(
            scale_channels(count, width, MAX_CHANNELS) for count in (256, 512, 1024)
        )
        self.fit = fit_channels(in_channels, self.channels)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.enter5 = Conv(c1024, c512)
        self.down4 = C3(2 * c512, c512, three, shortcut=False)
        self.enter4 = Conv(c512, c256)
        self.down3 = C3(2 * c256, c256, three, shortcut=False)
        self.stride3 = Conv(c256, c256, 3, 2)
        self.up4 = C3(2 * c256, c512, three, shortcut=False)
        self.stride4 = Conv(c512, c512, 3, 2)
        self.up5 = C3(2 * c512, c1024, three, shortcut=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (fit(feature) for fit, feature in zip(self.fit, features, strict=True))
        side5 = self.enter5(p5)
        side4 = self.enter4(self.down4(torch.cat((self.up(side5), p4), 1)))
        out3 = self.down3(torch.cat((self.up(side4), p3), 1))
        out4 = self.up4(torch.cat((self.stride3(out3), side4), 1))
        out5 = self.up5(torch.cat((self.stride4(out4), side5), 1))
        return [out3, out4, out5]

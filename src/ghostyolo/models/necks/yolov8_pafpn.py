"""YOLOv8's neck, a path aggregation network of C2f blocks.

Published network, no paper; PANet is arXiv 1803.01534.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.models.backbones.yolov8 import SCALES
from ghostyolo.models.registry import register_neck
from ghostyolo.nn.blocks import Conv, fit_channels
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.csp import C2f


@register_neck("yolov8_pafpn", scales=SCALES)
class YoloV8Pafpn(nn.Module):
    """YOLOv8's neck.

    Top-down and bottom-up fusion of P3, P4, P5 by concatenation; nothing is narrowed before it is upsampled.

    Input and output: three maps, each twice as coarse as the one before. A backbone whose channels are not the neck's
    own is fitted by a 1x1 convolution on each level that differs.

    Args:
        in_channels: of P3, P4, P5.
        depth, width, max_channels: the scale, see :mod:`ghostyolo.nn.channels`.
    """

    def __init__(
        self, *, in_channels: Sequence[int], depth: float = 0.33, width: float = 0.25, max_channels: int = 1024
    ) -> None:
        super().__init__()
        three = scale_repeats(3, depth)
        c256, c512, c1024 = (scale_channels(count, width, max_channels) for count in (256, 512, 1024))
        self.channels = (c256, c512, c1024)
        self.fit = fit_channels(in_channels, self.channels)
        self.down4 = C2f(c1024 + c512, c512, three)
        self.down3 = C2f(c512 + c256, c256, three)
        self.stride3 = Conv(c256, c256, 3, 2)
        self.up4 = C2f(c256 + c512, c512, three)
        self.stride4 = Conv(c512, c512, 3, 2)
        self.up5 = C2f(c512 + c1024, c1024, three)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (fit(feature) for fit, feature in zip(self.fit, features, strict=True))
        down4 = self.down4(torch.cat((F.interpolate(p5, scale_factor=2.0, mode="nearest"), p4), 1))
        out3 = self.down3(torch.cat((F.interpolate(down4, scale_factor=2.0, mode="nearest"), p3), 1))
        out4 = self.up4(torch.cat((self.stride3(out3), down4), 1))
        out5 = self.up5(torch.cat((self.stride4(out4), p5), 1))
        return [out3, out4, out5]

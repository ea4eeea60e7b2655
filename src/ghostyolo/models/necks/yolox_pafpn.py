"""YOLOX's neck, a path aggregation network of CSP blocks.

Ge et al., 2021, arXiv 2107.08430; PANet is 1803.01534.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.models.backbones.yolox import LARGEST_CHANNELS, SCALES
from ghostyolo.models.registry import register_neck
from ghostyolo.nn.blocks import Conv, fit_channels
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.csp import C3, conv3x3


@register_neck("yolox_pafpn", scales=SCALES)
class YoloXPafpn(nn.Module):
    """YOLOX's neck.

    Top-down and bottom-up fusion of P3, P4, P5 by concatenation; a 1x1 narrows each map before it is upsampled.

    Input and output: three maps, each twice as coarse as the one before. A backbone whose channels are not the neck's
    own is fitted by a 1x1 convolution on each level that differs.

    Args:
        in_channels: of P3, P4, P5.
        depth, width: the scale, see :mod:`ghostyolo.nn.channels`.
        depthwise: each 3x3 is depthwise 3x3 + 1x1 (nano).
    """

    def __init__(
        self, *, in_channels: Sequence[int], depth: float = 0.33, width: float = 0.5, depthwise: bool = False
    ) -> None:
        super().__init__()
        three = scale_repeats(3, depth)
        c256, c512, c1024 = (scale_channels(count, width, LARGEST_CHANNELS) for count in (256, 512, 1024))
        self.channels = (c256, c512, c1024)
        self.fit = fit_channels(in_channels, self.channels)
        self.lateral5 = Conv(c1024, c512)
        self.down4 = C3(2 * c512, c512, three, shortcut=False, depthwise=depthwise)
        self.lateral4 = Conv(c512, c256)
        self.down3 = C3(2 * c256, c256, three, shortcut=False, depthwise=depthwise)
        self.stride3 = conv3x3(c256, c256, 2, depthwise)
        self.up4 = C3(2 * c256, c512, three, shortcut=False, depthwise=depthwise)
        self.stride4 = conv3x3(c512, c512, 2, depthwise)
        self.up5 = C3(2 * c512, c1024, three, shortcut=False, depthwise=depthwise)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (fit(feature) for fit, feature in zip(self.fit, features, strict=True))
        narrow5 = self.lateral5(p5)
        down4 = self.down4(torch.cat((F.interpolate(narrow5, scale_factor=2.0, mode="nearest"), p4), 1))
        narrow4 = self.lateral4(down4)
        out3 = self.down3(torch.cat((F.interpolate(narrow4, scale_factor=2.0, mode="nearest"), p3), 1))
        out4 = self.up4(torch.cat((self.stride3(out3), narrow4), 1))
        out5 = self.up5(torch.cat((self.stride4(out4), narrow5), 1))
        return [out3, out4, out5]

"""YOLOv7-tiny's neck (arXiv 2207.02696): SPP-CSP, a path aggregation network of tiny ELANs, 3x3 exits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ghostyolo.models.backbones.yolov7 import MAX_CHANNELS, SCALES
from ghostyolo.models.registry import register_neck
from ghostyolo.nn.blocks import fit_channels
from ghostyolo.nn.channels import scale_channels
from ghostyolo.nn.elan import LeakyConv, SppCsp, TinyElan


@register_neck("yolov7_elan", scales=SCALES)
class YoloV7Elan(nn.Module):
    """YOLOv7-tiny's neck.

    Top-down, then bottom-up fusion of three maps, each half the size of the one before.

    Input and output: P3, P4, P5. A level whose channels are not the neck's own is fitted by a 1x1 convolution.

    Args:
        in_channels: of the three maps.
        width: multiplies every channel count, see :mod:`ghostyolo.nn.channels`.
    """

    def __init__(self, *, in_channels: Sequence[int], width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256, c512 = (scale_channels(count, width, MAX_CHANNELS) for count in (32, 64, 128, 256, 512))
        self.channels = (c128, c256, c512)
        self.fit = fit_channels(in_channels, self.channels, LeakyConv)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.pool5 = SppCsp(c512, c256)
        self.enter5 = LeakyConv(c256, c128)
        self.side4 = LeakyConv(c256, c128)
        self.down4 = TinyElan(2 * c128, c64, c128)
        self.enter4 = LeakyConv(c128, c64)
        self.side3 = LeakyConv(c128, c64)
        self.down3 = TinyElan(2 * c64, c32, c64)
        self.stride3 = LeakyConv(c64, c128, 3, 2)
        self.up4 = TinyElan(2 * c128, c64, c128)
        self.stride4 = LeakyConv(c128, c256, 3, 2)
        self.up5 = TinyElan(2 * c256, c128, c256)
        self.exits = nn.ModuleList(
            LeakyConv(have, want, 3) for have, want in zip((c64, c128, c256), self.channels, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (fit(feature) for fit, feature in zip(self.fit, features, strict=True))
        p5 = self.pool5(p5)
        down4 = self.down4(torch.cat((self.side4(p4), self.up(self.enter5(p5))), 1))
        down3 = self.down3(torch.cat((self.side3(p3), self.up(self.enter4(down4))), 1))
        up4 = self.up4(torch.cat((self.stride3(down3), down4), 1))
        up5 = self.up5(torch.cat((self.stride4(up4), p5), 1))
        return [leave(level) for leave, level in zip(self.exits, (down3, up4, up5), strict=True)]

"""Blocks of YOLOX (Ge et al., 2021, arXiv 2107.08430): Focus stem and CSP blocks.

All maps are (B, C, H, W). The nano network writes each 3x3 as depthwise 3x3 + 1x1, each with its norm and activation.
YOLOX's spatial pyramid pooling is :class:`ghostyolo.nn.c2f.SPPF`: a 5x5 maximum of a 5x5 maximum is a 9x9 one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostyolo.nn.blocks import Conv


class FocusConv(Conv):
    """The Focus stem as the equal convolution, 6x6 with stride 2; halves H and W, which are even.

    Focus moves each 2 x 2 square of pixels to the channels and applies a 3x3: a reordering of 6 x 6 weights, of which
    there are as many. Engines run the convolution several times faster than the reordering of the picture.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 6, 2)
        # A border of 2 pixels is the 3x3's border of one 2 x 2 square.
        self.conv = nn.Conv2d(in_channels, out_channels, 6, 2, 2, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, depthwise: bool = False) -> nn.Module:
    """A 3x3 with norm and SiLU, dense or as depthwise 3x3 + 1x1."""
    if not depthwise:
        return Conv(in_channels, out_channels, 3, stride)
    return nn.Sequential(Conv(in_channels, in_channels, 3, stride, groups=in_channels), Conv(in_channels, out_channels))


class CspBottleneck(nn.Module):
    """1x1, 3x3, and the input added where ``shortcut`` is set."""

    def __init__(self, channels: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels)
        self.spatial = conv3x3(channels, channels, depthwise=depthwise)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.spatial(self.reduce(x))
        return x + y if self.add else y


class CspBlock(nn.Module):
    """Two 1x1 entries to half the width, bottlenecks on one, concat, 1x1 exit (CSPNet, arXiv 1911.11929).

    Args:
        repeats: number of bottlenecks.
        shortcut: whether they add their input.
        depthwise: see :func:`conv3x3`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, repeats: int, shortcut: bool = False, depthwise: bool = False
    ) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.enter_deep = Conv(in_channels, hidden)
        self.enter_skip = Conv(in_channels, hidden)
        self.deep = nn.Sequential(*(CspBottleneck(hidden, shortcut, depthwise) for _ in range(repeats)))
        self.exit = Conv(2 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.exit(torch.cat((self.deep(self.enter_deep(x)), self.enter_skip(x)), 1))

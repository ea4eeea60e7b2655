"""The blocks of YOLOv7-tiny: tiny ELAN and SPP-CSP.

They have LeakyReLU 0.1; all maps are (B, C, H, W). Source: arXiv 2207.02696.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.csp import PoolPyramid


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1, inplace=True)


class LeakyConv(Conv):
    """Convolution, BN with YOLO's constants, LeakyReLU 0.1."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, act=_leaky)


class TinyElan(nn.Module):
    """YOLOv7-tiny's layer aggregation.

    Two 1x1 entries, two 3x3 in a chain from the second, concat of the four, 1x1 exit.

    ELAN: efficient layer aggregation, paths of several lengths through one block.

    Args:
        hidden: channels of each of the four maps.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.enter_skip = LeakyConv(in_channels, hidden)
        self.enter_deep = LeakyConv(in_channels, hidden)
        self.first = LeakyConv(hidden, hidden, 3)
        self.second = LeakyConv(hidden, hidden, 3)
        self.exit = LeakyConv(4 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter_deep(x)
        first = self.first(entered)
        return self.exit(torch.cat((self.enter_skip(x), entered, first, self.second(first)), 1))


class SppCsp(nn.Module):
    """YOLOv7-tiny's pooling block.

    Two 1x1 entries, a pool pyramid and a 1x1 on one, concat, 1x1 exit; all of the output's width.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter_skip = LeakyConv(in_channels, out_channels)
        self.enter_deep = LeakyConv(in_channels, out_channels)
        self.pyramid = PoolPyramid()
        self.squeeze = LeakyConv(4 * out_channels, out_channels)
        self.exit = LeakyConv(2 * out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.squeeze(self.pyramid(self.enter_deep(x)))
        return self.exit(torch.cat((self.enter_skip(x), deep), 1))

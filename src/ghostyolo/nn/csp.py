"""Cross-stage partial blocks of YOLOv5, YOLOX (C3) and YOLOv8 (C2f), and spatial pyramid pooling.

Part of the map passes by the deep path and joins it at the end (CSPNet, arXiv 1911.11929). All maps are (B, C, H, W).
YOLOX-Nano (arXiv 2107.08430) writes each 3x3 as depthwise 3x3 + 1x1, each with its norm and activation.
YOLOv8 has no paper; its block is that of its published networks, held by their counts and FLOPs in the tests.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostyolo.nn.blocks import Conv


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, depthwise: bool = False) -> nn.Module:
    """A 3x3 with norm and SiLU, dense or as depthwise 3x3 + 1x1."""
    if not depthwise:
        return Conv(in_channels, out_channels, 3, stride)
    return nn.Sequential(Conv(in_channels, in_channels, 3, stride, groups=in_channels), Conv(in_channels, out_channels))


class Bottleneck(nn.Module):
    """1x1, then 3x3, of equal width; a shortcut around both where wanted."""

    def __init__(self, channels: int, shortcut: bool = True, depthwise: bool = False) -> None:
        super().__init__()
        self.first = Conv(channels, channels)
        self.second = conv3x3(channels, channels, depthwise=depthwise)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.add else y


class C3(nn.Module):
    """Two 1x1 entries to half the width, ``repeats`` bottlenecks on one, concat, 1x1 exit."""

    def __init__(
        self, in_channels: int, out_channels: int, repeats: int = 1, shortcut: bool = True, depthwise: bool = False
    ) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.enter_deep = Conv(in_channels, hidden)
        self.enter_skip = Conv(in_channels, hidden)
        self.deep = nn.Sequential(*(Bottleneck(hidden, shortcut, depthwise) for _ in range(repeats)))
        self.exit = Conv(2 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.exit(torch.cat((self.deep(self.enter_deep(x)), self.enter_skip(x)), 1))


class PoolPyramid(nn.Module):
    """The map beside its maxima over 5, 9 and 13 cells: 4 C channels.

    A 5x5 maximum of 5x5 maxima is a 9x9 maximum, so one chain of 5x5 pools gives all three.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return torch.cat(maps, 1)


class Sppf(nn.Module):
    """1x1 to half the width, pool pyramid, 1x1 exit (spatial pyramid pooling, arXiv 1406.4729)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.enter = Conv(in_channels, hidden)
        self.pyramid = PoolPyramid()
        self.exit = Conv(4 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.exit(self.pyramid(self.enter(x)))


class DenseBottleneck(nn.Module):
    """Two dense 3x3 convolutions of one width.

    The input is added where ``shortcut`` is set.
    """

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.first = Conv(channels, channels, 3)
        self.second = Conv(channels, channels, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """YOLOv8's block: a split, and bottlenecks in a chain.

    1x1, split in two halves, bottlenecks each fed by the last, concat of all, 1x1 exit.

    Args:
        out_channels: also twice the width of the bottlenecks.
        repeats: number of bottlenecks.
        shortcut: whether they add their input.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int, shortcut: bool = False) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.enter = Conv(in_channels, 2 * hidden)
        self.inner = nn.ModuleList(DenseBottleneck(hidden, shortcut) for _ in range(repeats))
        self.exit = Conv((2 + repeats) * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.enter(x).chunk(2, 1))
        for block in self.inner:
            maps.append(block(maps[-1]))
        return self.exit(torch.cat(maps, 1))
